"""How large a study is, and what a machine does in a second: what its cost follows from (`tools.cost_model`).

Sizes come from the config, from published data sets and from the files that are there; models are counted by torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from whyrobust.study.checks import used_sources
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import Config
from whyrobust.study.dataset_settings import Dataset, PhotoTestSet
from whyrobust.study.decoded_photographs import stored_side
from whyrobust.study.held_out import held_out_range, source_of_held_out
from whyrobust.study.input_files import downloadable_files, files_of, read_class_counts, read_prompt_sets
from whyrobust.study.kind_settings import Icons
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.pinned_sources import PinnedSource
from whyrobust.study.plan import Head, Plan, Run
from whyrobust.study.run_groups import small_models
from whyrobust.study.training_settings import ProgressiveResizing

GIGABYTE = 1e9

#: A backward pass costs twice a forward pass (Kaplan et al. 2020, appendix B).
PASSES_OF_TRAINING = 3

#: What the rates of training and embedding on a CPU were measured with (benchmarks/measure_rates.py).
MEASURED_MODEL = "resources/models/icon-cnn.json"


class CostError(ValueError):
    """A cost that cannot be computed; the message names what is missing."""


@dataclass(frozen=True)
class ModelSize:
    """How much a model computes and holds.

    Attributes:
        image_flops: of the image encoder for one image, forward.
        text_flops: of the text tower for one text, forward.
        parameters: of both.
        image_parameters: of the image encoder.
        embed_dim: numbers of an embedding.
        resized: the same with the images and captions of the first steps, where `training.progressive_resizing` has
            smaller ones.
    """

    image_flops: float
    text_flops: float
    parameters: int
    image_parameters: int
    embed_dim: int
    resized: ModelSize | None = None


@dataclass(frozen=True)
class DatasetSize:
    """How large a data set is.

    Attributes:
        images: records, before any is left out.
        photographs: whether it is made of photographs, or of icons.
        is_source: whether models are trained on it, or tested.
        slices: jobs that it is built by.
        bytes_fetched: of its pictures, where they are fetched from a list of addresses; else 0.
        bytes_given: of its pictures, where they must be there and are no download; else 0.
    """

    images: int
    photographs: bool
    is_source: bool
    slices: int = 1
    bytes_fetched: float = 0.0
    bytes_given: float = 0.0


@dataclass(frozen=True)
class Rates:
    """Work done in a second of one core, by name; measured, and published or assumed.

    Attributes:
        values: name -> rate.
        peak_flops: operations per second that a GPU can do.
        gpu: its name.
        gpu_memory_gb: memory that it has.
    """

    values: Mapping[str, float]
    peak_flops: float
    gpu: str
    gpu_memory_gb: float

    def __getitem__(self, name: str) -> float:
        """Return a rate.

        Raises:
            CostError: it is in neither table.
        """
        if name not in self.values:
            raise CostError(f"there is no rate '{name}': measure it with benchmarks/measure_rates.py")
        return self.values[name]

    def bytes_a_photograph(self, kind: str) -> float:
        """Return how large a photograph of a kind of data set is."""
        return self.values.get(f"bytes_a_photograph_{kind}", self["bytes_a_photograph"])


@dataclass(frozen=True)
class Machine:
    """What a study runs on.

    Attributes:
        gpus: how many there are.
        gpus_per_run: GPUs that train one run together, the resource `gpu` of the rule `train_run`.
        loader_threads: threads that decode photographs for a run, the resource of the same name and rule.
    """

    gpus: int
    gpus_per_run: int = 1
    loader_threads: int = 1


def read_machine(profile: Path | None, gpus: int) -> Machine:
    """Return the machine that a profile of Snakemake describes by the resources of `train_run`.

    Args:
        profile: a profile's file or folder; None for the defaults of the rule.
        gpus: how many GPUs there are.
    """
    if profile is None:
        return Machine(gpus)
    path = profile / "config.yaml" if profile.is_dir() else profile
    resources = yaml.safe_load(path.read_text(encoding="utf-8")).get("set-resources", {}).get("train_run", {})
    return Machine(gpus, resources.get("gpu", 1), resources.get("loader_threads", 1))


@dataclass(frozen=True)
class StudySize:
    """All that the cost of a study follows from.

    Attributes:
        runs: trained and published models.
        heads: of each run, by its name.
        components: for every training source, the sources that its images come from.
        datasets: by name; only those that are used.
        downloads: bytes of each file that is downloaded, by its path.
        models: by the name that runs have for them; published models under their own.
        classes: of the study.
        prompts: sentences of all prompt sets together.
        on_gpu: whether models are trained on a GPU.
        threads: CPU threads of a run.
        loader_threads: that decode photographs for a run.
        image_size: side of the images in pixels.
        gpus_per_run: GPUs that share the training of a run.
        resized_share: share of a run's steps with smaller images.
        stored_sides: shorter side in pixels that the photographs of a trained run are stored with, by its name; none
            where the study stores none.
        store_limit_bytes: a source whose photographs would take more is not stored.
        small_models: names of the models that are embedded many runs a job.
    """

    runs: Sequence[Run]
    heads: Mapping[str, Sequence[Head]]
    components: Mapping[str, Sequence[str]]
    datasets: Mapping[str, DatasetSize]
    downloads: Mapping[str, float]
    models: Mapping[str, ModelSize]
    classes: int
    prompts: int
    on_gpu: bool
    threads: int
    loader_threads: int
    image_size: int
    gpus_per_run: int = 1
    resized_share: float = 0.0
    stored_sides: Mapping[str, int] = field(default_factory=dict)
    store_limit_bytes: float = 0.0
    small_models: Collection[str] = ()

    def bytes_stored(self, source: str, side: int, rates: Rates) -> float:
        """Return how large the decoded photographs of a source would be, three quarters as high as wide."""
        height = min(side, rates["shorter_side_of_a_photograph"])
        return self.datasets[source].images * height * height * 4 / 3 * 3

    def stores(self, run: Run) -> list[tuple[str, int]]:
        """Return source and side of the stores that a trained run learns from."""
        side = self.stored_sides.get(run.run)
        photographs = [name for name in self.components[run.source] if self.datasets[name].photographs]
        return [(name, side) for name in photographs] if side else []

    def learns_from_stores(self, run: Run, rates: Rates) -> bool:
        """Tell whether a trained run learns from stores: it has some, and none of them would be too large."""
        sizes = [self.bytes_stored(source, side, rates) for source, side in self.stores(run)]
        return bool(sizes) and max(sizes) <= self.store_limit_bytes


def size_study(
    config: Config, study: Plan, models: Mapping[str, ModelSize], rates: Rates, given: Mapping[str, int],
    root: Path, machine: Machine,
) -> StudySize:  # fmt: skip
    """Return what the cost of a study follows from.

    Args:
        config: its config.
        study: its plan.
        models: size of each model, by the name that runs have for it.
        rates: for the bytes of pictures that the table of downloads does not know.
        given: images of data sets whose size is known to the caller alone.
        root: folder that relative paths in the config start from.
        machine: what the study runs on; without a GPU, models that may be trained anywhere (`device: auto`) are trained
            on processors.

    Raises:
        CostError: nobody knows how large a data set is.
    """
    known = downloadable_files(root / config.sources_table, config.downloads)
    sources = [name for name in used_sources(config, study) if not config.sources[name].row.derived]
    used: dict[str, Dataset] = {name: config.sources[name] for name in sources} | dict(config.test_sets)
    counts = read_class_counts(root / config.data.classes)
    datasets, downloads = dict[str, DatasetSize](), dict[str, float]()
    if any(isinstance(dataset, Icons) for dataset in used.values()):
        archive = Path(config.downloads, "iconify.tgz").as_posix()
        downloads[archive] = float(known[archive].bytes or 0)
    for name, dataset in used.items():
        source = source_of_held_out(dataset)
        if source:  # read from the files of the source, which come first; at most, since some have no label
            of_source = datasets[source]
            start, end = held_out_range(config.sources[source]) or (0.0, 0.0)
            images = given.get(name, round((end - start) * of_source.images))
            datasets[name] = DatasetSize(images, True, False, of_source.slices)
            continue
        files = {Path(path).as_posix() for path in files_of(dataset, root)} & set(known)
        images = _images_of(name, dataset, given, [known[path] for path in files], counts, study)
        photographs = dataset.row.photographs
        a_picture = rates.bytes_a_photograph(dataset.kind)
        for path in files:
            holds_pictures = path in (getattr(dataset, "archive", None), getattr(dataset, "images", None))
            downloads[path] = float(known[path].bytes or (images * a_picture if holds_pictures else 0))
        elsewhere = photographs and not dataset.fetched and not files
        datasets[name] = DatasetSize(
            images, photographs, name in sources, dataset.slice_count,
            images * a_picture if dataset.fetched else 0.0, images * a_picture if elsewhere else 0.0,
        )  # fmt: skip
    training, prompts = config.training, read_prompt_sets(config.prompts, root)
    return StudySize(
        study.runs, study.heads, study.components, datasets, downloads, models,
        classes=len(read_class_names(root / config.data.classes)),
        prompts=sum(map(len, prompts.values())),
        on_gpu=training.device == "cuda" or (training.device == "auto" and machine.gpus > 0),
        threads=training.threads,
        loader_threads=machine.loader_threads,
        image_size=config.data.image_size,
        gpus_per_run=machine.gpus_per_run,
        resized_share=training.progressive_resizing.share if training.progressive_resizing else 0.0,
        stored_sides=_stored_sides(config, study.runs) if training.decoded_store_gb else {},
        store_limit_bytes=training.decoded_store_gb * GIGABYTE,
        small_models=small_models(config.models, root),
    )  # fmt: skip


def _stored_sides(config: Config, runs: Sequence[Run]) -> dict[str, int]:
    """Return the shorter side that the photographs of each trained run are stored with, by its name."""
    chosen = {
        run.run: config.training.hyperparameters_of(run.objective, bool(run.pretrained_run))
        for run in runs
        if not run.published
    }
    return {name: stored_side(config.data.image_size, given["min_crop_area"]) for name, given in chosen.items()}


def _images_of(
    name: str, dataset: Dataset, given: Mapping[str, int], files: Sequence[PinnedSource],
    counts: Mapping[str, Mapping[str, int]], study: Plan,
) -> int:  # fmt: skip
    """Return how many images a data set has: as given, published, counted or, at least, as many as runs ask for."""
    if name in given:
        return given[name]
    if isinstance(dataset, Icons):
        return sum(counts[dataset.part].values())
    expected = dataset.whole_images if isinstance(dataset, PhotoTestSet) else None
    if expected is not None:
        return expected
    listed = [row.images for row in files if row.images]
    asked = [run.train_images for run in study.runs if not run.published and name in study.components[run.source]]
    if not listed and not asked:
        raise CostError(
            f"nobody knows how many images '{name}' has: give --images {name}=NUMBER, or make estimate "
            f"IMAGES={name}=NUMBER"
        )
    return min(listed) if listed else max(asked)


def read_rates(measured: Path | str, assumed: Path | str, gpu: str) -> Rates:
    """Read the table of measured rates and that of published and assumed ones.

    Raises:
        CostError: the GPU is not in the table.
    """
    first = json.loads(Path(measured).read_text(encoding="utf-8"))
    second = json.loads(Path(assumed).read_text(encoding="utf-8"))
    if gpu not in second["gpus"]:
        raise CostError(f"there is no GPU '{gpu}' in {assumed}: choose one of {', '.join(second['gpus'])}")
    values = {name: entry["value"] for name, entry in second["rates"].items()} | first["rates"]
    return Rates(values, second["gpus"][gpu]["peak_flops"], gpu, second["gpus"][gpu]["memory_gb"])


def measure_model(path: Path | str, resizing: ProgressiveResizing | None = None) -> ModelSize:
    """Count the operations and parameters of a model description, without making its weights.

    Args:
        path: of the description.
        resizing: of the first steps of training; None: all are alike.
    """
    from whyrobust.training.models import read_model_config

    config = read_model_config(path)
    if resizing is None:
        return _measure_description(config)
    vision = config["vision_cfg"] | {"image_size": resizing.image_size}
    text = config["text_cfg"] | ({"context_length": resizing.context_length} if resizing.context_length else {})
    smaller = config | {"vision_cfg": vision, "text_cfg": text}
    return replace(_measure_description(config), resized=_measure_description(smaller))


def _measure_description(config: Mapping[str, Any]) -> ModelSize:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from whyrobust.training.footprint import count_parameters, inputs_without_values, without_weights

    model = without_weights(config).eval()
    images, texts = inputs_without_values(config, 1)
    with torch.device("meta"):
        with FlopCounterMode(display=False) as of_images:
            model.encode_image(images)
        with FlopCounterMode(display=False) as of_texts:
            model.encode_text(texts)
    whole, encoder = count_parameters(model, config)
    return ModelSize(of_images.get_total_flops(), of_texts.get_total_flops(), whole, encoder, config["embed_dim"])


def training_flops(run: Run, size: ModelSize) -> float:
    """Return the operations of training a run at full size: forward and backward passes for all samples."""
    one = OBJECTIVES[run.objective].views * size.image_flops + (size.text_flops if run.has_text_tower else 0.0)
    return PASSES_OF_TRAINING * one * run.samples_seen


def training_parts(run: Run, size: ModelSize, resized_share: float) -> list[tuple[float, float]]:
    """Return the operations and the samples of each part of training a run.

    Args:
        run: the run.
        size: of its model.
        resized_share: share of the samples that are as ``size.resized`` has them; 0: there is one part.
    """
    parts = [(1 - resized_share, size)] + ([(resized_share, size.resized)] if size.resized is not None else [])
    return [(share * training_flops(run, part), share * run.samples_seen) for share, part in parts]
