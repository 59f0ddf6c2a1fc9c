"""The size and shape of the package: what keeps it easy to enter. Its layers are checked by ``lint-imports``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG_FILES

MOST_LINES_OF_A_MODULE = 500
MOST_LINES_OF_A_FUNCTION = 80
ROOMS = ("study", "terminal", "data", "training", "evaluation", "analysis", "report")


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_is_longer_than_500_lines(root):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "src").rglob("*.py")}
    assert len(lengths) > 60
    assert {path.name: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_MODULE} == {}


def test_no_function_has_more_than_80_lines_of_code(root):
    found = {
        f"{path.name}: {function.name}": code_lines(function)
        for folder in ("src", "tools", "workflow/scripts")
        for path in (root / folder).rglob("*.py")
        for function in functions(path.read_text(encoding="utf-8"))
    }
    assert {name: lines for name, lines in found.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_lines_of_code_leave_out_the_docstring():
    source = 'def f():\n    """One\n    two."""\n    x = 1\n\n    return x\n'
    assert [code_lines(function) for function in functions(source)] == [3]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_holds_and_in_what_order_to_read_it(root, room):
    """Every module of a room is named in its ``__init__.py``, which holds nothing but this docstring."""
    folder = root / "src" / "whyrobust" / room
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    described = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert {name for name in modules - {"__init__", room} if name not in described} == set()


def test_common_smk_holds_adapters_only(root):
    text = (root / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200


def test_a_script_unpacks_and_calls(root: Path):
    """No script defines a function or class that a test of the package could not reach."""
    for path in sorted((root / "workflow" / "scripts").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert defined == [], path.name


def test_the_files_of_tests_that_are_run_first_exist(root):
    assert [name for name in LONG_FILES if not (root / "tests" / name).is_file()] == []
