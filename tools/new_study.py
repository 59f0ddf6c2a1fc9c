"""Write a config for data of one's own: `make new DATA=folder-or-table NAME=mine`.

    python -m tools.new_study --name mine DATA [DATA ...]

Looks at what is there (class folders, a table, WebDataset shards, Parquet with pictures), asks nothing, and writes
mine.yaml, with a comment on each choice, and mine-classes.csv where no table of classes lies beside the data. Two DATA
are two training sources to compare. What it assumed is printed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tools.look_at_data import TEST_WORDS, TRAINING_WORDS, Found, LookError, config_name, look_at
from tools.picture_losses import MOST_PICTURES, Losses, measure_losses
from whyrobust.files import write_text
from whyrobust.study.class_table import ClassTableError, read_class_names
from whyrobust.study.objectives_table import ImageTextSettings
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study

#: Share of a source that is held out where it has no test set, and of a second part where there is no shift either.
HELD_OUT, PLACEBO = 0.2, 0.1
#: Share of the pictures that seem to be left, of which a sample tells, that are asked for.
USABLE = 0.9
#: Lost pictures of a source that are told of.
TOLD_SHARE = 0.01
#: A class is no name but, for example, an address where there are more.
MOST_CLASSES = 5_000
PASSES, LEAST_SAMPLES, MOST_SAMPLES = 30, 3_000, 60_000


@dataclass(frozen=True)
class Datasets:
    """What is trained and tested on.

    Attributes:
        sources: training sources.
        in_distribution: a test set for each source, or one for all, by the name of its source ("" for all).
        shifts: the other test sets.
        placebo: whether the only shift is none, but a part of the first source.
        classes: what models are to tell apart.
    """

    sources: Sequence[Found]
    in_distribution: Mapping[str, Found]
    shifts: Sequence[Found]
    placebo: bool
    classes: Sequence[str]

    @property
    def templates(self) -> list[str]:
        """Files of prompts that lie beside the data sets, those of sources first."""
        every = [*self.sources, *self.in_distribution.values(), *self.shifts]
        return list(dict.fromkeys(each.templates for each in every if each.templates))


def sort_out(groups: Sequence[tuple[str, Sequence[Found]]], table: Sequence[str]) -> tuple[Datasets, list[str]]:
    """Decide what is trained on and what is tested on.

    Args:
        groups: name of each folder or file that was given, and the data sets that were found in it.
        table: classes of a table that lies beside the data; empty where there is none.

    Returns:
        The data sets, and what was assumed, in sentences.

    Raises:
        LookError: there is nothing to train on or to test with.
    """
    said: list[str] = []
    tests: list[Found] = []
    sources: list[Found] = []
    others: list[Found] = []
    for name, group in groups:
        left = [each for each in group if not each.is_test_set]
        named = [each for each in left if each.words & TRAINING_WORDS]
        chosen = named or sorted(left, key=lambda each: (not each.captions, -each.images))[:1]
        if len(left) > len(chosen):
            rest = ", ".join(each.name for each in left if each not in chosen)
            said.append(f"{chosen[0].name} is trained on; {rest}: shifts")
        prefix = f"{name}_" if len(groups) > 1 and len(group) > 1 else ""
        tests += [replace(each, name=prefix + each.name) for each in group if each.is_test_set]
        others += [replace(each, name=prefix + each.name) for each in left if each not in chosen and each.classes]
        sources += [replace(each, name=name if prefix and len(chosen) == 1 else each.name) for each in chosen]
    sources, tests = _with_own_names(sources), _with_own_names(tests)
    if not sources:
        raise LookError("every data set is named like a test set: give pictures to train on as well")
    classes = _classes_of([*sources, *tests, *others], table, said)
    in_distribution, shifts = _roles_of_tests(tests, sources, said)
    shifts += others
    if not in_distribution:
        unlabelled = [each.name for each in sources if not each.classes]
        if unlabelled:
            raise LookError(
                f"{unlabelled[0]} has no labels (looked for a column, .cls or a key of JSON called class or label), so "
                "that no test set can be held out: give class folders to test with as well, in a folder named test"
            )
        in_distribution = {each.name: _part(each, f"{each.name}_held_out", 0.0, HELD_OUT) for each in sources}
        sources = [_part(each, each.name, HELD_OUT, 1.0) for each in sources]
        of_what = "a test set and the placebo below" if not shifts else "a test set"
        said.append(
            f"a fifth of the pictures of {' and of '.join(in_distribution)} is held out for {of_what}, drawn by name"
        )
    placebo = not shifts
    if placebo:
        source, held_out = next(iter(in_distribution.items()))
        shifts = [_placebo_of(held_out)]
        in_distribution = in_distribution | {source: _first_part(held_out)}
        said.append("no other test set was found: the shift is a placebo, pictures like those of the first test set")
    without = [each.name for each in sources if not each.captions]
    if without:
        said.append(f"no captions were found in {' and in '.join(without)}: CLIP learns from class names in a sentence")
    return Datasets(sources, in_distribution, shifts, placebo, classes), said


def _with_own_names(found: Sequence[Found]) -> list[Found]:
    """Return data sets with a name each: those of equal names are numbered."""
    names = [each.name for each in found]
    return [
        replace(each, name=f"{each.name}_{names[: place + 1].count(each.name)}") if names.count(each.name) > 1 else each
        for place, each in enumerate(found)
    ]


def _classes_of(found: Sequence[Found], table: Sequence[str], said: list[str]) -> list[str]:
    """Return the classes: those of a table, else all labels of all data sets, so that every test image can be scored.

    Raises:
        LookError: there are too few, or too many.
    """
    classes = list(table) or sorted(set().union(*(each.classes for each in found)))
    spelt: dict[str, str] = {}
    for label in classes:
        other = spelt.setdefault(" ".join(label.casefold().split()), label)
        if other != label and not table:
            having = [next(each.name for each in found if name in each.classes) for name in (other, label)]
            raise LookError(
                f"the label '{other}' of {having[0]} and '{label}' of {having[1]} are one class in two spellings, or "
                "two that are called alike: spell them alike, or give them names that differ"
            )
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise LookError(
            f"the data have {len(classes):,} labels, such as {', '.join(classes[:5]) or 'none'}, and 2 to "
            f"{MOST_CLASSES:,} classes are needed: call the column of labels 'class', or put a table of classes, "
            "classes.csv with a column class, beside the data"
        )
    for each in found:
        held = sum(label in each.classes for label in classes)
        if each.classes and held < len(classes):
            said.append(f"{each.name} has pictures of {held} of the {len(classes)} classes")
    return classes


def _roles_of_tests(
    tests: Sequence[Found], sources: Sequence[Found], said: list[str]
) -> tuple[dict[str, Found], list[Found]]:
    """Return the in-distribution test sets by source, and the shifts, of test sets that lie beside the sources.

    Of several sources each has those that are called after it, or none has one.
    """
    beside = {
        each.name if len(sources) > 1 else "": [
            test for test in tests if len(sources) == 1 or test.name.startswith(f"{each.name}_")
        ]
        for each in sources
    }
    if not all(beside.values()):
        return {}, list(tests)
    # test before val, and test before test_other, which holds pictures of another kind.
    chosen = {
        source: min(own, key=lambda each: (len(each.words - TEST_WORDS), "test" not in each.words, each.name))
        for source, own in beside.items()
    }
    said += [f"{test.name} holds pictures like those that are trained on" for test in chosen.values()]
    return chosen, [each for each in tests if each not in chosen.values()]


def _part(found: Found, name: str, start: float, end: float) -> Found:
    """Return the part of a data set, or of a part of one, between two numbers."""
    before = found.settings.get("drawn_between", (0.0, 1.0))
    images = round(found.images * (end - start) / (before[1] - before[0]))
    return replace(found, name=name, settings=dict(found.settings) | {"drawn_between": [start, end]}, images=images)


def _first_part(held_out: Found) -> Found:
    start, end = held_out.settings.get("drawn_between", (0.0, 1.0))
    return _part(held_out, held_out.name, start, (start + end) / 2)


def _placebo_of(held_out: Found) -> Found:
    start, end = held_out.settings.get("drawn_between", (0.0, 1.0))
    part = _part(held_out, "placebo", (start + end) / 2, end)
    says = f"A placebo: pictures like those of {held_out.name}, on which no true effect is to be expected."
    return replace(part, settings=dict(part.settings) | {"says": says})


def sizes_of(datasets: Datasets, losses: Mapping[str, Losses]) -> list[int]:
    """Return the sizes of training sets: doublings up to what every source has, in round numbers.

    Args:
        datasets: the data sets.
        losses: what is lost of each source, where it was measured.

    Raises:
        LookError: there is next to nothing to train on.
    """
    left = {
        each.name: each.images * (losses[each.name].left if each.name in losses else 1.0) for each in datasets.sources
    }
    least = min(left, key=lambda name: left[name])
    most = left[least] * USABLE
    if most < 40:
        raise LookError(f"{least} has about {left[least]:.0f} pictures to train on: 45 are the least")
    shares = (1 / 8, 1 / 4, 1 / 2, 1) if most >= 800 else (1 / 4, 1 / 2, 1)
    return sorted({_round_down(most * share) for share in shares})


def _round_down(number: float) -> int:
    step = 10 ** max(0, len(str(int(number))) - 2)
    return int(number // step * step)


def write_config(name: str, datasets: Datasets, classes: str, sizes: Sequence[int]) -> str:
    """Return the text of the config: each choice with a comment."""
    sources = [each.name for each in datasets.sources]
    labels = all(each.classes for each in datasets.sources)
    caption = "title" if all(each.captions for each in datasets.sources) else "template"
    images = sizes[-1]
    samples = min(MOST_SAMPLES, max(LEAST_SAMPLES, PASSES * images))
    seeds = [0, 1, 2] if images <= 20_000 else [0, 1]
    standard = {"objective": "cross_entropy"} | ({} if labels else {"labels": "text_match"})
    chosen = {"source": sources[0] if len(sources) == 1 else sources}
    fit = "annotated" if labels else "text_match"
    lines = [
        f"# Made by `make new`: look at it, then `make describe CONFIG={name}.yaml`, then run it (docs/own-data.md).",
        f"study: {name}",
        "# Pictures are brought to so many pixels a side: 64 is fast, 224 needs a GPU.",
        f"data: {_flow({'classes': classes, 'image_size': 64})}",
        "sources:  # what models are trained on",
        *(f"  {each.name}: {_flow(each.settings)}  # about {each.images:,} pictures" for each in datasets.sources),
        "test_sets:  # pictures like those of a source, and pictures that differ from them",
        *(
            _test_line(each, "in_distribution", source if len(sources) > 1 else "", ())
            for source, each in datasets.in_distribution.items()
        ),
    ]
    if datasets.placebo:
        lines += [
            "  # PLACEBO: no shift was found. Put other pictures of the classes here; until then, effects are chance,",
            "  # or noise of small test sets (docs/own-data.md), and say nothing of the data.",
        ]
    lines += [_test_line(each, "shift", "", datasets.classes) for each in datasets.shifts]
    if datasets.templates:
        lines.append(
            f"prompts: {_flow({'own': datasets.templates[0]})}  # sentences for class names that came with the pictures"
        )
    lines += [
        "class_weights: equal  # accuracies are means over classes, whatever their proportions",
        f"training: {_flow({'samples_seen': samples} | _small_batches(sizes[-2]))}  # pictures shown to a model, "
        "with repetition",
        f"seeds: {json.dumps(seeds)}  # each run once a seed; five for an answer that you rely on",
        "runs:  # every combination is a model",
        f"  - {_flow(standard | chosen | {'train_images': sizes})}",
        f"  - {_flow({'objective': 'clip', 'caption': caption} | chosen | {'train_images': sizes[-2:]})}",
        "baseline:  # robustness beyond that of these models is effective robustness",
        f"  standard: {_flow(standard)}",
        "causes:",
        "  language_at_training:",
        *_comparison(
            "captions instead of labels" if caption == "title" else "class names in a sentence instead of labels",
            {"objective": "cross_entropy", "labels": fit, "caption": ""},
            {"objective": "clip", "labels": "", "caption": caption},
            "images, image encoder and number of samples seen",
        ),
        "  training_set_size:",
        *_comparison(
            f"{sizes[-1]:,} instead of {sizes[-2]:,} images", {"train_images": sizes[-2]}, {"train_images": sizes[-1]},
            "source, objective and number of samples seen",
        ),
    ]  # fmt: skip
    if len(sources) > 1:
        lines += ["  training_distribution:"]
        lines += _comparison(
            f"{sources[1]} instead of {sources[0]}", {"source": sources[0]}, {"source": sources[1]},
            "objective, number of images and number of samples seen",
        )  # fmt: skip
    return "\n".join(lines) + "\n"


def _small_batches(images: int) -> dict[str, Any]:
    """Return the batch size of CLIP where its smallest training set has fewer images: a batch would hold one twice."""
    usual = ImageTextSettings().batch_size
    return {"clip": {"batch_size": images}} if images < usual else {}


def _test_line(found: Found, role: str, source: str, classes: Sequence[str]) -> str:
    """Return the line of a test set; one that lacks some of ``classes`` is evaluated on its own."""
    settings = dict(found.settings) | {"role": role, "classes": "own" if set(classes) - set(found.classes) else "all"}
    settings |= {"source": source} if source else {}
    return f"  {found.name}: {_flow(settings)}  # about {found.images:,} pictures"


def _comparison(name: str, start: Mapping[str, Any], end: Mapping[str, Any], fixed: str) -> list[str]:
    return [
        f"    - comparison: {json.dumps(name)}",
        f"      from: {_flow(start)}",
        f"      to: {_flow(end)}",
        f"      holds_fixed: {json.dumps(fixed)}",
    ]


def _flow(value: Any) -> str:  # noqa: ANN401 - a value of a config
    """Return a value as YAML in one line; text in quotes unless it is plain."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_/.~][\w/.+-]*", value):
        return json.dumps(value, ensure_ascii=False)
    return str(value) if not isinstance(value, str) or value.lower() not in YAML_WORDS else json.dumps(value)


