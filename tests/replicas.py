"""Small replicas of the archives of the paper study, and a server for them.

    python tests/replicas.py FOLDER [--port PORT] [COMMAND ...]

makes them (some seconds), writes FOLDER/sources.tsv with the addresses of the local server and serves until it is
stopped, or until the command has run. Layout, names, metadata and oddities are those of the real archives; the pictures
are drawn: a shape and a colour for each of 12 classes. Nothing here imports the package that is tested.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import csv
import hashlib
import http.server
import io
import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.io import savemat

ROOT = Path(__file__).parent.parent

#: wnid -> (index, names that people write, ObjectNet's folder). Ties are two ImageNet classes and one of ObjectNet's.
CLASSES = {
    "n01498041": (6, ["stingray", "stingrays"], None),
    "n01614925": (22, ["bald eagle", "American eagle"], None),
    "n01944390": (113, ["snail", "snails"], None),
    "n02883205": (457, ["bow tie", "bowtie"], "tie"),
    "n02906734": (462, ["broom", "brooms"], "broom"),
    "n02948072": (470, ["candle", "candles"], "candle"),
    "n03775071": (658, ["mitten", "mittens"], "winter_glove"),
    "n04133789": (774, ["sandal", "sandals"], "sandal"),
    "n04591157": (906, ["Windsor tie"], "tie"),
    "n04591713": (907, ["wine bottle", "wine bottles"], "wine_bottle"),
    "n07749582": (951, ["lemon", "lemons"], "lemon"),
    "n07753592": (954, ["banana", "bananas"], "banana"),
}
WNIDS = list(CLASSES)
#: Windsor ties are in neither ImageNet-R nor ImageNet-A.
RENDITION_WNIDS = [wnid for wnid in WNIDS if wnid != "n04591157"]
PASSWORD = "objectnetisatestset"
TRAIN_PER_CLASS, TEST_PER_CLASS = 60, 8
YFCC_PHOTOS, CC12M_PAIRS, OWN_ROWS = 600, 420, 260
OWN_CLASSES = ["cat", "dog", "boat", "tree", "lamp", "cup"]


@dataclass(frozen=True)
class Style:
    """How pictures of one data set look."""

    colourful: float = 1.0
    outline: bool = False
    clutter: int = 2
    turn: float = 0.4
    other_colours: bool = False


PHOTO = Style()
STYLES = {
    "v2": Style(clutter=4, turn=0.6),
    "r": Style(other_colours=True, clutter=1),
    "sketch": Style(outline=True, clutter=0),
    "a": Style(clutter=9, turn=1.0),
    "objectnet": Style(turn=3.1, clutter=3),
}


def _colour(hue: float, level: float = 1.0) -> tuple[int, int, int]:
    turns = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return tuple(int(255 * level * (0.15 + 0.85 * value)) for value in turns)  # type: ignore[return-value]


def draw(number: int, style: Style, rng: random.Random) -> Image.Image:
    """Draw class ``number``: a star with as many points, in its colour, on a background with other things."""
    width, height = rng.randint(80, 160), rng.randint(80, 160)
    noise = np.random.default_rng(rng.getrandbits(32))
    page = (255, 255, 255) if style.outline else _colour(rng.random(), rng.uniform(0.5, 1.0))
    image = Image.new("RGB", (width, height), page)
    pen = ImageDraw.Draw(image)
    for _ in range(style.clutter):
        x, y, r = rng.random() * width, rng.random() * height, rng.uniform(4, 16)
        pen.rectangle((x - r, y - r / 2, x + r, y + r / 2), fill=_colour(rng.random(), rng.random()))
    points, depth = 3 + number % 6, (0.35, 0.75)[number // 6 % 2]
    radius = min(width, height) * rng.uniform(0.3, 0.45)
    x, y = width / 2 + rng.uniform(-0.1, 0.1) * width, height / 2 + rng.uniform(-0.1, 0.1) * height
    start = rng.uniform(-style.turn, style.turn)
    corners = [
        (x + r * math.sin(start + step * math.pi / points), y - r * math.cos(start + step * math.pi / points))
        for step in range(2 * points)
        for r in (radius * (depth if step % 2 else 1.0),)
    ]
    hue = rng.random() if style.other_colours else number / 12 + rng.uniform(-0.02, 0.02)
    if style.outline:
        pen.line([*corners, corners[0]], fill=(20, 20, 20), width=3)
    else:
        pen.polygon(corners, fill=_colour(hue), outline=(30, 30, 30))
    values = np.asarray(image, dtype=np.int16) + noise.integers(-12, 13, (height, width, 1))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> None:
    """Write a tar whose bytes depend on its members alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


