"""What lies in a folder or a file of someone's own: class folders, tables, WebDataset shards or Parquet with pictures.

Offers `look_at`, for `tools.new_study`. It reads names, headers, labels and some captions, and no picture.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whyrobust.data.archives import LocationError, Member, ending_of, is_image_name, list_tar, read_bytes
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.folders import TEXT_ENDINGS, TITLE_ENDING
from whyrobust.data.readers.label_names import named_label, read_label_names
from whyrobust.data.readers.table_files import COMPRESSED, ENDINGS, TableForm, names_of_numbers, read_rows
from whyrobust.data.readers.tables import find_picture
from whyrobust.data.record_writer import label_text

#: Names of columns and of keys of JSON, the likeliest first.
IMAGE_NAMES = ("image", "file", "file_name", "filename", "path", "image_path", "filepath", "img", "jpg", "picture")
TITLE_NAMES = ("caption", "title", "text", "captions", "alt", "alt_text", "txt", "sentence", "prompt", "description")
LABEL_NAMES = ("class", "label", "labels", "category", "class_name", "cls", "target", "fine_label", "species")

#: Parts of names that say what pictures are for.
TRAINING_WORDS = {"train", "training"}
TEST_WORDS = {"test", "val", "valid", "validation", "eval", "dev", "holdout"}

#: File of prompts beside shards in clip_benchmark's layout.
TEMPLATES = "zeroshot_classification_templates.txt"

#: Rows of a table, and pictures of a folder or of shards, that are looked at closely.
ROWS_LOOKED_AT = 200
#: Pictures in shards whose labels are read; more are counted by the size of their shards.
PICTURES_READ = 50_000

#: Letters of a text beside a picture that are looked at.
TEXT_LOOKED_AT = 1000

#: Texts are labels where so many pictures or more have the same one, on average.
SAME_LABEL = 4

_WORD = re.compile(r"[^\W\d_]{2}")
_SPLIT_OF_FILE = re.compile(r"^(.*?)[-_.]?\d*(?:-of-\d+)?$")


@dataclass(frozen=True)
class Found:
    """A data set that was found.

    Attributes:
        name: to call it by in a config.
        settings: its keys in a config, ``kind`` first.
        images: its pictures, about.
        classes: images of each label; empty where it has none.
        captions: whether its pictures have texts.
        templates: file of sentences with the class name that lies beside it; empty where none does.
        assumed: what was taken to be so, in sentences.
    """

    name: str
    settings: Mapping[str, Any]
    images: int
    classes: Mapping[str, int] = field(default_factory=dict)
    captions: bool = False
    templates: str = ""
    assumed: Sequence[str] = ()

    @property
    def words(self) -> set[str]:
        """The words of its name."""
        return set(re.findall("[a-z]+", self.name))

    @property
    def is_test_set(self) -> bool:
        """Whether its name says that it is for testing."""
        return bool(self.words & TEST_WORDS) and bool(self.classes)


class LookError(ValueError):
    """Nothing that can be used; the message says what was found and what to do."""


def look_at(path: Path) -> tuple[list[Found], Path | None]:
    """Return the data sets in a folder or a file, and the table of classes that lies beside them, if there is one.

    Raises:
        LookError: there is none.
    """
    if not path.exists():
        raise LookError(f"{path}: there is no such file or folder")
    classes: list[Path] = []
    try:
        found = list(_look_at(path, config_name(path.stem if path.is_file() else path.name), classes))
    except (DatasetError, LocationError) as error:
        raise LookError(str(error)) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException) as error:
        raise LookError(
            f"{path} cannot be read ({error}): tables of text are UTF-8; repair or remove the file"
        ) from error
    if not found:
        raise LookError(
            f"{path} holds no class folders, no table with a column of pictures, no tar shards and no Parquet "
            "files with pictures: give one of these (docs/own-data.md)"
        )
    return found, classes[0] if classes else None


def config_name(text: str) -> str:
    """Return a text as a name in a config."""
    name = re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
    # YAML takes some words for truth values.
    return (
        name
        if name[:1].isalpha() and name not in ("on", "off", "yes", "no", "null", "true", "false", "y", "n")
        else f"data_{name}".rstrip("_")
    )


def _look_at(path: Path, name: str, classes: list[Path]) -> Iterator[Found]:
    """Yield the data sets below a path; tables of classes that lie there are added to ``classes``."""
    if path.is_file():
        if path.suffix == ".tar":
            yield _look_at_shards([path], name, path.as_posix())
        elif path.suffix == ".parquet":
            yield _look_at_parquet([path], name, path.as_posix())
        else:
            yield from filter(None, [_look_at_table(path, name, classes)])
        return
    files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
    roots: set[str] = set()
    for ending, look in ((".tar", _look_at_shards), (".parquet", _look_at_parquet)):
        groups: dict[str, list[Path]] = {}
        for each in files:
            if each.suffix == ending:
                groups.setdefault(_SPLIT_OF_FILE.sub(r"\1", each.stem), []).append(each)
        for prefix, members in groups.items():
            alone = len(groups) == 1
            pattern = path.as_posix() if alone else _pattern_of(members, prefix)
            yield look(members, name if alone else config_name(f"{prefix or name}"), pattern)
    for each in files:
        if _is_table(each):
            table = _look_at_table(each, config_name(each.name.partition(".")[0]), classes)
            if table is not None:
                roots.add(str(Path(table.settings.get("root", path)).as_posix()))
                yield table
    yield from _look_into_folders(path, name, classes, roots)


def _pattern_of(files: Sequence[Path], prefix: str) -> str:
    """Return a pattern for files of one prefix that takes no file of a longer one."""
    if len(files) == 1:
        return files[0].as_posix()
    after = files[0].name[len(prefix)]
    return (files[0].parent / f"{prefix}{'[0-9]' if after.isdigit() else after}*{files[0].suffix}").as_posix()


def _look_into_folders(path: Path, name: str, classes: list[Path], roots: set[str]) -> Iterator[Found]:
    """Yield class folders as one data set, and what lies in other folders."""
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
    pictures = {each.name: _count_pictures(each) for each in folders if each.as_posix() not in roots}
    own = {label: count for label, count in pictures.items() if count}
    others = [each for each in folders if pictures.get(each.name) == 0]
    if len(own) > 1 and path.as_posix() not in roots:
        settings: dict[str, Any] = {"kind": "image_folder", "folder": path.as_posix()}
        texts = [each for label in own for each in _texts_beside(path / label)]
        titled = _are_titles(texts, sum(own.values()))
        said = f"{name}: {len(texts):,} text files beside pictures, which are not read: give a table or shards "
        assumed = [f"{said}with their captions"] if texts and not titled else []
        if titled:
            settings |= {"titles_beside": True}
            assumed = [f"{name}: captions are in the .txt files beside the pictures"]
        yield Found(name, settings, sum(own.values()), own, captions=titled, assumed=assumed)
    for each in others:
        yield from _look_at(each, config_name(each.name), classes)


def _count_pictures(folder: Path) -> int:
    """Return the pictures that lie in a folder itself."""
    return sum(1 for each in folder.iterdir() if is_image_name(each.name))


def _texts_beside(folder: Path) -> list[Path]:
    """Return the text files in a folder that are called like a picture beside them."""
    files = list(folder.iterdir())
    pictures = {each.stem for each in files if is_image_name(each.name)}
    named = [each for each in files if ending_of(each.name) in TEXT_ENDINGS and each.stem in pictures]
    return [each for each in named if each.is_file()]


def _are_titles(texts: Sequence[Path], pictures: int) -> bool:
    """Whether text files beside pictures are captions: half of these have one, most hold words, and they differ.

    Other tools write boxes, numbers or markup into such files, and some the class.
    """
    titles = [each for each in texts if each.suffix == f".{TITLE_ENDING}"]
    if 2 * len(titles) < pictures:
        return False
    seen = []
    for each in titles[:: -(-len(titles) // ROWS_LOOKED_AT)]:
        with each.open(encoding="utf-8", errors="replace") as handle:
            seen.append(handle.read(TEXT_LOOKED_AT).strip())
    return sum(map(_has_words, seen)) > len(seen) / 2 and not _repeat_like_labels(seen)


def _repeat_like_labels(texts: Sequence[str]) -> bool:
    """Whether texts come `SAME_LABEL` times or more, on average."""
    return SAME_LABEL * len(set(texts)) <= len(texts)


def _has_words(text: str) -> bool:
    """Whether a text is words for the most part, and no markup or address."""
    words = text.split()
    said = sum(bool(_WORD.search(word)) for word in words)
    return said > len(words) / 2 and not re.match(r"<|\{|https?://", text)


# --- Tables ----------------------------------------------------------------------------------------------------------


def _is_table(path: Path) -> bool:
    suffixes = [each.lower() for each in path.suffixes]
    plain = suffixes[:-1] if suffixes[-1:] and suffixes[-1] in COMPRESSED else suffixes
    return bool(plain) and plain[-1] in ENDINGS and plain[-1] != ".parquet"


def _columns_of(path: Path) -> list[str]:
    """Return the columns of a table of text: the cells of its first line, or the keys of its first object."""
    suffixes = [each.lower() for each in path.suffixes]
    kind = next(ENDINGS[each] for each in reversed(suffixes) if each in ENDINGS)
    opener = COMPRESSED.get(suffixes[-1], open)
    with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
        line = handle.readline().rstrip("\r\n")
    if kind == "json":
        try:
            row = json.loads(line)
        except ValueError as error:
            raise LookError(f"{path}, line 1 is no JSON ({error}): give an object per line") from error
        return list(row) if isinstance(row, dict) else []
    import csv

    return next(csv.reader([line], delimiter=kind), [])


def _look_at_table(path: Path, name: str, classes: list[Path]) -> Found | None:
    """Return the data set of a table of text, None where it has no column of pictures."""
    columns = _columns_of(path)
    settings: dict[str, Any] = {"kind": "image_table", "table": path.as_posix()}
    assumed: list[str] = []
    if any(is_image_name(each) for each in columns):
        columns = ["file" if is_image_name(each) else f"column_{number}" for number, each in enumerate(columns, 1)]
        settings["columns"] = columns
        assumed.append(f"{path} has no line with the names of its columns, so they are called {', '.join(columns)}")
    form = TableForm(settings.get("columns", ()))
    head = list(islice(read_rows(path, {each: each for each in columns}, form), ROWS_LOOKED_AT))
    image = _image_column(columns, head)
    if image is None:
        if "class" in columns:
            classes.append(path)
        return None
    settings["image"] = image
    root = _root_of(path, image, head)
    if root != path.parent:
        settings["root"] = root.as_posix()
    texts = {each: [row[each] for row in head if isinstance(row[each], str)] for each in columns if each != image}
    settings |= _texts_of(texts, [each for each in columns if each != image])
    return _with_labels([path], replace(Found(name, settings, 0), assumed=assumed), form)


def _image_column(columns: Sequence[str], head: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the column whose cells end like pictures do, those that are called like one first.

    Raises:
        LookError: such a column holds addresses.
    """
    for name in sorted(columns, key=lambda each: _rank(each, IMAGE_NAMES)):
        cells = [row[name] for row in head if isinstance(row[name], str) and row[name].strip()]
        if (
            cells
            and all(re.match("https?://", each) for each in cells)
            and _rank(name, (*IMAGE_NAMES, "url", "image_url")) < 99
        ):
            raise LookError(
                f"column '{name}' holds addresses: fetch the pictures first, with img2dataset for example, and give "
                "the folder of shards that it writes"
            )
        if cells and sum(map(is_image_name, cells)) > len(cells) / 2:
            return name
    return None


