"""The stages of photographs, each script by itself on a few files: what must stop a study stops it there."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.data.test_photo_store import RNG, encoded, picture
from tests.data.test_svg import HOUSE
from whyrobust.data.image_stores import read_images
from whyrobust.data.photo_store import open_locations
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.data.record_writer import OTHER_CLASS, classes_between
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.slices import Slice
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, PhotographsOnDisk

CLASSES = ["cat", "dog", "mug"]


MERGED = ("records", "counts", "unknown_labels", "images", "fingerprints", "failures")


def files_of_slice(folder):
    """Return the path of every file that the stages of a slice write."""
    names = ("records.parquet", "locations.parquet", "pack.bin", "counts.csv", "unknown_labels.csv",
             "presence.json", "images.arrow", "fingerprints.npy", "failures.csv")  # fmt: skip
    return {name.partition(".")[0]: str(folder / name) for name in names}


@pytest.fixture
def built(stage, tmp_path):
    """Build the records and the index of a data set; return the paths of what is made."""
    (tmp_path / "classes.csv").write_text("class\n" + "\n".join(CLASSES) + "\n", encoding="utf-8")

    def build(facts, allowed_failure_share=0.01, name="t", page_colour="", allowed_unknown_label_share=0.5):
        kind = DATA_KINDS[facts["kind"]]
        made = files_of_slice(tmp_path / "slices" / name)
        stage("build_photo_records", {}, {"files": [], "fetched": [], "classes": str(tmp_path / "classes.csv")},
              {key: made[key] for key in ("records", "locations", "pack", "counts", "presence")}, settings=facts,
              slice=asdict(Slice(name)), reader=kind.reader,
              covered="imagenet_r" if kind.name == "imagenet_r" else None)  # fmt: skip
        stage("index_images", {}, {key: made[key] for key in ("locations", "pack")},
              {key: made[key] for key in ("images", "fingerprints", "failures")},
              border_pixels=kind.border_pixels, page_colour=page_colour)  # fmt: skip
        merged = files_of_slice(tmp_path / "made" / name)
        stage("join_slices", {"photo_dataset": name}, {key: [path] for key, path in made.items()},
              {key: merged[key] for key in MERGED},
              whole_size={"expected": facts.get("expected_images"), "allow_short": facts.get("allow_short", False)},
              keeps_first_of_repeats=kind.keeps_first_of_repeats,
              allowed_failure_share=allowed_failure_share,
              allowed_unknown_label_share=allowed_unknown_label_share)  # fmt: skip
        return merged

    return build


def write_folder(folder, count, broken=0):
    """Write pictures in class folders, some of them cut off."""
    for number in range(count):
        content = encoded(picture(40, 40, RNG.integers(50, 250, 3)))
        place = folder / CLASSES[number % 3] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content[:300] if number < broken else content)
    return {"kind": "image_folder", "folder": str(folder), "role": "shift", "classes": "all"}


def test_class_folders_and_labels_that_are_no_class_are_listed_with_their_pictures(built, tmp_path):
    facts = write_folder(tmp_path / "set", 6)
    (tmp_path / "set" / "mug").rename(tmp_path / "set" / "jug")
    made = built({name: facts[name] for name in ("kind", "folder")})
    assert pd.read_csv(made["unknown_labels"]).values.tolist() == [["jug", 2]]
    table = tmp_path / "t.csv"
    table.write_text("file,class\n" + "".join(f"set/{c}/{n}.jpg,{c.upper()}\n" for n, c in enumerate(["cat", "dog"])))
    made = built({"kind": "image_table", "table": [str(table)], "image": "file", "label": "class"}, name="u",
                 allowed_unknown_label_share=1.0)  # fmt: skip
    assert sorted(pd.read_csv(made["unknown_labels"]).values.tolist()) == [["CAT", 1], ["DOG", 1]]


def test_a_picture_that_does_not_decode_is_missing_from_a_test_set_of_known_size(built, tmp_path):
    facts = write_folder(tmp_path / "set", 12, broken=1) | {"expected_images": 12}
    with pytest.raises(ValueError, match=r"has 11 of 12 images, 1 are missing"):
        built(facts, allowed_failure_share=0.5)
    built(facts | {"allow_short": True}, allowed_failure_share=0.5)
    built({name: value for name, value in facts.items() if name != "expected_images"}, allowed_failure_share=0.5)


def test_a_test_set_keeps_its_repeats_unless_told_otherwise(built, stage, tmp_path):
    facts = write_folder(tmp_path / "set", 12)
    (tmp_path / "set" / "dog" / "1.jpg").write_bytes((tmp_path / "set" / "cat" / "0.jpg").read_bytes())
    source = write_folder(tmp_path / "source", 3)
    made = [built({"kind": "image_folder", "folder": source["folder"]}, name="s"), built(facts)]
    files = {
        key: {name: of[key] for name, of in zip(("s", "t"), made, strict=True)}
        for key in ("images", "fingerprints", "records")
    }
    compared = {kind: str(tmp_path / f"s_{kind}.parquet") for kind in ("removed", "counts", "pairs")}
    test_files = {f"test_{key}": {"t": paths["t"]} for key, paths in files.items()}
    kept = {"s": str(tmp_path / "source.parquet"), "t": str(tmp_path / "kept.parquet")}
    outputs = {name: str(tmp_path / f"{name}.csv") for name in ("removed", "counts", "pairs", "sizes")}
    sizes = {}
    for repeat in (None, 1.0):
        stage("compare_images", {}, {key: paths["s"] for key, paths in files.items()}, compared,
              slice=asdict(Slice("s")), near_duplicate=0.99, repeat=repeat, **test_files)  # fmt: skip
        stage("decontaminate", {}, {}, outputs, sources=["s"], test_sets=["t"], kept=kept, repeat=repeat,
              **{f"compared_{kind}": {"s": [path]} for kind, path in compared.items()}, **files)  # fmt: skip
        sizes[repeat] = pd.read_csv(outputs["sizes"]).iloc[1][["decoded", "repeats_removed", "kept"]].tolist()
        assert len(pd.read_parquet(kept["t"])) == sizes[repeat][2]
    assert sizes == {None: [12, 0, 12], 1.0: [12, 1, 11]}


def write_table(folder, rows):
    """Write a table of pictures with a label each; those named ``gone`` are not there."""
    for name, _ in rows:
        if not name.startswith("gone"):
            (folder / name).write_bytes(encoded(picture()))
    pd.DataFrame(rows, columns=["file", "kind"]).to_csv(folder / "t.csv", index=False)
    return {"kind": "image_table", "table": [str(folder / "t.csv")], "image": "file", "label": "kind"}


@pytest.mark.parametrize("label, words", [("", "'b.jpg' with no label"), ("horse", "'b.jpg' with the label 'horse'")])
def test_a_test_image_that_cannot_be_scored_stops_the_build(built, tmp_path, label, words):
    facts = write_table(tmp_path, [("a.jpg", "cat"), ("b.jpg", label)])
    with pytest.raises(ValueError, match=rf"1 of 2 images .* {words}.* allowed are 3 classes .*cat, dog, mug"):
        built(facts | {"role": "shift", "classes": "own"})
    made = built(facts)  # in a training source it has no label
    assert pd.read_parquet(made["records"])["label"].isna().tolist() == [False, True]


def test_a_picture_of_a_class_that_the_test_set_does_not_cover_stops_the_build(built, tmp_path):
    facts = write_folder(tmp_path / "r", 4) | {"kind": "imagenet_r", "classes": "own", "allow_short": True}
    facts["archive"] = facts.pop("folder")
    for covered, table in (("cat dog mug", True), ("cat dog", False)):
        rows = [f"{name},{str(name in covered).lower()}" for name in CLASSES]
        (tmp_path / "classes.csv").write_text("\n".join(["class,imagenet_r", *rows]) + "\n")
        if table:
            built(facts)
        else:
            with pytest.raises(ValueError, match=r"1 of 4 images .*mug/2\.jpg' with the label 'mug'.* 2 classes"):
                built(facts)


def test_too_many_missing_files_stop_the_build(built, tmp_path):
    facts = write_table(tmp_path, [("a.jpg", "cat"), ("b.jpg", "dog"), ("gone.jpg", "cat"), ("c.jpg", "mug")])
    with pytest.raises(
        ValueError, match=r"1 of 4 pictures \(.*\), 25\.00% where 1\.00% are allowed, the first 'gone\.jpg'"
    ):
        built(facts)
    made = built(facts, allowed_failure_share=0.25)
    assert len(pd.read_parquet(made["records"])) == 3


def test_a_source_of_some_classes_has_no_picture_of_the_others(built, tmp_path):
    facts = {name: value for name, value in write_folder(tmp_path / "set", 6).items() if name in ("kind", "folder")}
    (first,) = classes_between(CLASSES, 0, 0.3)
    made = built(facts | {"classes_between": [0, 0.3]})
    assert set(pd.read_parquet(made["records"])["label"]) == {first}
    assert pd.read_csv(made["counts"])[["what", "images"]].values.tolist() == [["kept", 2], [OTHER_CLASS, 4]]


def test_columns_of_further_captions_become_variants_and_are_measured(built, stage, tmp_path):
    """From a user's table to the captions that a run reads, and to the table of how varied they are."""
    rows = [("a.jpg", "cat", "IMG_1", "a cat on a mat"), ("b.jpg", "cat", "", "a <b>grey</b> cat"),
            ("c.jpg", "dog", "IMG_2", "a dog"), ("d.jpg", "dog", "my dog", "a dog")]  # fmt: skip
    for name, *_ in rows:
        (tmp_path / name).write_bytes(encoded(picture()))
    pd.DataFrame(rows, columns=["file", "kind", "alt", "said"]).to_csv(tmp_path / "t.csv", index=False)
    facts = {"kind": "image_table", "table": [str(tmp_path / "t.csv")], "image": "file", "label": "kind",
             "captions": {"alt": "alt", "generated": "said"}}  # fmt: skip
    made = built(facts)
    texts = {}
    for variant, wanted in (("alt", ["IMG_1", None, "IMG_2", "my dog"]),
                            ("generated", ["a cat on a mat", "a grey cat", "a dog", "a dog"])):  # fmt: skip
        texts[variant] = [str(tmp_path / f"{variant}.parquet")]
        stage("assemble_captions", {"caption": variant}, {"records": made["records"], "classes": []},
              {"captions": texts[variant][0]}, slice=asdict(Slice("t")), settings={})  # fmt: skip
        found = pd.read_parquet(texts[variant][0])[variant]
        assert [None if pd.isna(text) else text for text in found] == wanted
    stage("describe_captions", {}, {}, {"variety": str(tmp_path / "variety.csv")}, seed=0,
          captions={"t": texts}, kept={"t": made["records"]})  # fmt: skip
    variety = pd.read_csv(tmp_path / "variety.csv")
    assert variety[["source", "caption", "captions", "words"]].values.tolist() == [
        ["t", "alt", 3, 6],
        ["t", "generated", 4, 12],
    ]
    asked = built(facts | {"needs": ["generated", "alt"]}, name="u")
    assert len(pd.read_parquet(asked["records"])) == 3
    assert ["it has no alt", 1] in pd.read_csv(asked["counts"])[["what", "images"]].values.tolist()


