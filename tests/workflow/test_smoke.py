"""The smoke study end to end, on real icons, and what a change of its config reruns."""

from __future__ import annotations

import base64
import copy
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.measure_study_share import core_seconds, read_jobs, seconds_by_rule, seconds_of_steps
from tests.agreement import check_data, check_details, opened
from tests.workflow.test_dag import planned_jobs, write_config
from whyrobust.report.result_card import check_tables, read_card
from whyrobust.report.theme import DOUBLE_COLUMN_POINTS, SINGLE_COLUMN_POINTS
from whyrobust.study.figure_captions import FIGURE_CAPTIONS
from whyrobust.study.plan import plan_runs
from whyrobust.study.roles import MEANS
from whyrobust.study.study import Study

FIGURES = [name + variant for name in FIGURE_CAPTIONS for variant in ("", "_column")]

COLUMNS = {
    "accuracy.csv": "run source train_images seed objective supervision caption head prompts test_set images correct "
    "accuracy low high",
    "baselines.csv": "shift x_test_set models slope intercept r_squared scale",
    "effective_robustness.csv": "run head prompts fitted_on shift id_accuracy shift_accuracy baseline_accuracy "
    "effective_robustness_points low_points high_points",
    "causes.csv": "cause comparison main shift role pairs seeds effect_logits effect_points low_points high_points p "
    "p_adjusted family verdict detectable_points raw_id_points raw_shift_points extrapolated_pairs",
    "causes_other_weights.csv": "cause comparison shift effect_points verdict family class_weights",
    "causes_by_seed.csv": "cause comparison shift seed pairs effect_points paper_points raw_id_points raw_shift_points",
    "causes_by_team.csv": "cause comparison shift team images weight raw_shift_points",
    "causes_single_line.csv": "cause comparison shift effect_points x_test_set measurement",
    "shifts.csv": "test_set role reason source images drawings unit units chance median_accuracy r_squared",
    "dose_response.csv": "source share shift seeds effect_points kept_share raw_shift_points raw_web_test_points",
    "dose_response_trends.csv": "source shift doses seeds trend_logits p",
    "concept_frequency.csv": "run test_set class train_images images accuracy",
    "concept_frequency_fits.csv": "run test_set classes slope low high",
}


