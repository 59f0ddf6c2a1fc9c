"""Checks of settings against their types: `read_settings` returns typed settings or one line that names a key.

Pydantic finds what is wrong; the messages are made here, from the same types (`setting_types`) that docs/config.md is
made from: the key, the value found and what is allowed.
"""

from __future__ import annotations

import math
import types
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from whyrobust.study.setting_types import Allowed, Built, Items, NotNull, OfKind, OneOrMore, adapter_of
from whyrobust.study.table_cells import SHOWN_CHARACTERS, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

S = TypeVar("S")
Path = tuple[str | int, ...]

#: Largest whole number that every program which reads a table keeps as it is.
LARGEST_NUMBER = 2**53
WORDS_OF_TYPE = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null",
                 dict: "a mapping", tuple: "a list"}  # fmt: skip


class ConfigError(ValueError):
    """A config that cannot be carried out; the message is one line."""


def spell_key(path: Sequence[str | int]) -> str:
    """Return the path of a setting as messages write it: ``runs[0].source``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "the config"


def key_of(field: Field[Any]) -> str:
    """Return the key of a field in the config: its name, but where that is a word of Python's."""
    return str(field.metadata.get("alias", field.name))


def keys_of(settings: type[Any]) -> dict[str, tuple[Field[Any], Any]]:
    """Return the fields of a class of settings and their types by key."""
    hints = get_type_hints(settings, include_extras=True)
    return {key_of(field): (field, hints[field.name]) for field in fields(settings)}


def is_needed(field: Field[Any]) -> bool:
    """Tell whether a setting has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def concrete_types(hint: Any) -> Iterator[Any]:  # noqa: ANN401 - a type
    """Yield the types that a value may be of, without what limits them."""
    if get_origin(hint) is Annotated:
        base, *metadata = get_args(hint)
        of_kind = next((part.classes() for part in metadata if isinstance(part, OfKind)), None)
        if of_kind is not None:
            yield from of_kind.values()
        else:
            yield from concrete_types(next((part.make() for part in metadata if isinstance(part, Built)), base))
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from concrete_types(part)
    else:
        yield hint


def allowed_words(hint: Any) -> str:  # noqa: ANN401 - a type
    """Return in words what values a type allows: ``a whole number, at least 1``."""
    metadata: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        metadata += more
        hint = next((part.make() for part in more if isinstance(part, Built)), hint)
    origin = get_origin(hint)
    if origin is Literal:
        values = get_args(hint)
        return "true" if values == (True,) else "one of " + ", ".join(str(value) or "''" for value in values)
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None) or not any_of(metadata, NotNull)]
        return ", or ".join(dict.fromkeys(allowed_words(part) for part in parts))
    limits = [word for part in metadata if isinstance(part, Allowed | Items) for word in part.words()]
    entries = [allowed_words(part) for part in get_args(hint) if part is not ...]
    if origin is tuple:
        if any_of(metadata, OneOrMore):
            return f"{entries[0]}, or a list of such values"
        limits.append(f"of ({entries[0]})")
    if origin is dict:
        limits.append(f"from ({entries[0]}) to ({entries[1]})")
    return ", ".join([WORDS_OF_TYPE.get(origin or hint, "a mapping"), *limits])


def any_of(metadata: Sequence[object], kind: type[object]) -> bool:
    """Tell whether one of the values is of a class."""
    return any(isinstance(part, kind) for part in metadata)


def _kinds_of(hint: Any) -> Mapping[str, type[Any]]:  # noqa: ANN401 - a type
    """Return the classes of settings by kind where the key ``kind`` decides between several; nothing elsewhere."""
    marker = _of_kind(hint)
    return marker.classes() if marker else {}


def _of_kind(hint: Any) -> OfKind | None:  # noqa: ANN401 - a type
    metadata = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((part for part in metadata if isinstance(part, OfKind)), None)


def _class_at(hint: Any, value: object) -> Any:  # noqa: ANN401 - types
    """Return the class of settings that a mapping is checked against, None if there is none."""
    if kinds := _kinds_of(hint):
        kind = value.get("kind") if isinstance(value, Mapping) else None
        return kinds.get(kind) if isinstance(kind, str) else None
    return next((part for part in concrete_types(hint) if is_dataclass(part)), None)


def _type_at(hint: Any, path: Path, value: object) -> Any:  # noqa: ANN401 - types
    """Return the type of the setting at a path, None if there is none."""
    for part in path:
        settings = _class_at(hint, value)
        if settings is not None:
            found = keys_of(settings).get(str(part))
            if found is None:
                return None
            hint = found[1]
        else:
            holders = [kind for kind in concrete_types(hint) if get_origin(kind) in (dict, tuple)]
            if not holders:
                return None
            hint = get_args(holders[0])[1 if get_origin(holders[0]) is dict else 0]
        value = _value_at(value, (part,))
    return hint


def _value_at(value: Any, path: Path) -> Any:  # noqa: ANN401 - a value of a config
    for part in path:
        held = value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list) else {}
        value = held.get(part)
    return value


def _path_of(error: ErrorDetails, given: object) -> Path:
    """Return the path of an error in the config as written: pydantic's path has alternatives of a type in it too."""
    path: list[str | int] = []
    for part in error["loc"]:
        parent = _value_at(given, tuple(path))
        if (isinstance(parent, Mapping) and part in parent) or (
            isinstance(parent, list) and isinstance(part, int) and part < len(parent)
        ):
            path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def read_settings(settings: type[S], given: Mapping[str, Any]) -> S:
    """Return what a config says as a class of settings.

    Raises:
        ConfigError: the problem that is highest up, as one line.
    """
    from pydantic import ValidationError

    check_values(given)
    whole: Any = settings
    try:
        read: S = adapter_of(whole).validate_python(dict(given))
    except ValidationError as error:
        # Pydantic calls a list too short as well where a wrong entry is all it has.
        found = [
            (_path_of(each, given), each)
            for each in error.errors(include_url=False)
            if each["type"] != "too_short" or len(each["input"]) < each["ctx"]["min_length"]
        ]
        path, first = min(found, key=lambda entry: (len(entry[0]), entry[1]["type"] != "missing", str(entry[0])))
        raise ConfigError(_explain(path, first, settings, given)) from error
    return read


