"""The published models as one table: every model once, and by how much the tables disagree.

Offers `read_table`, one table of ``resources/reference/`` (timm, open_clip, VL Hub, the ImageNet testbed) in columns
that all have, `unusable_rows` of it, `pair_accuracies`, which gives a row per shift and x axis, `read_published`, which
joins the four tables, and `architecture_of`, which names an architecture without its input resolution.

The rule for identity: two rows are one model where ``published_model_names.csv`` says so, which is a claim about
weights, and their ImageNet accuracies differ by less than `SAME_MODEL_POINTS`. The model counts under the name that
the table gives (timm before open_clip before the testbed before VL Hub), with the accuracies of that name's table. A
shift that this table lacks comes from the other one, and then both accuracies of the pair do: the x and the y of a
model are never of two tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.published_checks import check_accuracies, read_rows
from whyrobust.study.restricted_names import restricted_name

if TYPE_CHECKING:
    import pandas as pd

COLLECTIONS = {
    "timm": "timm_top1.csv",
    "open_clip": "open_clip_zeroshot_top1.csv",
    "imagenet_testbed": "imagenet_testbed_top1.csv",
    "vlhub": "vlhub_top1.csv",
}
# The full validation set, as the name of an x axis; the part on a shift's own classes is "imagenet@<shift>".
FULL_VALIDATION = "imagenet"
# shift -> its column in all tables, and the column of the x axis on its own classes where a table has one.
SHIFT_COLUMNS = {
    "imagenet-v2": ("imagenet_v2", None),
    "imagenet-sketch": ("imagenet_sketch", None),
    "imagenet-r": ("imagenet_r", "imagenet_on_r_classes"),
    "imagenet-a": ("imagenet_a", "imagenet_on_a_classes"),
    "objectnet": ("objectnet", "imagenet_on_objectnet_classes"),
}
# The shift columns of these four rows cannot be in the order of the header: accuracy on sketch is above that on
# ImageNet-R, which is so for no other model of the tables. They are left out.
VLHUB_MISPLACED = frozenset(
    {
        "CLIP-swin_base_patch4_window7-laion15m-LiT",
        "CLIP-swin_base_patch4_window7-laion150m-LiT",
        "CLIP-swin_base_patch4_window7-laion400m-LiT",
        "CLIP-ViT-L-14-WiseFT",
    }
)
NAMES_FILE = "published_model_names.csv"
OTHER_TEST_SETS_FILE = "open_clip_other_test_sets.csv"
IN_PERCENT = ("timm", "imagenet_testbed")
# The columns that name a model; all other tables have one.
OPEN_CLIP_NAME = ("model", "pretrained")
# The only rows of VL Hub that share names: they are known by more than the name, and do not count.
VLHUB_REPEATS = {"technique": "Conventional"}

# Two names of one model differ by less than this on ImageNet's validation images; the largest difference in the
# tables is 0.8 points (another crop or another interpolation).
SAME_MODEL_POINTS = 1.0

# Accuracy columns of all tables; the x axis of a shift is FULL_VALIDATION or the classes that the shift covers.
ACCURACIES = (
    FULL_VALIDATION,
    *dict.fromkeys(column for pair in SHIFT_COLUMNS.values() for column in pair if column is not None),
)
# What each file must have; a misspelt column would be one that was not measured.
_ON_ALL = ("params_millions", FULL_VALIDATION, "imagenet_v2", "imagenet_sketch", "imagenet_r", "imagenet_a")
_ON_OWN_CLASSES = ("imagenet_on_r_classes", "imagenet_on_a_classes")
FILE_COLUMNS = {
    "timm": ("model", "tag", "image_size", *_ON_ALL, *_ON_OWN_CLASSES),
    "open_clip": (*OPEN_CLIP_NAME, *_ON_ALL, "objectnet"),
    "imagenet_testbed": (
        "model",
        "training",
        *_ON_ALL[1:],
        *_ON_OWN_CLASSES,
        "objectnet",
        "imagenet_on_objectnet_classes",
    ),
    "vlhub": ("model", "training_data", "technique", "image_size", *_ON_ALL),
}
OTHER_TEST_SETS = (
    "mscoco_retrieval",
    "flickr30k_retrieval",
    "country211",
    "sun397",
    "food101",
    "caltech101",
    "voc2007",
    "geode",
    "dollar_street",
    "mean_of_38",
)
MODEL_COLUMNS = (
    "model",
    "collection",
    "key",
    "architecture",
    "architecture_class",
    "family",
    "image_size",
    "params_millions",
    "also_in",
)

# Input sizes that end the name of an architecture; what ends the names of RegNet and ReXNet are widths.
_SIZES = "196|224|240|256|320|336|378|384|408|448|512|560"
_VIT = re.compile(r"(?:vit|deit|deit3|beit|beitv2|beit3)_(tiny|small|base|large|huge)_patch(\d+)(?:_clip)?")
_VIT_SIZE = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
_OPEN_CLIP_VIT = re.compile(r"ViT-([BLH])-(\d+)")
# The architecture in names of the testbed and of VL Hub, which go on with how a model was trained.
_TESTBED = re.compile(
    r"(resnet\d+(?:_3x(?=_simclr))?|resnext\d+_\d+x\d+d|densenet\d+|vgg\d+(?:_bn)?|mobilenet_v2|alexnet|efficientnet-[bl]\d)"
    r"(?=[-_]|$)"
)
_VLHUB = re.compile(r"CLIP-(RN\d+(?:x\d+)?|ViT-[BLHg]-\d+|swin_base_patch4_window7)")
# Image towers that are one trunk under several names: they differ in the projection after it.
_CONVNEXT = re.compile(r"convnext_(base|large)(?:_w|_d|_mlp)?")


@dataclass(frozen=True)
class PublishedTables:
    """The models that count, their accuracies, and what was joined or left out.

    ``models`` has `MODEL_COLUMNS`, a row per model; ``accuracies`` a row per model, shift and x axis: ``model,
    collection, shift, x_test_set, id_accuracy, shift_accuracy, table`` (fractions; ``table`` is where the pair is
    from); ``disagreements`` a row per pair of names of one model and accuracy that both tables have; ``left_out`` the
    rows that do not count, with the reason.
    """

    models: pd.DataFrame
    accuracies: pd.DataFrame
    disagreements: pd.DataFrame
    left_out: pd.DataFrame


def architecture_of(name: str, collection: str) -> str:
    """Return the architecture that a model's name begins with, without activation, loss and input resolution.

    timm's ``vit_base_patch16_clip_384.openai_ft_in1k`` gives ``vit_base_patch16_clip``, open_clip's
    ``coca_ViT-L-14 laion2b_s13b_b90k`` gives ``ViT-L-14``, the testbed's ``resnet50_swav`` gives ``resnet50``, and
    VL Hub's ``CLIP-RN50-yfcc2m`` gives ``RN50``.
    """
    if collection == "vlhub" and (match := _VLHUB.match(name)):
        return match[1]
    if collection == "imagenet_testbed" and (match := _TESTBED.match(name)):
        return match[1]
    name = name.split(".")[0].split(" ")[0].removeprefix("coca_").removesuffix("-quickgelu")
    return name if name.startswith(("regnet", "rexnet")) else re.sub(rf"[-_](?:{_SIZES})$", "", name)


def architecture_class(architecture: str) -> str:
    """Return the name under which the same image encoder goes in all tables.

    Plain Vision Transformers of one width and patch size are one class: those of CLIP differ by a layer norm before the
    blocks, DeiT III's by layer scale, BEiT's by relative positions. ConvNeXt has the same trunk in timm and open_clip.
    Every other architecture is its own class.
    """
    if match := _VIT.fullmatch(architecture):
        return f"ViT-{_VIT_SIZE[match[1]]}/{match[2]}"
    if match := _OPEN_CLIP_VIT.fullmatch(architecture):
        return f"ViT-{match[1]}/{match[2]}"
    if match := _CONVNEXT.fullmatch(architecture):
        return f"convnext_{match[1]}"
    return architecture


def family_of(name: str) -> str:
    """Return the family of an architecture's class: the letters that its name begins with, in small letters."""
    letters = re.match(r"[A-Za-z]+", name)
    return letters[0].lower() if letters else name