# --- ImageNet and its shifts -----------------------------------------------------------------------------------------


def imagenet_train(folder: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Write the tar of tars; return (file name, wnid) of its pictures."""
    outer, names = [], []
    for number, wnid in enumerate(WNIDS):
        inner = []
        for position in range(TRAIN_PER_CLASS):
            name = f"{wnid}_{17 + 31 * position}.JPEG"
            image = draw(number, PHOTO, rng)
            content = encode(image)
            if position == 3:
                content = encode(image.convert("L"))
            if position == 4 and number == 1:
                content = encode(image, "PNG")
            if position == 5 and number == 2:
                content = encode(image.convert("CMYK"))
            if position == 6 and number == 3:
                exif = Image.Exif()
                exif[0x0112] = 6
                content = encode(image, exif=exif)
            if position == 7 and number == 4:
                content = content[: len(content) // 2]
            inner.append((name, content))
            names.append((name, wnid))
        write_tar(folder / "inner.tar", inner)
        outer.append((f"{wnid}.tar", (folder / "inner.tar").read_bytes()))
    (folder / "inner.tar").unlink()
    write_tar(folder / "ILSVRC2012_img_train.tar", outer)
    return names


def imagenet_validation(folder: Path, rng: random.Random) -> None:
    """Write the flat tar and the devkit, whose ids are in another order than wnids."""
    wnids = [row["class"] for row in _rows(ROOT / "resources" / "imagenet" / "classes.csv")]
    shuffled = wnids[:]
    random.Random(1).shuffle(shuffled)
    id_of = {wnid: number for number, wnid in enumerate(shuffled, start=1)}
    chosen = [wnid for wnid in WNIDS for _ in range(TEST_PER_CLASS)]
    rng.shuffle(chosen)
    pictures = [
        (f"ILSVRC2012_val_{number:08d}.JPEG", encode(draw(WNIDS.index(wnid), PHOTO, rng)))
        for number, wnid in enumerate(chosen, start=1)
    ]
    write_tar(folder / "ILSVRC2012_img_val.tar", pictures)
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O"),
             ("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")]  # fmt: skip
    synsets = np.zeros((1003, 1), dtype=kinds)
    for row, wnid in enumerate([*shuffled, "n00001740", "n00002684", "n00003553"]):
        leaf = row < 1000
        synsets[row, 0] = (
            float(row + 1), wnid, f"words of {wnid}", "a gloss", 0.0 if leaf else 2.0,
            np.zeros((1, 0)) if leaf else np.array([[1.0, 2.0]]), 0.0 if leaf else 3.0, 1300.0 if leaf else 0.0,
        )  # fmt: skip
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets}, do_compression=True)
    # The header of a .mat file says when it was written.
    meta = b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:]
    truth = "".join(f"{id_of[wnid]}\n" for wnid in chosen).encode()
    top = "ILSVRC2012_devkit_t12"
    _write_gz(
        folder / f"{top}.tar.gz",
        [(f"{top}/readme.txt", b"devkit"), (f"{top}/data/meta.mat", meta),
         (f"{top}/data/ILSVRC2012_validation_ground_truth.txt", truth)],
    )  # fmt: skip


def _write_gz(path: Path, members: list[tuple[str, bytes]]) -> None:
    import gzip

    write_tar(path.with_suffix(""), members)
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as handle:
        handle.write(path.with_suffix("").read_bytes())
    path.with_suffix("").unlink()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


TITLES = ["{name}", "My {name}", "{name} in the garden", "Saturday: a {name}!", "DSC0{number}", "IMG_{number}",
          "the {name}\u2019s day", "{name} &amp; friends", "{name} or {other}?", "caf\u00e9 {name} \u2603"]  # fmt: skip
DESCRIPTIONS = ["", 'Seen on <a href="http://example.org/x">this walk</a>.', "First line\nsecond line, {name}",
                "<b>{name}</b> www.example.org/{number}", "nothing to say", "d\u00e9j\u00e0 vu"]  # fmt: skip


def words(wnid: str, rng: random.Random) -> dict[str, object]:
    """Return a title, a description and tags as people write them on Flickr."""
    other = rng.choice([name for key in WNIDS if key != wnid for name in CLASSES[key][1]])
    facts = {"name": rng.choice(CLASSES[wnid][1]), "other": other, "number": rng.randint(1000, 9999)}
    tags = [tag for tag in (facts["name"], "photo", "2009", "canon eos") if rng.random() < 0.5]
    return {
        "title": rng.choice(TITLES).format(**facts) if rng.random() > 0.03 else "",
        "description": rng.choice(DESCRIPTIONS).format(**facts),
        "tags": tags,
    }


def imagenet_captions(folder: Path, names: list[tuple[str, str]], rng: random.Random) -> None:
    """Write the annotation of 70 % of the training images, and of two that are in no archive."""
    rows = [{"filename": name, "wnid": wnid} | words(wnid, rng) for name, wnid in names if rng.random() < 0.7]
    rows += [{"filename": f"{WNIDS[0]}_9999{n}.JPEG", "wnid": WNIDS[0]} | words(WNIDS[0], rng) for n in range(2)]
    rng.shuffle(rows)
    _write_zip(folder / "imagenet_captions.zip", [("imagenet_captions.json", json.dumps(rows).encode())])


def _write_zip(path: Path, members: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)


def shifts(folder: Path, rng: random.Random) -> None:
    """Write ImageNet-V2, -R, -Sketch and -A."""
    top = "imagenetv2-matched-frequency-format-val"
    pictures = [
        (f"{top}/{CLASSES[wnid][0]}/{rng.getrandbits(160):040x}.jpeg", encode(draw(number, STYLES["v2"], rng)))
        for number, wnid in enumerate(WNIDS)
        for _ in range(TEST_PER_CLASS)
    ]
    _write_gz(folder / "imagenetv2-matched-frequency.tar.gz", pictures)
    kinds = ["art", "cartoon", "deviantart", "embroidery", "graffiti", "origami", "painting", "sculpture", "toy"]
    rendition = [("imagenet-r/README.txt", b"ImageNet-R")] + [
        (f"imagenet-r/{wnid}/{rng.choice(kinds)}_{n}.jpg", encode(draw(WNIDS.index(wnid), STYLES["r"], rng)))
        for wnid in RENDITION_WNIDS
        for n in range(TEST_PER_CLASS)
    ]
    write_tar(folder / "imagenet-r.tar", rendition)
    sketch = [
        (f"sketch/{wnid}/sketch_{n}.JPEG", encode(draw(number, STYLES["sketch"], rng)))
        for number, wnid in enumerate(WNIDS)
        for n in range(TEST_PER_CLASS)
    ]
    _write_zip(folder / "ImageNet-Sketch.zip", [*sketch, ("__MACOSX/sketch/._x.JPEG", b"\x00\x05\x16\x07")])
    natural = [("imagenet-a/README.txt", b"ImageNet-A")] + [
        (
            # As in the real archive: two probabilities and a wrong prediction, with spaces.
            f"imagenet-a/{wnid}/0.{n:06d}_digital clock _ {CLASSES[wnid][1][0]}_{rng.random():.6f}.jpg",
            encode(draw(WNIDS.index(wnid), STYLES["a"], rng)),
        )
        for wnid in RENDITION_WNIDS
        for n in range(TEST_PER_CLASS)
    ]
    write_tar(folder / "imagenet-a.tar", natural)


_CRC = [0] * 256
for _value in range(256):
    _sum = _value
    for _ in range(8):
        _sum = (_sum >> 1) ^ (0xEDB88320 if _sum & 1 else 0)
    _CRC[_value] = _sum


def pkware_encrypt(content: bytes, password: bytes, check: int, rng: random.Random) -> bytes:
    """Encrypt with the traditional PKWARE cipher (APPNOTE 6.1); ``check`` ends the 12-byte header."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = (keys[0] >> 8) ^ _CRC[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = (keys[2] >> 8) ^ _CRC[(keys[2] ^ (keys[1] >> 24)) & 0xFF]

    for byte in password:
        update(byte)
    result = bytearray()
    for byte in [*(rng.randrange(256) for _ in range(11)), check, *content]:
        mixed = (keys[2] | 2) & 0xFFFF
        result.append(byte ^ ((mixed * (mixed ^ 1) >> 8) & 0xFF))
        update(byte)
    return bytes(result)


def write_encrypted_zip(path: Path, members: list[tuple[str, bytes]], password: bytes, rng: random.Random) -> None:
    """Write a zip of stored, encrypted members; Python's zipfile can read such a file but not write it."""
    body, directory = io.BytesIO(), io.BytesIO()
    for name, content in members:
        crc = zlib.crc32(content)
        data = pkware_encrypt(content, password, crc >> 24, rng)
        encoded = name.encode()
        common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 33, crc, len(data), len(content), len(encoded), 0)
        offset = body.tell()
        body.write(b"PK\x03\x04" + common + encoded + data)
        directory.write(
            b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, offset) + encoded
        )
    size, start = directory.tell(), body.tell()
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), size, start, 0)
    path.write_bytes(body.getvalue() + directory.getvalue() + b"PK\x05\x06" + end)


