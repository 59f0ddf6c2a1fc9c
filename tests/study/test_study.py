"""What rules ask of a study, on the configs of the repository: names, plain values and files, without Snakemake."""

from __future__ import annotations

import copy
import csv
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tools.write_docs import is_in_use
from whyrobust.study.caption_tables import caption_settings, group_captions
from whyrobust.study.config import load_config
from whyrobust.study.dataset_settings import classes_of_sources, classes_of_test_sets
from whyrobust.study.decoded_photographs import decoded_stores_of
from whyrobust.study.display_names import name_runs
from whyrobust.study.input_files import classes_of_one_name
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.plan import AFTER_TRAINING
from whyrobust.study.run_groups import MOST_RUNS, SMALL_ENCODERS
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.slices import Slice
from whyrobust.study.stages import STAGES
from whyrobust.study.study import Study
from whyrobust.study.training_settings import Augmentation, FineTuning
from whyrobust.study.unlikely_settings import datasets_of_same_files, missing_class_folders, unlikely_data
from whyrobust.study.wildcards import trained_pattern, wildcard_patterns
from whyrobust.study.workflow_files import own_file, remake_commands, with_own_files
from whyrobust.training.models import IMAGE_ENCODERS

STUDIO = "cross_entropy-annotated-studio-5000_images-icon_cnn-30000_samples-seed_1"
CLIP = "clip-title-web-5000_images-icon_cnn-30000_samples-seed_0"
HALF = "cross_entropy-annotated-half_web-5000_images-icon_cnn-30000_samples-seed_2"
AFTER_SIMCLR = (
    "cross_entropy-text_match-web-5000_images-icon_cnn-15000_samples-after-simclr-images-web-5000_images-15000_samples"
    "-seed_0"
)
PUBLISHED = "published-openai_rn50"
STUDIO_GROUP, CLIP_GROUP = STUDIO.removesuffix("-seed_1"), CLIP.removesuffix("-seed_0")