def read_published(folder: Path) -> PublishedTables:
    """Join the published tables.

    Args:
        folder: ``resources/reference``.

    Raises:
        ValueError: for a table that `read_table` refuses, and where a row of the table of names names no model, two
            models of clearly different accuracy, or a model that is itself counted under another name.
    """
    import pandas as pd

    tables = {name: read_table(folder, name) for name in COLLECTIONS}
    tables["open_clip"]["image_size"] = _image_sizes(folder, tables["open_clip"])
    rows = pd.concat(tables.values(), ignore_index=True)
    left_out = unusable_rows(rows)
    names = _read_names(folder, rows)
    disagreements = _disagreements(rows, names)
    duplicates = names.assign(why="counts as " + names["same_as"] + " (" + names["why"] + ")")
    out = pd.concat([left_out, duplicates[["collection", "model", "why"]]], ignore_index=True)
    counted = ~_labels(rows).isin(set(_labels(out)))
    models = rows[counted].reset_index(drop=True)
    also = names.assign(also=names["collection"] + ":" + names["model"])
    also_in = also.groupby(["same_as_collection", "same_as"])["also"].agg("; ".join).to_dict()
    models["also_in"] = [also_in.get(key, "") for key in zip(models["collection"], models["model"], strict=True)]
    accuracies = _accuracies(rows, models, names)
    return PublishedTables(models[list(MODEL_COLUMNS)], accuracies, disagreements, out)