def objectnet(folder: Path, rng: random.Random) -> None:
    """Write the encrypted zip: folders by class with red-bordered PNGs, some of no ImageNet class, and the mappings."""
    members = []
    places = {facts[2]: number for number, facts in enumerate(CLASSES.values()) if facts[2]}
    for place, number in [*sorted(places.items()), ("air_freshener", 20), ("beer_can", 31)]:
        for n in range(TEST_PER_CLASS):
            drawn = number + 6 if place == "tie" and n % 2 else number
            image = draw(drawn, STYLES["objectnet"], rng)
            framed = Image.new("RGB", (image.width + 4, image.height + 4), (255, 0, 0))
            framed.paste(image, (2, 2))
            members.append((f"objectnet-1.0/images/{place}/{rng.getrandbits(60):015x}.png", encode(framed, "PNG")))
    for name in ("folder_to_objectnet_label", "objectnet_to_imagenet_1k"):
        members.append((f"objectnet-1.0/mappings/{name}.json", b"{}"))
    write_encrypted_zip(folder / "objectnet-1.0.zip", members, PASSWORD.encode(), rng)


# --- Image-text pairs ------------------------------------------------------------------------------------------------


def yfcc(folder: Path, rng: random.Random) -> None:
    """Write photographs for the server, the subset list and a template of the metadata (addresses come later)."""
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    subset, metadata, shard = [], [], []
    for line in range(YFCC_PHOTOS + 60):
        wnid = rng.choice(WNIDS)
        number, photo, digest = WNIDS.index(wnid), str(2_000_000_000 + 977 * line), f"{rng.getrandbits(128):032x}"
        texts = words(wnid, rng)
        quote = urllib.parse.quote_plus
        row = [str(line), photo, digest, "11@N00", "some+one", "2009-01-02", "1230000000", "Canon",
               quote(str(texts["title"])), quote(str(texts["description"])),
               ",".join(quote(tag) for tag in texts["tags"]), "", "", "", "", "http://example.org/p",
               f"@server@/photos/{photo}.jpg", "Attribution License", "http://creativecommons.org/licenses/by/2.0/",
               "1", "1", "abc", "def", "jpg", "1" if line % 50 == 49 else "0"]  # fmt: skip
        metadata.append("\t".join(row))
        if line % 11 != 10:
            subset.append(f"{line}\t{photo}\t{digest}")
        if rng.random() < 0.8:
            style = PHOTO if rng.random() < 0.5 else STYLES[rng.choice(["v2", "r", "a"])]
            content = encode(draw(number, style, rng))
            (photos / f"{photo}.jpg").write_bytes(content)
            facts = {"photoid": photo, "title": row[8], "description": row[9], "usertags": row[10], "key": digest}
            shard += [(f"{digest}.jpg", content), (f"{digest}.json", json.dumps(facts).encode())]
    (folder / "yfcc100m_subset_data.tsv.bz2").write_bytes(bz2.compress(("\n".join(subset) + "\n").encode()))
    (folder / "yfcc100m_dataset.template").write_text("\n".join(metadata) + "\n", encoding="utf-8")
    half = len(shard) // 4 * 2
    for number, part in enumerate((shard[:half], shard[half:])):
        write_tar(folder / "yfcc15m" / f"{number:05d}.tar", part)


