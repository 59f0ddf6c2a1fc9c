"""Faults of people who add rows to the committed tables or correct them: each is refused where it is, in words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from whyrobust.analysis.pretraining import read_pretraining
from whyrobust.analysis.published_models import read_reference
from whyrobust.analysis.published_study import NAMED_VALUES, make_tables
from whyrobust.analysis.published_tables import read_other_test_sets, read_published
from whyrobust.report.published_findings import NAMED

FOLDER = Path(__file__).parents[2] / "resources" / "reference"
TIMM, CLIP, TESTBED = "timm_top1.csv", "open_clip_zeroshot_top1.csv", "imagenet_testbed_top1.csv"
VLHUB, OTHER, NAMES = "vlhub_top1.csv", "open_clip_other_test_sets.csv", "published_model_names.csv"
LAION_B16 = "vit_base_patch16_clip_224.laion2b_ft_in1k"
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "reference"
    shutil.copytree(FOLDER, copy)
    return copy


def edit(folder: Path, file: str, change: Change) -> None:
    """Change a table; cells that are not changed keep their text."""
    table = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
    change(table).to_csv(folder / file, index=False)


def repeated(row: int, **cells: str) -> Change:
    """Return a change that adds a row again at the end, with some other cells."""
    return lambda table: pd.concat([table, table.iloc[[row]].assign(**cells)])


def repeated_first(row: int, technique: str) -> Change:
    """Return a change that adds a row of VL Hub again before all others, as another technique's."""
    return lambda table: pd.concat([table.iloc[[row]].assign(technique=technique), table])


