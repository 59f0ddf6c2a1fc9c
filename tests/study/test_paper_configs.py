"""The paper's study, its affordable form and both on replicas: every comparison has pairs, and they ask the same."""

from __future__ import annotations

import csv

import pytest
import yaml

from tests.small_replica import make_config
from whyrobust.study.checks import plan_study
from whyrobust.study.comparisons import match_pairs
from whyrobust.study.config import load_config
from whyrobust.study.held_out import held_out_range
from whyrobust.study.plan import evaluated_rows
from whyrobust.study.roles import in_distribution_test_sets

#: Beginnings of comparisons that answer experiments of Fang et al. 2022; the numbers of images differ between configs.
EXPERIMENTS = (
    "YFCC instead of ImageNet-Captions",
    "own titles instead of labels",
    "own titles instead of the label in a sentence",
    "titles, tags and descriptions instead of titles",
    "captions instead of labels found in them, on YFCC",
    "captions instead of no language (SimCLR, then labels found in text), on YFCC",
    "own titles instead of no language and no labels (SimCLR), by linear probes",
    "class names instead of a linear probe on the training images",
    "class names instead of a linear probe on ImageNet, over an encoder of YFCC",
    "SigLIP's loss instead of CLIP's",
    "supervised contrastive (linear probe) instead of cross-entropy (classifier)",
)


def read(root, name):
    if name == "paper-small-check":
        return make_config()
    return yaml.safe_load((root / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["paper", "paper-small", "paper-check", "paper-small-check"])
def test_every_comparison_has_pairs_with_every_seed(root, name):
    # The replicas' table is written where they are served.
    config = load_config(read(root, name) | {"sources_table": "resources/sources.tsv"})
    study = plan_study(config, root, data_is_there=False)
    rows = evaluated_rows(study.runs, study.heads)
    found = {comparison.name: match_pairs(comparison, rows) for comparison in study.comparisons}
    assert set(EXPERIMENTS) <= set(found)
    assert {comparison.cause for comparison in study.comparisons} == set(config.causes)
    for comparison, pairs in found.items():
        assert {pair.seed for pair in pairs} == set(config.seeds), comparison
    assert len(config.seeds) == (1 if name.endswith("check") else 3)


@pytest.mark.parametrize("name", ["paper", "paper-small"])
def test_the_main_measurement_is_beyond_a_test_set_of_imagenet_and_one_of_yfcc(root, name):
    config = load_config(read(root, name))
    study = plan_study(config, root, data_is_there=False)
    # The first is that of the paper's measurement.
    in_distribution = in_distribution_test_sets(config.test_sets)
    assert [(key, one.source) for key, one in in_distribution.items()] == [
        ("imagenet_val", "imagenet"), ("yfcc_test", "yfcc"),
    ]  # fmt: skip
    assert config.test_sets["yfcc_test"].kind == "held_out" and held_out_range(config.sources["yfcc"]) == (0, 0.01)
    standard = {(run.source, run.labels, run.train_images) for run in study.runs if run.standard}
    assert {source for source, _, _ in standard} == {"imagenet", "imagenet_captions", "yfcc"}
    assert len({size for source, labels, size in standard if (source, labels) == ("yfcc", "text_match")}) == 2


def test_no_language_and_captions_see_equally_many_samples_in_all(root):
    for name in ("paper", "paper-small", "paper-check", "paper-small-check"):
        config = load_config(read(root, name) | {"sources_table": "resources/sources.tsv"})
        study = plan_study(config, root, data_is_there=False)
        runs = {run.run: run for run in study.runs}
        (comparison,) = [one for one in study.comparisons if "no language (SimCLR, then" in one.name]
        rows = evaluated_rows(study.runs, study.heads)
        for pair in match_pairs(comparison, rows):
            first, second = (runs[rows[at]["run"]] for at in (pair.starts[0], pair.end))
            assert first.samples_seen + runs[first.pretrained_run].samples_seen == second.samples_seen, name


def test_published_passes_are_32_over_the_images_of_the_run(root):
    for name in ("paper", "paper-small"):
        grids = read(root, name)["runs"]
        (grid,) = [one for one in grids if one["source"] == "yfcc" and isinstance(one.get("samples_seen"), list)]
        assert grid["samples_seen"][-1] == 32 * grid["train_images"]


def test_the_lines_of_imagenet_a_meet_at_the_published_accuracy_of_resnet_50(root):
    with (root / "resources" / "reference" / "imagenet_testbed_top1.csv").open(encoding="utf-8") as handle:
        (row,) = (row for row in csv.DictReader(handle) if row["model"] == "resnet50")
    two_lines = load_config(read(root, "paper")).paper_measurement.two_lines
    assert two_lines == {"imagenet_a": pytest.approx(float(row["imagenet_on_a_classes"]) / 100)}