def cc12m(folder: Path, rng: random.Random) -> None:
    """Write shards as img2dataset does; one picture is cut off."""
    for number in range(2):
        members = []
        for n in range(CC12M_PAIRS // 2):
            key, wnid = f"{number:05d}{n:04d}", rng.choice(WNIDS)
            place = rng.choice(["on a table", "by <PERSON>", "stock photo", ""])
            caption = f"a {rng.choice(CLASSES[wnid][1])} {place}".strip()
            content = encode(draw(WNIDS.index(wnid), STYLES[rng.choice(list(STYLES))], rng))
            content = content[:400] if number == 0 and n == 5 else content
            facts = {
                "caption": caption,
                "url": "http://example.org/x.jpg",
                "key": key,
                "status": "success",
                "error_message": None,
                "width": 100,
                "height": 100,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            members += [
                (f"{key}.jpg", content),
                (f"{key}.json", json.dumps(facts).encode()),
                (f"{key}.txt", caption.encode()),
            ]
        write_tar(folder / "cc12m" / f"{number:05d}.tar", members)


def own_data(folder: Path, rng: random.Random) -> None:
    """Write what docs/own-data.md starts from: photos, captions.csv, classes.csv and two test folders."""
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(OWN_ROWS):
        label = rng.choice(OWN_CLASSES)
        name = f"{number:04d}.jpg"
        (photos / name).write_bytes(encode(draw(OWN_CLASSES.index(label) * 2, PHOTO, rng)))
        caption = rng.choice(['our {0}, "again"', "{0}\nat the beach", "a {0}", "{0}s", "sunday, 6 a.m."]).format(label)
        rows.append((name, caption, label if number % 10 else ""))
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("file", "caption", "class"), *rows])
    (folder / "classes.csv").write_text("class\n" + "\n".join(sorted(OWN_CLASSES)) + "\n", encoding="utf-8")
    for place, style in (("test", PHOTO), ("test_other", STYLES["a"])):
        for label in OWN_CLASSES:
            (folder / place / label).mkdir(parents=True, exist_ok=True)
            for number in range(12):
                content = encode(draw(OWN_CLASSES.index(label) * 2, style, rng))
                (folder / place / label / f"{number}.jpg").write_bytes(content)


