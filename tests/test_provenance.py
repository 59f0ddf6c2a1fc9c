"""A change in a module changes the version of the stages that use it, and of no other."""

from whyrobust import provenance


def test_code_version_follows_imports(tmp_path, monkeypatch):
    for name, text in {"a": "from whyrobust.b import x\n", "b": "x = 1\n", "c": "y = 1\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE_FOLDER", tmp_path)

    def versions():
        provenance.imported_modules.cache_clear()
        return {name: provenance.code_version([name]) for name in "abc"}

    before = versions()
    (tmp_path / "b.py").write_text("x = 2\n")
    after = versions()
    provenance.imported_modules.cache_clear()
    assert before["a"] != after["a"] and before["b"] != after["b"] and before["c"] == after["c"]


def test_scripts_name_their_modules_and_training_needs_no_report(root):
    scripts = root / "workflow" / "scripts"
    assert "training" in provenance.script_modules(scripts / "train_run.py")
    assert "report" in provenance.script_modules(scripts / "write_report.py")
    for module in ("training", "evaluation", "scoring"):
        text = (root / "src" / "whyrobust" / f"{module}.py").read_text(encoding="utf-8")
        assert "snakemake" not in text and "altair" not in text and "resvg" not in text


def test_stage_times_are_summed_by_stage(tmp_path):
    (tmp_path / "train_run").mkdir()
    for number, seconds in enumerate((1.5, 2.0)):
        (tmp_path / "train_run" / f"{number}.tsv").write_text(f"s\tmax_rss\n{seconds}\t{100 + number}\n")
    (tmp_path / "score_heads.tsv").write_text("s\tmax_rss\n3\t-\n")
    times = provenance.stage_times(tmp_path)
    assert times["train_run"] == {"jobs": 2, "seconds": 3.5, "memory_mb": 101.0}
    assert times["score_heads"]["memory_mb"] == 0.0


def test_an_absent_package_is_reported():
    assert provenance.package_versions(["numpy", "no-such-package"])["no-such-package"] == "not installed"


def test_a_record_shows_no_password():
    config = {"test_sets": {"objectnet": {"password": "secret", "sets": [{"password": "secret"}, 1]}}, "seeds": (0, 1)}
    shown = provenance.without_secrets(config)
    assert "secret" not in str(shown) and shown["seeds"] == [0, 1]
    assert set(shown["test_sets"]["objectnet"]) == {"password", "sets"}
