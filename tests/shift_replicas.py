"""Small replicas of the shifts of today: archives and lists in the layout of the originals, with drawn pictures.

    python -m tests.shift_replicas FOLDER

writes those of DomainNet and FOLDER/domainnet.yaml, a form of config/domainnet.yaml on them that takes minutes; and
pictures with two columns of captions and FOLDER/captions.yaml, a study of one column against the other.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.replicas import CLASSES, PHOTO, ROOT, STYLES, WNIDS, _write_gz, _write_zip, draw, encode, own_data, write_tar

#: Form of ImageNet-V2 in the name of its archive and of the folder in it.
V2_FORMS = ("matched-frequency", "threshold0.7", "top-images")
V2_PER_CLASS = 2

#: Animals among the classes of the replicas, and the backgrounds of CounterAnimal's two groups.
ANIMALS = {"n01498041": ("water", "hand"), "n01614925": ("sky", "tree"), "n01944390": ("earth", "grass")}
COMMON, COUNTER = 3, 2

#: Class folders of DomainNet as its archives write them, and pictures of each in the lists of the two splits.
DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
FOLDERS = ("banana", "bowtie", "broom", "candle", "snail", "The_Eiffel_Tower", "wine_bottle", "t-shirt")
TRAIN, TEST = 4, 2


def imagenet_v2(folder: Path, form: str, rng: random.Random) -> Path:
    """Write a form of ImageNet-V2: folders by the number of the class, in a compressed tar."""
    path = folder / f"imagenetv2-{form}.tar.gz"
    top = f"imagenetv2-{form}-format-val"
    pictures = [
        (f"{top}/{CLASSES[wnid][0]}/{rng.getrandbits(160):040x}.jpeg", encode(draw(number, STYLES["v2"], rng)))
        for number, wnid in enumerate(WNIDS)
        for _ in range(V2_PER_CLASS)
    ]
    _write_gz(path, pictures)
    return path


def imagenet_o(folder: Path, rng: random.Random) -> Path:
    """Write ImageNet-O: folders by wnid, as ImageNet-A has them."""
    pictures = [(f"imagenet-o/{wnid}/{n}.jpg", encode(draw(n, PHOTO, rng))) for n, wnid in enumerate(WNIDS[:2])]
    write_tar(folder / "imagenet-o.tar", pictures)
    return folder / "imagenet-o.tar"


def counter_animal(folder: Path, rng: random.Random) -> Path:
    """Write CounterAnimal: a folder an animal, named by number and name, with a folder for each group."""
    members = [("LAION-final/imagenet_names.txt", b"n01440764\t0\ttench\n")]
    for wnid, backgrounds in ANIMALS.items():
        number, names, _ = CLASSES[wnid]
        for group, background, count in zip(("common", "counter"), backgrounds, (COMMON, COUNTER), strict=True):
            for n in range(count):
                picture = encode(draw(WNIDS.index(wnid), PHOTO, rng))
                members.append((f"LAION-final/{number} {names[0]}/{group}-{background}/{n}.jpeg", picture))
    # Groups that another model chose are another data set.
    members.append(("ImageNet-final/113 snail/counter-sand/0.jpeg", encode(draw(2, PHOTO, rng))))
    _write_zip(folder / "CounterAnimal.zip", members)
    return folder / "CounterAnimal.zip"


def domainnet(
    folder: Path, rng: random.Random, domains: Sequence[str] = DOMAINS, train: int = TRAIN, test: int = TEST
) -> None:
    """Write the zips of domains and the lists of their splits; one picture of each is in no list.

    Args:
        folder: for all of them.
        rng: decides the pictures.
        domains: of `DOMAINS`.
        train: pictures of a class in the training list.
        test: the same in the other.
    """
    style = {"quickdraw": STYLES["sketch"], "sketch": STYLES["sketch"], "real": PHOTO, "painting": STYLES["r"],
             "clipart": STYLES["v2"], "infograph": STYLES["a"]}  # fmt: skip
    for domain in domains:
        ending, kind = ("png", "PNG") if domain == "quickdraw" else ("jpg", "JPEG")
        members, lines = [], {"train": list[str](), "test": list[str]()}
        for number, name in enumerate(FOLDERS):
            for n in range(train + test + (number == 0)):
                path = f"{domain}/{name}/{domain}_{number:03d}_{n:06d}.{ending}"
                members.append((path, encode(draw(number, style[domain], rng), kind)))
                if n < train + test:
                    lines["train" if n < train else "test"].append(f"{path} {number}\n")
        _write_zip(folder / f"{domain}.zip", members)
        for split, listed in lines.items():
            (folder / f"{domain}_{split}.txt").write_text("".join(listed), encoding="utf-8")


def style_tables(folder: Path, rng: random.Random) -> None:
    """Write two Parquet tables of paths and captions, as a split of web photographs by style, and their pictures."""
    for style, count in (("natural", 6), ("rendition", 4)):
        rows = []
        for n in range(count):
            wnid = WNIDS[n % len(WNIDS)]
            name = f"images/{style}/{n:05d}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(encode(draw(n, PHOTO if style == "natural" else STYLES["r"], rng)))
            rows.append({"path": name, "caption": f"a {CLASSES[wnid][1][0]}, stock photo", "wnid": wnid})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{style}.parquet")


def small_domainnet(folder: Path) -> None:
    """Write replicas of all domains and the study of config/domainnet.yaml on them: its runs, with fewer images."""
    downloads = folder / "downloads" / "domainnet"
    downloads.mkdir(parents=True, exist_ok=True)
    domainnet(downloads, random.Random(0), train=20, test=6)
    classes = "".join(f"{name.lower()},{name.replace('_', ' ')}\n" for name in FOLDERS)
    (folder / "classes.csv").write_text("class,name\n" + classes, encoding="utf-8")
    text = (ROOT / "config" / "domainnet.yaml").read_text(encoding="utf-8")
    for number, small in ((12500, 32), (25000, 64), (50000, 96), (100000, 128)):
        text = text.replace(str(number), str(small))
    config = yaml.safe_load(text)
    config |= {"study": "domainnet-check", "models": {"tiny": "resources/models/rn-tiny.json"}, "seeds": [0]}
    # The pictures of a class are alike by design; only copies count.
    config["data"] |= {"classes": "classes.csv", "image_size": 64, "near_duplicate_similarity": 0.9999}
    config["training"] |= {"samples_seen": 640, "device": "cpu", "threads": 1}
    for objective in ("cross_entropy", "clip"):
        config["training"][objective]["batch_size"] = 32
    config["intervals"]["resamples"] = 100
    for test_set in config["test_sets"].values():
        test_set.pop("expected_images", None)
    (folder / "domainnet.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def small_captions(folder: Path) -> None:
    """Write pictures with the two columns of captions of docs/own-data.md, and a study of one against the other."""
    rng = random.Random(0)
    own_data(folder / "my-data", rng)
    table = folder / "my-data" / "captions.csv"
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["file", "class", "alt_text", "blip_caption"])
        writer.writeheader()
        for row in rows:
            described = f"a photo of a {row['class']} in front of {rng.choice(['a wall', 'the sea', 'a garden'])}"
            writer.writerow({"file": row["file"], "class": row["class"], "alt_text": row["caption"],
                             "blip_caption": described if row["class"] else ""})  # fmt: skip
    config = {
        "study": "captions-check",
        "data": {"classes": "my-data/classes.csv", "image_size": 64},
        "sources": {
            "mine": {
                "kind": "image_table",
                "table": "my-data/captions.csv",
                "root": "my-data/photos",
                "image": "file",
                "label": "class",
                "captions": {"alt": "alt_text", "generated": "blip_caption"},
                "needs": ["alt", "generated"],
            }
        },
        "test_sets": {
            "same": {"kind": "image_folder", "folder": "my-data/test", "role": "in_distribution", "classes": "all"},
            "other": {"kind": "image_folder", "folder": "my-data/test_other", "role": "shift", "classes": "all"},
        },
        "training": {"samples_seen": 1000},
        "seeds": [0, 1],
        "runs": [
            {"objective": "cross_entropy", "source": "mine", "train_images": [60, 120, 200]},
            {"objective": "clip", "caption": ["alt", "generated"], "source": "mine", "train_images": 200},
        ],
        "baseline": {"standard": {"objective": "cross_entropy"}},
        "causes": {
            "language_at_training": [
                {
                    "comparison": "generated captions instead of alt text",
                    "from": {"caption": "alt"},
                    "to": {"caption": "generated"},
                    "holds_fixed": "the very same images, the loss, both towers and number of samples seen",
                }
            ]
        },
    }
    (folder / "captions.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    small_domainnet(Path(sys.argv[1]))
    small_captions(Path(sys.argv[1]))