def random_model(path: Path, seed: int) -> None:
    """Write random weights of an open_clip model as open_clip's training saves them."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    open_clip.add_model_config(ROOT / "resources" / "models" / "rn-tiny.json")
    torch.manual_seed(seed)
    model = open_clip.create_model("rn-tiny", pretrained=None)
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, path)


# --- All together ----------------------------------------------------------------------------------------------------


def build_replicas(folder: Path, seed: int = 0) -> None:
    """Write all replicas into ``folder``; the same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)

    def rng(part: str) -> random.Random:
        return random.Random(f"{seed} {part}")

    imagenet_captions(folder, imagenet_train(folder, rng("train")), rng("captions"))
    imagenet_validation(folder, rng("validation"))
    shifts(folder, rng("shifts"))
    objectnet(folder, rng("objectnet"))
    yfcc(folder, rng("yfcc"))
    cc12m(folder, rng("cc12m"))
    own_data(folder / "own", rng("own"))
    random_model(folder / "rn-tiny.safetensors", seed)


#: Name in the table of sources -> file, addresses before the right one.
FILES = {
    "imagenet_captions": ("imagenet_captions.zip", []),
    "imagenet_train": ("ILSVRC2012_img_train.tar", []),
    "imagenet_validation": ("ILSVRC2012_img_val.tar", []),
    "imagenet_devkit": ("ILSVRC2012_devkit_t12.tar.gz", []),
    # Its address has moved before.
    "imagenet_v2": ("imagenetv2-matched-frequency.tar.gz", ["moved/imagenetv2-matched-frequency.tar.gz"]),
    "imagenet_r": ("imagenet-r.tar", []),
    "imagenet_sketch": ("ImageNet-Sketch.zip", []),
    "imagenet_a": ("imagenet-a.tar", []),
    "objectnet": ("objectnet-1.0.zip", []),
    "yfcc15m_subset": ("yfcc100m_subset_data.tsv.bz2", []),
    "yfcc100m_metadata": ("yfcc100m_dataset.bz2", []),
    "cc12m_shard_0": ("cc12m/00000.tar", []),
    "cc12m_shard_1": ("cc12m/00001.tar", []),
}


