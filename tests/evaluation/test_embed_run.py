"""The job that embeds a group of runs: each run by itself, and none of them twice where finished work is kept."""

from __future__ import annotations

import logging
import runpy
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from tests.studies import Named
from whyrobust.data.image_stores import read_images
from whyrobust.data.pixel_store import write_pixels
from whyrobust.evaluation.embed import KeptBatches
from whyrobust.evaluation.embed_run import PIXEL_BYTES, Embedding, Images, embed_run
from whyrobust.study.finished_work import OFF, VARIABLE, sum_taken
from whyrobust.training.models import IconCnn, build_two_towers, read_model_config
from whyrobust.training.weights import open_clip_names, save_weights


class Group:
    """A job for some runs of a small model, on a few random pictures."""

    def __init__(self, root, folder):
        self.root, self.folder, self.model = root, folder, root / "resources" / "models" / "icon-cnn.json"
        self.classes = folder / "classes.csv"
        self.classes.write_text("class\ncat\ndog\n")
        uids, pixels = [f"p{n}" for n in range(6)], np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
        write_pixels(folder / "photo.arrow", uids, pixels)
        for name, kept in (("test", uids[1:5]), ("own", uids[::-1])):
            pq.write_table(pa.table({"uid": kept}), folder / f"{name}.parquet")

    def weights(self, seed):
        """Return the file of the weights of a run."""
        path = self.folder / f"{seed}.safetensors"
        if not path.exists():
            torch.manual_seed(seed)
            config = read_model_config(self.model)
            towers = build_two_towers(config)
            save_weights(path, open_clip_names(towers.state_dict(), config), {"preprocessing": {"size": 32}})
        return str(path)

    def run(self, *seeds, fitted=()):
        """Carry out the job and return the files of its runs, by seed."""
        at = {name: str(self.folder / name) for name in ("photo.arrow", "test.parquet", "own.parquet")}
        job = SimpleNamespace(
            log=[str(self.folder / "logs" / "group.log")], threads=1,
            resources=Named(gpu=0, runs_per_gpu=1, loader_threads=1),
            output=Named(embeddings=str(self.folder / "made")),
            input=Named(
                weights=[self.weights(seed) for seed in seeds], model=[str(self.model)], classes=str(self.classes),
                images=[at["photo.arrow"]], kept=[at["test.parquet"]],
                fitting_subsets=[at["own.parquet"] for _ in fitted], fitting_images=[at["photo.arrow"]] * bool(fitted),
            ),
            params=Named(
                test_sets=["test"], prompts={"name": ["a {class}"]}, device="cpu", cpu_threads=1, code={"code": "1"},
                fitted_on={f"run-seed_{seed}": ["own"] * (seed in fitted) for seed in seeds},
            ),
        )  # fmt: skip
        script = self.root / "workflow" / "scripts" / "embed_test_sets.py"
        runpy.run_path(str(script), {"snakemake": job}, run_name="__main__")
        return {seed: load_file(self.folder / "made" / f"run-seed_{seed}.safetensors") for seed in seeds}


@pytest.fixture
def group(root, tmp_path, monkeypatch):
    monkeypatch.setattr("whyrobust.training.quick_start.leave", logging.shutdown)
    return Group(root, tmp_path)


def test_each_run_is_embedded_by_its_own_weights_and_for_its_own_heads(group, monkeypatch):
    monkeypatch.setenv(VARIABLE, OFF)
    made = group.run(0, 1, 2, fitted=(1,))
    assert sorted(made[1]) == ["fitting.own", "images.test", "prompts.name"]
    assert sorted(made[0]) == sorted(made[2]) == ["images.test", "prompts.name"]
    assert made[1]["images.test"].shape == (4, 128) and made[1]["prompts.name"].shape == (2, 128)
    np.testing.assert_allclose(made[1]["fitting.own"][::-1][1:5], made[1]["images.test"], rtol=1e-4, atol=1e-6)
    (alone,) = group.run(2).values()
    assert all((alone[name] == made[2][name]).all() for name in alone)
    assert not any((made[0][name] == made[2][name]).all() for name in alone)


def test_one_more_run_in_a_group_is_embedded_alone(group, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    asked = []

    def embed(weights, *given):
        asked.append(weights)
        return embed_run(weights, *given)

    monkeypatch.setattr("whyrobust.evaluation.embed_run.embed_run", embed)
    first = group.run(0, 1, fitted=(0,))
    second = group.run(3, 0, 1, fitted=(0,))
    assert asked == [group.weights(seed) for seed in (0, 1, 3)]
    assert all((second[seed][name] == first[seed][name]).all() for seed in first for name in first[seed])
    assert sum_taken(tmp_path / "logs")["embed_test_sets"]["results"] == 2
    # Heads of one run are no reason to embed the others.
    group.run(0, 1, fitted=(0, 1))
    assert asked[3:] == [group.weights(1)]


def test_a_run_without_a_text_tower_is_embedded_without_prompts(group, tmp_path):
    weights = {f"visual.trunk.{name}": value for name, value in IconCnn().state_dict().items()}
    classifier = torch.arange(6.0).view(2, 3)
    facts = {"preprocessing": {"size": 32}, "images_used": 4}
    save_weights(tmp_path / "labels.safetensors", weights | {"classifier.weight": classifier}, facts)
    images = {"test": Images([str(tmp_path / "photo.arrow")], str(tmp_path / "test.parquet"))}
    embedding = Embedding(str(group.model), images, {}, ["cat"], "cpu", 1, 1)
    arrays, found = embed_run(tmp_path / "labels.safetensors", {}, embedding)
    assert list(arrays) == ["images.test", "classifier.weight"]
    assert (arrays["classifier.weight"] == classifier.numpy()).all()
    assert found == {"images_used": 4, "false_negative_share": None}


@pytest.mark.parametrize(("images", "reads"), [(8, 2), (7, 3), (0, 4)])
def test_test_sets_are_read_once_for_all_runs_as_far_as_there_is_room(group, tmp_path, monkeypatch, images, reads):
    names = []

    def read(stores, uids, *given):
        names.append(stores)
        return read_images(stores, uids, *given)

    monkeypatch.setattr("whyrobust.evaluation.embed_run.read_images", read)
    store = [str(tmp_path / "photo.arrow")]
    # Four pictures each.
    pq.write_table(pa.table({"uid": ["p5", "p4", "p3", "p0"]}), tmp_path / "other.parquet")
    test_sets = {name: Images(store, str(tmp_path / f"{name}.parquet")) for name in ("test", "other")}
    embedding = Embedding(str(group.model), test_sets, {}, ["cat"], "cpu", 1, 1)
    kept = KeptBatches(images * PIXEL_BYTES * 32**2)
    made = [embed_run(group.weights(seed), {}, embedding, kept)[0] for seed in (0, 1)]
    assert len(names) == reads
    for seed, arrays in enumerate(made):
        alone, _ = embed_run(group.weights(seed), {}, embedding)
        assert all((arrays[name] == alone[name]).all() for name in alone)
