"""The DAG of every config by dry run, and what a change reruns."""

from __future__ import annotations

import re

import networkx as nx
import pytest
import yaml

from tests.small_replica import make_config
from tests.workflow.test_environments import rule_texts
from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.stages import stages_before

SHARED_STAGES = {
    "download_source", "assemble_captions", "decontaminate", "match_text", "draw_subset", "train_run",
    "embed_test_sets", "fit_heads", "score_heads", "measure_robustness", "attribute_other_weights",
    "attribute_causes", "measure_reference",
    "describe_data", "describe_runs", "describe_training_sets", "measure_dose_response", "draw_figures",
    "write_report", "compare_images",
}  # fmt: skip
ICON_STAGES = {"build_records", "build_images", "measure_similarity", "similarity_bands"}
PHOTO_STAGES = {
    "build_photo_records", "index_images", "join_slices", "decode_photographs", "list_pairs", "fetch_pairs",
    "import_pretrained", "measure_published",
}  # fmt: skip
#: Of ImageNet-Captions, where it is built (`test_imagenet_captions`).
CAPTION_STAGES = {
    "list_flickr_photos", "look_up_flickr_texts", "fetch_flickr_texts", "write_imagenet_captions",
    "compare_imagenet_captions",
}  # fmt: skip
#: Of views that filter, and of captions in columns of a source's own.
RARE_STAGES = {"filter_view", "describe_captions"}


def planned_jobs(output):
    """Return the number of jobs by rule from the table that a dry run prints."""
    table = output.split("Job stats:", 1)[1].split("total", 1)[0] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)", table, re.MULTILINE)}


def write_config(workspace, config):
    (workspace / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["config.yaml", "config/smoke.yaml", "config/icons-full.yaml", "config/icons-why.yaml"]
)
def test_every_config_plans_every_stage(root, workspace, snakemake, name):
    done = snakemake(workspace, "--dry-run", "--configfile", str(root / name))
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = planned_jobs(done.stdout + done.stderr)
    filtered = {"filter_view"} if name == "config/icons-why.yaml" else set()
    assert set(jobs) - {"all"} == SHARED_STAGES | ICON_STAGES | filtered


