"""What a study is said to cost: against a count by hand, as it must grow, and against Snakemake's own plan."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_dag import planned_jobs
from tools.cost_model import as_table, estimate, wall_hours
from tools.estimate_cost import describe, describe_memory, main
from tools.study_size import (
    CostError,
    DatasetSize,
    Machine,
    ModelSize,
    Rates,
    StudySize,
    measure_model,
    read_machine,
    read_rates,
    size_study,
    training_flops,
)
from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.plan import plan_heads, plan_runs
from whyrobust.study.training_settings import ProgressiveResizing

ROOT = Path(__file__).parents[2]
MEASURED, ASSUMED = ROOT / "benchmarks" / "results" / "rates.json", ROOT / "tools" / "assumed_rates.json"
MODEL = ModelSize(image_flops=4e9, text_flops=2e9, parameters=3_000_000, image_parameters=1_000_000, embed_dim=10)
#: A GPU that does 3.6e12 operations in a second, a tenth of its peak; rates of one an hour would be 1 / 3600.
EASY = Rates(
    {
        "gpu_utilisation": 0.1, "pairs_fetched": 1, "bytes_downloaded": 1e9, "bytes_a_photograph": 1e5,
        "seconds_a_job": 0, "seconds_a_study": 3600, "pairs_read": 100, "pictures_checked": 50,
        "records_joined": 1000, "captions_made": 100, "texts_matched": 100, "uids_drawn": 1e4,
        "thumbnails_compared": 1e6, "icons_drawn": 100, "bytes_a_record": 200, "bytes_an_index_row": 50,
        "pictures_cropped": 100, "photographs_stored": 20, "stored_cropped": 400, "shorter_side_of_a_photograph": 300,
        "images_embedded": 10, "probe_products": 1e6,
        "samples_trained_cross_entropy": 10, "samples_trained_clip": 10, "samples_trained_supcon": 10,
    },
    peak_flops=3.6e13, gpu="easy", gpu_memory_gb=1,
)  # fmt: skip
GRIDS = [
    {"objective": "cross_entropy", "source": "a", "train_images": [100, 200]},
    {"objective": "clip", "caption": "title", "source": "a", "train_images": 200},
    {"objective": "supcon", "source": "a", "train_images": 200},
]


def small_study(grids=GRIDS, samples_seen=3600, on_gpu=True, slices=4, images=1000):
    runs = plan_runs(grids, [0], "m", samples_seen, {"objective": "cross_entropy"})
    datasets = {
        "a": DatasetSize(images, photographs=True, is_source=True, slices=slices),
        "t": DatasetSize(50, photographs=True, is_source=False),
    }
    heads = {run.run: plan_heads(run, ["p"], []) for run in runs}
    return StudySize(runs, heads, {"a": ("a",)}, datasets, {}, {"m": MODEL}, classes=5, prompts=2, on_gpu=on_gpu,
                     threads=1, loader_threads=10, image_size=32)  # fmt: skip


def costs_of(study, rates=EASY):
    return {cost.stage: cost for cost in estimate(study, rates, MODEL)}


def test_a_small_study_costs_what_is_counted_by_hand():
    costs = costs_of(small_study())
    # 3,600 samples: 3 passes of 4 GFLOP; with the text tower of 6; of two views of 8. A second has 3,600 GFLOP.
    assert costs["train_run"].gpu_hours * 3600 == pytest.approx(12 + 12 + 18 + 24)
    # Decoding by 10 threads, 100 a second each, would take 3.6 s, less than the GPU needs.
    assert costs["train_run"].cpu_hours * 3600 == pytest.approx(4 * 36 + 66)
    assert costs["train_run"].jobs == 4 and costs["train_run"].disk_gb == pytest.approx(4 * (3 * 1 + 3) * 1e6 / 1e9)
    # 1,050 pictures: four slices of the source and the test set.
    assert costs["index_images"].jobs == 5 and costs["index_images"].cpu_hours * 3600 == pytest.approx(1050 / 50)
    assert costs["join_slices"].jobs == 2 and costs["join_slices"].cpu_hours * 3600 == pytest.approx(1.05)
    assert costs["compare_images"].cpu_hours * 3600 == pytest.approx(1000 * 50 * 2 / 1e6)
    assert costs["compare_images"].jobs == costs["match_text"].jobs == 4 and costs["decontaminate"].cpu_hours == 0
    together = costs_of(small_study(slices=1))
    assert together["compare_images"].cpu_hours == costs["compare_images"].cpu_hours
    assert together["compare_images"].jobs == 1 and together["join_slices"] == costs["join_slices"]
    assert costs["draw_subset"].jobs == 2  # of one size and seed, whatever learns from it
    # A clip run reads 10 prompts besides 50 images; the probe of supcon is fitted on 200 images more.
    images = 4 * 50 + 200
    assert costs["embed_test_sets"].gpu_hours * 3600 == pytest.approx((images * 4e9 + 10 * 2e9) / 3.6e12)
    assert costs["fit_heads"].jobs == 1


def test_smaller_images_first_cost_what_is_counted_by_hand():
    resized = ModelSize(1e9, 0.5e9, parameters=1, image_parameters=1, embed_dim=10)
    study = replace(
        small_study(), models={"m": replace(MODEL, resized=resized)}, resized_share=0.75, loader_threads=100
    )
    costs = costs_of(study)
    # Three quarters at 1 GFLOP an image and .5 a text, a quarter at 4 and 2; test images are of full size.
    assert costs["train_run"].gpu_hours * 3600 == pytest.approx(3 * (1.75 + 1.75 + 2.625 + 3.5))
    # 10 threads decode the first 2,700 images in 2.7 s, where the GPU needs 2.25 for a classifier, and all of them in
    # 3.6 of its 5.25: it waits in the first part alone.
    waiting = costs_of(replace(study, loader_threads=10))["train_run"]
    assert waiting.gpu_hours * 3600 == pytest.approx(2 * (2.7 + 3) + (3.375 + 4.5) + (4.5 + 6))
    assert waiting.cpu_hours * 3600 == pytest.approx(4 * 36 + waiting.gpu_hours * 3600)
    assert costs["embed_test_sets"] == costs_of(replace(small_study(), loader_threads=100))["embed_test_sets"]


def test_smaller_images_and_shorter_captions_are_measured_on_the_model():
    path = ROOT / "resources" / "models" / "rn50.json"
    whole = measure_model(path, ProgressiveResizing(share=0.5, image_size=128, context_length=32))
    assert whole.resized.image_flops == pytest.approx(whole.image_flops * (128 / 224) ** 2, rel=0.02)
    # Attention is a small part, so that operations are nearly those of each token.
    assert whole.resized.text_flops == pytest.approx(whole.text_flops * 32 / 77, rel=0.05)


@pytest.mark.parametrize("name", ["paper", "paper-small"])
def test_the_documented_estimate_is_that_of_todays_config(name):
    text = describe(ROOT / "config" / f"{name}.yaml", read_machine(ROOT / "profiles" / "paper", 8), "A100", 64, {})
    estimate_alone = text.partition("\n\n| cause |")[0]
    assert "| **total** |" in estimate_alone
    assert estimate_alone in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"), (
        f"docs/scaling.md has another estimate than make estimate CONFIG=config/{name}.yaml PROFILE=profiles/paper"
    )


def test_decoding_that_is_slower_than_the_gpu_keeps_it_waiting():
    waiting = replace(small_study(), loader_threads=1)
    assert costs_of(waiting)["train_run"].gpu_hours * 3600 == pytest.approx(4 * 36)


def test_photographs_are_decoded_once_where_their_store_is_small_enough():
    study = small_study()
    # 1,000 photographs of 100 x 133 pixels are 40 MB.
    stored = replace(study, stored_sides=dict.fromkeys((run.run for run in study.runs), 100), store_limit_bytes=4.1e7)
    costs, without = costs_of(stored), costs_of(study)
    assert costs["decode_photographs"].jobs == 1 and costs["decode_photographs"].cpu_hours * 3600 == pytest.approx(50)
    assert costs["decode_photographs"].disk_gb == pytest.approx(0.04) and "decode_photographs" not in without
    # Runs then crop 400 a second instead of decoding 100; test images are decoded as before.
    saved = without["train_run"].cpu_hours - costs["train_run"].cpu_hours
    assert saved * 3600 == pytest.approx(4 * (36 - 9))
    assert costs["embed_test_sets"] == without["embed_test_sets"]
    too_large = costs_of(replace(stored, store_limit_bytes=3.9e7))
    assert too_large["train_run"] == without["train_run"]
    assert too_large["decode_photographs"].jobs == 1 and too_large["decode_photographs"].disk_gb == 0
    # Photographs that are smaller than the side are kept as they are.
    assert stored.bytes_stored("a", 600, EASY) == stored.bytes_stored("a", 300, EASY) == pytest.approx(3.6e8)


def test_twice_the_samples_are_twice_the_gpu_hours_and_runs_that_come_twice_count_once():
    one, two = (costs_of(small_study(samples_seen=samples))["train_run"] for samples in (3600, 7200))
    assert two.gpu_hours == pytest.approx(2 * one.gpu_hours)
    again = costs_of(small_study([*GRIDS, GRIDS[1]]))
    assert again == costs_of(small_study())


def test_slices_bound_memory_and_share_the_same_work():
    few, many = (costs_of(small_study(slices=slices, images=10**9)) for slices in (10, 1000))
    assert few["index_images"].cpu_hours == pytest.approx(many["index_images"].cpu_hours)
    base = 0.3
    assert few["index_images"].memory_gb - base == pytest.approx(100 * (many["index_images"].memory_gb - base))
    assert few["index_images"].longest_hours > 50 * many["index_images"].longest_hours


def test_without_a_gpu_training_takes_the_measured_rate_of_its_objective():
    costs = costs_of(small_study(on_gpu=False))
    assert costs["train_run"].gpu_hours == 0
    assert costs["train_run"].cpu_hours * 3600 == pytest.approx(4 * 3600 / 10 + 4 * 36)


def test_more_machines_take_less_time_but_no_less_than_the_longest_job():
    costs = list(costs_of(small_study()).values())
    few, many, most = (wall_hours(costs, cores, gpus) for cores, gpus in ((1, 1), (8, 2), (10**6, 10**6)))
    assert few > many > most >= max(cost.longest_hours for cost in costs)
    assert as_table(costs).count("\n") == len(costs) + 2


def test_operations_are_those_that_are_published():
    """ResNet-50 of CLIP: 6.1 and ViT-B/32: 4.4 billion multiply-adds, 77 tokens of text 3 (open_clip's profile)."""
    resnet, vit = (measure_model(ROOT / "resources" / "models" / f"{name}.json") for name in ("rn50", "vit-b-32"))
    assert resnet.image_flops / 2e9 == pytest.approx(6.1, rel=0.05)
    assert vit.image_flops / 2e9 == pytest.approx(4.4, rel=0.05)
    assert resnet.text_flops / 2e9 == pytest.approx(2.98, rel=0.05)
    assert vit.parameters == pytest.approx(151.3e6, rel=0.01)


def sized(config_path, machine=None, **images):
    """Return the size of a study of a config, and its rates."""
    config = load_config(yaml.safe_load((ROOT / config_path).read_text(encoding="utf-8")))
    study = plan_study(config, ROOT, data_is_there=False)
    models = dict.fromkeys([*config.models, *(run.model for run in study.runs)], MODEL)
    rates = read_rates(MEASURED, ASSUMED, "A100")
    return size_study(config, study, models, rates, images, ROOT, machine or Machine(8)), rates


def test_a_profile_says_what_a_run_has_of_a_machine(tmp_path):
    (tmp_path / "own.yaml").write_text("set-resources: {train_run: {gpu: 4, loader_threads: 3}}\n", encoding="utf-8")
    assert read_machine(tmp_path / "own.yaml", 8) == Machine(8, gpus_per_run=4, loader_threads=3)
    assert read_machine(ROOT / "profiles" / "default", 8) == read_machine(None, 8) == Machine(8)
    paper, _ = sized("config/paper.yaml", read_machine(ROOT / "profiles" / "paper", 8))
    assert (paper.gpus_per_run, paper.loader_threads) == (1, 16)


@pytest.mark.parametrize("name", ["config.yaml", "config/paper.yaml"])
def test_jobs_are_those_that_snakemake_plans(workspace, snakemake, name):
    done = snakemake(workspace, "--dry-run", "--configfile", str(ROOT / name))
    planned = planned_jobs(done.stdout + done.stderr)
    size, rates = sized(name)
    costs = {cost.stage: cost.jobs for cost in estimate(size, rates, MODEL)}
    for stage in set(planned) & set(costs):
        assert costs[stage] == planned[stage], stage
    assert set(costs) - set(planned) <= {"the stages after", "pictures that are there"}


def test_the_study_of_laion_has_its_400_million_pairs_in_slices():
    size, rates = sized("docs/laion-400m.yaml")
    costs = {cost.stage: cost for cost in estimate(size, rates, MODEL)}
    assert size.datasets["laion"].images == 400_000_000 and costs["index_images"].jobs == 640 + 5
    assert costs["build_photo_records"].memory_gb < 1 and costs["index_images"].memory_gb < 1
    assert max(costs[stage].memory_gb for stage in ("assemble_captions", "match_text", "compare_images")) < 2
    larger, _ = sized("docs/laion-400m.yaml", laion=413_000_000)
    assert larger.datasets["laion"].images == 413_000_000


def test_what_nobody_knows_is_asked_for(tmp_path):
    config = yaml.safe_load((ROOT / "docs" / "laion-400m.yaml").read_text(encoding="utf-8"))
    own = {"kind": "image_folder", "folder": "own", "role": "shift", "classes": "own"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config | {"test_sets": config["test_sets"] | {"own": own}}))
    with pytest.raises(CostError, match="nobody knows how many images 'own' has: give --images own=NUMBER"):
        sized(tmp_path / "own.yaml")
    assert sized(tmp_path / "own.yaml", own=7)[0].datasets["own"].images == 7
    with pytest.raises(CostError, match="no rate 'unknown'"):
        EASY["unknown"]
    with pytest.raises(CostError, match="no GPU 'B7'"):
        read_rates(MEASURED, ASSUMED, "B7")


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nowhere.yaml"], "no such file"), ([str(ROOT / "config.yaml"), "--gpu", "B7"], "no GPU 'B7'")],
)
def test_what_cannot_be_estimated_is_one_line(monkeypatch, words, says):
    monkeypatch.setattr("sys.argv", ["estimate_cost", *words])
    with pytest.raises(SystemExit, match=says):
        main()


