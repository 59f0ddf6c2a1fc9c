"""How many of the pictures of a study are lost before training: they do not decode, or repeat a test picture.

Offers `measure_losses`, for `tools.new_study`. A sample of each data set is decoded and compared as the stages of a
study do it, so that sizes of training sets can be proposed that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from whyrobust.cores import usable_cores
from whyrobust.data.archives import LocationError, Pack
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.decontamination import compared_images, read_records_of_images
from whyrobust.data.near_duplicates import ComparedImages, decontaminate
from whyrobust.data.photo_checks import check_photographs
from whyrobust.data.readers.dispatch import load_reader
from whyrobust.study.class_table import read_class_names
from whyrobust.study.study import Study

#: Pictures of a data set that are decoded, drawn at random.
SAMPLED_PICTURES = 1_000

#: Studies of more pictures than this are not measured: all of them are listed first, which takes minutes.
MOST_PICTURES = 200_000

#: Broken pictures of a data set that are named.
NAMED_PICTURES = 10

#: Of an error's message.
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Losses:
    """What is lost of the pictures of a training source.

    Attributes:
        looked_at: pictures that were decoded.
        undecoded: share (0..1) of these that do not decode.
        repeats: share (0..1) of the others that repeat a test picture. Where test sets were sampled too, the share that
            repeats a picture of the sample is extrapolated to all of them, which is too much where one training picture
            repeats several.
    """

    looked_at: int
    undecoded: float
    repeats: float

    @property
    def left(self) -> float:
        """Share (0..1) of the pictures that can be trained on."""
        return (1 - self.undecoded) * (1 - self.repeats)


@dataclass(frozen=True)
class _Sample:
    """Pictures of a data set that were decoded: of how many, how many, those that do not decode, and the others."""

    pictures: int
    looked_at: int
    broken: Sequence[str]
    compared: ComparedImages


def measure_losses(study: Study) -> tuple[dict[str, Losses], list[str]]:
    """Return what is lost of each training source, and what could not be measured and why, in sentences.

    A source is missing in the former where none of its sampled pictures decodes or a data set cannot be read; `make
    describe` says why.
    """
    samples: dict[str, _Sample] = {}
    with TemporaryDirectory() as folder:
        for name in study.datasets.photo_slices:
            try:
                samples[study.datasets.photo_slices[name].dataset] = _sample(study, name, Path(folder))
            except (DatasetError, LocationError, OSError, ValueError) as error:
                why = " ".join(str(error).split())[:SHOWN_CHARACTERS]
                return {}, [f"pictures were not looked at, so that sizes may be too large: {why}"]
    threshold = study.config.data.near_duplicate_similarity
    tests = {name: samples[name] for name in study.datasets.test_sets if len(samples[name].compared)}
    found, said = {}, _too_many_broken(samples, study.config.data.allowed_failure_share)
    for name in study.datasets.sources:
        sample = samples[name]
        if not len(sample.compared):
            said.append(f"none of {sample.looked_at:,} pictures of {name} decodes: make describe says why")
            continue
        undecoded = 1 - len(sample.compared) / sample.looked_at
        found[name] = Losses(sample.looked_at, undecoded, _repeats(sample.compared, tests, threshold))
    return found, said


def _too_many_broken(samples: Mapping[str, _Sample], allowed: float) -> list[str]:
    """Say which data sets would stop the study, since a larger share of their pictures than ``allowed`` is broken."""
    said = []
    for name, sample in samples.items():
        if allowed * sample.looked_at < len(sample.broken) < sample.looked_at:
            named = [uid.removeprefix(f"{name}/") for uid in sample.broken[:NAMED_PICTURES]]
            more = " and others" if len(sample.broken) > len(named) else ""
            said.append(
                f"{len(sample.broken):,} of {sample.looked_at:,} pictures of {name} that were looked at do not decode "
                f"({', '.join(named)}{more}), and {allowed:.1%} may: make describe would stop; replace or remove them, "
                "or allow a larger share in data.allowed_failure_share"
            )
    return said


def _sample(study: Study, name: str, folder: Path) -> _Sample:
    """Read a data set, or its slice, and decode some of its pictures."""
    datasets, settings = study.datasets, study.datasets.slice_settings(name)
    kind, classes = datasets.kind_of_slice(name), read_class_names(study.root / study.config.data.classes)
    records, locations, pack = (folder / f"{name}.{ending}" for ending in ("records", "locations", "pack"))
    with pack.open("wb") as handle:
        read = load_reader(kind.reader)(settings, classes, Pack(handle, pack))
    if "drawn_between" in settings:
        read.draw(*settings["drawn_between"])
    read.write(datasets.photo_slices[name].dataset, records, locations)
    listed = pq.read_table(locations)
    chosen = np.random.default_rng(0).permutation(len(listed))[:SAMPLED_PICTURES]
    sample, fingerprints = listed.take(np.sort(chosen)), folder / f"{name}.npy"
    page = study.config.data.page_colour or ""
    decoded, failures = check_photographs(sample, kind.border_pixels, len(usable_cores()), fingerprints, page)
    table = read_records_of_images(records, decoded["uid"])
    return _Sample(len(listed), len(chosen), failures["uid"].tolist(), compared_images(table, np.load(fingerprints)))


def _repeats(source: ComparedImages, tests: Mapping[str, _Sample], threshold: float) -> float:
    """Return the share of a source's pictures that repeat a test picture, see `Losses`."""
    share = 0.0
    for name, test_set in tests.items():
        removed = decontaminate(source, {name: test_set.compared}, threshold).removed
        share += len(removed) / len(source) * test_set.pictures / test_set.looked_at
    return min(1.0, share)
