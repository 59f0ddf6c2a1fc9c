"""Two studies at once that share finished work and the machine's cores, under kills: part of `make soak`.

From pictures to models: what comes after is not shared, and `test_soak` kills it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.studies import ALONE, differences, digests, short_config, snakemake_command
from tests.workflow.test_shared_work import SOURCES, write_picture
from tests.workflow.test_soak import CORES, Study
from whyrobust.study.finished_work import VARIABLE, sum_taken

pytestmark = pytest.mark.soak

#: How many kills of both studies together; fewer to try it out.
KILLS = int(os.environ.get("SOAK_PAIR_KILLS", "20"))

#: Longest time, in seconds, between one kill and the next.
LONGEST_PAUSE_SECONDS = float(os.environ.get("SOAK_PAIR_PAUSE", "20"))

#: Sizes of the training sets of each study: what both have is made once.
SIZES = {"one": [2, 4], "other": [2, 4, 6]}


def prepare(folder: Path, name: str) -> list[str]:
    """Write the pictures and the config of a study into a folder, and return what is to be made."""
    pictures = {f"photos/{number}.jpg": ("cat", "dog")[number % 2] for number in range(8)}
    tests = [f"test/{label}/{number}.jpg" for label in ("cat", "dog") for number in range(4)]
    for seed, picture in enumerate([*pictures, *tests]):
        write_picture(folder / picture, seed)
    (folder / "classes.csv").write_text("class\ncat\ndog\n")
    (folder / "mine.csv").write_text("file,class\n" + "".join(f"{file},{label}\n" for file, label in pictures.items()))
    config = short_config(SOURCES, "test") | {"study": name}
    config["runs"][0]["train_images"] = SIZES[name]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    runs = [f"cross_entropy-annotated-mine-{size}_images-icon_cnn-100_samples-seed_0" for size in SIZES[name]]
    return [f"results/{name}/runs/{run}/model.safetensors" for run in runs]


@pytest.fixture
def locks():
    """Return a folder for the locks of cores: studies of others would hold up each job of these for minutes.

    Not a test's own folder, whose name is too long for the sockets that go there too.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


class SharingStudy(Study):
    """A study of pictures that takes finished work from a folder, and is killed."""

    def __init__(self, folder: Path, rng: random.Random, name: str, store: Path, locks: Path) -> None:
        super().__init__(folder, rng)
        self.name, self.store, self.locks = name, store, locks
        self.targets = prepare(folder, name)

    def start(self) -> None:
        """Call Snakemake as a user would after a crash: unlock, then go on."""
        subprocess.run(snakemake_command("--unlock"), cwd=self.folder, capture_output=True, check=False)
        self.disturbed = False
        with (self.folder / "terminal.log").open("ab") as log:
            self.process = subprocess.Popen(
                snakemake_command("--cores", str(CORES), "--rerun-incomplete", "--", *self.targets),
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {VARIABLE: str(self.store), "TMPDIR": str(self.locks)},
            )  # fmt: skip

    def is_whole(self) -> bool:
        """Tell whether the study is done; take it up again where it was disturbed."""
        assert self.process is not None
        if self.process.poll() is None:
            return False
        if self.process.returncode == 0:
            return True
        assert self.disturbed, (self.folder / "terminal.log").read_text(encoding="utf-8")[-4000:]
        self.start()
        return False

    def compare(self, expected: dict[str, str]) -> dict[str, int]:
        """Hold what the study has made against what an undisturbed one has; return the jobs of each stage it took."""
        found = differences(expected, digests(self.folder))
        assert not found, found
        logs = self.folder / "results" / self.name / "logs"
        return {stage: int(taken["jobs"]) for stage, taken in sum_taken(logs).items()}


def test_two_studies_at_once_that_are_killed_again_and_again_equal_undisturbed_ones(tmp_path, locks, soak_counts):
    expected = {}
    for name in SIZES:
        folder = tmp_path / "undisturbed" / name
        folder.mkdir(parents=True)
        targets = prepare(folder, name)
        subprocess.run(
            snakemake_command("--cores", str(CORES), "--", *targets),
            cwd=folder, check=True, capture_output=True, env=os.environ | ALONE | {"TMPDIR": str(locks)},
        )  # fmt: skip
        expected[name] = digests(folder)
        assert len([path for path in expected[name] if path.endswith("model.safetensors")]) == len(SIZES[name])
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    soak_counts[f"seed of two studies {seed}"] = 1
    rng = random.Random(seed)
    store = tmp_path / "finished"
    studies = [SharingStudy(tmp_path / f"killed {name}", rng, name, store, locks) for name in SIZES]
    kinds: Counter[str] = Counter()
    while True:
        for study in studies:
            study.start()
        next_kill = time.monotonic() + rng.uniform(1.0, LONGEST_PAUSE_SECONDS)
        while sum(study.is_whole() for study in studies) < len(studies):
            time.sleep(0.2)
            if kinds.total() < KILLS and time.monotonic() >= next_kill:
                next_kill = time.monotonic() + rng.uniform(1.0, LONGEST_PAUSE_SECONDS)
                study = rng.choice(studies)
                killed = study.kill()
                if killed:
                    kinds[f"{killed} of study '{study.name}'"] += 1
                    print(f"{kinds.total()}: {killed} of study '{study.name}'", flush=True)
        for study in studies:
            taken = study.compare(expected[study.name])
            soak_counts["jobs taken from finished work"] += sum(taken.values())
        soak_counts["pairs of studies completed"] += 1
        if kinds.total() >= KILLS:
            break
        for study in studies:
            study.begin_anew()
        if rng.random() < 0.5:
            shutil.rmtree(store)
    # All that was kept under kills is there, and whole.
    for study in studies:
        study.begin_anew()
        study.start()
        assert study.process is not None and study.process.wait() == 0
        assert study.compare(expected[study.name]).get("train_run") == len(SIZES[study.name])
    soak_counts["kills of two studies survived"] += kinds.total()
    for kind, count in kinds.items():
        soak_counts[f"  {kind}"] += count