def test_every_rate_says_where_it_is_from():
    measured, assumed = (json.loads(path.read_text(encoding="utf-8")) for path in (MEASURED, ASSUMED))
    assert measured["command"] and measured["machine"]["processor"]
    entries = [*assumed["rates"].values(), *assumed["gpus"].values()]
    assert all(re.match(r"(published|assumed): |NVIDIA", entry["why"]) for entry in entries)
    assert not set(assumed["rates"]) & set(measured["rates"])


def test_a_published_run_is_met_by_the_rate_that_was_taken_from_it():
    """ViT-B/32 on 128 A100: 108,844 samples a second (Cherti et al. 2023)."""
    (run,) = plan_runs([{"objective": "clip", "caption": "title", "source": "a", "train_images": 1}], [0], "m",
                       108_844, {"objective": "cross_entropy"})  # fmt: skip
    rates = read_rates(MEASURED, ASSUMED, "A100")
    flops = training_flops(run, measure_model(ROOT / "resources" / "models" / "vit-b-32.json"))
    assert flops / (rates.peak_flops * rates["gpu_utilisation"]) == pytest.approx(128, rel=0.05)


def test_the_default_study_is_estimated_with_what_it_could_detect():
    text = describe(ROOT / "config.yaml", Machine(0), "A100", 2, {})
    assert "| train_run |" in text and "| detectable points |" in text and "web instead of studio" in text


@pytest.mark.parametrize(("at_once", "says"), [(1024, "of 80 GB of A100: fits."), (None, "DOES NOT FIT")])
def test_memory_of_the_largest_run_is_said_before_it_runs(at_once, says):
    config = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text(encoding="utf-8"))
    config["training"]["images_at_once"] = at_once
    loaded = load_config(config)
    line = describe_memory(
        loaded, plan_study(loaded, ROOT, data_is_there=False).runs, Machine(8), read_rates(MEASURED, ASSUMED, "A100")
    )
    assert says in line and "images a GPU (bf16)" in line