def _rank(name: str, names: Sequence[str]) -> int:
    return names.index(name.lower()) if name.lower() in names else 99


def _root_of(table: Path, image: str, head: Sequence[Mapping[str, Any]]) -> Path:
    """Return the folder that the paths of a table start from: its own, or one beside it.

    Raises:
        LookError: no picture is there.
    """
    folders = [table.parent, *sorted(each for each in table.parent.iterdir() if each.is_dir())]
    cells = [row[image] for row in head if isinstance(row[image], str) and row[image].strip()]
    found = {each: sum(find_picture(each, cell).is_file() for cell in cells) for each in folders}
    best = max(folders, key=lambda each: found[each])
    if not found[best]:
        raise LookError(
            f"{table}: none of the pictures of column '{image}' is there, the first is '{cells[0]}' (looked in "
            f"{table.parent} and the folders in it): move the table beside their folder"
        )
    return best


def _texts_of(texts: Mapping[str, Sequence[str]], columns: Sequence[str]) -> dict[str, str]:
    """Return the columns of titles and labels: by their names, else by what they hold."""
    found: dict[str, str] = {}
    for key, names in (("title", TITLE_NAMES), ("label", LABEL_NAMES)):
        named = [each for each in sorted(columns, key=lambda each: _rank(each, names)) if _rank(each, names) < 99]
        found |= {key: named[0]} if named else {}
    left = [each for each in columns if each not in found.values() and texts.get(each)]
    if "title" not in found:
        long = [each for each in left if sum(len(text.split()) for text in texts[each]) > 2.5 * len(texts[each])]
        found |= {"title": long[0]} if long else {}
    if "label" not in found:
        few = [
            each
            for each in left
            if each not in found.values() and len(set(texts[each])) <= len(texts[each]) / SAME_LABEL
        ]
        found |= {"label": few[0]} if few else {}
    return found