@pytest.fixture(scope="module")
def smoke(root, tmp_path_factory, snakemake):
    """Run the smoke study in a new folder; archives fetched before are used again."""
    folder = tmp_path_factory.mktemp("smoke stüdy")
    (folder / "resources").symlink_to(root / "resources")
    config = yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    config["downloads"] = str(root / "downloads")
    write_config(folder, config)
    done = snakemake(folder, "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, config, done


def planned_runs(config):
    return plan_runs(
        config["runs"], config["seeds"], "icon_cnn", config["training"]["samples_seen"], config["baseline"]["standard"]
    )


def changed_jobs(smoke, snakemake, change):
    folder, config, _ = smoke
    altered = copy.deepcopy(config)
    change(altered)
    write_config(folder, altered)
    try:
        done = snakemake(folder, "--dry-run")
    finally:
        write_config(folder, config)
    assert done.returncode == 0, done.stderr[-2000:]
    return planned_jobs(done.stdout + done.stderr)


def test_the_share_of_starting_is_read_from_what_the_study_left(smoke):
    folder = smoke[0]
    jobs = read_jobs(folder, "smoke")
    assert 0 < seconds_of_steps(jobs, folder) < seconds_by_rule(jobs)["train_run"] < core_seconds(jobs, 2)


def test_the_tables_have_the_columns_of_the_design(smoke):
    results = smoke[0] / "results" / "smoke"
    for name, columns in COLUMNS.items():
        table = pd.read_csv(results / name)
        assert set(columns.split()) <= set(table.columns)
        assert len(table)
    accuracy = pd.read_csv(results / "accuracy.csv")
    assert accuracy["accuracy"].between(0, 1).all()
    predictions = pd.read_parquet(results / "predictions.parquet")
    keys = ["run", "head", "prompts", "fitted_on", "test_set"]
    of_classes = predictions.groupby([*keys, "label"], observed=True)["correct"].mean()
    accuracy = pd.read_csv(results / "accuracy.csv", keep_default_na=False).set_index(keys)
    expected = of_classes.groupby(keys, observed=True).mean().reindex(accuracy.index)
    np.testing.assert_allclose(accuracy["accuracy"], expected)
    assert predictions["correct"].sum() == accuracy["correct"].sum()
    assert (predictions["correct"] == (predictions["label"].astype(str) == predictions["prediction"].astype(str))).all()


def test_no_training_image_shares_its_drawing_with_a_test_image(smoke):
    results = smoke[0] / "results" / "smoke" / "decontaminated"
    kept = {path.stem: pd.read_parquet(path) for path in results.glob("*.parquet")}
    tests = pd.concat([kept[name] for name in smoke[1]["test_sets"]])
    for source in ("studio", "web"):
        assert not set(kept[source]["group"]) & set(tests["group"])
        assert not set(kept[source]["uid"]) & set(tests["uid"])
    assert pd.read_csv(results / "sizes.csv")["near_duplicates_removed"].sum() > 0


def test_every_cause_is_measured_on_every_shift(smoke):
    causes = pd.read_csv(smoke[0] / "results" / "smoke" / "causes.csv")
    # At matched accuracy a pair is left out where no run to start from is weaker, or none is stronger.
    assert (causes["pairs"] + causes["left_out_pairs"] >= 1).all()
    shifts = {name for name, facts in smoke[1]["test_sets"].items() if facts["role"] == "shift"}
    assert all(set(shown) - set(MEANS) == shifts for _, shown in causes.groupby("cause")["shift"])
    assert causes["cause"].nunique() == 5


def test_labels_found_in_text_train_on_fewer_images_and_views_keep_class_proportions(smoke):
    results = smoke[0] / "results" / "smoke"
    runs = pd.read_csv(results / "runs.csv", keep_default_na=False)
    matched = runs["labels"] == "text_match"
    assert (runs["images_used"][~matched] == runs["train_images"][~matched]).all()
    assert (runs["images_used"][matched] < runs["train_images"][matched]).all()
    table = pd.read_csv(results / "text_match" / "web.csv")
    assert table["precision"].dropna().between(0, 1).all()
    drawn = pd.read_parquet(results / "subsets" / "web_at_studio_classes" / "300_images_seed_0.parquet")
    share = pd.read_parquet(results / "decontaminated" / "studio.parquet")["label"].value_counts(normalize=True)
    assert ((drawn["label"].value_counts().reindex(share.index, fill_value=0) - 300 * share).abs() <= 1.5).all()


def test_what_is_said_of_the_data_agrees_with_the_stages_that_made_them(smoke):
    results = smoke[0] / "results" / "smoke"
    check_data(results)
    classes = pd.read_csv(results / "data" / "classes.csv")
    listed = pd.read_csv(smoke[0] / smoke[1]["data"]["classes"])["class"].tolist()
    assert all(of_dataset["class"].tolist() == listed for _, of_dataset in classes.groupby("dataset"))
    captions = pd.read_csv(results / "data" / "captions.csv")
    # Labels of icons were found in their titles by the same rules.
    assert list(captions["caption"]) == ["title", "title"] and (captions["share_naming_class"] == 1).all()
    samples = pd.read_parquet(results / "data" / "samples.parquet")
    assert [opened(picture, "PNG").size for picture in samples["picture"]] == [(32, 32)] * len(samples)


def test_what_single_runs_did_agrees_with_their_accuracies(smoke):
    results = smoke[0] / "results" / "smoke"
    check_details(results)
    # A run that others start from has a curve and no answers.
    curves = pd.read_csv(results / "details" / "curves.csv")
    assert set(curves["run"]) - set(pd.read_csv(results / "accuracy.csv")["run"])


def test_figures_report_and_provenance_are_there(smoke):
    results = smoke[0] / "results" / "smoke"
    for name in FIGURES:
        for ending in ("svg", "pdf", "png", "json", "csv"):
            assert (results / "figures" / f"{name}.{ending}").stat().st_size > 500
        column = DOUBLE_COLUMN_POINTS if not name.endswith("_column") else SINGLE_COLUMN_POINTS
        assert f' width="{column}pt"' in (results / "figures" / f"{name}.svg").read_text(encoding="utf-8")[:300]
    causes = pd.read_csv(results / "causes.csv")
    table = (results / "figures" / "causes.tex").read_text(encoding="utf-8")
    assert table.count("\\robustnesseffect{") == causes["low_points"].notna().sum()
    assert (results / "figures" / "effective_robustness.tex").stat().st_size > 500
    page = (results / "report.html").read_text(encoding="utf-8")
    assert len(page) < 2_500_000
    # The page does not wait for the figures: it knows what there will be.
    drawn = {path.name for path in (results / "figures").iterdir() if not path.name.startswith(".")}
    tables = {name for name in drawn if name.endswith(".tex")}
    assert set(re.findall(r'<a href="figures/([\w.]+)"', page)) == drawn - tables
    assert set(re.findall(r"<code>figures/(\w+\.tex)</code>", page)) == tables
    # Links may lead outside; nothing may be loaded from there.
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)
    provenance = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    assert {"commit", "packages", "machine", "config", "checksums_sha256", "images"} <= set(provenance)
    assert "resources/icons/classes.csv" in provenance["inputs_sha256"]
    card = read_card(results)
    check_tables(results, card)
    assert card["config"] == provenance["config"] and len(card["effects"]) == len(causes)
    assert (smoke[0] / "results" / "reference" / "baselines.csv").exists()


def test_nothing_is_fetched_where_the_archive_is_there(smoke):
    assert not (smoke[0] / "asked.txt").exists(), (smoke[0] / "asked.txt").read_text(encoding="utf-8")


