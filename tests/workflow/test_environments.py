"""The conda environments of the rules pin what the lock pins, and every rule names one that is there."""

from __future__ import annotations

import os
import re
import sys
import sysconfig

import pytest
import yaml
from packaging.requirements import Requirement

from envs.conda_environments import ENVIRONMENTS, ONLY_FOR_CUDA, environment, pins

#: Rules whose work is done on a GPU where there is one.
GPU_RULES = {"train_run", "embed_test_sets", "fit_heads"}


def rule_texts(root):
    """Return the text of each rule that runs a script, by name."""
    texts = {}
    for path in sorted((root / "workflow" / "rules").glob("*.smk")):
        parts = re.split(r"^rule (\w+):\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        texts |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return texts


def pinned_in(path):
    """Return the pip packages of a conda environment's file."""
    *_, from_pip = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    return {str(Requirement(line)) for line in from_pip["pip"]}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_and_lock_pin_the_same_versions(root, name):
    lock, cuda, purpose = ENVIRONMENTS[name]
    found = pinned_in(root / "envs" / f"{name}.yaml")
    locked = {str(pin) for pin in pins(root / "envs" / lock)}
    left_out = {Requirement(line).name for line in locked - found}
    assert not found - locked
    assert left_out == set() if cuda else left_out and all(package.startswith(ONLY_FOR_CUDA) for package in left_out)
    assert all(Requirement(line).specifier and "==" in line for line in found)
    text = environment(purpose, root / "envs" / lock, cuda)
    assert (root / "envs" / f"{name}.yaml").read_text(encoding="utf-8") == text, "make lock writes it anew"


def test_what_the_cpu_environment_leaves_out_comes_with_torch_alone(root):
    """Packages for CUDA are named in the lock as needed by torch, by the CUDA toolkit or by each other."""
    text = (root / "envs" / "requirements.txt").read_text(encoding="utf-8")
    blocks = re.findall(r"^([a-z0-9-]+)==(.*?)(?=^[a-z0-9-]+==|\Z)", text, re.MULTILINE | re.DOTALL)
    left_out = {name: block for name, block in blocks if name.startswith(ONLY_FOR_CUDA)}
    assert len(left_out) > 10
    for name, block in left_out.items():
        wanted_by = set(re.findall(r"^    # +(?:via )?([a-z][a-z0-9-]+)$", block, re.MULTILINE)) - {"via"}
        assert wanted_by and all(other == "torch" or other.startswith(ONLY_FOR_CUDA) for other in wanted_by), name


def test_the_locks_of_one_installation_agree(root):
    """`make test` installs these beside each other."""
    versions: dict[str, set[str]] = {}
    for lock in ("requirements.txt", "requirements-dev.txt", "cluster.txt", "bench.txt"):
        for pin in pins(root / "envs" / lock):
            if pin.marker is None or pin.marker.evaluate():
                versions.setdefault(pin.name, set()).add(str(pin.specifier))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_rule_names_an_environment_that_is_there(root):
    rules = rule_texts(root)
    assert len(rules) >= 24 and all("script:" in text for text in rules.values())
    for name, text in rules.items():
        named = re.search(r"^    conda:\n        (.+)$", text, re.MULTILINE)[1].strip('"')
        if name in GPU_RULES:
            assert named == "GPU_ENVIRONMENT"
        else:
            path = (root / "workflow" / "rules" / named).resolve()
            assert path.is_file() and path.with_suffix(".post-deploy.sh").is_file(), name


#: Stands in for conda, which cannot be had everywhere: makes an environment out of the packages that are installed
#: here, and keeps the file that it was asked to make one from.
CONDA = """#!{python}
import json, shutil, subprocess, sys
from pathlib import Path
if sys.argv[1] == "info":
    print(json.dumps({{"conda_prefix": {prefix!r}, "platform": "linux-64"}}))
elif sys.argv[1] == "--version":
    print("conda 26.1.0")
elif sys.argv[1] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif sys.argv[1:3] == ["env", "create"]:
    where, file = Path(sys.argv[sys.argv.index("--prefix") + 1]), sys.argv[sys.argv.index("--file") + 1]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(where)], check=True)
    (next(where.glob("lib/python*/site-packages")) / "here.pth").write_text({packages!r})
    shutil.copy(file, {asked!r})
elif sys.argv[1] == "clean":
    pass
else:
    sys.exit(f"conda {{sys.argv[1:]}} is not known")
"""


@pytest.fixture
def conda(tmp_path, monkeypatch):
    """Put a stand-in for conda on the path; return where the file of a made environment will lie."""
    prefix, asked = tmp_path / "conda", tmp_path / "asked.yaml"
    (prefix / "bin").mkdir(parents=True)
    paths = {"python": sys.executable, "prefix": str(prefix), "asked": str(asked)}
    (prefix / "bin" / "conda").write_text(CONDA.format(packages=sysconfig.get_path("purelib"), **paths))
    (prefix / "bin" / "conda").chmod(0o755)
    (prefix / "bin" / "activate").write_text('export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n')
    monkeypatch.setenv("PATH", f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return asked


def test_a_rule_runs_in_the_environment_that_is_made_for_it(root, workspace, snakemake, conda):
    (workspace / "results").mkdir()
    done = snakemake(workspace, "--cores", "1", "--software-deployment-method", "conda", "--",
                     "results/reference/baselines.csv")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert conda.read_text(encoding="utf-8") == (root / "envs" / "whyrobust-cpu.yaml").read_text(encoding="utf-8")
    (made,) = [path for path in (workspace / ".snakemake" / "conda").iterdir() if path.is_dir()]
    # The workflow's own package was installed in it by the script that runs after.
    assert list(made.glob("lib/python*/site-packages/__editable__.whyrobust-*.pth"))
    assert (workspace / "results" / "reference" / "baselines.csv").exists()


def test_rules_on_a_gpu_have_the_environment_of_their_device(root, workspace, snakemake, config, conda):
    shown = {}
    for device in ("cpu", "cuda"):
        config["training"]["device"] = device
        (workspace / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        done = snakemake(workspace, "--list-conda-envs", "--software-deployment-method", "conda")
        assert done.returncode == 0, done.stdout + done.stderr
        shown[device] = set(re.findall(r"envs/([\w-]+)\.yaml", done.stdout + done.stderr))
    assert shown == {"cpu": {"whyrobust-cpu"}, "cuda": {"whyrobust-cpu", "whyrobust-cuda"}}