def _with_labels(tables: Sequence[Path], found: Found, form: TableForm) -> Found:
    """Return what was found with its rows counted, by label where it has one."""
    settings, counts, rows = found.settings, Counter[str](), 0
    wanted = {"label": settings["label"]} if "label" in settings else {"image": settings["image"]}
    for table in tables:
        names = names_of_numbers(table, settings.get("label", ""))
        if "label" not in settings and table.suffix == ".parquet":
            rows += pq.read_metadata(table).num_rows
            continue
        for row in read_rows(table, wanted, form):
            rows += 1
            if "label" in wanted:
                counts[named_label(row["label"], names)] += 1
    counts.pop("", None)
    said = [f"{found.name}: pictures are in column '{settings['image']}'"]
    said += [
        f"{what} in '{settings[key]}'" for key, what in (("title", "captions"), ("label", "labels")) if key in settings
    ]
    return replace(
        found, images=rows, classes=dict(counts), captions="title" in settings,
        assumed=[*found.assumed, ", ".join(said)],
    )  # fmt: skip


def _look_at_parquet(files: Sequence[Path], name: str, pattern: str) -> Found:
    """Return the data set of Parquet files of one schema.

    Raises:
        LookError: they have no column of pictures.
    """
    schema = pq.read_schema(files[0])
    binary = [each.name for each in schema if _holds_bytes(each.type)]
    settings: dict[str, Any] = {"kind": "image_table", "table": pattern}
    head = list(
        islice(read_rows(files[0], {each: each for each in schema.names if each not in binary}, TableForm()), 200)
    )
    texts_of = {
        key: [row[key] for row in head if isinstance(row[key], str)] for key in schema.names if key not in binary
    }
    if binary:
        settings["image"] = min(binary, key=lambda each: _rank(each, IMAGE_NAMES))
    else:
        image = _image_column(schema.names, head)
        if image is None:
            raise LookError(
                f"{files[0]} has no column with pictures or paths of them: it has {', '.join(schema.names)}"
            )
        settings["image"] = image
        root = _root_of(files[0], image, head)
        settings |= {"root": root.as_posix()} if root != files[0].parent else {}
    settings |= _texts_of(texts_of, [each for each in texts_of if each != settings["image"]])
    return _with_labels(files, Found(name, settings, 0), TableForm())


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