def read_other_test_sets(folder: Path) -> pd.DataFrame:
    """Return open_clip's zero-shot accuracies on its other test sets (fractions), with the model's name as here.

    Raises:
        ValueError: as for `read_table`.
    """
    path = folder / OTHER_TEST_SETS_FILE
    table = read_rows(path, (*OPEN_CLIP_NAME, "image_size", *OTHER_TEST_SETS), OPEN_CLIP_NAME)
    check_accuracies(path, table, OPEN_CLIP_NAME, OTHER_TEST_SETS, "share")
    table.insert(0, "name", table["model"] + " " + table["pretrained"])
    return table.drop(columns=["model", "pretrained", "image_size"]).rename(columns={"name": "model"})


def read_table(folder: Path, collection: str) -> pd.DataFrame:
    """Return one table in the columns that all have, accuracies as fractions; one that a table lacks is NaN.

    Args:
        folder: ``resources/reference``.
        collection: one of `COLLECTIONS`.

    Returns:
        `MODEL_COLUMNS` and `ACCURACIES`, a row per model. Names of VL Hub that several rows share get a number in the
        order of the file. ``image_size`` is what the table says.

    Raises:
        ValueError: for a missing column, a model with two rows, or accuracies in another unit than the table's.
    """
    import pandas as pd

    path = folder / COLLECTIONS[collection]
    name = OPEN_CLIP_NAME if collection == "open_clip" else ("model",)
    table = read_rows(path, FILE_COLUMNS[collection], name, VLHUB_REPEATS if collection == "vlhub" else None)
    check_accuracies(path, table, name, ACCURACIES, "percent" if collection in IN_PERCENT else "share")
    if collection == "timm":
        table["key"] = table["tag"]
    elif collection == "open_clip":
        table["key"] = table["pretrained"]
        table["model"] = table["model"] + " " + table["pretrained"]
    elif collection == "imagenet_testbed":
        table["key"] = table["training"]
    else:
        table["key"] = table["technique"] + " " + table["training_data"]
        number = (table.groupby("model").cumcount() + 1).astype(str)
        table["model"] = table["model"].where(~table["model"].duplicated(keep=False), table["model"] + " #" + number)
    table["collection"] = collection
    table["architecture"] = [architecture_of(name, collection) for name in table["model"]]
    table["architecture_class"] = [architecture_class(name) for name in table["architecture"]]
    table["family"] = [family_of(name) for name in table["architecture_class"]]
    table = table.reindex(columns=[*MODEL_COLUMNS, *ACCURACIES])
    table["also_in"] = ""
    values = table[list(ACCURACIES)].astype(float) / (100.0 if collection in IN_PERCENT else 1.0)
    return pd.concat([table.drop(columns=list(ACCURACIES)), values], axis=1)


def unusable_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `read_table` whose accuracies are not those of one model: ``collection, model, why``."""
    import pandas as pd

    vlhub = rows["collection"] == "vlhub"
    reasons = pd.Series("", index=rows.index)
    sorted_rows = vlhub & rows["key"].str.startswith("Conventional")
    reasons[sorted_rows] = "each column of these rows is sorted for itself, so that a row is no one model"
    reasons[vlhub & rows["model"].isin(VLHUB_MISPLACED)] = "columns in another order than the header"
    open_clip = rows[rows["collection"] == "open_clip"]
    same = open_clip.duplicated(list(ACCURACIES), keep=False)
    # Rows of one file of weights have the same figures by right; they are in the table of names.
    other_key = same & (open_clip.groupby(list(ACCURACIES), dropna=False)["key"].transform("nunique") > 1)
    reasons[other_key.index[other_key]] = "the same figures as another model: one of the two rows is not its own"
    found = rows.loc[reasons != "", ["collection", "model"]].assign(why=reasons[reasons != ""])
    return found.reset_index(drop=True)


def pair_accuracies(rows: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    """Return one row per model, shift and x axis of which it has both accuracies.

    Args:
        rows: columns ``keep`` and `ACCURACIES`.
        keep: columns of the result, beside ``shift, x_test_set, id_accuracy, shift_accuracy``.
    """
    import pandas as pd

    parts = []
    for shift, (column, own_column) in SHIFT_COLUMNS.items():
        for x_column in (FULL_VALIDATION, own_column):
            if x_column is not None:
                full = x_column == FULL_VALIDATION
                parts.append(
                    rows[list(keep)].assign(
                        shift=shift,
                        x_test_set=FULL_VALIDATION if full else restricted_name(FULL_VALIDATION, shift),
                        id_accuracy=rows[x_column],
                        shift_accuracy=rows[column],
                    )
                )
    return pd.concat(parts, ignore_index=True).dropna(subset=["id_accuracy", "shift_accuracy"])


def _image_sizes(folder: Path, table: pd.DataFrame) -> pd.Series[float]:
    """Return the input sizes of open_clip's models, which its other table has."""
    path = folder / OTHER_TEST_SETS_FILE
    sizes = read_rows(path, (*OPEN_CLIP_NAME, "image_size"), OPEN_CLIP_NAME)
    if not table["model"].equals(sizes["model"] + " " + sizes["pretrained"]):
        raise ValueError(f"{OTHER_TEST_SETS_FILE} has other rows than {COLLECTIONS['open_clip']}: restore both.")
    return sizes["image_size"]