def _explain(path: Path, error: ErrorDetails, settings: type[Any], given: Mapping[str, Any]) -> str:
    """Return an error of pydantic's as one line."""
    value = _value_at(given, path)
    hint = _type_at(settings, path, given)
    parent = _value_at(given, path[:-1])
    kind = f"kind '{parent['kind']}'" if isinstance(parent, Mapping) and isinstance(parent.get("kind"), str) else ""
    key = f"config key {spell_key(path)}"
    if error["type"] == "missing":
        return f"{key} is missing: " + (f"{kind} needs it, {allowed_words(hint)}" if kind else _give(hint))
    if error["type"] == "value_error" and (kinds := _kinds_of(hint)) and _class_at(hint, value) is None:
        if not isinstance(value, Mapping):
            return f"{key} is {shown(value)}: allowed is a mapping"
        marker, named_kind = _of_kind(hint), value.get("kind")
        if marker and isinstance(named_kind, str) and named_kind in marker.refused:
            return f"{key}.kind is {shown(named_kind)}: {marker.refused[named_kind]}"
        named = f"is {shown(value['kind'])}: allowed is" if "kind" in value else "is missing: give"
        return f"{key}.kind {named} one of {', '.join(kinds)}"
    if error["type"] in ("unexpected_keyword_argument", "invalid_key"):
        owner = _class_at(_type_at(settings, path[:-1], given), parent)
        known = ", ".join(keys_of(owner)) if owner is not None else ""
        return f"{key} is not known{' for ' * bool(kind)}{kind}: allowed here are {known}"
    if error["loc"][-1] == "[key]":
        names = next(part for part in concrete_types(_type_at(settings, path[:-1], given)) if get_origin(part) is dict)
        allowed = allowed_words(get_args(names)[0])
        return f"config key {spell_key(path[:-1])} has an entry named {shown(path[-1])}: allowed is {allowed}"
    if error["type"] == "value_error" and is_dataclass(_class_at(hint, value)):
        return f"{key}{error['ctx']['error']}"
    return f"{key} is {shown(value)}: allowed is {allowed_words(hint)}{_as_number(value, hint)}"


def _as_number(value: object, hint: Any) -> str:  # noqa: ANN401 - a type
    """Say how to write a number that YAML takes for text, as it does 1e-3; nothing where it is none."""
    wanted = {int, float}.intersection(concrete_types(hint))
    try:
        number = float(value) if isinstance(value, str) and wanted else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number) or (float not in wanted and not number.is_integer()):
        return ""
    # YAML 1.1 asks for a point in a number with an exponent, and for a sign of the exponent, which `repr` writes.
    mantissa, mark, exponent = repr(number).partition("e")
    written = f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{mark}{exponent}"
    return f"; YAML takes this for text: write {written if float in wanted else int(number)}"


def _give(hint: Any) -> str:  # noqa: ANN401 - a type
    return f"give {allowed_words(hint)}"


def _values(node: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every value in a config, keys included, with its path."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield path, name
            yield from _values(value, (*path, name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _values(value, (*path, number))
    else:
        yield path, node


def check_values(config: Mapping[str, Any]) -> None:
    """Check that a config can be stored: text without line breaks and control characters, numbers of a usual size.

    Raises:
        ConfigError: the first value that cannot be, as one line.
    """
    for path, value in _values(config):
        key = f"config key {ascii(spell_key(path))[1:-1]}"
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise ConfigError(
                f"{key} is a number of {len(f'{abs(value):x}')} hexadecimal digits: allowed are numbers "
                f"up to {LARGEST_NUMBER}"
            )
        if not isinstance(value, str) or value.isprintable():
            continue
        if any(unicodedata.category(mark) in ("Cc", "Cs", "Zl", "Zp") for mark in value):
            raise ConfigError(
                f"{key} has {value[:SHOWN_CHARACTERS]!a}: allowed is text without line breaks and control characters"
            )
