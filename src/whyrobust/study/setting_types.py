"""Types of settings: what a value of the config may be, in a form that checks, messages and docs share.

A setting is a field of a frozen dataclass with one of these types, its default, and its description as the text below
it. Pydantic reads the types when a config is checked (`whyrobust.study.setting_checks`); nothing here imports it, so
that a job which only holds settings starts without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

T = TypeVar("T")

#: Limits of a value in words.
LIMIT_WORDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}", "pattern": "matching {}",
               "min_length": "not empty", "max_length": "at most {} characters"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all classes of settings share: a key that is no field is an error."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


class Allowed:
    """What a text, number or truth value may be; values are never converted: 300.0 is no whole number, true no number.

    Args:
        is_input: whether it names a file or folder that the study reads.
        limits: of pydantic: ``ge`` (at least), ``gt`` (above), ``le`` (at most), ``lt`` (below), ``pattern`` (a regular
            expression that a text matches), ``min_length`` and ``max_length`` (characters of a text).
    """

    def __init__(self, is_input: bool = False, **limits: Any) -> None:  # noqa: ANN401 - numbers and a text
        self.is_input, self.limits = is_input, limits

    def __get_pydantic_core_schema__(self, source: type, handler: Callable[[type], dict[str, Any]]) -> dict[str, Any]:
        """Return pydantic's schema of the type with these limits, strict and without NaN and infinity."""
        finite = {"allow_inf_nan": False} if source is float else {}
        schema = handler(source) | {"strict": True} | finite | self.limits
        if not self.is_input:
            return schema
        # A home folder, ~, is meant as in a shell.
        expand = {"type": "no-info", "function": os.path.expanduser}
        return {"type": "function-after", "function": expand, "schema": schema}

    def words(self) -> list[str]:
        """Return each limit in words."""
        return [LIMIT_WORDS[name].format(limit) for name, limit in self.limits.items()]


class Items:
    """What a list or mapping may hold, besides the type of its entries."""

    def __init__(self, min_length: int = 1, unique: bool = False) -> None:
        self.min_length, self.unique = min_length, unique

    def __get_pydantic_core_schema__(self, source: type, handler: Callable[[type], dict[str, Any]]) -> dict[str, Any]:
        """Return pydantic's schema of the list or mapping with these limits."""
        schema = handler(source) | {"min_length": self.min_length}
        if not self.unique:
            return schema
        return {"type": "function-after", "function": {"type": "no-info", "function": _each_once}, "schema": schema}

    def words(self) -> list[str]:
        """Return each limit in words."""
        entries = f"with {self.min_length} {'entry' if self.min_length == 1 else 'entries'} or more"
        return [entries, *(["each value once"] if self.unique else [])]


def _each_once(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value comes twice")
    return values


class OneOrMore:
    """Lets a list of one value be written without brackets: the value is always a tuple."""

    def __get_pydantic_core_schema__(self, source: type, handler: Callable[[type], dict[str, Any]]) -> dict[str, Any]:
        """Return pydantic's schema of a tuple that puts a single value in brackets first."""
        return {
            "type": "function-before",
            "function": {"type": "no-info", "function": _in_brackets},
            "schema": handler(source),
        }


def _in_brackets(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class NotNull:
    """Lets a setting be left out, which makes it None, without `null` being a value that may be written."""

    def __get_pydantic_core_schema__(self, source: type, handler: Callable[[type], dict[str, Any]]) -> dict[str, Any]:
        """Return pydantic's schema of the type without None."""
        schema: dict[str, Any] = handler(source)["schema"]
        return schema


class Built:
    """Placeholder for a type that is made from a table in code when a config is checked: tests may add rows before."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __get_pydantic_core_schema__(self, _source: type, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """Return pydantic's schema of the type that the table makes."""
        schema: dict[str, Any] = handler.generate_schema(self.make())
        return schema


class OfKind:
    """Placeholder for one of several classes of settings, the one that the key ``kind`` names.

    Pydantic's schema of a class is built when the first config uses it: a start of the workflow needs few of them.

    Args:
        classes: returns the classes by kind.
        refused: kind that one might ask for -> why it is none of them.
    """

    def __init__(
        self, classes: Callable[[], Mapping[str, type[Settings]]], refused: Mapping[str, str] | None = None
    ) -> None:
        self.classes, self.refused = classes, refused or {}

    def __get_pydantic_core_schema__(self, _source: type, _handler: object) -> dict[str, Any]:
        """Return pydantic's schema of a value that `check` checks."""
        return {"type": "function-plain", "function": {"type": "no-info", "function": self.check}}

    def check(self, value: object) -> Settings:
        """Return a mapping as the class of its kind.

        Raises:
            ValueError: it is no mapping, names no kind that is known, or pydantic finds something wrong in it.
        """
        kind = value.get("kind") if isinstance(value, Mapping) else None
        if not isinstance(kind, str) or kind not in self.classes():
            raise ValueError("it names no kind that is known")
        chosen: Any = self.classes()[kind]
        settings: Settings = adapter_of(chosen).validate_python(value)
        return settings


@cache
def adapter_of(settings: Any) -> Any:  # noqa: ANN401 - pydantic is imported where a config is checked
    """Return pydantic's adapter of a class of settings."""
    from pydantic import TypeAdapter

    return TypeAdapter(settings)


#: A setting that may be left out.
LeftOut = Annotated[T | None, NotNull()]
#: A value or a list of values, each once.
OneOrMany = Annotated[tuple[T, ...], Items(unique=True), OneOrMore()]
#: A list with an entry or more.
Listed = Annotated[tuple[T, ...], Items()]
#: A list with an entry or more, each once.
ListedOnce = Annotated[tuple[T, ...], Items(unique=True)]

NAME_PATTERN = "^[a-z][a-z0-9_]*$"

Flag = Annotated[bool, Allowed()]
Text = Annotated[str, Allowed(min_length=1)]
#: A name that the user gives; it becomes part of file names.
Name = Annotated[str, Allowed(pattern=NAME_PATTERN, max_length=100)]
NameOrNone = Annotated[str, Allowed(pattern=f"^({NAME_PATTERN.strip('^$')})?$")]
#: A sentence with {class} where the class name goes.
Sentence = Annotated[str, Allowed(pattern=r"\{class\}")]
#: A colour that all programs name alike.
Colour = Annotated[str, Allowed(pattern="^(white|black|#[0-9a-f]{6})$")]
#: A file or folder that the study reads.
InputPath = Annotated[str, Allowed(min_length=1, is_input=True)]

Count = Annotated[int, Allowed(ge=1)]
Seed = Annotated[int, Allowed(ge=0, le=2**32 - 1)]
#: A share of something, from none to all of it.
Share = Annotated[float, Allowed(ge=0, le=1)]
PositiveShare = Annotated[float, Allowed(gt=0, le=1)]
#: Strictly between none and all.
InnerShare = Annotated[float, Allowed(gt=0, lt=1)]
Similarity = Annotated[float, Allowed(ge=0.5, le=1)]


def plain_values(settings: Settings, names: list[str] | None = None) -> dict[str, Any]:
    """Return settings as plain values, for a rule's params: those that are None are left out, tuples are lists.

    Args:
        settings: the settings.
        names: of the fields wanted; all if left out.
    """
    listed = names if names is not None else [field.name for field in fields(settings)]
    values = {name: getattr(settings, name) for name in listed}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a value of a config
    if isinstance(value, Settings):
        return plain_values(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def chosen_values(settings: Settings) -> dict[str, Any]:
    """Return what a grid or a condition names: a value alone as itself, several as a list."""
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value
        for name, value in plain_values(settings).items()
    }