# --- Shards ----------------------------------------------------------------------------------------------------------


def _look_at_shards(files: Sequence[Path], name: str, pattern: str) -> Found:
    """Return the data set of tar shards.

    Raises:
        LookError: there is no picture in the first of them.
    """
    settings: dict[str, Any] = {"kind": "webdataset", "shards": pattern}
    endings, keys, names = Counter[str](), Counter[str](), list[str]()
    listed, templates = _beside(files[0], "classnames.txt"), _beside(files[0], TEMPLATES)
    if listed is not None:
        settings["class_names"] = listed.as_posix()
        names = read_label_names(listed)
    first = list(list_tar(files[0]))
    for member in first:
        endings[member.path.name.partition(".")[2].lower()] += 1
    for member in islice((each for each in first if each.path.name.endswith(".json")), 20):
        keys.update(_json_of(member))
    if not any(is_image_name(member.name) for member in first):
        raise LookError(f"{files[0]} holds no picture: its files end in {', '.join(sorted(endings)[:5]) or 'nothing'}")
    label = _first_known(keys, LABEL_NAMES) if "cls" not in endings else None
    title = _first_known(keys, TITLE_NAMES) if "txt" not in endings else None
    settings |= {"label": label} if label else {}
    settings |= {"fields": {"title": title}} if title else {}
    counts, images, read, total = Counter[str](), 0, 0, sum(each.stat().st_size for each in files)
    for shard in files:
        members = first if shard == files[0] else list(list_tar(shard))
        images += sum(is_image_name(member.name) for member in members)
        counts.update(named_label(given, names) for given in _labels_of(members, label))
        read += shard.stat().st_size
        if images > PICTURES_READ:
            break
    counts.pop("", None)
    texts = ".txt" if "txt" in endings else f"'{title}' of .json" if title else "no file"
    labels = f"'{label}' of .json" if label else ".cls" if "cls" in endings else "no file"
    said = f"{name}: captions are in {texts}, labels in {labels}"
    return Found(
        name, settings, images * total // max(read, 1), dict(counts), bool(title) or "txt" in endings,
        templates.as_posix() if templates is not None else "", [said],
    )  # fmt: skip


def _beside(shard: Path, name: str) -> Path | None:
    """Return a file of this name in the folder of a shard, or in the one above, which has a folder for each split."""
    return next((each for each in (shard.parent / name, shard.parent.parent / name) if each.is_file()), None)


def _labels_of(members: Iterable[Member], key: str | None) -> Iterator[str]:
    for member in members:
        if key is None and member.path.name.endswith(".cls"):
            yield label_text(read_bytes(member.file, member.offset, member.length).decode("utf-8", "replace"))
        elif key is not None and member.path.name.endswith(".json"):
            yield label_text(_json_of(member).get(key))


def _json_of(member: Member) -> dict[str, Any]:
    try:
        value = json.loads(read_bytes(member.file, member.offset, member.length))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_known(keys: Iterable[str], names: Sequence[str]) -> str | None:
    known = [each for each in keys if _rank(each, names) < 99]
    return min(known, key=lambda each: _rank(each, names)) if known else None