def _labels(table: pd.DataFrame) -> pd.Series[str]:
    return table["collection"] + "\t" + table["model"]


def _read_names(folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of names, checked against the rows."""
    key = ("collection", "name")
    names = read_rows(folder / NAMES_FILE, (*key, "same_as_collection", "same_as", "why"), key)
    names = names.rename(columns={"name": "model"})
    target = names["same_as_collection"] + "\t" + names["same_as"]
    known = rows.set_index(_labels(rows))[FULL_VALIDATION]
    unknown = [label for label in [*_labels(names), *target] if label not in known.index]
    if unknown:
        raise ValueError(f"{NAMES_FILE} names {unknown[0]!r}, which is in no table: correct the name.")
    again = target.isin(set(_labels(names)))
    if again.any():
        raise ValueError(f"{NAMES_FILE}: {target[again].iloc[0]!r} counts itself under another name: name that one.")
    apart = (known[_labels(names)].to_numpy() - known[target].to_numpy()) * 100.0
    if (abs(apart) >= SAME_MODEL_POINTS).any():
        worst = int(abs(apart).argmax())
        raise ValueError(
            f"{NAMES_FILE} says that {_labels(names)[worst]!r} is {target[worst]!r}, but their accuracies on "
            f"ImageNet are {abs(apart[worst]):.1f} points apart: they are not the same weights, take the row out."
        )
    return names


def _disagreements(rows: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Return, for every model with two names and every accuracy that both have, the difference in points."""
    import pandas as pd

    long = rows.melt(["collection", "model"], list(ACCURACIES), "accuracy").dropna(subset=["value"])
    other = names.merge(long, on=["collection", "model"])
    merged = other.merge(
        long.rename(columns={"collection": "same_as_collection", "model": "same_as", "value": "value_counted"}),
        on=["same_as_collection", "same_as", "accuracy"],
    )
    return pd.DataFrame(
        {
            "model": merged["same_as"],
            "collection": merged["same_as_collection"],
            "other_name": merged["model"],
            "other_collection": merged["collection"],
            "accuracy": merged["accuracy"],
            "value": merged["value_counted"],
            "other_value": merged["value"],
            "difference_points": (merged["value"] - merged["value_counted"]) * 100.0,
            "why": merged["why"],
        }
    )


def _accuracies(rows: pd.DataFrame, models: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of accuracies of the models that count."""
    import pandas as pd

    own = rows.merge(models[["collection", "model"]], on=["collection", "model"])
    own["table"], own["order"] = own["collection"], 0
    # A row of the same model in another table fills gaps of its own row. Rows of other runs of the weights do not.
    tables = {name: order for order, name in enumerate(COLLECTIONS)}
    elsewhere = names[names["collection"] != names["same_as_collection"]]
    other = rows.merge(elsewhere, on=["collection", "model"])
    other["table"], other["order"] = other["collection"], 1 + other["collection"].map(tables)
    other["collection"], other["model"] = other["same_as_collection"], other["same_as"]
    candidates = pd.concat([own, other], ignore_index=True)
    found = pair_accuracies(candidates, ["model", "collection", "table", "order"])
    key = ["collection", "model", "shift"]
    # One table for both x axes of a shift.
    best = found.groupby(key)["order"].transform("min")
    found = found[found["order"] == best]
    columns = ["model", "collection", "shift", "x_test_set", "id_accuracy", "shift_accuracy", "table"]
    return found[columns].sort_values(["shift", "x_test_set", "collection", "model"], ignore_index=True)
