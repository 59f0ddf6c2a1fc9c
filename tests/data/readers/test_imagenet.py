"""ImageNet's devkit where it is damaged or made to fill memory; `test_paper_check.py` reads a whole one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from tests.replicas import write_tar
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers import imagenet

MEGABYTE = bytes(2**20)


def write_devkit(path, truth, meta):
    members = [(f"d/{imagenet.VALIDATION_TRUTH}", truth), (f"d/{imagenet.VALIDATION_META}", meta)]
    write_tar(path, members, "w:gz")
    return path


def three_synsets():
    synsets = np.zeros((3, 1), dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")])
    for row, (wnid, children) in enumerate([("n02", 0.0), ("n01", 0.0), ("n00", 2.0)]):
        synsets[row, 0] = (float(row + 1), wnid, children)
    return synsets


def mat_file(synsets):
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()


def mat_file_of_zeros(megabytes):
    """Return a compressed .mat file with a column of zeros, made without holding them."""
    size = megabytes * len(MEGABYTE)
    head = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, size // 8, 1)
    head += struct.pack("<II", 1, 7) + b"synsets\0" + struct.pack("<II", 9, size)
    packer = zlib.compressobj(1)
    packed = packer.compress(struct.pack("<II", 14, len(head) + size) + head)
    packed += b"".join(packer.compress(MEGABYTE) for _ in range(megabytes)) + packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    return header + struct.pack("<II", 15, len(packed)) + packed


def test_a_devkit_that_unpacks_to_more_than_a_list_is_refused(tmp_path, monkeypatch):
    path = write_devkit(tmp_path / "devkit.tar.gz", b"1\n" * 600, b"")
    monkeypatch.setattr(imagenet, "MAXIMUM_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"ground_truth.txt' has 1,200 bytes"):
        imagenet.read_devkit_labels(path)


def test_a_zip_of_captions_that_unpacks_to_more_than_captions_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "captions.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("captions.json", '[{"filename": "a.JPEG", "wnid": "n01"' + " " * 100_000 + "}]")
    assert len(imagenet.read_caption_list(path)) == 1
    monkeypatch.setattr(imagenet, "MAXIMUM_BYTES", 1000)
    with pytest.raises(DatasetError, match=r"'captions.json' has 100,039 bytes, more than 20 times the size"):
        imagenet.read_caption_list(path)


def test_a_meta_mat_that_fills_memory_or_is_damaged_is_an_error_that_names_the_devkit(tmp_path, monkeypatch):
    devkit = write_devkit(tmp_path / "devkit.tar.gz", b"2\nx\n", mat_file(three_synsets()))
    with pytest.raises(DatasetError, match="has 'x' in line 2, which is no number: fetch the devkit again"):
        imagenet.read_devkit_labels(devkit)
    write_devkit(devkit, b"1\n", mat_file(three_synsets())[:-9])
    with pytest.raises(DatasetError, match=r"devkit.tar.gz: meta.mat cannot be read \(.+\): fetch the devkit again"):
        imagenet.read_devkit_labels(devkit)
    monkeypatch.setattr(imagenet, "META_BYTES", 2**27)
    bomb = mat_file_of_zeros(140)
    assert len(bomb) < 2**20
    write_devkit(devkit, b"1\n", bomb)
    with pytest.raises(DatasetError, match=r"meta.mat cannot be read \(it unpacks to more"):
        imagenet.read_devkit_labels(devkit)