#: Words that YAML would take for something else.
YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf")


def _measure(study: Study, datasets: Datasets) -> tuple[dict[str, Losses], list[str]]:
    """Return what is lost of each source before training, and what to tell of it, in sentences."""
    images = sum(each.images for each in [*datasets.sources, *datasets.in_distribution.values(), *datasets.shifts])
    if images > MOST_PICTURES:
        return {}, [
            f"of about {images:,} pictures none was decoded: sizes leave a tenth for those that are lost, and make "
            "describe counts them"
        ]
    losses, said = measure_losses(study)
    for name, lost in losses.items():
        for share, what in ((lost.undecoded, "do not decode"), (lost.repeats, "repeat a test picture")):
            if share > TOLD_SHARE:
                said.append(
                    f"about {100 * share:.0f} % of the pictures of {name} {what} ({lost.looked_at:,} were looked at): "
                    "sizes are lower for it"
                )
    return losses, said


def make(name: str, data: Sequence[Path], root: Path) -> str:
    """Write a config, and a table of classes where none lies beside the data; return what to tell the user.

    Args:
        name: of the study.
        data: folders and files.
        root: folder that the study is run in, and that paths start from.

    Raises:
        LookError: the data are none that can be used; the message says what to do.
        ConfigError: the config cannot be carried out.
    """
    config, table = root / f"{name}.yaml", root / f"{name}-classes.csv"
    for path in (config, table):
        if path.exists():
            raise LookError(f"{path.name} is there already: give another NAME, or remove it")
    found = [look_at(path) for path in data]
    given = next((path for _, path in found if path is not None), None)
    listed = read_class_names(given) if given is not None else []
    datasets, said = sort_out(
        [(config_name(path.stem), group) for path, (group, _) in zip(data, found, strict=True)], listed
    )
    classes = given.as_posix() if given is not None else table.name
    if given is None:
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows([["class"], *([each] for each in datasets.classes)])
        write_text(table, written.getvalue())
    try:
        sizes = sizes_of(datasets, {})
        text = write_config(name, datasets, classes, sizes)
        losses, told = _measure(Study.load(yaml.safe_load(text), root), datasets)
        text = write_config(name, datasets, classes, sizes_of(datasets, losses))
        study = Study.load(yaml.safe_load(text), root)
    except (ConfigError, LookError):
        if given is None:
            table.unlink()
        raise
    write_text(config, text)
    said += told
    seen = [line for group, _ in found for each in group for line in each.assumed]
    seen += [f"prompts are the sentences in {path}" for path in datasets.templates[:1]]
    seen += [f"{path} holds other prompts, which are not used" for path in datasets.templates[1:]]
    lines = [
        f"{config.name}: {len(study.trained)} models, sources {', '.join(study.sources)}, test sets "
        f"{', '.join(study.test_sets)}, {len(datasets.classes)} classes ({given or table.name}). Assumed:",
        *(f"  - {line}" for line in (*seen, *said)),
        f"Next: make describe CONFIG={config.name}, then .venv/bin/snakemake --cores 2 --configfile {config.name}",
    ]
    return "\n".join(lines)


def named_paths(words: Sequence[str]) -> list[Path]:
    """Return the files and folders that words name: the longest run of words that is one, blanks in its name.

    Raises:
        LookError: a word names nothing.
    """
    paths: list[Path] = []
    left = [word for text in words for word in text.split(" ")]
    while left:
        ends = range(len(left), 0, -1)
        tried = ((end, Path(" ".join(left[:end])).expanduser()) for end in ends if left[0])
        found = next(((end, path) for end, path in tried if path.exists()), None)
        if found is None and left[0]:
            where = "" if Path(left[0]).expanduser().is_absolute() else f" in {Path.cwd()}"
            raise LookError(f"{left[0]}: there is no such file or folder{where}")
        paths += [found[1]] if found else []
        left = left[found[0] if found else 1 :]
    return paths


def main() -> None:
    """Read the command line, write the config and print what was assumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--name", required=True)
    given = parser.parse_args()
    try:
        print(make(given.name, named_paths(given.data), Path.cwd()))
    except (LookError, ConfigError, ClassTableError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