def read(root: Path, name: str):
    return yaml.safe_load((root / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def icons(root):
    return Study.load(read(root, "config.yaml"), root)


@pytest.fixture(scope="module")
def paper(root):
    return Study.load(read(root, "config/paper.yaml"), root)


@pytest.fixture
def load(root):
    """Load the default study with a change."""

    def loaded(change):
        config = copy.deepcopy(read(root, "config.yaml"))
        change(config)
        return Study.load(config, root)

    return loaded


def test_a_wrong_config_is_one_line(load):
    with pytest.raises(ConfigError, match=r"^config key data\.image_sise is not known"):
        load(lambda config: config["data"].update(image_sise=32))


def test_a_study_has_a_name_test_sets_and_shifts(icons):
    assert icons.name == "icons"
    in_distribution, shifts = (
        ["studio_test", "web_test"],
        ["v2", "rendition", "symbols", "retired", "sketch", "objects"],
    )
    assert icons.test_sets == [*in_distribution, *shifts]
    assert (icons.in_distribution, icons.shifts) == (in_distribution, shifts)


def with_three_test_sets(config):
    """Give the icons study a third in-distribution test set (a part that is a shift stands for held-out images)."""
    config["test_sets"]["v2"] |= {"role": "in_distribution", "source": "half_web"}


def test_a_study_has_several_in_distribution_test_sets(load):
    study = load(with_three_test_sets)
    assert study.in_distribution == ["studio_test", "web_test", "v2"]
    assert study.shifts == ["rendition", "symbols", "retired", "sketch", "objects"]
    standard = {run.source for run in study.plan.runs if run.standard}
    assert standard > {"studio", "web", "web_at_studio_classes", "half_web"}
    assert study.sources_without_test_set == []


def with_one_test_set(config):
    del config["test_sets"]["web_test"]
    del config["test_sets"]["studio_test"]["source"]
    config["baseline"]["standard"] = {"objective": "cross_entropy", "source": "studio"}


def test_compared_sources_without_a_test_set_of_their_own_are_named(icons, load, paper):
    assert icons.sources_without_test_set == []
    # Where nothing says the source of the one test set, it is that of the standard models, if all are of one.
    assert load(with_one_test_set).sources_without_test_set == ["web"]
    assert paper.sources_without_test_set == ["imagenet_captions"]


def test_only_sources_that_are_used_are_there(icons, load):
    assert set(icons.sources) == set(icons.config.sources)
    assert icons.datasets.names == ["studio", "web", *icons.test_sets]

    def without_mixtures(config):
        config["runs"] = [grid for grid in config["runs"] if "half_web" not in grid["source"]]
        config["causes"]["training_distribution"] = [
            entry
            for entry in config["causes"]["training_distribution"]
            if not str(entry["to"].get("source", "")).endswith(("tenth_web", "quarter_web", "half_web", "quarters_web"))
        ]

    assert load(without_mixtures).sources == ["studio", "web", "web_at_studio_classes"]


def test_runs_are_trained_evaluated_or_published(icons, paper):
    assert len(icons.runs) == len(icons.trained) == len(icons.evaluated) + 3 > 100
    assert set(icons.trained) - set(icons.evaluated) == {
        f"simclr-images-web-5000_images-icon_cnn-15000_samples-seed_{seed}" for seed in range(3)
    }
    published = [name for name, run in paper.runs.items() if run.published]
    assert published == ["published-openai_rn50", "published-yfcc15m_rn50", "published-cc12m_rn50"]
    assert set(published) <= set(paper.evaluated) and not set(published) & set(paper.trained)
    (row,) = icons.rows_of([STUDIO])
    assert row["seed"] == icons.seed_of(STUDIO) == 1
    assert icons.trained_row_of(STUDIO) == {name: row[name] for name in row if name not in AFTER_TRAINING}
    assert paper.published_settings_of(PUBLISHED) == read(Path(paper.root), "config/paper.yaml")["pretrained"][0]


def kind_of(study, run):
    """Return all that is the same for runs that differ in their seed alone."""
    return str({**study.runs[run].as_row(), "run": "", "pretrained_run": "", "seed": 0})


def test_scored_runs_that_differ_in_their_seed_alone_are_in_one_group(icons, paper):
    for study in (icons, paper):
        assert sorted(run for runs in study.groups.values() for run in runs) == sorted(study.evaluated)
        kinds = [{kind_of(study, run) for run in runs} for runs in study.groups.values()]
        assert sum(map(len, kinds)) == len(set.union(*kinds))
    assert icons.runs_of(CLIP_GROUP) == [f"{CLIP_GROUP}-seed_{seed}" for seed in range(5)]
    assert paper.runs_of(PUBLISHED) == [PUBLISHED]
    wanted = wildcard_patterns(icons)["group"]
    assert re.fullmatch(wanted, CLIP_GROUP) and re.fullmatch(wanted, "cross_entropy-icon_cnn-1")
    assert not any(re.fullmatch(wanted, name) for name in (CLIP, STUDIO, STUDIO_GROUP))


def test_dear_models_and_runs_with_fitted_heads_are_grouped_by_their_seeds_alone(icons, paper):
    for study, groups in ((icons, icons.with_fitted_heads), (paper, paper.groups)):
        assert groups and all(len({kind_of(study, run) for run in study.runs_of(group)}) == 1 for group in groups)


def test_runs_of_small_models_share_jobs_with_others_of_their_objective(icons, load):
    for group in set(icons.groups) - set(icons.with_fitted_heads):
        runs = [icons.runs[run] for run in icons.runs_of(group)]
        assert len({(run.objective, run.model) for run in runs}) == 1 and len(runs) <= MOST_RUNS
    assert len(icons.groups) < len({kind_of(icons, run) for run in icons.evaluated}) / 2
    assert STUDIO in icons.runs_of("cross_entropy-icon_cnn-1")
    assert set(IMAGE_ENCODERS) == SMALL_ENCODERS
    # Seeds are never parted, however many there are.
    many = load(lambda config: config["runs"][0].update(seed=list(range(MOST_RUNS + 4))))
    (group,) = [group for group, runs in many.groups.items() if STUDIO in runs]
    assert many.runs_of(group) == [f"{STUDIO_GROUP}-seed_{seed}" for seed in range(MOST_RUNS + 4)]


def test_groups_of_an_unfinished_study_have_the_runs_that_are_scored_in_it(load):
    first_stage = "simclr-images-web-5000_images-icon_cnn-15000_samples-seed_0"
    groups = {"cross_entropy-icon_cnn-1": [STUDIO, first_stage, "not-there"], "gone": ["not-there"]}
    unfinished = {"planned": 9, "runs": [], "comparisons": [], "groups": groups}
    part = load(lambda config: config.update(unfinished=unfinished))
    assert first_stage in part.runs and part.groups == {"cross_entropy-icon_cnn-1": [STUDIO]}


def test_a_head_for_one_seed_is_fitted_for_its_run_alone(load):
    study = load(lambda config: config["heads"].append(
        {"head": "nearest_mean", "fitted_on": "own", "where": {"source": "studio", "train_images": 5000, "seed": 1}}
    ))  # fmt: skip
    assert study.with_fitted_heads[STUDIO_GROUP] == [STUDIO] == list(study.fitted_head_rows_of(STUDIO_GROUP))
    assert study.fitted_on(STUDIO_GROUP) == {run: ["own"] * (run == STUDIO) for run in study.runs_of(STUDIO_GROUP)}
    assert study.fitting_subsets_of(STUDIO_GROUP) == [study.subset_of(STUDIO)]


def test_hyperparameters_are_those_of_the_objective_and_of_fine_tuning(icons):
    chosen = icons.hyperparameters_of(STUDIO)
    assert chosen == {
        "max_shift_share": 0.1, "max_zoom": 1.25, "flip": False, "min_crop_area": 0.35, "batch_size": 64,
        "learning_rate": 0.01, "weight_decay": 0.05, "warmup_share": 0.1, "label_smoothing": 0.0,
        "samples_seen": 30000, "optimizer": "muon", "plain_share": 0.5,
    }  # fmt: skip
    assert icons.hyperparameters_of(AFTER_SIMCLR) == chosen | {"learning_rate": 0.02, "samples_seen": 15000}


def test_a_run_has_images_captions_labels_prompts_and_a_model(icons, paper):
    assert icons.components_of(STUDIO) == ("studio",) and icons.components_of(HALF) == ("studio", "web")
    assert icons.captions_of(CLIP) == ["title/web"] and icons.captions_of(STUDIO) == []
    assert icons.matched_label_slices_of(AFTER_SIMCLR) == ["web"] and icons.matched_label_slices_of(CLIP) == []
    assert icons.pretrained_runs_of(CLIP) == []
    assert icons.pretrained_runs_of(AFTER_SIMCLR) == ["simclr-images-web-5000_images-icon_cnn-15000_samples-seed_0"]
    assert list(icons.prompts_of(CLIP_GROUP)) == ["ensemble", "name", "photo"]
    assert icons.prompts_of("cross_entropy-icon_cnn-1") == {}
    assert icons.model_file_of(CLIP) == "resources/models/icon-cnn.json"
    assert icons.model_files_of(CLIP_GROUP) == ["resources/models/icon-cnn.json"]
    assert paper.model_files_of(PUBLISHED) == []


def test_a_run_on_slices_learns_from_all_of_their_captions(paper):
    run = next(name for name, run in paper.runs.items() if run.source == "yfcc" and run.caption)
    variant = paper.runs[run].caption
    assert paper.captions_of(run) == [f"{variant}/yfcc/{number}-of-32" for number in range(1, 33)]


def test_fitted_heads_have_subsets_of_their_own_size_and_seed(icons):
    assert [head.head for head in icons.fitted_heads_of(CLIP)] == ["linear_probe", "linear_probe", "nearest_mean"]
    rows = icons.fitted_head_rows_of(CLIP_GROUP)
    assert list(rows) == icons.runs_of(CLIP_GROUP)
    assert all([head["fitted_on"] for head in heads] == ["own", "studio", "own"] for heads in rows.values())
    assert icons.fitting_sources_of(CLIP) == {"own": "web", "studio": "studio"}
    assert icons.fitted_on(CLIP_GROUP) == {run: ["own", "studio"] for run in icons.runs_of(CLIP_GROUP)}
    assert icons.fitting_components_of(CLIP_GROUP) == ["web", "studio"]
    assert icons.subset_of(CLIP) == {"source": "web", "train_images": 5000, "seed": 0}
    own = [icons.subset_of(run) for run in icons.runs_of(CLIP_GROUP)]
    assert icons.fitting_subsets_of(CLIP_GROUP) == [
        row for subset in own for row in (subset, subset | {"source": "studio"})
    ]
    (of_studio,) = [group for group, runs in icons.groups.items() if STUDIO in runs]
    assert icons.fitting_subsets_of(of_studio) == [] and of_studio not in icons.with_fitted_heads
    assert icons.with_fitted_heads[CLIP_GROUP] == icons.runs_of(CLIP_GROUP)
    heads = icons.heads_of([CLIP])[CLIP]
    assert heads[0] == {"head": "zero_shot", "prompts": "ensemble", "fitted_on": "", "main": True} and len(heads) == 6


def test_what_a_subset_is_drawn_from(icons):
    assert icons.components_of_source("half_web") == ("studio", "web")
    assert icons.class_reference_of("web_at_studio_classes") == ["studio"] and icons.class_reference_of("web") == []
    assert icons.source_settings("half_web") == {"kind": "mixture", "shares": {"studio": 0.5, "web": 0.5}}
    assert icons.subset_threads("web") == 1 and icons.matched_with("web", 5000) == []
    assert icons.allowed_shortfall_share == 0


def test_matched_sizes_are_kept_among_sources_with_runs_of_the_size(load, paper):
    matched = {"across": ["studio", "web"], "allowed_shortfall_share": 0.1}
    study = load(lambda config: config["data"].update(match_sizes=matched))
    assert study.matched_with("web", 5000) == ["studio", "web"]
    assert study.matched_with("studio", 3000) == ["studio"], "web has no run of 3,000 images"
    assert study.matched_with("half_web", 5000) == [] and study.allowed_shortfall_share == 0.1
    assert paper.subset_threads("yfcc") == 2


def test_caption_variants_are_those_that_runs_on_a_source_learn_from(icons):
    assert icons.captions == {
        ("studio", "title"): ["title/studio"],
        ("web", "shuffled"): ["shuffled/web"],
        ("web", "template"): ["template/web"],
        ("web", "title"): ["title/web"],
    }
    by_source = group_captions(icons.captions, "abcd")
    assert by_source == {"studio": {"title": ["a"]}, "web": {"shuffled": ["b"], "template": ["c"], "title": ["d"]}}


def test_captions_depend_on_the_settings_of_their_variant_alone():
    assert caption_settings("title", "a {class}", 3) == {}
    assert caption_settings("template", "a {class}", 3) == {"template": "a {class}"}
    assert caption_settings("shuffled", "a {class}", 3) == {"seed": 3}


def test_data_sets_are_icons_or_photographs_with_a_role(icons, paper):
    assert icons.datasets.icons == icons.datasets.names and not icons.datasets.photographs
    assert paper.datasets.photographs == paper.datasets.names and paper.datasets.fetched == ["yfcc"]
    assert icons.datasets.roles["web"] == "training_source" and icons.datasets.roles["v2"] == "shift"
    assert icons.datasets.roles["studio_test"] == "in_distribution"
    assert icons.datasets.part_of("v2") == "v2" and icons.datasets.pose_of("objects") == "posed"
    assert icons.datasets.pose_of("web") == "plain"
    with pytest.raises(TypeError, match="data set 'yfcc' is of kind 'yfcc15m'"):
        paper.datasets.part_of("yfcc")


def test_records_of_icons_are_named_by_their_part(load):
    def renamed(config):
        config["test_sets"]["other"] = config["test_sets"].pop("v2")

    datasets = load(renamed).datasets
    assert datasets.record_names(["web", "other"]) == ["web", "v2"] and datasets.records_of_texts("web") == "web"


def test_slices_share_records_and_shards(icons, paper):
    datasets = paper.datasets
    assert datasets.photo_slices_of("imagenet") == ["imagenet"]
    assert datasets.photo_slices_of("yfcc")[1] == "yfcc/2-of-32" == datasets.text_slices_of(["yfcc", "imagenet"])[1]
    assert datasets.photo_slice("yfcc/2-of-32") == datasets.text_slice("yfcc/2-of-32") == {
        "dataset": "yfcc", "number": 2, "count": 32,
    }  # fmt: skip
    assert datasets.text_slices["imagenet"] == Slice("imagenet") and "imagenet_val" not in datasets.text_slices
    assert datasets.dataset_of_texts("yfcc/2-of-32") == "yfcc" == datasets.records_of_texts("yfcc/2-of-32")
    files = [f"{name}.parquet" for name in datasets.text_slices]
    grouped = datasets.group_by_source(files, list(datasets.sources))
    assert datasets.is_of_photographs("yfcc/2-of-32") and not icons.datasets.is_of_photographs("web")
    sliced = datasets.group_by_source([name for name in datasets.text_slices if name.startswith("yfcc/")], ["yfcc"])
    assert list(sliced) == ["yfcc"] and sliced["yfcc"][1] == "yfcc/2-of-32"
    assert list(grouped) == list(datasets.sources) and [file for listed in grouped.values() for file in listed] == files
    assert grouped["yfcc"][1] == "yfcc/2-of-32.parquet" and grouped["imagenet"] == ["imagenet.parquet"]


def test_a_slice_of_shards_is_read_from_its_own(root, tmp_path, paper):
    (tmp_path / "resources").symlink_to(root / "resources")
    for number in range(5):
        (tmp_path / "shards" / f"part {number}").mkdir(parents=True)
        (tmp_path / "shards" / f"part {number}" / "0.tar").touch()
    config = read(root, "config/paper.yaml")
    shards = {"kind": "webdataset", "shards": "shards/*/*.tar", "slices": 2}
    config["sources"]["yfcc"] = shards | {"drawn_between": [0.01, 1]}
    datasets = Study.load(config, tmp_path).datasets
    first, second = (datasets.slice_settings(f"yfcc/{number}-of-2") for number in (1, 2))
    assert first["shards"] == ["shards/part 0/0.tar", "shards/part 1/0.tar"] == datasets.files_of_slice("yfcc/1-of-2")
    assert second["shard_names"] == ["part 2/0", "part 3/0", "part 4/0"] and "slices" not in first
    config["sources"]["yfcc"]["shards"] = ["shards/part 0/0.tar", "shards/*/0.tar"]
    with pytest.raises(ConfigError, match=r"^config key shards of 'yfcc': shards .* have one name"):
        Study.load(config, tmp_path).datasets.slice_settings("yfcc/1-of-2")


def test_what_photographs_are_read_from_and_checked_against(paper):
    datasets = paper.datasets
    settings = datasets.slice_settings("imagenet_val")
    assert settings["kind"] == "imagenet" and settings["role"] == "in_distribution" and "shards" not in settings
    assert datasets.files_of_slice("imagenet_val") == datasets.files_of("imagenet_val")
    # The metadata of a list of addresses is read by the job that lists them.
    assert datasets.files_of_slice("yfcc/1-of-32") == ["downloads/yfcc100m_subset_data.tsv.bz2"]
    assert "downloads/yfcc100m_dataset.bz2" in datasets.files_of("yfcc")
    assert datasets.fetched_by_slice("yfcc/1-of-32") == ["yfcc"] and datasets.fetched_by_slice("imagenet_val") == []
    assert datasets.files_of_list("yfcc") == datasets.files_of("yfcc")
    assert datasets.list_settings("yfcc") == {
        "subset": "downloads/yfcc100m_subset_data.tsv.bz2", "metadata": "downloads/yfcc100m_dataset.bz2"
    }  # fmt: skip
    assert datasets.fetch_settings("yfcc") == {"attempts": 3, "retry_after_seconds": 60, "stall_seconds": 600}
    assert not {"attempts", "stall_seconds"} & set(datasets.slice_settings("yfcc/1-of-32"))
    assert datasets.kind_of_slice("yfcc/1-of-32") == datasets.kind_of("yfcc")
    assert datasets.whole_size("imagenet_val") == {"expected": 50_000, "allow_short": False}
    assert datasets.whole_size("yfcc") == {"expected": None, "allow_short": False}


def test_published_models_are_shown_beside_studies_on_their_shifts(icons, paper):
    assert paper.on_published_shifts and not icons.on_published_shifts


def test_which_classes_a_test_set_covers(paper):
    coverage = paper.datasets.class_coverage
    assert coverage["imagenet_val"] == {"classes": "all", "covered": ""}
    assert coverage["imagenet_r"] == {"classes": "own", "covered": "imagenet_r"}
    assert coverage["objectnet"] == {"classes": "own", "covered": ""}
    assert paper.datasets.covered_column("imagenet_r") == "imagenet_r"
    assert paper.datasets.covered_column("imagenet") is None


def test_downloads_that_the_study_reads(icons, paper, tmp_path):
    assert icons.icon_archive == "downloads/iconify.tgz"
    assert [row.name for row in icons.downloads_used.values()] == ["iconify"]
    assert icons.download("iconify.tgz").name == "iconify"
    assert icons.pinned_by("iconify.tgz").keys() == {"version", "checksum"}
    assert icons.missing_downloads(icons.downloads_used) == ""
    assert "downloads/imagenet-r.tar" in paper.downloads_used and "downloads/iconify.tgz" not in paper.downloads_used
    elsewhere = replace(paper, root=tmp_path)
    missing = elsewhere.missing_downloads(["downloads/ILSVRC2012_img_val.tar", "downloads/imagenet-r.tar", "other"])
    assert missing.startswith("1 file must be asked for") and "register at image-net.org" in missing


def test_the_record_of_a_study_has_its_small_files(icons, paper):
    assert icons.resource_files == sorted(
        ["resources/icons/classes.csv", "resources/icons/nouns.csv", "resources/icons/sets.csv",
         "resources/models/icon-cnn.json", "resources/models/icon-resnet.json"]
    )  # fmt: skip
    assert {"resources/prompts/openai_imagenet_80.txt", "resources/models/rn50.json"} <= set(paper.resource_files)
    assert icons.comparison_rows[0]["name"] == "5,000 instead of 1,250 images"


def test_stages_are_those_that_have_work(icons, paper):
    of_photographs = {"list_pairs", "fetch_pairs", "build_photo_records", "index_images", "join_slices",
                      "decode_photographs", "import_pretrained", "measure_published"}  # fmt: skip
    of_captions = {"list_flickr_photos", "look_up_flickr_texts", "fetch_flickr_texts", "write_imagenet_captions"}
    names = [stage.name for stage in STAGES if stage.name not in of_captions | {"filter_view", "describe_captions"}]
    of_icons = {"build_records", "build_images", "measure_similarity", "similarity_bands"}
    assert icons.stages == [name for name in names if name not in of_photographs]
    assert paper.stages == [name for name in names if name not in of_icons]


def test_photographs_are_decoded_once_at_what_the_smallest_crop_of_a_run_needs(icons, paper, root):
    assert not any(decoded_stores_of(icons, run) for run in icons.trained)
    for run in paper.trained:
        planned = paper.runs[run]
        side = 792 if planned.objective == "simclr" else 379  # 224 pixels by the roots of 0.08 and 0.35
        assert decoded_stores_of(paper, run) == [f"{planned.source}_{side}"]
    config = read(root, "config/paper.yaml")
    config["training"]["decoded_store_gb"] = 0
    off = Study.load(config, root)
    assert not any(decoded_stores_of(off, run) for run in off.trained)
    assert [stage for stage in paper.stages if stage not in off.stages] == ["decode_photographs"]


def test_sources_are_compared_by_similarity_where_none_is_made_in_slices(icons, paper, load):
    assert icons.similar_sources == ["studio", "web"] and paper.similar_sources == []
    (comparison,) = icons.source_comparisons
    assert (comparison["start"], comparison["end"]) == ({"source": "studio"}, {"source": "web"})
    assert comparison["name"] == icons.config.causes["training_distribution"][0].comparison
    assert paper.source_comparisons == []


def test_wildcards_match_the_names_of_the_study_alone(icons, paper):
    def matching(study, wildcard, *names):
        return [name for name in names if re.fullmatch(wildcard_patterns(study)[wildcard], name)]

    assert matching(icons, "run", STUDIO, CLIP, "clip") == [STUDIO, CLIP]
    assert matching(icons, "source", "web", "half_web", "v2") == ["web", "half_web"]
    assert matching(icons, "icon_dataset", "web", "v2", "half_web") == ["web", "v2"]
    assert matching(icons, "photo_slice", "web", "v2") == [] == matching(icons, "published", STUDIO)
    assert matching(icons, "downloaded", "iconify.tgz", "iconifyXtgz", "downloads/iconify.tgz") == ["iconify.tgz"]
    assert matching(paper, "photo_slice", "yfcc/1-of-32", "yfcc", "imagenet_val") == ["yfcc/1-of-32", "imagenet_val"]
    assert matching(paper, "text_slice", "yfcc/32-of-32", "imagenet_val") == ["yfcc/32-of-32"]
    assert matching(paper, "published", PUBLISHED, "published-other") == [PUBLISHED]
    assert re.fullmatch(trained_pattern(paper), paper.trained[0]) and not re.fullmatch(
        trained_pattern(paper), PUBLISHED
    )


def test_commands_name_config_files_as_they_are_reached(tmp_path):
    inside, outside = tmp_path / "config" / "my.yaml", Path("/elsewhere/my.yaml")
    assert [command.split("   ")[0].strip() for command in remake_commands([], tmp_path, tmp_path)] == [
        "make study", ".venv/bin/snakemake --cores 2",
    ]  # fmt: skip
    (one,) = remake_commands([inside, outside], tmp_path, tmp_path)
    assert one.startswith(".venv/bin/snakemake --cores 2 --configfile config/my.yaml --configfile my.yaml  ")
    (elsewhere,) = remake_commands([inside], tmp_path, Path("/opt/whyrobust"))
    assert elsewhere == "snakemake --snakefile path/to/whyrobust/Snakefile --cores 2 --configfile config/my.yaml"


def test_a_data_set_says_what_it_is_without_changing_what_is_made_of_it(config, root):
    del config["sources"]["web"]["says"], config["test_sets"]["v2"]["says"], config["test_sets"]["objects"]["says"]
    plain = Study.load(config, root)
    sentences = {name: source.sentence for name, source in plain.config.sources.items()}
    assert sentences["web"].endswith("drawn by the study: part web.")
    assert sentences["half_web"].endswith(": 50 % studio, 50 % web.")
    assert plain.config.test_sets["v2"].sentence.endswith("part v2.")
    assert plain.config.test_sets["objects"].sentence.endswith("part objects, turned and put on a background.")
    config["sources"]["half_web"]["says"] = "Half of each."
    told = Study.load(config, root)
    assert told.config.sources["half_web"].sentence == "Half of each."
    assert told.source_settings("half_web") == plain.source_settings("half_web")


@pytest.mark.parametrize("name", [f"config/{study}.yaml" for study in ("smoke", "icons-full", "icons-why")])
def test_icons_are_trained_alike_and_but_for_captions_with_the_defaults(root, name):
    training, of_study = load_config(read(root, name)).training, load_config(read(root, "config.yaml")).training
    for objective in OBJECTIVES.values():
        searched = of_study.settings_of(objective.name)
        with_captions = objective.name in ("clip", "siglip")
        # Its runs are 13 times as long, and the search was of runs as long as the study's.
        expected = objective.settings() if with_captions and name == "config/icons-full.yaml" else searched
        assert training.settings_of(objective.name) == expected, f"{objective.name} in {name}"
        assert (searched != objective.settings()) == with_captions
    assert training.fine_tuning == of_study.fine_tuning == FineTuning()
    assert training.augmentation.plain_share == of_study.augmentation.plain_share == Augmentation().plain_share


@pytest.mark.parametrize(
    "name", ["config.yaml", "config/icons-full.yaml", "config/icons-why.yaml", "config/smoke.yaml"]
)
def test_no_two_runs_share_a_name(root, name):
    study = Study.load(yaml.safe_load((root / name).read_text(encoding="utf-8")), root)
    named = name_runs(study.rows_of(study.runs))
    assert len(named) == len(study.runs) > 1
    assert len(set(named.values())) == len(named)


def test_the_icons_study_trains_by_the_chosen_trials_of_the_search_and_none_lies_at_an_edge(root):
    with (root / "docs" / "results" / "hyperparameters.csv").open(encoding="utf-8", newline="") as handle:
        trials = list(csv.DictReader(handle))
    used = {row["objective"]: row for row in trials if is_in_use(row)}
    best = {row["objective"]: row for row in trials if row["chosen"] == "True"}
    assert set(used) == set(best) == {*OBJECTIVES, "fine_tuning"}
    assert used == best
    for row in best.values():
        at = (row["objective"], row["optimizer"], row["flip"])
        for name in ("learning_rate", "batch_size"):
            alike = [trial for trial in trials if (trial["objective"], trial["optimizer"], trial["flip"]) == at]
            tried = {float(trial[name]) for trial in alike}
            # Fine-tuning has the batch size of cross-entropy.
            assert min(tried) < float(row[name]) < max(tried) or (len(tried) == 1 and at[0] == "fine_tuning")
        # It has its decay too.
        decays = {float(trial["weight_decay"]) for trial in trials if trial["objective"] == row["objective"]}
        assert min(decays) < float(row["weight_decay"]) < max(decays) or at[0] == "fine_tuning"


def test_a_batch_above_the_images_of_a_run_is_a_warning(load):
    """Its images come twice in a batch, and a contrastive loss pushes the two apart."""
    assert load(lambda config: None).warnings == []
    size = 10**6
    (warning,) = load(lambda config: config["training"]["clip"].update(batch_size=size)).warnings[:1]
    assert "training.clip.batch_size is 1000000" in warning
    assert load(lambda config: config["training"]["cross_entropy"].update(batch_size=size)).warnings == []


def test_classes_that_are_called_alike_are_said(root, tmp_path):
    """Of two classes of one name a model that reads names always takes the first."""
    (tmp_path / "c.csv").write_text("class,name\na,crane\nb,Crane\nc,dog\n", encoding="utf-8")
    assert classes_of_one_name(tmp_path / "c.csv") == [("a", "b")]
    warnings = Study.load(read(root, "config/paper.yaml"), root).warnings
    assert [line for line in warnings if "called alike: heads that read names take each of their images for" in line]


def test_files_of_the_workflow_are_found_beside_it_unless_the_folder_of_the_study_has_them(config, root, tmp_path):
    study = Study.load(config, tmp_path, root)
    assert study.config.data.classes == f"{root}/resources/icons/classes.csv" in study.resource_files
    assert study.config.models["icon_cnn"] == f"{root}/resources/models/icon-cnn.json"
    assert study.config.sources_table == f"{root}/resources/sources.tsv"
    assert study.written == Study.load(config, root).config == with_own_files(study.written, root, tmp_path)
    assert study.config.downloads == "downloads" and study.is_given(study.config.data.classes)
    (tmp_path / "resources" / "models").mkdir(parents=True)
    (tmp_path / "resources" / "models" / "icon-cnn.json").write_bytes(
        (root / "resources/models/icon-cnn.json").read_bytes()
    )
    own = Study.load(config, tmp_path, root).config
    assert own.models["icon_cnn"] == "resources/models/icon-cnn.json" and own.data.sets == study.config.data.sets
    assert own_file("resources/none.csv", tmp_path, root) == "resources/none.csv"
    assert own_file("config.yaml", tmp_path, root) == "config.yaml"


def test_a_test_set_without_a_folder_of_a_class_is_said_before_any_work(tmp_path):
    """Nothing else notices: pictures that are not there are in no count."""
    (tmp_path / "c.csv").write_text("class\ncafé\ndog\nmug\nowl\n", encoding="utf-8")
    kind = {"kind": "image_folder", "folder": "test", "role": "in_distribution", "classes": "all"}

    def warnings(**changed):
        test_set = classes_of_test_sets()["image_folder"](**kind | changed)
        return missing_class_folders(tmp_path / "c.csv", {"same": test_set}, tmp_path)

    assert warnings() == []  # a folder that is not there is an error elsewhere
    for name in (unicodedata.normalize("NFD", "café"), "dog"):
        (tmp_path / "test" / name).mkdir(parents=True)
    (line,) = warnings()
    assert "test_sets.same" in line and "'mug' and for 1 more" in line
    assert warnings(role="shift", classes="own") == warnings(class_table="c.csv") == []
    for name in ("mug", "owl"):
        (tmp_path / "test" / name).mkdir()
    assert warnings() == []


def test_data_sets_of_the_same_pictures_are_said_before_any_work(tmp_path):
    (tmp_path / "pictures" / "dog").mkdir(parents=True)
    (tmp_path / "others").mkdir()
    pictures = {"kind": "image_folder", "folder": "pictures"}

    def warnings(source, test_set):
        datasets = {
            "sources.one": classes_of_sources()["image_folder"](**pictures | source),
            "test_sets.two": classes_of_test_sets()["image_folder"](
                **pictures | {"role": "shift", "classes": "own"} | test_set
            ),
        }
        return datasets_of_same_files(datasets, tmp_path)

    (tmp_path / "c.csv").write_text("class\ndog\n", encoding="utf-8")
    test_set = classes_of_test_sets()["image_folder"](**pictures | {"role": "shift", "classes": "all"})
    source = classes_of_sources()["image_folder"](**pictures)
    assert len(unlikely_data(tmp_path / "c.csv", {"one": source}, {"two": test_set}, tmp_path)) == 1
    (line,) = warnings({}, {"folder": "others/../pictures/"})
    assert "sources.one" in line and "test_sets.two" in line and "pictures" in line
    assert len(warnings({"drawn_between": [0.1, 1.0]}, {"drawn_between": [0.0, 0.2]})) == 1
    assert warnings({"drawn_between": [0.2, 1.0]}, {"drawn_between": [0.0, 0.2]}) == []
    assert warnings({"classes_between": [0.0, 0.5]}, {"classes_between": [0.5, 1.0]}) == []
    assert warnings({}, {"folder": "others"}) == []
    # A source may be a part of another, as half of its classes; two that are the same may not.
    part = classes_of_sources()["image_folder"](**pictures | {"classes_between": [0.0, 0.5]})
    assert datasets_of_same_files({"a": source, "b": part}, tmp_path) == []
    assert len(datasets_of_same_files({"a": part, "b": part}, tmp_path)) == 1


def test_runs_that_others_wait_for_are_trained_first(icons):
    pretraining = "simclr-images-web-5000_images-icon_cnn-15000_samples-seed_0"
    assert icons.pretrained_runs_of(AFTER_SIMCLR) == [pretraining]
    # Fine-tuned later, fine-tuned, with a probe on its embeddings, and with none.
    assert [icons.priority_of(run) for run in (pretraining, AFTER_SIMCLR, CLIP, HALF)] == [3, 2, 1, 0]
    assert icons.priority_of_group(CLIP_GROUP) == 1
    assert icons.priority_of_group(HALF.removesuffix("-seed_2")) == 0