def test_snakemake_reports_the_study_without_a_network(smoke, snakemake, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    folder = smoke[0]
    done = snakemake(folder, "--report", "study.html")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    page = (folder / "study.html").read_text(encoding="utf-8")
    categories = json.loads(re.search(r"var categories = (\{.*?\})\s*(?:;|</script>)", page, re.DOTALL)[1])
    shown = {
        name: {Path(path).name for paths in parts.values() for path in paths} for name, parts in categories.items()
    }
    assert shown == {
        "Figures": {f"{name}.svg" for name in FIGURES},
        "Tables": {"accuracy.csv", "baselines.csv", "causes.csv", "effective_robustness.csv"},
    }
    for words in (
        "each measured by controlled comparisons", "the difference of effective robustness", "Clopper-Pearson",
        "175 mm", "85 mm", "A point is a trained model", "slopes, intercept", "and the distance to it",
    ):  # fmt: skip
        assert words in " ".join(page.replace("\\n", " ").split()), words
    drawn = (folder / "results" / "smoke" / "figures" / "causes.svg").read_bytes()
    assert base64.b64encode(drawn).decode() in page
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)
    done = snakemake(folder, "--report", "study.zip")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with zipfile.ZipFile(folder / "study.zip") as archive:
        assert {Path(name).name for name in archive.namelist()} >= set.union(*shown.values())


def test_the_page_opens_in_a_browser_with_every_chart_and_picture(smoke, open_page):
    page = open_page((smoke[0] / "results" / "smoke" / "report.html").read_text(encoding="utf-8"))
    charts = page.locator("[data-spec]")
    # The accuracies, in the place of the residuals, are drawn when they are asked for.
    missing = "all => all.filter(c => c.offsetParent && !c.querySelector('.vega-embed svg .mark-group')).length"
    assert charts.evaluate_all(missing) == 0
    shifts = [name for name, facts in smoke[1]["test_sets"].items() if facts["role"] == "shift"]
    # Residuals, and accuracies in their place.
    assert page.locator("[data-explorer=study]").count() == 2 * len(shifts)
    broken = "all => all.filter(i => i.naturalWidth === 0).length"
    assert page.locator("#data .tiles img").count() > 7 * 40
    assert page.locator("#data .tiles img").evaluate_all(broken) == 0
    page.locator("#runs button.show").first.click()
    assert page.locator("#panel .tiles figure").count() == 40
    assert page.locator(".missing:visible").count() == 0


def test_the_terminal_ends_with_the_causes(smoke):
    text = smoke[2].stdout + smoke[2].stderr
    assert "training distribution" in text and "report.html" in text


def test_a_second_call_has_nothing_to_do(smoke, snakemake):
    done = snakemake(smoke[0], "--cores", "2")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_study_that_was_moved_has_nothing_to_do(smoke, snakemake):
    folder = smoke[0]
    moved = folder.with_name("moved here")
    folder.rename(moved)
    try:
        done = snakemake(moved, "--dry-run")
    finally:
        moved.rename(folder)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_another_colour_reruns_figures_and_report_only(smoke, snakemake):
    def change(config):
        config["figures"]["colours"] = {"cross-entropy on web labels": "#123456"}

    assert set(changed_jobs(smoke, snakemake, change)) - {"all"} == {"draw_figures", "write_report"}


def test_another_size_trains_only_the_new_runs(smoke, snakemake):
    def change(config):
        config["runs"][0]["train_images"].append(250)

    jobs = changed_jobs(smoke, snakemake, change)
    new = len(smoke[1]["runs"][0]["source"])
    # They are of a small model: runs of their objective are embedded by one job.
    assert jobs["embed_test_sets"] == 1 and "fit_heads" not in jobs
    assert jobs["train_run"] == jobs["draw_subset"] == new * len(smoke[1]["runs"][0]["seed"])
    assert not {"build_records", "build_images", "assemble_captions", "decontaminate", "download_source"} & set(jobs)


def test_another_prompt_set_trains_nothing(smoke, snakemake):
    def change(config):
        config["prompts"]["sentence"] = ["this is a {class}"]

    jobs = changed_jobs(smoke, snakemake, change)
    assert "train_run" not in jobs
    study = Study.load(smoke[1], smoke[0])
    assert jobs["embed_test_sets"] == sum(bool(study.prompts_of(group)) for group in study.groups)


def test_a_training_setting_retrains_its_objective_only(smoke, snakemake):
    def change(config):
        config["training"]["clip"]["learning_rate"] = 0.0005

    expected = sum(run.objective == "clip" for run in planned_runs(smoke[1]))
    assert changed_jobs(smoke, snakemake, change)["train_run"] == expected > 0


def test_a_size_above_what_is_left_is_an_error_that_names_the_key(smoke, snakemake):
    folder, config, _ = smoke
    altered = copy.deepcopy(config)
    altered["runs"][0]["train_images"].append(11500)
    write_config(folder, altered)
    try:
        target = "results/smoke/subsets/studio/11500_images_seed_0.parquet"
        done = snakemake(folder, "--cores", "1", target)
    finally:
        write_config(folder, config)
    assert done.returncode != 0
    assert "train_images 11500" in done.stdout + done.stderr
    assert not (folder / target).exists()
