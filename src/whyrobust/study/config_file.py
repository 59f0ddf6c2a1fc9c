"""A config file as text, before anything of it is believed: what YAML would run, drop or repeat without end.

Snakemake reads a config before the workflow does, and runs Python that it holds where it says ``__use_yte__``: a config
is trusted like code. `tools.check_config` reads one without Snakemake.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whyrobust.study.setting_checks import ConfigError, spell_key

if TYPE_CHECKING:
    import yaml

#: The key by which a config asks Snakemake to run the Python in it.
RUNS_PYTHON = "__use_yte__"

#: Values that a config may have once its anchors are written out: a hundred times those of the longest one here.
MOST_VALUES = 100_000


def check_config_file(path: Path | str) -> None:
    """Check a config file without reading values: there, text in UTF-8, one YAML mapping of finite size, each key once.

    YAML would keep the last of two equal keys and drop the others without a word.

    Raises:
        ConfigError: it is not, or it would run Python; one line with the key and its line.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        whole = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(whole, yaml.MappingNode):
            raise ConfigError(f"{path} is no config: give keys and values, as config.yaml does")
        _check_node(whole, (), str(path), {}, set())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file: name the config of a study") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 ({error}): save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())}): correct it") from error
    except RecursionError as error:
        raise ConfigError(f"{path} holds lists in lists without end: write it as config.yaml is written") from error


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Return what a config file says, as YAML reads it.

    Raises:
        ConfigError: see `check_config_file`.
    """
    import yaml

    check_config_file(path)
    try:
        given: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())}): correct it") from error
    return given


def _check_node(
    node: yaml.Node, place: tuple[str | int, ...], path: str, sizes: dict[int, int], above: set[int]
) -> int:
    """Return how many values a node holds with its anchors written out; each node is looked at once.

    Args:
        node: of the config.
        place: its path in the config.
        path: of the file.
        sizes: values of the nodes that were looked at before, by their ids.
        above: ids of the nodes that hold this one.

    Raises:
        ConfigError: it holds itself or too much, a key comes twice, or a key would run Python.
    """
    line, key = node.start_mark.line + 1, f"config key {spell_key(place)} in {path}"
    if id(node) in above:
        raise ConfigError(f"{key} holds itself (the anchor of line {line}): remove it")
    if id(node) not in sizes:
        _check_keys(node, place, path)
        parts = (_check_node(part, at, path, sizes, above | {id(node)}) for at, part in _parts(node, place))
        sizes[id(node)] = 1 + sum(parts)
        if sizes[id(node)] > MOST_VALUES:
            raise ConfigError(
                f"{key}, line {line}, holds more than {MOST_VALUES:,} values with its anchors written out: write fewer"
            )
    return sizes[id(node)]


def _parts(node: yaml.Node, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], yaml.Node]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield (*place, str(name.value)), value
            if not isinstance(name, yaml.ScalarNode):
                yield (*place, "a key"), name
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*place, number), value


def _check_keys(node: yaml.Node, place: tuple[str | int, ...], path: str) -> None:
    import yaml

    lines: dict[str, int] = {}
    for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(name, yaml.ScalarNode):
            continue
        key, line = str(name.value), name.start_mark.line + 1
        if key == RUNS_PYTHON:
            raise ConfigError(
                f"config key {spell_key([*place, key])} in {path}, line {line}, lets Snakemake run Python that the "
                "config holds: remove it and write the values"
            )
        if key in lines:
            both = f"{lines[key]} and {line}"
            raise ConfigError(f"config key {spell_key([*place, key])} comes twice in {path}, in lines {both}: keep one")
        lines[key] = line
