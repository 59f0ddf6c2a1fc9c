"""Write the parts of the docs that a table in code feeds: `python -m tools.write_docs`.

docs/config.md is made from the types of `whyrobust.study.config` as a whole. In other files the tool fills what stands
between ``<!-- made by python -m tools.write_docs: NAME -->`` and ``<!-- end -->``; `TABLES` has the names.
"""

from __future__ import annotations

import ast
import csv
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml

from whyrobust.files import write_text
from whyrobust.study.caption_variants import CAPTION_VARIANTS
from whyrobust.study.config import Condition, Config, RunCondition, Training, load_config
from whyrobust.study.config_file import read_config_file
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.dataset_settings import IconTestSet, PhotoSource, PhotoTestSet, TestSet
from whyrobust.study.heads_table import HEADS
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.setting_checks import allowed_words, concrete_types, is_needed, keys_of
from whyrobust.study.setting_types import NotNull, OfKind, Settings
from whyrobust.study.stages import STAGES

ROOT = Path(__file__).parent.parent
CONFIG_PAGE = ROOT / "docs" / "config.md"

#: Written by `tools.search_hyperparameters`.
SEARCH = ROOT / "docs" / "results" / "hyperparameters.csv"
MARKER = re.compile(r"(<!-- made by python -m tools\.write_docs: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

HEAD = """# Config keys

Made from the types in `src/whyrobust/study/` by `python -m tools.write_docs`. Unknown keys are errors. A key with a
default may be left out; "left out" means that it then has no value. `config.yaml` has each key of the icons study with
a comment. Memory, run time, GPUs and the like are no part of a config but resources of the rules:
[cluster.md](cluster.md).

"""

CONDITIONS = """
## Conditions

`from`, `to` and `where` of a comparison name fields of a run or of its head, each with the value or the list of values
asked for. `standard`, and `where` of heads, name fields of a run: all but `head`, `prompts` and `fitted_on`.

"""
SOURCES = """
## Data sets

Besides the keys of its kind, every training source has these; `needs` is for sources of photographs:

"""
TEST_SETS = """
Every test set has these; `pose` is for test sets of icons, `expected_images` and `allow_short` for those of
photographs:

"""
KINDS = """
The kinds:

"""


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table.

    Raises:
        ValueError: a cell is empty.
    """
    names = list(columns)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        if not all(cell.strip() for cell in cells):
            raise ValueError(f"a cell of the row {cells} is empty: write what belongs there")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def field_descriptions(settings: type[Any]) -> dict[str, str]:
    """Return the text below each field of a class of settings and of its bases, by field."""
    found: dict[str, str] = {}
    for owner in reversed(settings.__mro__):
        if owner.__module__ in ("builtins", "types") or not is_dataclass(owner):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        for statement, below in itertools.pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = (
                    below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
                )
                found[statement.target.id] = " ".join(str(text).split())
    return found


def default_words(field: Field[Any], hint: Any) -> str:  # noqa: ANN401 - a type
    """Return in words what a setting is where it is left out."""
    if is_needed(field):
        return "needed"
    value = field.default_factory() if callable(field.default_factory) else field.default
    if value is None:
        may_be_null = not any(isinstance(part, NotNull) for part in get_args(hint)[1:])
        return "`null`" if may_be_null and get_origin(hint) is not Annotated else "left out"
    if isinstance(value, Settings):
        return "nothing named" if isinstance(value, RunCondition) else "those of its keys"
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, dict):
        plain = {name: list(entry) if isinstance(entry, tuple) else entry for name, entry in plain.items()}
    written = yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return f"`{written}`"


def rows_of_keys(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, meaning, allowed values and default of each setting of a class, and of the classes in it."""
    described = field_descriptions(settings)
    for key, (field, hint) in keys_of(settings).items():
        what = described.get(field.name) or _what_of_objective(key)
        yield f"`{prefix}{key}`", what, allowed_words(hint), default_words(field, hint)
        yield from _rows_below(hint, f"{prefix}{key}")


def _rows_below(hint: Any, key: str) -> Iterator[tuple[str, str, str, str]]:  # noqa: ANN401 - a type
    if any(isinstance(part, OfKind) for part in get_args(hint)[1:]):  # a section of its own
        return
    for kind in concrete_types(hint):
        if is_dataclass(kind) and isinstance(kind, type):
            if not issubclass(kind, RunCondition):
                yield from rows_of_keys(kind, f"{key}.")
        elif get_origin(kind) is dict:
            yield from _rows_below(get_args(kind)[1], f"{key}.<name>")
        elif get_origin(kind) is tuple:
            yield from _rows_below(get_args(kind)[0], f"{key}[]")


def _what_of_objective(key: str) -> str:
    objective = OBJECTIVES[key]
    return f"How runs of {objective.label} are trained ({objective.source})."


def key_table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    """Return a table of keys."""
    return table(("key", "what", "allowed", "default"), rows)


def own_keys(settings: type[Any], besides: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the keys that a class has besides those of another."""
    common = {row[0] for row in rows_of_keys(besides)}
    return (row for row in rows_of_keys(settings) if row[0] not in common)


def data_kinds_table() -> str:
    """Return the table of kinds of data sets."""
    rows = [
        (f"`{kind.name}`", kind.label,
         " and ".join(["sources"] * kind.source + ["test sets"] * kind.test_set))
        for kind in DATA_KINDS.values()
    ]  # fmt: skip
    return table(("kind", "what", "for"), rows)


def objectives_table() -> str:
    """Return the table of training objectives."""
    rows = [
        (f"`{objective.name}`", objective.label, objective.supervision, HEADS[objective.main_head].label,
         objective.source)
        for objective in OBJECTIVES.values()
    ]  # fmt: skip
    return table(("objective", "name", "learns from", "evaluated with", "source"), rows)


def caption_variants_table() -> str:
    """Return the table of caption variants."""
    return table(
        ("variant", "caption of an image"), [(f"`{row.name}`", row.description) for row in CAPTION_VARIANTS.values()]
    )


def heads_table() -> str:
    """Return the table of heads."""
    return table(("head", "what it computes"), [(f"`{head.name}`", head.description) for head in HEADS.values()])


def stages_table() -> str:
    """Return the table of the stages of a study."""
    return table(("stage", "what it does"), [(f"`{stage.name}`", stage.description) for stage in STAGES])


def hyperparameters_table() -> str:
    """Return the trials of the search of hyper-parameters; the best of each objective is bold."""
    with SEARCH.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    sources = [name for name in rows[0] if name.startswith("held_out_") and name != "held_out_accuracy"]
    settings = ["learning_rate", "batch_size", "weight_decay", "optimizer", "plain_share", "flip"]
    columns = [*settings, *sources, "held_out_accuracy", "at_edge"]
    cells = [
        (
            f"`{row['objective']}`",
            *(f"**{row[name]}**" if row["chosen"] == "True" else row[name] for name in columns),
            "yes" if is_in_use(row) else "no",
        )
        for row in rows
    ]
    return table(["objective", *(name.replace("_", " ") for name in columns), "in use"], cells)


def is_in_use(trial: Mapping[str, str]) -> bool:
    """Tell whether a trial of the search has the settings that its objective is trained with in the icons study."""
    name, training = trial["objective"], training_of_icons()
    tuned = name == "fine_tuning"
    settings = training.settings_of("cross_entropy" if tuned else name)
    rate = training.fine_tuning.learning_rate if tuned else settings.learning_rate
    found = (float(trial["learning_rate"]), int(trial["batch_size"]), float(trial["weight_decay"]), trial["optimizer"])
    same = found == (rate, settings.batch_size, settings.weight_decay, settings.optimizer)
    augmentation = (float(trial["plain_share"]), trial["flip"] == "True")
    return same and augmentation == (training.augmentation.plain_share, training.augmentation.flip)


@functools.cache
def training_of_icons() -> Training:
    """Return how the icons study trains."""
    return load_config(read_config_file(ROOT / "config.yaml")).training


TABLES: dict[str, Callable[[], str]] = {
    "hyperparameters": hyperparameters_table,
    "data_kinds": data_kinds_table,
    "objectives": objectives_table,
    "caption_variants": caption_variants_table,
    "heads": heads_table,
    "stages": stages_table,
}


def config_page() -> str:
    """Return docs/config.md."""
    parts = [HEAD, key_table(rows_of_keys(Config))]
    parts += [CONDITIONS, key_table(rows_of_keys(Condition)), SOURCES, key_table(rows_of_keys(PhotoSource)), TEST_SETS]
    parts.append(key_table([*rows_of_keys(IconTestSet), *own_keys(PhotoTestSet, TestSet)]))
    parts += [KINDS, data_kinds_table()]
    for kind in DATA_KINDS.values():
        rows = list(rows_of_keys(kind.settings))
        keys = key_table(rows) if rows else "It has no keys but those of every test set.\n"
        parts += [f"\n### {kind.name}\n\n{capital(kind.label)}.\n\n", keys]
    parts += ["\n## Objectives\n\n", objectives_table(), "\n## Caption variants\n\n", caption_variants_table()]
    parts += ["\n## Heads\n\n", heads_table()]
    return "".join(parts)


def capital(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def filled(text: str) -> str:
    """Return a Markdown text with the tables between its markers made again.

    Raises:
        KeyError: a marker names no table.
    """
    return MARKER.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def pages() -> dict[Path, str]:
    """Return the text that each page of the docs should have."""
    texts = {
        path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    }
    made = {path: filled(text) for path, text in texts.items() if MARKER.search(text)}
    return made | {CONFIG_PAGE: config_page()}


if __name__ == "__main__":
    for page, text in pages().items():
        write_text(page, text)
