"""Tables of a user's own: paths or bytes, texts, labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.data.readers.record_buffers import CLASSES, records_of, rows_of, write_picture
from tests.data.test_photo_store import encoded, picture
from whyrobust.data.archives import read_bytes
from whyrobust.data.dataset_checks import DatasetError, LabelCounts
from whyrobust.data.label_matcher import read_classes
from whyrobust.data.readers.folders import read_image_folder
from whyrobust.data.readers.tables import TableColumns, read_image_tables
from whyrobust.data.records import read_records, write_records
from whyrobust.study.class_table import read_class_names, read_covered_classes, read_prompt_names
from whyrobust.study.input_files import count_covered_classes, read_class_counts


def test_a_table_of_paths_keeps_texts_with_their_pictures(tmp_path, pack):
    for name in ("a.jpg", "sub/b c.jpg", "\u00fcber.jpg"):
        write_picture(tmp_path / "photos" / name)
    rows = pd.DataFrame(
        {
            "file": ["a.jpg", "sub/b c.jpg", "gone.jpg", "\u00fcber.jpg", ""],
            "text": [
                'a "quoted", comma',
                "two\nlines <b>bold</b>",
                "x",
                "\u0645\u0631\u062d\u0628\u0627 \u2603",
                "y",
            ],
            "words": ["pet, cat", "", "z", "", ""],
            "kind": ["cat", "horse", "dog", "", "cat"],
        }
    )
    rows.to_csv(tmp_path / "table.csv", index=False)
    buffer = read_image_tables(
        [tmp_path / "table.csv"], TableColumns("file", "text", tags="words", label="kind"), pack, CLASSES,
        root=tmp_path / "photos",
    )  # fmt: skip
    records = records_of(buffer, "mine")
    assert records["uid"].tolist() == ["mine/a.jpg", "mine/sub/b c.jpg", "mine/\u00fcber.jpg"]
    assert records["title"].tolist()[:2] == ['a "quoted", comma', "two lines bold"]
    assert records["tags"].tolist() == [["pet", "cat"], [], []]
    assert records["label"].tolist() == ["cat", None, None]
    assert buffer.left_out == {"its file is not there": 1, "it names no picture": 1}
    write_records(tmp_path / "records.parquet", records)
    buffer.write("mine", tmp_path / "streamed.parquet", tmp_path / "locations.parquet")
    pd.testing.assert_frame_equal(*map(read_records, (tmp_path / "records.parquet", tmp_path / "streamed.parquet")))
    buffer.require(["tags"])
    assert len(rows_of(buffer)) == len(buffer) == 1 and buffer.left_out["it has no tags"] == 2


def test_a_table_may_hold_the_pictures_themselves(tmp_path, pack):
    contents = [encoded(picture()), encoded(picture(), "PNG")]
    frame = pd.DataFrame({"image": [{"bytes": contents[0], "path": None}, {"bytes": contents[1], "path": "x"}]})
    frame.assign(tags=[np.array(["a", "b"]), []]).to_parquet(tmp_path / "table.parquet")
    buffer = read_image_tables([tmp_path / "table.parquet"], TableColumns("image", tags="tags"), pack)
    pack._handle.flush()
    assert [read_bytes(m.file, m.offset, m.length) for _, m in rows_of(buffer)] == contents
    assert rows_of(buffer)[0][0]["tags"] == ["a", "b"]


def test_a_table_that_leads_outside_or_lacks_a_column_is_an_error(tmp_path, pack):
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "secret.jpg")
    pd.DataFrame({"file": ["../secret.jpg"]}).to_csv(tmp_path / "in" / "t.csv", index=False)
    with pytest.raises(DatasetError, match="leads out of"):
        read_image_tables([tmp_path / "in" / "t.csv"], TableColumns("file"), pack)
    with pytest.raises(DatasetError, match="no column 'caption'"):
        read_image_tables([tmp_path / "in" / "t.csv"], TableColumns("file", title="caption"), pack)
    (tmp_path / "latin.csv").write_bytes("file,text\na.jpg,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8"):
        read_image_tables([tmp_path / "latin.csv"], TableColumns("file"), pack)


@pytest.mark.parametrize("gap", [False, True])
def test_labels_of_a_table_may_be_numbers(tmp_path, pack, gap):
    frame = pd.DataFrame({"image": [encoded(picture())] * 3, "kind": [0, None if gap else 1, 7]})
    frame.to_parquet(tmp_path / "t.parquet")
    buffer = read_image_tables([tmp_path / "t.parquet"], TableColumns("image", label="kind"), pack, ["0", "1"])
    assert records_of(buffer, "t")["label"].tolist() == ["0", None if gap else "1", None]
    assert buffer.labels == LabelCounts(1 if gap else 2, 1, int(gap), ("row_2", "7", ""))


def test_labels_of_a_table_that_are_no_class_are_counted_and_stop_the_build_above_a_share(tmp_path, pack):
    labels = ["Cat", "cat", "dogs", "", "mug ", "horse"]
    frame = pd.DataFrame({"image": [encoded(picture())] * 6, "kind": labels})
    frame.to_parquet(tmp_path / "t.parquet")
    buffer = read_image_tables([tmp_path / "t.parquet"], TableColumns("image", label="kind"), pack, CLASSES)
    assert records_of(buffer, "t")["label"].tolist() == [None, "cat", None, None, "mug", None]
    assert list(buffer.labels.reasons().values()) == [3, 1]
    buffer.labels.check("t", 0.6)
    with pytest.raises(DatasetError, match=r"'t' has 3 of 5 labels .* 60\.0% .* the first 'Cat' of 'row_0' .*'cat'"):
        buffer.labels.check("t", 0.5)
    # In slices it is the whole data set that counts.
    (buffer.labels + LabelCounts(known=1)).check("t", 0.5)
    with pytest.raises(DatasetError, match="'t' has no label in any of 2 images"):
        LabelCounts(empty=2).check("t", 1.0)
    LabelCounts().check("t", 0.0)


def test_several_captions_of_one_picture_are_an_error_that_names_it(tmp_path, pack):
    write_picture(tmp_path / "a.jpg")
    pd.DataFrame({"file": ["a.jpg", "a.jpg"], "text": ["x", "y"]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DatasetError, match=r"row 2: 'a\.jpg' is the picture of row 1 too"):
        read_image_tables([tmp_path / "t.csv"], TableColumns("file", "text"), pack)


def test_tables_may_start_with_a_byte_order_mark(tmp_path, pack):
    write_picture(tmp_path / "set" / "x" / "1.jpg")
    for name, text in (("c.csv", "class,imagenet_r\ncat,true\n"), ("f.csv", "folder,class\nx,cat\n"),
                       ("t.csv", "file,text\nset/x/1.jpg,hello\n")):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    classes = read_class_names(tmp_path / "c.csv")
    assert classes == read_prompt_names(tmp_path / "c.csv") == read_covered_classes(tmp_path / "c.csv", "imagenet_r")
    assert classes == read_classes(tmp_path / "c.csv")["class"].tolist() == ["cat"]
    assert count_covered_classes(tmp_path / "c.csv")["imagenet_r"] == 1 and read_class_counts(tmp_path / "c.csv") == {}
    assert len(read_image_folder(tmp_path / "set", classes, tmp_path / "f.csv")) == 1
    assert len(read_image_tables([tmp_path / "t.csv"], TableColumns("file", "text"), pack)) == 1