def test_the_paper_study_plans_every_stage(root, workspace, snakemake):
    """Nothing of it is here: what can be downloaded is, the rest is asked for when its turn comes."""
    # --quiet host: each job with its resources, which the default profile does not show.
    done = snakemake(workspace, "--dry-run", "--quiet", "host", "--profile", str(root / "profiles" / "paper"),
                     "--configfile", str(root / "config" / "paper.yaml"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = planned_jobs(done.stdout + done.stderr)
    assert set(jobs) - {"all"} == SHARED_STAGES | PHOTO_STAGES
    # YFCC and what it holds out in slices, two more sources and six test sets as a whole.
    assert jobs["index_images"] == jobs["build_photo_records"] == 2 * 32 + 8 and jobs["join_slices"] == 2 + 8
    assert jobs["match_text"] == jobs["compare_images"] == 32 + 2
    assert jobs["assemble_captions"] == 32 + 4, "of YFCC titles, of ImageNet-Captions four variants"
    # One file a source, and one of each that SimCLR crops smaller.
    assert jobs["decode_photographs"] == 3 + 2
    assert jobs["import_pretrained"] == 3
    # The testbed's models fit a line: their table is on the record of the study.
    for rule in ("measure_robustness", "write_report"):
        (of_rule,) = re.findall(rf"^ *rule {rule}:\n +input: (.*)$", done.stdout + done.stderr, re.MULTILINE)
        assert "resources/reference/imagenet_testbed_top1.csv" in of_rule.split(", ")
    assert_lists_what_must_be_asked_for(done.stdout + done.stderr)
    profile = yaml.safe_load((root / "profiles" / "paper" / "config.yaml").read_text(encoding="utf-8"))
    asked_for = [
        set(line.replace("resources:", "").replace(",", " ").split())
        for line in (done.stdout + done.stderr).splitlines()
        if line.strip().startswith("resources:")
    ]
    assert set(profile["set-resources"]) == {"train_run", "embed_test_sets", "fit_heads"}
    for rules in (["train_run"], ["embed_test_sets"], ["embed_test_sets", "fit_heads"]):
        wanted = {f"{name}={value}" for name, value in profile["set-resources"][rules[-1]].items()} | {"gpu=1"}
        assert sum(wanted <= asked for asked in asked_for) == sum(jobs[rule] for rule in rules)


def test_the_small_form_of_the_paper_study_is_planned_on_replicas(workspace, snakemake):
    """What `make paper-check STUDY=paper-small` runs, but for shards that only its server has."""
    config = make_config() | {"sources_table": "resources/sources.tsv"}
    del config["sources"]["cc12m"]
    write_config(workspace, config)
    done = snakemake(workspace, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = planned_jobs(done.stdout + done.stderr)
    assert set(jobs) - {"all"} == (SHARED_STAGES | PHOTO_STAGES) - {"import_pretrained"}
    assert jobs["train_run"] == len(plan_study(load_config(config), workspace, data_is_there=False).runs)


@pytest.mark.parametrize(
    "name, sources, test_sets", [("config/domainnet.yaml", 7, 5), ("config/shifts-of-today.yaml", 3, 10)]
)
def test_the_studies_of_todays_shifts_are_planned(root, workspace, snakemake, name, sources, test_sets):
    done = snakemake(workspace, "--dry-run", "--configfile", str(root / name))
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = planned_jobs(done.stdout + done.stderr)
    assert jobs["build_photo_records"] == jobs["join_slices"] == sources + test_sets
    assert "build_records" not in jobs, "a domain called sketch is no part of the icons"


def assert_lists_what_must_be_asked_for(output):
    (line,) = [line for line in output.splitlines() if "must be asked for" in line]
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        assert f"downloads/{name} (register at image-net.org" in line
    assert "downloads/yfcc100m_dataset.bz2 (ask for access" in line and "ImageNet-Sketch" not in line


def test_what_must_be_asked_for_stops_a_run_before_any_work(root, workspace, snakemake):
    done = snakemake(workspace, "--cores", "1", "--configfile", str(root / "config" / "paper.yaml"))
    assert done.returncode != 0
    assert_lists_what_must_be_asked_for(done.stdout + done.stderr)
    assert not (workspace / "results").exists() and not (workspace / "downloads").exists()


def test_what_must_be_asked_for_says_how(root, workspace, snakemake):
    done = snakemake(
        workspace,
        "downloads/ILSVRC2012_img_val.tar",
        "--cores",
        "1",
        "--configfile",
        str(root / "config" / "paper.yaml"),
    )
    assert done.returncode != 0
    assert "register at image-net.org" in done.stdout + done.stderr


def test_a_wrong_config_stops_with_one_line_and_writes_nothing(workspace, snakemake, config):
    config["data"]["image_sise"] = 32
    write_config(workspace, config)
    done = snakemake(workspace, "--cores", "1")
    assert done.returncode != 0
    assert "data.image_sise is not known" in done.stdout + done.stderr
    assert not (workspace / "results").exists()


@pytest.mark.parametrize(
    "name", ["config/smoke.yaml", "config/icons-why.yaml", "config/paper.yaml", "config/paper-small.yaml"]
)
def test_the_stages_shown_are_those_of_the_workflow(root, workspace, snakemake, name):
    """The graph that Snakemake makes of the rules is the one that the page shows."""
    done = snakemake(workspace, "--rulegraph", "--configfile", str(root / name))
    assert done.returncode == 0, done.stderr
    rules = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', done.stdout, re.MULTILINE))
    edges = re.findall(r"^\s*(\d+) -> (\d+)", done.stdout, re.MULTILINE)
    graph = nx.DiGraph([(rules[a], rules[b]) for a, b in edges if a != b and "all" not in (rules[a], rules[b])])
    graph.add_nodes_from(set(rules.values()) - {"all"})
    if name == "config/icons-why.yaml":  # no run of it learns from labels found in text
        graph.remove_node("match_text")
    before = stages_before(graph.nodes)
    assert set(before) == set(graph.nodes)
    shown = {(need, stage) for stage, needs in before.items() for need in needs}
    assert shown == set(nx.transitive_reduction(graph).edges)


def test_rule_script_log_and_benchmark_names_agree(root):
    """Rule, script, log and benchmark have one name, so that each is found from any other."""
    scripts = {path.stem for path in (root / "workflow" / "scripts").glob("*.py")}
    texts = rule_texts(root)
    asked_for = {"choose_classes", "write_published", "check_data"}
    stages = SHARED_STAGES | ICON_STAGES | PHOTO_STAGES | CAPTION_STAGES | RARE_STAGES
    assert set(texts) == scripts == stages | asked_for
    for name, text in texts.items():
        assert f'"../scripts/{name}.py"' in text, name
        # What was downloaded was verified: no code fetches it again.
        assert (f'code_of("{name}")' in text) == (name != "download_source"), name
        assert re.search(rf'"(<logs>|results/(reference|published|imagenet_captions)/logs)/{name}(\.log|/)', text), name
        assert "    benchmark:" not in text or re.search(rf'"<benchmarks>/{name}(\.tsv|/)', text), name
