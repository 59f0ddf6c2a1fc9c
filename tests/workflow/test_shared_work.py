"""Studies that share finished work, from their data to their models: only what is new is trained."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.studies import short_config
from whyrobust.study.finished_work import VARIABLE, sum_taken

pytestmark = pytest.mark.soak

SOURCES = {"mine": {"kind": "image_table", "table": "mine.csv", "image": "file", "label": "class"}}


def write_picture(path, seed):
    """Write a picture that is unlike those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(path)


def test_a_config_under_a_new_name_with_one_size_more_trains_that_size_alone(tmp_path, snakemake, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    pictures = {f"photos/{number}.jpg": ("cat", "dog")[number % 2] for number in range(8)}
    first = tmp_path / "first"
    for seed, name in enumerate([*pictures, "test/cat/a.jpg", "test/cat/b.jpg", "test/dog/c.jpg"]):
        write_picture(first / name, seed)
    (first / "classes.csv").write_text("class\ncat\ndog\n")
    rows = "".join(f"{file},{label}\n" for file, label in pictures.items())
    (first / "mine.csv").write_text(f"file,class\n{rows}")

    def train(name, sizes, like=None):
        folder = tmp_path / name
        if like:
            shutil.copytree(like, folder, ignore=shutil.ignore_patterns("results", ".snakemake"))
        config = short_config(SOURCES, "test") | {"study": name}
        config["runs"][0]["train_images"] = sizes
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        made = [f"cross_entropy-annotated-mine-{size}_images-icon_cnn-100_samples-seed_0" for size in sizes]
        done = snakemake(
            folder, "--cores", "2", "--", *(f"results/{name}/runs/{run}/model.safetensors" for run in made)
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        logs = folder / "results" / name / "logs"
        return {stage: found["jobs"] for stage, found in sum_taken(logs).items()}

    assert train("first", [2, 4]) == {}
    data = {"compare_images": 1, "decode_photographs": 1, "decontaminate": 1, "index_images": 3}
    assert train("second", [2, 4, 6], like=first) == data | {"train_run": 2}
    assert train("third", [2, 4, 6], like=first) == data | {"train_run": 3}
    for size in (2, 4):
        run = f"runs/cross_entropy-annotated-mine-{size}_images-icon_cnn-100_samples-seed_0/model.safetensors"
        assert len({(tmp_path / name / "results" / name / run).read_bytes() for name in ("first", "second")}) == 1
    changed = shutil.copytree(first, tmp_path / "changed", ignore=shutil.ignore_patterns("results", ".snakemake"))
    write_picture(changed / "photos" / "0.jpg", 99)
    assert train("fourth", [2, 4], like=changed) == {"index_images": 2}, "those of the test sets"
