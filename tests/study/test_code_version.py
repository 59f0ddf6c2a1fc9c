"""A change in a module changes the version of the stages that use it, and of no other."""

import ast
import os
import sys
from collections import Counter

import pytest

from whyrobust.study import code_version
from whyrobust.study.kept_answers import KeptAnswers

CODE = "def f(x, *, a, b=1):\n    return {**x, 'b': (a, b, None)}\n"


REMEMBERED = (
    "read_code",
    "source_of",
    "import_statements",
    "imported_modules",
    "module_file",
    "_is_module",
    "_files_of",
)


def forget():
    """Forget all that was read, as the next start of Snakemake does, which keeps the file of answers alone."""
    for name in REMEMBERED:
        getattr(code_version, name).cache_clear()


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that begins the next start of Snakemake, which finds what the one before has kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def begin():
        code_version.KEPT.save()
        forget()
        monkeypatch.setattr(code_version, "KEPT", KeptAnswers(tmp_path / "kept.json", "as it is"))

    monkeypatch.setattr(code_version, "KEPT", KeptAnswers(tmp_path / "kept.json", "as it is"))
    forget()
    yield begin
    forget()


@pytest.fixture
def parsed(monkeypatch):
    """Return how often each source was parsed."""
    parse, counted = ast.parse, Counter()
    monkeypatch.setattr(code_version.ast, "parse", lambda source: counted.update([source]) or parse(source))
    return counted


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


def test_code_version_follows_imports(tmp_path, monkeypatch, start):
    for name, text in {"a": "from whyrobust.b import x\n", "b": "x = 1\n", "c": "y = 1\n"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)

    def versions():
        start()
        return {name: code_version.code_version([name]) for name in "abc"}

    before = versions()
    (tmp_path / "b.py").write_text("x = 1  # why\n")
    assert versions() == before
    (tmp_path / "b.py").write_text("x = 2\n")
    after = versions()
    assert before["a"] != after["a"] and before["b"] != after["b"] and before["c"] == after["c"]
    (tmp_path / "b.py").write_text("from whyrobust.c import y\nx = 2\n")
    with_c = versions()
    (tmp_path / "c.py").write_text("y = 2\n")
    assert len({v["a"] for v in (before, after, with_c, versions())}) == 4


def test_a_change_that_leaves_size_and_time_of_a_module_is_noticed(tmp_path, monkeypatch, start):
    """As ``git checkout`` with restored times, or a copy that keeps them, may do."""
    module = tmp_path / "a.py"
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)
    versions = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        module.write_text(text)
        os.utime(module, (1, 1))
        start()
        versions.append(code_version.code_version(["a"]))
    assert versions[0] != versions[1] and versions[0] == versions[2]


def test_what_a_start_kept_is_what_the_next_would_find_without_parsing(root, start, parsed):
    scripts = sorted((root / "workflow" / "scripts").glob("*.py"))

    def versions():
        start()
        return [(code_version.code_version(code_version.script_modules(s), s), code_version.environment_version(s))
                for s in scripts]  # fmt: skip

    anew = versions()
    assert parsed
    parsed.clear()
    assert versions() == anew and not parsed


def test_a_changed_template_changes_the_version_of_what_reads_it(tmp_path, monkeypatch, start):
    for name, text in {"page": "from whyrobust.report import templating\n", "report/templating": "", "b": ""}.items():
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    style = tmp_path / "report" / "templates" / "vendor" / "report.css"
    style.parent.mkdir(parents=True)
    monkeypatch.setattr(code_version, "PACKAGE_FOLDER", tmp_path)
    versions = []
    for text in ("a {}", "b {}"):
        style.write_text(text)
        start()
        versions.append([code_version.code_version([name]) for name in ("page", "b")])
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


def test_a_script_counts_with_its_modules(tmp_path, start):
    script = tmp_path / "stage.py"
    versions = []
    for text in ("import whyrobust.files\n", "import whyrobust.files\nx = 1\n"):
        script.write_text(text)
        start()
        versions.append(code_version.code_version(["files"], script))
    assert len({*versions, code_version.code_version(["files"])}) == 3


def test_an_absent_package_is_reported():
    assert code_version.package_versions(["numpy", "no-such-package"])["no-such-package"] == "not installed"


def test_a_module_that_many_stages_use_is_parsed_once(root, start, parsed):
    """Neither for each stage, nor once for its imports and once for its text: every start of Snakemake waits for it."""
    for name in ("train_run", "embed_test_sets"):
        script = root / "workflow" / "scripts" / f"{name}.py"
        code_version.code_version(code_version.script_modules(script), script)
    assert len(parsed) > 10 and set(parsed.values()) == {1}
