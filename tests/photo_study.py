"""A study of photographs in the layouts of the hub: shards with `.cls`, Parquet in many files, a list of addresses."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.replicas import PHOTO, draw, encode, write_tar
from tests.studies import ROOT, short_config

NAMES = ["boat", "cup", "lamp"]
PICTURES, ADDRESSES = 48, 36

#: What an address does wrong, by the row of the list; the server obeys the words (`tests.faulty_server`).
FAULTS = ("ok", "fails/5", "ok", "cut/5", "ok", "gone", "ok", "page", "stall/1", "ok", "short", "ok")


def write_pictures(folder: Path) -> None:
    """Write the pictures that the server of the list serves."""
    folder.mkdir(parents=True)
    rng = random.Random(3)
    for row in range(ADDRESSES):
        (folder / f"{row}.jpg").write_bytes(encode(draw(row % 3, PHOTO, rng)))


def make_photo_folder(folder: Path, address: str) -> Path:
    """Make a folder in which a study of photographs can be run.

    Args:
        folder: the folder.
        address: of a server of `write_pictures`.
    """
    rng = random.Random(7)
    for name in ("train", "test"):
        (folder / "shards" / name).mkdir(parents=True)
        (folder / "shards" / name / "nshards.txt").write_text("3")
        for shard in range(3):
            members = []
            for row in range(shard, PICTURES, 3):
                content = encode(draw(row % 3, PHOTO, rng))
                members += [(f"s{row:07d}.cls", str(row % 3).encode()), (f"s{row:07d}.jpg", content)]
            write_tar(folder / "shards" / name / f"{shard}.tar", members)
        (folder / "parquet" / name).mkdir(parents=True)
        names = {"huggingface": json.dumps({"info": {"features": {"label": {"names": NAMES}}}})}
        for part in range(3):
            rows = [{"image": {"bytes": encode(draw(row % 3, PHOTO, rng)), "path": f"{row}.jpg"}, "label": row % 3}
                    for row in range(part, PICTURES, 3)]  # fmt: skip
            table = pa.Table.from_pylist(rows).replace_schema_metadata(names)
            pq.write_table(table, folder / "parquet" / name / f"{name}-{part:05d}.parquet")
    (folder / "shards" / "classnames.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "classes.csv").write_text("class\n" + "\n".join(NAMES) + "\n")
    lines = [f"{NAMES[row % 3]}\t{address}/{FAULTS[row % len(FAULTS)]}/{row}.jpg\n" for row in range(ADDRESSES)]
    (folder / "list.tsv").write_text("".join(lines))
    (folder / "resources").symlink_to(ROOT / "resources")
    (folder / "config.yaml").write_text(yaml.safe_dump(photo_config(), sort_keys=False))
    return folder


def photo_config() -> dict[str, Any]:
    """Return the config of the study."""
    shards = {"kind": "webdataset", "class_names": "shards/classnames.txt"}
    tables = {"kind": "image_table", "image": "image", "label": "label"}
    config = short_config({
        "mine": shards | {"shards": "shards/train", "slices": 2},
        "tables": tables | {"table": "parquet/train", "slices": 2},
        "links": {"kind": "address_list", "addresses": "list.tsv", "columns": ["label", "url"], "label": "label",
                "attempts": 4, "retry_after_seconds": 1, "stall_seconds": 20},
    }, "")  # fmt: skip
    config["study"], config["data"]["image_size"] = "photographs", 32
    config["data"]["allowed_failure_share"] = 0.2
    config["test_sets"] = {
        "same": shards | {"shards": "shards/test", "role": "in_distribution", "classes": "all", "source": "mine"},
        "other": tables | {"table": "parquet/test", "role": "shift", "classes": "all"},
    }
    config["img2dataset"] = str(ROOT / ".venv" / "img2dataset" / "bin" / "img2dataset")
    config["runs"] = [{"objective": "cross_entropy", "source": ["mine", "tables", "links"], "train_images": [8, 16]}]
    config["causes"]["training_set_size"][0] |= {"from": {"train_images": 8}, "to": {"train_images": 16}}
    return config
