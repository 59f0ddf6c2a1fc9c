"""Record what a terminal shows while a study runs: `python -m tools.record_terminal FOLDER NAME --width 80`.

Needs tmux. The study in FOLDER (its config is `config.yaml` there) is started in a terminal of that width, and its last
screen is written to `docs/terminal/NAME-WIDTH.txt`, as text; with ``--at-work`` one with a training run that is under
way, where the study is stopped. Options of Snakemake follow after ``--``.
"""

from __future__ import annotations

import argparse
import os
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


def tmux(*arguments: str) -> str:
    """Call tmux and return what it prints."""
    return subprocess.run(["tmux", "-L", SOCKET, *arguments], check=True, capture_output=True, text=True).stdout


def screen() -> str:
    """Return the screen, and what has scrolled off it, without empty lines at its end and without this clone's path.

    Lines that the terminal broke are whole, so that one that is too long for it can be told.
    """
    shown = tmux("capture-pane", "-p", "-J", "-S", "-500").replace(f"{ROOT}/", "").rstrip()
    return "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"


def record(folder: Path, width: int, at_work: bool, arguments: list[str]) -> str:
    """Run a study in a terminal and return its last screen, or one of it at work."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    shell = f"{shlex.join(snakemake)}; echo {ENDED}$?; sleep 1000"
    kept = ("PYTHONPATH", "WHYROBUST_FINISHED_WORK")
    variables = [part for name in kept if name in os.environ for part in ("-e", f"{name}={os.environ[name]}")]
    tmux("new-session", "-d", "-x", str(width), "-y", str(HEIGHT), "-c", str(folder), *variables, shell)
    try:
        while True:
            shown = screen()
            if ENDED in shown:
                return shown
            if at_work and "loss" in shown and "images/s" in shown:
                break
            time.sleep(1.0)
        tmux("send-keys", "C-c")
        while ENDED not in screen():
            time.sleep(1.0)
        return shown
    finally:
        tmux("kill-server")


def main() -> None:
    """Read the command line and write the recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study")
    parser.add_argument("name", help="of the recording")
    parser.add_argument("--width", type=int, default=80, help="of the terminal, in characters")
    parser.add_argument("--at-work", action="store_true", help="record a training run, then stop")
    own, _, arguments = shlex.join(sys.argv[1:]).partition(" -- ")
    given = parser.parse_args(shlex.split(own))
    shown = record(given.folder.absolute(), given.width, given.at_work, shlex.split(arguments or "--cores 2"))
    write_text(ROOT / "docs" / "terminal" / f"{given.name}-{given.width}.txt", shown)


if __name__ == "__main__":
    main()