def write_sources_table(folder: Path, address: str) -> Path:
    """Write ``sources.tsv`` with addresses below ``address``, and the metadata that holds addresses of photographs."""
    template = (folder / "yfcc100m_dataset.template").read_text(encoding="utf-8")
    (folder / "yfcc100m_dataset.bz2").write_bytes(bz2.compress(template.replace("@server@", address).encode()))
    columns = (
        "name",
        "version",
        "file",
        "addresses",
        "how_to_get",
        "bytes",
        "checksum",
        "licence",
        "images",
        "citation",
    )
    lines = ["\t".join(columns)]
    for position, (name, (file, before)) in enumerate(FILES.items()):
        content = (folder / file).read_bytes()
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if position % 2:
            checksum = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        addresses = " ".join(f"{address}/{path}" for path in [*before, file])
        lines.append(
            "\t".join((name, "replica", file, addresses, "", str(len(content)), checksum, "drawn", "", "drawn"))
        )
    path = folder / "sources.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, with ranges."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start, wanted = 0, self.headers.get("Range", "")
        if wanted.startswith("bytes=") and wanted.endswith("-") and self.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=")[:-1])
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream" if path.suffix != ".jpg" else "image/jpeg")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder and yield the server's address."""

    def handler(*arguments: object) -> _Handler:
        return _Handler(*arguments, directory=str(folder))  # type: ignore[arg-type]

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def main() -> int:
    """Read the command line, build and serve; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="runs while the replicas are served")
    arguments = parser.parse_args()
    served = arguments.folder / "served"
    if not served.exists():
        building = arguments.folder / f"building-{os.getpid()}"
        build_replicas(building)
        building.replace(served)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serve(served, arguments.port) as address:
        table = write_sources_table(served, address)
        shutil.copy(table, arguments.folder / "sources.tsv.part")
        (arguments.folder / "sources.tsv.part").replace(arguments.folder / "sources.tsv")
        print(f"serving {served} at {address}, table {arguments.folder / 'sources.tsv'}", flush=True)
        if arguments.command:
            return subprocess.run(arguments.command, check=False).returncode
        stop.wait()
        return 0


if __name__ == "__main__":
    sys.exit(main())