def scaled(rows: slice | int, factor: float, *columns: str) -> Change:
    """Return a change that multiplies cells; all accuracies of the row where no column is named."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        chosen = slice(rows, rows + 1) if isinstance(rows, int) else rows
        for column in columns or [name for name in table.columns if name.startswith(("imagenet", "objectnet"))]:
            places = table.index[chosen]
            table.loc[places, column] = [
                f"{float(cell) * factor:.7g}" if cell else "" for cell in table[column][chosen]
            ]
        return table

    return change


def written(**cells: str) -> Change:
    """Return a change that writes cells of the first row."""
    return lambda table: pd.concat([table.iloc[[0]].assign(**cells), table.iloc[1:]])


def line_of(file: str, model: str) -> int:
    """Return the line of a model as an editor counts it."""
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, start=1) if line.startswith(f"{model},")]
    return number


def refused(folder: Path, read: Callable[[Path], object] = read_published) -> str:
    """Return the message of the error, without the folder."""
    with pytest.raises(ValueError) as error:
        read(folder)
    return str(error.value).replace(f"{folder}/", "")


def test_the_committed_tables_pass():
    make_tables(FOLDER)


# --- A model, once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, change, model, lines",
    [
        (TIMM, repeated(3), None, (5, 1267)),
        (TIMM, repeated(line_of(TIMM, LAION_B16) - 2, imagenet="80.0"), LAION_B16, (line_of(TIMM, LAION_B16), 1267)),
        (TIMM, repeated(line_of(TIMM, LAION_B16) - 2, model=f"{LAION_B16} "), LAION_B16, None),
        (CLIP, repeated(0, imagenet="0.8"), "ViT-H-14-378-quickgelu dfn5b", (2, 123)),
        (OTHER, repeated(0, sun397="0.7"), "ViT-H-14-378-quickgelu dfn5b", (2, 123)),
        (TESTBED, repeated(0, imagenet_r="70"), "efficientnet-l2-noisystudent", (2, 340)),
        (VLHUB, repeated(line_of(VLHUB, "CLIP-RN50-yfcc2m") - 2, imagenet="0.2"), "CLIP-RN50-yfcc2m", None),
        (VLHUB, repeated(line_of(VLHUB, "CLIP-RN50-yfcc2m") - 2, technique="Conventional"), "CLIP-RN50-yfcc2m", None),
        (VLHUB, repeated_first(line_of(VLHUB, "CLIP-RN50-yfcc2m") - 2, "Conventional"), "CLIP-RN50-yfcc2m", None),
        (VLHUB, repeated(0), "adv_inception_v3", (2, 661)),
        (NAMES, repeated(0, why="x"), "imagenet_testbed efficientnet-l2-noisystudent", (2, 109)),
    ],
)
def test_a_model_that_stands_twice_is_named_with_both_lines(folder, file, change, model, lines):
    edit(folder, file, change)
    said = refused(folder)
    assert said.startswith(f"{file} has the model ") and "keep one of the rows" in said
    assert model is None or f"{model!r} twice" in said
    assert lines is None or f"in lines {lines[0]} and {lines[1]}:" in said


def test_a_repeated_row_of_both_tables_of_open_clip_is_named_as_such(folder):
    for file in (CLIP, OTHER):
        edit(folder, file, repeated(7))
    assert re.match(rf"{CLIP} has the model '.* .*' twice, in lines 9 and 123:", refused(folder))
    edit(folder, CLIP, lambda table: table.iloc[:-1])
    assert refused(folder, read_other_test_sets).startswith(f"{OTHER} has the model ")


def test_rows_of_vlhub_that_do_not_count_may_share_a_name(folder):
    edit(folder, VLHUB, repeated(0, imagenet="0.5"))
    assert (read_published(folder).left_out["model"].str.startswith("adv_inception_v3 #")).sum() == 2


def test_a_row_without_a_name_is_an_error(folder):
    edit(folder, TIMM, written(model=""))
    assert refused(folder).startswith(f"{TIMM}, line 2: the column model is empty")


# --- Units --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, change, place",
    [
        (TIMM, scaled(1, 0.01), "line 3: imagenet of 'beit3_base_patch16_224.in22k_ft_in1k' is 0.8539, "),
        (TIMM, scaled(slice(None), 0.01), "is 0.7828 (and so on in 1,264 more rows), and no accuracy of the row"),
        (TIMM, scaled(0, 0.01, "imagenet"), "line 2: imagenet of 'bat_resnext26ts.ch_in1k' is 0.7828, "),
        (TIMM, scaled(0, 0.01, "imagenet_on_a_classes"), "line 2: imagenet_on_a_classes of "),
        (TIMM, scaled(0, 10), "line 2: imagenet of 'bat_resnext26ts.ch_in1k' is 782.8, but the table has percent"),
        (TESTBED, scaled(2, 0.01), "line 4: imagenet of "),
        (TESTBED, scaled(0, 0.01, "imagenet_on_objectnet_classes"), "line 2: imagenet_on_objectnet_classes of "),
        (CLIP, scaled(4, 100), "line 6: imagenet of "),
        (CLIP, scaled(0, 100, "imagenet_r"), "line 2: imagenet_r of 'ViT-H-14-378-quickgelu dfn5b' is 93.76, but"),
        (CLIP, scaled(0, -1, "objectnet"), "line 2: objectnet of 'ViT-H-14-378-quickgelu dfn5b' is -0.734, but"),
        (VLHUB, scaled(slice(None), 100), "line 2: imagenet of 'adv_inception_v3' is 79.3 (and so on in 658 more"),
        (TIMM, written(imagenet_v2="66;25"), "imagenet_v2 of 'bat_resnext26ts.ch_in1k' is 66;25, which is no number"),
    ],
)
def test_accuracies_in_another_unit_are_named_with_line_and_column(folder, file, change, place):
    edit(folder, file, change)
    said = refused(folder)
    assert said.startswith(f"{file}, line ") and place in said
    assert any(advice in said for advice in ("multiply", "divide", "correct the cell", "which is no number"))


def test_other_test_sets_are_shares(folder):
    edit(folder, OTHER, scaled(2, 100, "country211"))
    assert refused(folder, read_other_test_sets).startswith(f"{OTHER}, line 4: country211 of ")


def test_empty_accuracies_and_poor_models_are_allowed(folder):
    """Not measured, and barely better than guessing: the testbed's poorest models stay as they are."""
    empty = {"imagenet_v2": "", "imagenet_r": "nan", "imagenet_on_r_classes": ""}
    edit(folder, TIMM, written(**empty))
    edit(folder, CLIP, written(imagenet="", imagenet_v2="", imagenet_sketch="", imagenet_r="", imagenet_a=""))
    found = read_published(folder).accuracies
    here = found[found["model"] == "bat_resnext26ts.ch_in1k"]
    assert set(here["shift"]) == {"imagenet-sketch", "imagenet-a"}
    testbed = pd.read_csv(folder / TESTBED)
    assert (testbed["imagenet"] < 1).sum() > 2 and (testbed["imagenet_a"] == 0).any()


