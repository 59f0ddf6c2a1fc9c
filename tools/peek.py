"""Write the page of a study from what is finished while it runs: `python -m tools.peek [--configfile my.yaml]`.

Trains nothing and leaves the running study alone: what Snakemake would not make again is linked into the folder
``peek/<study>``, where the finished runs are evaluated and the page is written, as `whyrobust.study.unfinished` says.
Call it where the study was started.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import yaml

from whyrobust import cores as cores_shared
from whyrobust.files import write_text
from whyrobust.study.config_file import read_config_file
from whyrobust.study.display_names import count_noun
from whyrobust.study.layout import LAYOUT_FILE
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.stages import STAGES, all_needs
from whyrobust.study.study import Study
from whyrobust.study.unfinished import TooEarlyError, finished_config

HOME = Path(__file__).parents[1]
#: Folder of unfinished pages.
FOLDER = "peek"
#: What has no place in a study's working directory within another.
NOT_LINKED = ("results", FOLDER)


#: Stages that make what runs are trained on, or runs: these are finished, or what they make is not shown. Captions and
#: labels found in text are cheap, and the page describes them for every source.
NEVER_RUN = (all_needs()["train_run"] | {"train_run", "import_pretrained"}) - {"assemble_captions", "match_text"}
#: Stages whose results are of all runs of a study together.
OF_ALL_RUNS = {"score_heads"} | {stage for stage, needs in all_needs().items() if "score_heads" in needs}
#: Stages whose results are of a group of runs.
OF_A_GROUP = ("embed_test_sets", "fit_heads")


def finished_files(summary: str, root: Path) -> dict[str, str]:
    """Return the files and folders that Snakemake would not make again, with the rule of each.

    Args:
        summary: what ``snakemake --summary`` says: a table with the columns ``output_file, rule, status, plan``.
        root: folder of the study.
    """
    head, *rows = [line.split("\t") for line in summary.splitlines() if "\t" in line]
    found = [dict(zip(head, row, strict=True)) for row in rows]
    return {
        row["output_file"]: row["rule"]
        for row in found
        if row["plan"] == "no update" and (root / row["output_file"]).exists()
    }


def weights_of(study: Study, run: str) -> str:
    """Return the file of the weights of a run."""
    return f"results/{study.name}/runs/{run}/model.safetensors"


def files_needed(study: Study, run: str) -> list[str]:
    """Return the weights of a run, those that it starts from, and the subsets that its heads are fitted on."""
    size, seed = study.runs[run].train_images, study.runs[run].seed
    return [weights_of(study, name) for name in (run, *study.pretrained_runs_of(run))] + [
        f"results/{study.name}/subsets/{source}/{size}_images_seed_{seed}.parquet"
        for source in study.fitting_sources_of(run).values()
    ]


def finished_runs(study: Study, files: Collection[str]) -> set[str]:
    """Return the runs that are trained or imported, and whose heads have what they are fitted on.

    Args:
        study: the study.
        files: that are finished, see `finished_files`.
    """
    return {run for run in study.runs if all(path in files for path in files_needed(study, run))}


def linked_files(files: Mapping[str, str], whole: Study, part: Study) -> list[str]:
    """Return the finished files that the finished part of a study has too.

    Args:
        files: see `finished_files`.
        whole: the study.
        part: its finished part.
    """
    groups = {name for name, runs in part.groups.items() if runs == whole.groups[name]}
    return [
        path
        for path, rule in files.items()
        if rule not in OF_ALL_RUNS and (rule not in OF_A_GROUP or Path(path).name in groups)
    ]


def link(paths: Iterable[str], root: Path, folder: Path) -> None:
    """Link files and folders into another folder, where they have no file of their own; a link is as old as its file.

    Snakemake takes the age of the link where that is younger, and would make again what was linked first.
    """
    for path in paths:
        place, target = folder / path, (root / path).absolute()
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            place.symlink_to(target)
            age = target.stat().st_mtime_ns
            os.utime(place, ns=(age, age), follow_symlinks=False)


def call_snakemake(root: Path, *arguments: str) -> str:
    """Call the workflow in a folder and return what it writes to standard output.

    Raises:
        SystemExit: it fails; its own message was shown.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(HOME / "Snakefile"), *arguments]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"make peek stops here: Snakemake failed in {root} (its message is above)")
    return done.stdout


def peek(config_file: Path | None, root: Path, cores: int) -> Path:
    """Write the page of what is finished and return its path; that of the study where it is finished.

    Args:
        config_file: that the study was given; None for ``config.yaml``.
        root: folder that the study was started in.
        cores: that are used.

    Raises:
        TooEarlyError, ConfigError: no page can be made of what is finished.
        SystemExit: Snakemake fails.
    """
    given = read_config_file(config_file or root / "config.yaml")
    whole = Study.load(given, root, HOME)
    # No lock is taken, and what a job is writing just now is not finished. The page names the config that was given.
    asked = [
        "--summary",
        "--nolock",
        "--rerun-incomplete",
        *(["--configfile", str(config_file)] if config_file else []),
    ]
    files = finished_files(call_snakemake(root, *asked), root)
    page = f"results/{whole.name}/report.html"
    if page in files:
        print("The study is finished.")
        return root / page
    finished = finished_runs(whole, files)
    waiting = sum((root / weights_of(whole, run)).exists() for run in whole.runs if run not in finished)
    if waiting:
        left_out = count_noun(waiting, "run with weights", "runs with weights")
        print(f"Left out: {left_out}, which Snakemake would train again, or whose subsets it would draw again")
    reduced = finished_config(given, whole, finished)
    part = Study.load(reduced, root, HOME)
    folder = root / FOLDER / whole.name
    own = (entry.name for entry in root.iterdir() if entry.name not in NOT_LINKED and not entry.name.startswith("."))
    link(own, root, folder)
    link(linked_files(files, whole, part), root, folder)
    link((path for path in (f"results/{whole.name}/{LAYOUT_FILE}",) if (root / path).exists()), root, folder)
    config = folder / "unfinished.yaml"
    write_text(config, yaml.safe_dump(reduced, sort_keys=False, allow_unicode=True))
    allowed = [stage.name for stage in STAGES if stage.name not in NEVER_RUN]
    # The study comes first: it neither waits for cores that evaluation holds nor shares them evenly.
    os.nice(5)
    os.environ[cores_shared.VARIABLE] = "no"
    arguments = ["--cores", str(cores), "--configfile", str(config.absolute()), "--allowed-rules", *allowed]
    call_snakemake(folder, *arguments, "--", f"results/{whole.name}/figures", page)
    return folder / page


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, help="of the study; config.yaml if left out")
    parser.add_argument("--cores", type=int, default=1, help="cores for evaluation; the study keeps its own")
    given = parser.parse_args()
    try:
        page = peek(given.configfile and given.configfile.absolute(), Path.cwd(), given.cores)
    except TooEarlyError as error:
        raise SystemExit(f"There is nothing to show yet: {error}") from error
    except ConfigError as error:
        raise SystemExit(f"No page can be made of what is finished: {error}") from error
    print(f"Page: {page}")


if __name__ == "__main__":
    main()
