"""What the profiles and the rules ask a machine or a cluster for, as the executors' own code turns it into jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from snakemake.resources import GroupResources, Resource, Resources

from tests.kubernetes_stand_in import kubernetes, object_store
from tests.studies import ROOT
from tests.workflow.test_environments import GPU_RULES, rule_texts

#: As in profiles/kubernetes.
BUCKET, FOLDER = "whyrobust", "study"

#: Rules whose jobs are submitted one by one, by the reason; a new rule is named here or in the groups of both profiles.
UNGROUPED = {
    "trains or takes in a whole model, for hours": {"train_run", "import_pretrained"},
    "waits for the network, as long as that takes": {"download_source", "fetch_pairs", "fetch_flickr_texts"},
    "goes through all lines, records or images of a data set, with time that grows with it": {
        "list_pairs", "list_flickr_photos", "look_up_flickr_texts", "write_imagenet_captions",
        "build_records", "build_photo_records", "index_images", "join_slices", "decode_photographs", "compare_images",
        "decontaminate", "measure_similarity", "filter_view", "describe_data", "describe_captions",
    },
    "is asked for by name, or shared by studies: no other job of a study goes with it": {
        "choose_classes", "check_data", "compare_imagenet_captions", "measure_published",
        "write_published",
    },
}  # fmt: skip


def run_snakemake(folder, *arguments, env):
    """Call Snakemake as a user of a cluster does: from a checkout."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/kubernetes",
         "--seconds-between-status-checks", "1", *arguments],
        cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of what git has of this repository: all that reaches the jobs of a cluster."""
    folder = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("docs/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    return folder


def upload(client, root, *names):
    for name in names:
        client.upload_file(str(root / name), BUCKET, f"{FOLDER}/{name}")


def test_snakemake_finds_the_default_profile_by_itself(root, workspace, snakemake):
    """Called in a checkout or from elsewhere, Snakemake is quiet and makes again what was cut off."""
    for folder in (root, workspace):
        done = snakemake(folder, "--dry-run", "--", "results/reference/baselines.csv")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "workflow specific profile" in done.stderr and "profiles/default" in done.stderr
        assert "output: " not in done.stdout + done.stderr
    loud = snakemake(workspace, "--dry-run", "--workflow-profile", "none", "--", "results/reference/baselines.csv")
    assert "output: results/reference/" in loud.stdout + loud.stderr


def test_every_rule_asks_for_memory_and_time_and_those_on_a_gpu_for_one(root):
    for name, text in rule_texts(root).items():
        asked = set(
            re.findall(r"^        (\w+)=", text.split("    resources:\n")[1].split("    params:")[0], re.MULTILINE)
        )
        assert {"mem_mb", "runtime"} <= asked, name
        assert ("gpu" in asked) == ("device=" in text) == (name in GPU_RULES), name
        assert ("runs_per_gpu" in asked) == (name in GPU_RULES), name
        script = root / "workflow" / "scripts" / f"{name}.py"
        assert ("resources.runs_per_gpu" in script.read_text(encoding="utf-8") if script.exists() else False) == (
            name in GPU_RULES
        ), name


@pytest.mark.parametrize(("mode", "shared"), [("default", 4), ("remote", 1)])
def test_runs_share_gpus_of_this_machine_and_none_that_a_scheduler_gave(root, workspace, snakemake, mode, shared):
    config = yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    config["training"]["runs_per_gpu"] = 4
    (workspace / "shared.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    planned = snakemake(
        workspace, "--dry-run", "--workflow-profile", "none", "--configfile", "shared.yaml", "--mode", mode
    )
    said = planned.stdout + planned.stderr
    assert set(re.findall(r"runs_per_gpu=(\d+)", said)) == {str(shared)}, said[-3000:]


def test_a_submission_to_slurm_asks_for_one_job_at_a_time_and_for_the_time_of_all(root):
    # The plugin starts the jobs of a submission one after the other, whatever Snakemake reckons with.
    profile = yaml.safe_load((root / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    limits = {"_cores": profile["cores"], **profile["resources"]}
    assert {name for name in profile["resources"] if name not in profile["set-resource-scopes"]} == set()
    asked = profile["default-resources"] | {"_cores": 1, "mem_mb": 4000, "runtime": 60}
    jobs = [SimpleNamespace(resources=asked, pipe_group=None) for _ in range(4)]
    limits = Resources({name: Resource(name, value) for name, value in limits.items()})
    total = GroupResources.basic_layered([jobs], limits, run_local=False)
    assert (total["_cores"], total["mem_mb"], total["runtime"]) == (1, 4000, 240)


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_every_rule_is_in_a_group_or_named_as_one_that_is_submitted_alone(root, name):
    profile = yaml.safe_load((root / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))
    groups = dict(line.split("=") for line in profile["groups"])
    sizes = dict(line.split("=") for line in profile["group-components"])
    assert sorted([*groups, *(rule for rules in UNGROUPED.values() for rule in rules)]) == sorted(rule_texts(root))
    # Results are one chain of jobs for the whole study; of the other groups a study has many jobs side by side.
    assert {*sizes, "results"} == set(groups.values())
    for key in ("retries", "rerun-incomplete", "cores", "jobs"):
        assert profile[key]


def test_the_slurm_profile_plans_the_paper_study(root, workspace, snakemake):
    done = snakemake(workspace, "--dry-run", "--workflow-profile", str(root / "profiles" / "slurm"),
                     "--configfile", str(root / "config" / "paper.yaml"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train_run" in done.stdout + done.stderr


def test_a_rule_runs_on_kubernetes_with_nothing_but_the_object_store(root, checkout, tmp_path):
    """The checkout goes to the store; a job in an empty folder takes it and its inputs, and leaves outputs there."""
    with object_store(BUCKET) as (client, store), kubernetes(tmp_path / "node", runs_jobs=True) as (cluster, reached):
        upload(client, root, *(f"resources/reference/{name}.csv" for name in (
            "imagenet_testbed_top1", "open_clip_zeroshot_top1", "vlhub_top1"
        )))  # fmt: skip
        planned = run_snakemake(checkout, "--dry-run", "--", "results/reference/baselines.csv", env=store | reached)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert not cluster.jobs
        done = run_snakemake(checkout, "--", "results/reference/baselines.csv", env=store | reached)
        logs = "".join(path.read_text() for path in (tmp_path / "node").glob("*/terminal.log"))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-3000:]
        assert len(cluster.jobs) == 1
        made = [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix=f"{FOLDER}/results")["Contents"]]
        assert f"{FOLDER}/results/reference/baselines.csv" in made
        text = client.get_object(Bucket=BUCKET, Key=f"{FOLDER}/results/reference/baselines.csv")["Body"].read().decode()
        assert text.startswith("shift,")


def test_a_run_on_a_gpu_is_a_job_with_image_requests_and_limits(root, checkout, tmp_path):
    config = yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    config["training"] |= {"device": "cuda", "threads": 4}
    (checkout / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    run = "cross_entropy-annotated-studio-300_images-icon_cnn-2000_samples-seed_0"
    with object_store(BUCKET) as (client, store), kubernetes(tmp_path / "node", runs_jobs=False) as (cluster, reached):
        upload(client, root, "resources/icons/classes.csv", "resources/models/icon-cnn.json")
        # What the run is trained on is not looked at: the job does not get that far.
        for name in ("subsets/studio/300_images_seed_0.parquet", "images/studio.arrow"):
            client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/results/smoke/{name}", Body=b"")
        done = run_snakemake(
            checkout, "--retries", "0", "--allowed-rules", "train_run", "--set-resources", "train_run:mem_mb=9000",
            "--", f"results/smoke/runs/{run}/model.safetensors", env=store | reached,
        )  # fmt: skip
    assert done.returncode != 0
    (job,) = cluster.jobs
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "whyrobust" and pod["restartPolicy"] == "Never"
    asked = {"cpu": "4000m", "memory": "9000M", "nvidia.com/gpu": "1", "ephemeral-storage": "20000M"}
    assert container["resources"]["limits"] == asked
    assert container["resources"]["requests"] == asked | {"cpu": "3800m"}
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]
    # Keys reach a job by a secret, never by its command.
    assert {variable["name"] for variable in container["env"]} >= set(store)
    assert all("secretKeyRef" in variable["valueFrom"] for variable in container["env"])
    assert "--default-storage-prefix" in container["args"][1]
    assert store["SNAKEMAKE_STORAGE_S3_SECRET_KEY"] not in container["args"][1]
    assert store["SNAKEMAKE_STORAGE_S3_SECRET_KEY"] in next(iter(cluster.secrets.values())).values()