def test_the_border_of_objectnet_is_cut_off_wherever_a_picture_is_read(built, tmp_path):
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste(Image.new("RGB", (60, 60), (0, 0, 255)), (2, 2))
    place = tmp_path / "objectnet" / "mug" / "1.png"
    place.parent.mkdir(parents=True)
    image.save(place)
    (tmp_path / "folders.csv").write_text("folder,classes\nmug,mug;dog\n")
    made = built({"kind": "objectnet", "archive": str(tmp_path / "objectnet"), "class_table": tmp_path / "folders.csv",
                  "role": "shift", "classes": "own", "allow_short": True})  # fmt: skip
    (pixels,) = read_images([made["images"]], ["t/mug/1.png"], study_preprocessing(32, "clip"))
    assert not pixels[..., 0].any() and (pixels[..., 2] == 255).all()
    assert not np.load(made["fingerprints"]).any()  # one colour: the frame is no part of the thumbnail


def test_the_page_is_behind_a_transparent_picture_wherever_it_is_read(built, tmp_path):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 16, 32))
    (tmp_path / "set" / "mug").mkdir(parents=True)
    image.save(tmp_path / "set" / "mug" / "1.png")
    (tmp_path / "set" / "mug" / "2.svg").write_text(HOUSE)
    facts = {"kind": "image_folder", "folder": str(tmp_path / "set"), "role": "shift", "classes": "own"}
    uids, how = ["t/mug/1.png", "t/mug/2.svg"], study_preprocessing(32, "clip")
    seen = {}
    for page in ("", "white"):
        made = built(facts, page_colour=page)
        pixels = list(read_images([made["images"]], uids, how))
        images = PhotographsOnDisk(open_locations([made["images"]], uids), how, 1)
        settings = BatchSettings(1, Augmentation(False, min_crop_area=1.0), 0, torch.device("cpu"))
        (batch,) = images.batches([torch.tensor([0, 1])], settings, torch.Generator())
        seen[page] = (pixels, images.finish(batch, settings), np.load(made["fingerprints"]))
    for page, corner in (("", 0), ("white", 255)):
        pixels, batch, _ = seen[page]
        assert pixels[0][0, -1].tolist() == [corner] * 3 and pixels[0][0, 0].tolist() == [200, 0, 0]
        assert pixels[1][0, 0].tolist() == [255] * 3
        shown = batch[:, :, 0, -1] * torch.tensor(how.std) + torch.tensor(how.mean)
        assert torch.allclose(shown, torch.tensor([[corner / 255], [1.0]]).expand(2, 3), atol=0.01)
    assert not np.allclose(seen[""][2][0], seen["white"][2][0]) and np.allclose(seen[""][2][1], seen["white"][2][1])
