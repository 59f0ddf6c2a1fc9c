"""Data sets of the hub, with the packages that people read and write them with: each reads what the other wrote."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clip_benchmark.webdataset_builder import PIL_to_bytes, convert_dataset
from open_clip_train.data import get_wds_dataset

from tests.data.readers.record_buffers import read_dataset, rows_of
from tests.replicas import CLASSES, PHOTO, cc12m, draw
from whyrobust.data.archives import read_bytes
from whyrobust.data.decoding import PhotographError, decode
from whyrobust.data.text_cleaning import clean_web_text
from whyrobust.study.file_patterns import matching_files
from whyrobust.study.input_files import read_prompts
from whyrobust.study.slices import shard_names, slices_of

NAMES = ["bow tie", "wine bottle", "caf\u00e9 mug"]


def pixels_of(member):
    return np.asarray(decode(read_bytes(member.file, member.offset, member.length)))


class Drawn(list):
    """A data set as clip_benchmark takes them: pairs of a picture and a number, with names and templates."""

    classes, templates = NAMES, ["a photo of a {c}.", "the {c}, drawn."]


@pytest.mark.parametrize("role", ["source", "test set"])
def test_what_clip_benchmark_writes_is_read_picture_by_picture_in_any_number_of_slices(tmp_path, monkeypatch, role):
    rng = random.Random(0)
    pairs = Drawn((draw(number % 3, PHOTO, rng), torch.tensor(number % 3)) for number in range(11))
    monkeypatch.setattr(torch.utils.data, "DataLoader", lambda pairs, **_: pairs)  # it would start eight processes
    convert_dataset(pairs, "test", str(tmp_path), transform=PIL_to_bytes("webp"), max_count=3, verbose=False)
    shards = matching_files([str(tmp_path / "test")], tmp_path, (".tar",))
    names = shard_names(shards)
    settings = {"kind": "webdataset", "class_names": str(tmp_path / "classnames.txt")}
    settings |= {"role": "shift", "classes": "all"} if role == "test set" else {}
    for count in (1, 3):
        found = []
        for part in slices_of("set", count):
            given = settings | {"shards": part.share_of(shards), "shard_names": part.share_of(names)}
            found += rows_of(read_dataset(given, classes=sorted(NAMES)))
        assert [record["uid"] for record, _ in found] == [f"{n // 3}/s{n:07d}" for n in range(11)]
        for (record, member), (image, number) in zip(found, pairs, strict=True):
            assert record["label"] == NAMES[number] and (pixels_of(member) == np.asarray(image)).all()
    templates = read_prompts(tmp_path / "zeroshot_classification_templates.txt", "prompts.own")
    assert list(templates) == ["a photo of a {class}.", "the {class}, drawn."]


def test_open_clip_reads_the_pairs_of_our_replicas_as_we_do(tmp_path):
    (tmp_path / "cc12m").mkdir()
    cc12m(tmp_path, random.Random(0))
    shards = matching_files([str(tmp_path / "cc12m" / "{00000..00001}.tar")], tmp_path)
    args = SimpleNamespace(val_data="::".join(shards), train_data=None, val_num_samples=0, train_num_samples=None,
                           batch_size=1, workers=0, world_size=1, seed=0)  # fmt: skip
    read = get_wds_dataset(args, np.asarray, is_train=False, tokenizer=lambda text: [text])
    theirs = [(image[0], text[0]) for image, text in read.dataloader]
    ours, refused = [], 0
    for record, member in rows_of(read_dataset({"kind": "webdataset", "shards": shards})):
        try:
            ours.append((pixels_of(member), record["title"]))
        except PhotographError:
            refused += 1
    assert len(ours) == len(theirs) > 400 and refused == 1
    for (pixels, title), (image, text) in zip(ours, theirs, strict=True):
        assert title == clean_web_text(text) and (pixels == np.asarray(image)).all()
    assert any(name in title for _, title in ours for _, names, _ in CLASSES.values() for name in names)
