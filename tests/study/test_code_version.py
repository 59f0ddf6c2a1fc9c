"""A change in a module changes the version of the stages that use it, and of no other."""

from whyrobust.study import code_version


def test_code_version_follows_imports(tmp_path, monkeypatch):
    for name, text in {"a": "from whyrobust.b import x\n", "b": "x = 1\n", "c": "y = 1\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)

    def versions():
        code_version.imported_modules.cache_clear()
        return {name: code_version.code_version([name]) for name in "abc"}

    before = versions()
    (tmp_path / "b.py").write_text("x = 2\n")
    after = versions()
    code_version.imported_modules.cache_clear()
    assert before["a"] != after["a"] and before["b"] != after["b"] and before["c"] == after["c"]


def test_a_changed_template_changes_the_version_of_what_reads_it(tmp_path, monkeypatch):
    for name, text in {"page": "from whyrobust.report import templating\n", "report/templating": "", "b": ""}.items():
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    style = tmp_path / "report" / "templates" / "vendor" / "report.css"
    style.parent.mkdir(parents=True)
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)
    versions = []
    for text in ("a {}", "b {}"):
        style.write_text(text)
        code_version.imported_modules.cache_clear()
        versions.append([code_version.code_version([name]) for name in ("page", "b")])
    code_version.imported_modules.cache_clear()
    (page, other), (page_after, other_after) = versions
    assert page != page_after and other == other_after


def test_scripts_name_their_modules_and_training_needs_no_report(root):
    scripts = root / "workflow" / "scripts"
    assert "training.job" in code_version.script_modules(scripts / "train_run.py")
    assert "report.page" in code_version.script_modules(scripts / "write_report.py")
    for module in ("training.loop", "evaluation.embed", "evaluation.scoring"):
        text = code_version.module_file(module).read_text(encoding="utf-8")
        assert "snakemake" not in text and "altair" not in text and "resvg" not in text


def test_an_absent_package_is_reported():
    assert code_version.package_versions(["numpy", "no-such-package"])["no-such-package"] == "not installed"