# --- Columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, column, written_as",
    [
        (CLIP, "imagenet_v2", "imagenetv2"),
        (CLIP, "pretrained", "pre-trained"),
        (TIMM, "imagenet_on_r_classes", "imagenet_on_r"),
        (TIMM, "imagenet", "ImageNet"),
        (TIMM, "tag", "tags"),
        (TESTBED, "objectnet", "object_net"),
        (VLHUB, "technique", "techniques"),
        (OTHER, "image_size", "image size"),
        (OTHER, "country211", "country_211"),
        (NAMES, "same_as", "same as"),
        ("pretraining.csv", "samples_seen", "sample_seen"),
    ],
)
def test_a_misspelt_column_is_named_with_what_it_may_be(folder, file, column, written_as):
    edit(folder, file, lambda table: table.rename(columns={column: written_as}))
    said = refused(folder, make_tables)
    assert said.startswith(f"{file} lacks the column {column!r}: is {written_as!r} a misspelling of it?")


def test_a_column_more_is_allowed_and_one_less_is_not(folder):
    edit(folder, TIMM, lambda table: table.assign(comment="x"))
    assert len(read_published(folder).models) == 1640
    edit(folder, TESTBED, lambda table: table.drop(columns="imagenet_r"))
    assert refused(folder, read_reference).startswith(f"{TESTBED} lacks the column 'imagenet_r': ")


# --- Spellings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, said",
    [
        (written(data="Imagenet-1k"), "'Imagenet-1k' in line 2 and 'ImageNet-1k' in lines 3, 4, 5 and "),
        (written(data="ImageNet 1k"), "'ImageNet 1k' in line 2 and 'ImageNet-1k' in lines 3, 4, 5 and "),
        (
            lambda table: table.assign(data=table["data"].replace("ImageNet-1k", "Imagenet-1k")),
            "one value of data or fine_tuned_on in two ways, 'ImageNet-1k' in lines ",
        ),
        (written(objective="Cross-entropy"), "'Cross-entropy' in line 2 and 'cross-entropy' in lines 3, 4, 5 and "),
        (written(teacher="None"), "'None' in line 2 and 'none' in lines "),
    ],
)
def test_two_spellings_of_one_value_are_named_with_their_lines(folder, change, said):
    edit(folder, "pretraining.csv", change)
    message = refused(folder, read_pretraining)
    assert message.startswith("pretraining.csv spells one value of ") and said in message


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("YFCC-15M", "YFCC15M", "no model has the data 'YFCC-15M' any longer, but some have 'YFCC15M'"),
        ("MetaCLIP", "Meta", "no model has the data 'MetaCLIP' any longer"),
        ("ImageNet-1k", "Imagenet-1k", "no model has the data 'ImageNet-1k' any longer, but some have 'Imagenet-1k'"),
        ("ImageNet-1k labels", "labels of INet", "no model has the supervision_level 'labels of ImageNet-1k (teacher"),
        ("CoCa", "CoCa loss", "no model has the objective 'CoCa' any longer, but some have 'CoCa loss'"),
    ],
)
def test_a_value_that_comparisons_name_and_no_model_has_is_an_error(folder, old, new, said):
    """Written in one way everywhere, so that it is no second spelling."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        for column in ("data", "teacher", "objective", "fine_tuned_on"):
            parts = table[column].str.split(", ")
            table[column] = [", ".join(new if part == old else part for part in cell) for cell in parts]
        return table

    edit(folder, "pretraining.csv", change)
    message = refused(folder, make_tables)
    assert message.startswith("pretraining.csv: ") and said in message


def test_all_that_the_sentences_name_is_looked_for():
    """A comparison in `published_findings` names values that `make_tables` misses where no model has them."""
    fields = {"size": "data", "distribution": "data", "language_training": "supervision_level",
              "language_test": "prediction", "contrastive_loss": "objective"}  # fmt: skip
    for question, comparisons in NAMED.items():
        for control, treatment, _ in comparisons:
            for side in (control, treatment):
                name = side.split(", ")[0] if question == "size" else side
                assert name in NAMED_VALUES[fields[question]], (question, side)


def test_two_rows_for_one_key_are_named_with_both_lines(folder):
    edit(folder, "pretraining.csv", repeated(1, note="x"))
    assert "lines 3 and 334: keep one" in refused(folder, read_pretraining)
