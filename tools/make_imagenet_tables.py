"""ImageNet's class tables, made from published ones: ``python -m tools.make_imagenet_tables`` writes them.

The tables are made once and committed (`resources/imagenet`); this command makes them again. Names come from open_clip,
lemmas and the classes of ImageNet-R and ImageNet-A from timm, ObjectNet's classes from the ImageNet testbed. Phrases in
which a name means something else are written by hand (`resources/imagenet/excluded_phrases.csv`).
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from whyrobust.files import write_text
from whyrobust.study.table_cells import LABEL_SEPARATOR

CLASSES = Path("resources/imagenet/classes.csv")
EXCLUDED = Path("resources/imagenet/excluded_phrases.csv")
OBJECTNET = Path("resources/imagenet/objectnet_folders.csv")
PROMPTS = Path("resources/prompts/openai_imagenet_80.txt")
REFERENCE = Path("resources/reference")


class TableError(ValueError):
    """Published tables that do not fit together."""


def _timm_lines(name: str) -> list[str]:
    return files("timm").joinpath("data", "_info", name).read_text(encoding="utf-8").splitlines()


def read_wnids() -> list[str]:
    """Return the wnids of ImageNet's 1,000 classes in the order of their indices, which is sorted."""
    return [line.strip() for line in _timm_lines("imagenet_synsets.txt") if line.strip()]


def read_excluded(path: Path) -> dict[str, str]:
    """Return the phrases that name something else than a class, by its wnid, as they stand in the committed table."""
    with path.open(encoding="utf-8", newline="") as handle:
        return {row["class"]: row["excluded_phrases"] for row in csv.DictReader(handle)}


def class_rows(excluded: Mapping[str, str]) -> list[dict[str, str]]:
    """Return ``class, name, synonyms, excluded_phrases, imagenet_r, imagenet_a`` of each class, by index.

    Args:
        excluded: phrases that name something else, by wnid.

    Raises:
        TableError: the published tables do not have 1,000 classes.
    """
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    wnids = read_wnids()
    if len(wnids) != 1000 or len(IMAGENET_CLASSNAMES) != 1000 or wnids != sorted(wnids):
        raise TableError(
            f"timm has {len(wnids)} classes, open_clip {len(IMAGENET_CLASSNAMES)}: expected 1,000 sorted ones"
        )
    lemmas = dict(line.split("\t", 1) for line in _timm_lines("imagenet_synset_to_lemma.txt") if "\t" in line)
    covered = {
        part: {int(line) for line in _timm_lines(f"{part}_indices.txt") if line.strip()}
        for part in ("imagenet_r", "imagenet_a")
    }
    rows = []
    for index, (wnid, name) in enumerate(zip(wnids, IMAGENET_CLASSNAMES, strict=True)):
        phrases = dict.fromkeys(lemma.strip().replace("_", " ") for lemma in lemmas[wnid].split(","))
        rows.append(
            {
                "class": wnid,
                "name": name,
                "synonyms": LABEL_SEPARATOR.join(phrase for phrase in phrases if phrase and phrase != name),
                "excluded_phrases": excluded.get(wnid, ""),
            }
            | {part: str(index in indices).lower() for part, indices in covered.items()}
        )
    return rows


def objectnet_rows(folder: Path, wnids: Sequence[str]) -> list[dict[str, str]]:
    """Return ``folder, label, classes`` of the ObjectNet classes that overlap ImageNet's.

    Args:
        folder: of the three JSON tables of the ImageNet testbed.
        wnids: of ImageNet's classes, by index.

    Raises:
        TableError: a label names no class, or two (``crane`` is the name of two ids).
    """
    folders, labels, index_to_label = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("objectnet_folder_to_label", "objectnet_label_to_imagenet_labels", "imagenet_index_to_label")
    )
    # Not a plain inversion: two ids are called "crane".
    indices_of: Mapping[str, list[int]] = _positions(index_to_label)
    rows = []
    for name, label in sorted(folders.items()):
        if label not in labels:
            continue
        given = labels[label]
        names = given if isinstance(given, list) else [part.strip() for part in given.split(";")]
        found: list[str] = []
        for imagenet_label in names:
            indices = indices_of.get(imagenet_label, [])
            if len(indices) != 1:
                raise TableError(
                    f"ObjectNet's '{label}': '{imagenet_label}' is the name of {len(indices)} ImageNet classes"
                )
            found.append(wnids[indices[0]])
        rows.append({"folder": name, "label": label, "classes": LABEL_SEPARATOR.join(sorted(found))})
    return rows


def _positions(index_to_label: Mapping[str, str] | Sequence[str]) -> dict[str, list[int]]:
    pairs = (
        ((int(index), label) for index, label in index_to_label.items())
        if isinstance(index_to_label, Mapping)
        else enumerate(index_to_label)
    )
    found: dict[str, list[int]] = defaultdict(list)
    for index, label in pairs:
        found[label].append(index)
    return found


def prompt_lines() -> list[str]:
    """Return the 80 templates of CLIP's ImageNet prompts (Radford et al. 2021), with ``{class}`` for the name."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return [template("{class}") for template in OPENAI_IMAGENET_TEMPLATES]


def as_csv(rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows as CSV text with a header."""
    listed = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return buffer.getvalue()


def tables(root: Path) -> dict[Path, str]:
    """Return the text of each committed file by its path below the root of the repository."""
    rows = class_rows(read_excluded(root / EXCLUDED))
    return {
        CLASSES: as_csv(rows),
        OBJECTNET: as_csv(objectnet_rows(root / REFERENCE, [row["class"] for row in rows])),
        PROMPTS: "\n".join(prompt_lines()) + "\n",
    }


if __name__ == "__main__":
    for path, text in tables(Path()).items():
        write_text(path, text)
