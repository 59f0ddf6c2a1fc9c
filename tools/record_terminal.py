"""Record what a terminal shows while a study runs: `python -m tools.record_terminal FOLDER NAME --width 80`.

Needs tmux. The study in FOLDER (its config is `config.yaml` there) is run to its end in a terminal of that width, and
the screens of three moments are written to `docs/terminal/NAME-MOMENT-WIDTH.txt`, as text: the start, where no job is
done yet; a training run at work; the end. Options of Snakemake follow after ``--``.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from whyrobust.files import write_text

ROOT = Path(__file__).parents[1]
SOCKET = f"whyrobust-recording-{os.getpid()}"
HEIGHT = 40
ENDED = "ENDED WITH "

#: What the first screen of each moment before the end shows.
MOMENTS = {
    "start": re.compile(r" 0 of \d+ jobs.*\n[\s\S]* so far$", re.MULTILINE),
    "work": re.compile(r" loss .*images/s"),
}


def tmux(*arguments: str) -> str:
    """Call tmux and return what it prints."""
    return subprocess.run(["tmux", "-L", SOCKET, *arguments], check=True, capture_output=True, text=True).stdout


def screen() -> str:
    """Return the screen, and what has scrolled off it, without empty lines at its end and without this clone's path.

    Lines that the terminal broke are whole, so that one that is too long for it can be told.
    """
    shown = tmux("capture-pane", "-p", "-J", "-S", "-500").replace(f"{ROOT}/", "").rstrip()
    return "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def record(folder: Path, width: int, arguments: list[str]) -> dict[str, str]:
    """Run a study in a terminal and return the screen of each moment that came."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    shell = f"{shlex.join(snakemake)}; echo {ENDED}$?; sleep 1000"
    kept = ("PYTHONPATH", "WHYROBUST_FINISHED_WORK")
    variables = [part for name in kept if name in os.environ for part in ("-e", f"{name}={os.environ[name]}")]
    tmux("new-session", "-d", "-x", str(width), "-y", str(HEIGHT), "-c", str(folder), *variables, shell)
    recorded: dict[str, str] = {}
    try:
        while ENDED not in (shown := screen()):
            for moment, shows in MOMENTS.items():
                if moment not in recorded and shows.search(shown):
                    recorded[moment] = shown
            time.sleep(1.0)
        return recorded | {"end": shown}
    finally:
        tmux("kill-server")


def main() -> None:
    """Read the command line and write the recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("name", help="of the recordings")
    parser.add_argument("--width", type=int, default=80, help="of the terminal, in characters")
    own, _, arguments = shlex.join(sys.argv[1:]).partition(" -- ")
    given = parser.parse_args(shlex.split(own))
    recorded = record(given.folder.absolute(), given.width, shlex.split(arguments or "--cores 2"))
    for moment, shown in recorded.items():
        write_text(ROOT / "docs" / "terminal" / f"{given.name}-{moment}-{given.width}.txt", shown)


if __name__ == "__main__":
    main()
