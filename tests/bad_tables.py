"""Tables, shards and texts that name pictures and classes, as good ones to be damaged, and how each is read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.readers.record_buffers import CLASSES, read_dataset
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import LocationError
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.address_list import list_addresses
from whyrobust.data.readers.folders import read_class_table
from whyrobust.data.readers.label_names import read_label_names
from whyrobust.study.input_files import read_class_counts, read_prompts
from whyrobust.study.setting_checks import ConfigError

#: What a damaged file may raise: errors that name it and say what to do.
DOCUMENTED = (DatasetError, LocationError, ConfigError)


def read_all(settings: dict[str, Any]) -> None:
    """Read a data set to its end."""
    for _ in read_dataset(settings).batches():
        pass


def make_tables(folder: Path) -> dict[str, tuple[bytes, str, Callable[[str], object]]]:
    """Return good files by what they are: content, name, and the function that reads a file of this name."""
    image = encoded(picture())
    (folder / "a.jpg").write_bytes(image)
    rows = [("a.jpg", 'our "cat", asleep', "cat"), ("b.jpg", "caf\u00e9 \U0001f600", "dog"), ("", "\u202e", "")]
    lines = [json.dumps(dict(zip(("file", "caption", "class"), row, strict=True))) + "\n" for row in rows]
    parquet = pa.table({
        "image": [{"bytes": image, "path": "a.jpg"}, {"bytes": None, "path": "a.jpg"}], "label": [0, 2],
        "caption": ["a", None],
    }).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": CLASSES}}}})}
    )  # fmt: skip
    pq.write_table(parquet, folder / "good.parquet")
    members = [("0.cls", b"1"), ("0.jpg", image), ("1.cls", b"dog\n"), ("1.jpg", image), ("1.json", b'{"row": 3}')]
    shard = write_tar(folder / "good.tar", members)
    columns = {"image": "file", "title": "caption", "label": "class"}

    def table(name: str) -> None:
        read_all({"kind": "image_table", "table": [name]} | columns)

    csv = "file,caption,class\n" + "".join(f'{a},"{b.replace(chr(34), chr(34) * 2)}",{c}\n' for a, b, c in rows)
    return {
        "CSV": (csv.encode(), "t.csv", table),
        "TSV": ("\n".join(map("\t".join, rows)).encode(), "t.tsv", lambda name: read_all(
            {"kind": "image_table", "table": [name], "columns": list(columns), "quoting": "none", "image": "image"})),
        "JSON lines": (gzip.compress("".join(lines).encode()), "t.jsonl.gz", table),
        "Parquet": ((folder / "good.parquet").read_bytes(), "t.parquet", lambda name: read_all(
            {"kind": "image_table", "table": [name], "image": "image", "label": "label", "title": "caption"})),
        "shard with .cls": (shard.read_bytes(), "t.tar", lambda name: read_all(
            {"kind": "webdataset", "shards": [name], "class_names": str(folder / "names.txt")})),
        "addresses": (csv.encode(), "l.csv", lambda name: list(
            list_addresses({"addresses": [name], "url": "file", "title": "caption"})[1])),
        "class names": ("\n".join(CLASSES).encode(), "n.txt", read_label_names),
        "table of folders": (b"folder,class\nn01,cat\nn02,dog;mug\n", "f.csv", lambda name: read_class_table(
            name, CLASSES)),
        "table of classes": ("class,name,web_images\ncat,our cat,3\ncaf\u00e9 mug,mug,4\n".encode(), "c.csv",
                             read_class_counts),
        "templates": (b"a photo of a {c}.\nthe {class}, drawn.\n", "p.txt", lambda name: read_prompts(
            Path(name), "prompts.own")),
    }  # fmt: skip
