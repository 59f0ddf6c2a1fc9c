"""Nothing is fetched that the config does not name, and no library reports home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.studies import watched
from whyrobust.logs import NO_TELEMETRY

#: Modules that may use the network: downloads by the table of sources, img2dataset's call, and Flickr's API.
ALLOWED = {"downloads.py", "img2dataset.py", "flickr_api.py"}


def run(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env=watched(folder) | {"PYTHONPATH": os.pathsep.join([watched(folder)["PYTHONPATH"], *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / "asked.txt").read_text(encoding="utf-8") if (folder / "asked.txt").exists() else ""


def test_importing_everything_and_building_every_model_asks_for_no_address(tmp_path, root):
    package = root / "src" / "whyrobust"
    modules = sorted(
        path.relative_to(package).with_suffix("").as_posix().replace("/", ".") for path in package.rglob("[a-z]*.py")
    )
    program = f"""
import importlib
for name in {modules}:
    importlib.import_module("whyrobust." + name)
from whyrobust.logs import start_log
from whyrobust.training.models import build_two_towers, read_model_config
from whyrobust.training.text_encoder import tokenize
start_log("x.log")
tokenize(["a photo of a cat"], 77)
for name in ("icon-cnn", "icon-resnet", "rn-tiny"):
    build_two_towers(read_model_config("{root}/resources/models/" + name + ".json"))
"""
    assert run(tmp_path, program) == ""


def test_the_watch_sees_what_is_asked_for(tmp_path):
    asked = run(tmp_path, "import socket\ntry:\n  socket.getaddrinfo('nowhere.invalid', 80)\nexcept OSError: pass")
    assert "nowhere.invalid" in asked


def test_no_other_module_uses_the_network(root):
    for path in (root / "src" / "whyrobust").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        uses = re.findall(
            r"^\s*(?:import|from) (requests|urllib\.request|http\.client|socket|huggingface_hub)\b", text, re.M
        )
        assert not uses or path.name in ALLOWED, path.name


def test_a_log_switches_reports_off_for_the_stage_and_its_children(tmp_path, monkeypatch):
    from whyrobust.logs import start_log

    for name in NO_TELEMETRY:
        monkeypatch.delenv(name, raising=False)
    start_log(tmp_path / "x.log")
    try:
        assert all(os.environ[name] == value for name, value in NO_TELEMETRY.items())
    finally:
        sys.excepthook = sys.__excepthook__


@pytest.mark.parametrize("name", ["config.yaml", "config/smoke.yaml", "config/paper.yaml"])
def test_configs_and_tables_hold_no_addresses_of_their_own(root, name):
    """What can be fetched stands in the table of sources, with its licence and checksum."""
    assert not re.search(r"https?://", (root / name).read_text(encoding="utf-8"))
