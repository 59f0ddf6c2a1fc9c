"""A change in a module changes the version of the stages that use it, and of no other."""

import ast
from collections import Counter

import pytest

from whyrobust.study import code_version

CODE = "def f(x, *, a, b=1):\n    return {**x, 'b': (a, b, None)}\n"


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n" + CODE,
        '"""A docstring."""\n' + CODE,
        CODE.replace("    return", "    'A docstring.'\n    return"),
        CODE.replace("(a, b, None)", "(a,\n  b, None)  # why\n"),
        CODE.replace("'b'", '"b"'),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(same):
    assert code_version.read_code(same.encode()).text == code_version.read_code(CODE.encode()).text


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("b=1", "b=2"),
        CODE.replace("a, b=1", "a=1, b"),
        CODE.replace("**x, 'b': (a, b, None)", "'b': x, **(a, b, None)"),
        CODE.replace("None", "''"),
        CODE.replace("'b'", "b'b'"),
        CODE.replace("return", "yield"),
        CODE + "f('A docstring.')\n",
    ],
)
def test_another_order_value_or_statement_is_other_code(other):
    assert code_version.read_code(other.encode()).text != code_version.read_code(CODE.encode()).text


def test_code_version_follows_imports(tmp_path, monkeypatch):
    for name, text in {"a": "from whyrobust.b import x\n", "b": "x = 1\n", "c": "y = 1\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)

    def versions():
        code_version.imported_modules.cache_clear()
        return {name: code_version.code_version([name]) for name in "abc"}

    before = versions()
    (tmp_path / "b.py").write_text("x = 1  # why\n")
    assert versions() == before
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


def test_what_changes_no_weights_is_no_part_of_training_and_what_does_is(root):
    scripts = root / "workflow" / "scripts"
    modules = code_version.all_modules(code_version.script_modules(scripts / "train_run.py"))
    assert {"training.loop", "training.checkpoints", "data.photo_store", "files"} <= set(modules)
    assert not {"logs", "training.gpu_locks", "data.worker_pool", "data.fingerprints"} & set(modules)
    for script in ("train_run", "embed_test_sets"):  # the tokenizer
        assert {"ftfy", "regex", "open_clip_torch", "torch"} <= set(
            code_version.script_versions(scripts / f"{script}.py")
        )
    assert "regex" not in code_version.script_versions(scripts / "score_heads.py")


def test_a_script_counts_with_its_modules(tmp_path):
    script = tmp_path / "stage.py"
    versions = []
    for text in ("import whyrobust.files\n", "import whyrobust.files\nx = 1\n"):
        script.write_text(text)
        versions.append(code_version.code_version(["files"], script))
    assert len({*versions, code_version.code_version(["files"])}) == 3


def test_an_absent_package_is_reported():
    assert code_version.package_versions(["numpy", "no-such-package"])["no-such-package"] == "not installed"


def test_a_module_that_many_stages_use_is_parsed_once(root, monkeypatch):
    """Neither for each stage, nor once for its imports and once for its text: every start of Snakemake waits for it."""
    for kept in (code_version.read_code, code_version.import_statements, code_version.imported_modules):
        kept.cache_clear()
    parse, parsed = ast.parse, Counter()
    monkeypatch.setattr(code_version.ast, "parse", lambda source: parsed.update([source]) or parse(source))
    for name in ("train_run", "embed_test_sets"):
        script = root / "workflow" / "scripts" / f"{name}.py"
        code_version.code_version(code_version.script_modules(script), script)
    assert len(parsed) > 10 and set(parsed.values()) == {1}
