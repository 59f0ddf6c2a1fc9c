"""A plan refuses models that cannot be trained, asks about each once, and about those of this project never."""

from __future__ import annotations

import json

import pytest
import yaml

from whyrobust.study import described_models
from whyrobust.study.config import load_config
from whyrobust.study.described_models import check_described_models, is_plain
from whyrobust.study.kept_answers import KeptAnswers
from whyrobust.study.setting_checks import ConfigError
from whyrobust.training.models import is_own_model, read_model_config


@pytest.fixture
def description(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


@pytest.fixture
def study(config, description, tmp_path):
    """A config with a model of timm's."""
    description["vision_cfg"] |= {"timm_model_name": "vit_tiny_patch16_224", "timm_proj": "linear"}
    (tmp_path / "m.json").write_text(json.dumps(description), encoding="utf-8")
    return load_config(config | {"models": {"m": "m.json"}})


def test_models_of_this_project_are_known_without_torch(root, description):
    plain = [path.stem for path in (root / "resources" / "models").glob("*.json") if is_plain(read_model_config(path))]
    assert sorted(plain) == ["icon-cnn", "icon-resnet"]
    for other in (
        description | {"quick_gelu": True},
        description | {"embed_dim": "128"},
        description | {"vision_cfg": description["vision_cfg"] | {"timm_proj": "linear"}},
        description | {"vision_cfg": description["vision_cfg"] | {"timm_model_name": "resnet18"}},
        description | {"vision_cfg": description["vision_cfg"] | {"timm_drop": 0.1}},
        description | {"text_cfg": description["text_cfg"] | {"heads": 3}},
        description | {"text_cfg": description["text_cfg"] | {"layers": 1.5}},
        description | {"text_cfg": description["text_cfg"] | {"no_causal_mask": True}},
    ):
        assert not is_plain(other)
    assert is_plain(description) and is_own_model(description)


def test_a_model_is_tried_once_and_the_answer_kept(study, tmp_path, monkeypatch):
    asked, path = [], tmp_path / "kept.json"

    def try_out(model, side):
        asked.append((model.name, side))
        return "it is too small" if side == 32 else ""

    def check(config):
        kept = KeptAnswers(path, "as it is")
        with monkeypatch.context() as patch:
            patch.setattr("sys.dont_write_bytecode", False)
            try:
                check_described_models(config, {"m"}, tmp_path, kept)
            finally:
                kept.save()

    monkeypatch.setattr(described_models, "_try_out", try_out)
    check_described_models(study, set(), tmp_path, KeptAnswers(path, "as it is"))
    assert asked == [], "a model without a run"
    expected = r"key models\.m is 'm\.json', which .* data\.image_size is 32 \(it is too small\): correct"
    for _ in range(2):
        with pytest.raises(ConfigError, match=expected):
            check(study)
    assert asked == [("m.json", 32)]
    (tmp_path / "m.json").write_text((tmp_path / "m.json").read_text().replace("24", "23"), encoding="utf-8")
    with pytest.raises(ConfigError, match=expected):
        check(study)
    monkeypatch.setattr(described_models, "package_versions", lambda names: dict.fromkeys(names, "another"))
    with pytest.raises(ConfigError, match=expected):
        check(study)
    assert asked == [("m.json", 32)] * 3, "another description, another version"
    monkeypatch.setattr(described_models, "package_versions", lambda names: dict.fromkeys(names, "not installed"))
    check(study)
    assert len(asked) == 3, "nobody can be asked"


def test_smaller_images_of_the_first_steps_count_too(config, study, tmp_path, monkeypatch):
    resizing = {"share": 0.5, "image_size": 16}
    config = load_config(
        config | {"models": {"m": "m.json"}, "training": config["training"] | {"progressive_resizing": resizing}}
    )
    monkeypatch.setattr(described_models, "_try_out", lambda path, side: "too small" if side == 16 else "")
    with pytest.raises(ConfigError, match=r"training\.progressive_resizing\.image_size is 16 \(too small\)"):
        check_described_models(config, {"m"}, tmp_path, KeptAnswers(tmp_path / "kept.json", ""))


@pytest.mark.parametrize("program", ["import sys; sys.exit(1)", "print('no answer')", "", "import no_such_package"])
def test_where_nobody_can_say_a_model_passes(study, tmp_path, monkeypatch, program):
    (tmp_path / "whyrobust" / "training").mkdir(parents=True)
    for path in ("__init__.py", "training/__init__.py"):
        (tmp_path / "whyrobust" / path).write_text("", encoding="utf-8")
    (tmp_path / "whyrobust" / "training" / "model_trial.py").write_text(program, encoding="utf-8")
    monkeypatch.setattr(described_models, "code_version", lambda modules: "x")
    monkeypatch.setattr(described_models, "PACKAGE_FOLDER", tmp_path / "whyrobust")
    kept = KeptAnswers(tmp_path / "kept.json", "")
    check_described_models(study, {"m"}, tmp_path, kept)
    (tmp_path / "whyrobust" / "training" / "model_trial.py").write_text("print('a word\\n\"no\"')", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\(no\)"):
        check_described_models(study, {"m"}, tmp_path, kept)


def test_a_dry_run_refuses_a_model_of_another_size_and_imports_torch_for_no_other(
    config, study, snakemake, workspace, monkeypatch
):
    torch, imported = workspace / "torch.py", workspace / "torch was imported"
    torch.write_text(f"open({str(imported)!r}, 'w')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(workspace), prepend=":")
    planned = snakemake(workspace, "--dry-run")
    assert planned.returncode == 0 and not imported.exists(), planned.stderr[-2000:]
    torch.unlink()
    config["models"]["icon_cnn"] = "m.json"
    (workspace / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    refused = snakemake(workspace, "--dry-run")
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Traceback" not in said
    assert "config key models.icon_cnn is 'm.json', which cannot be trained where data.image_size is 32 (Input" in said
