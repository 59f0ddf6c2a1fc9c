"""What a study will cost in time, memory, disk and GPU hours, computed from its plan before anyone spends them.

It is arithmetic on a plan and a table of rates: nothing is run, and a rate that was not measured is marked as published
or assumed. docs/scaling.md shows its output, compared with a study that was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from whyrobust.study.checks import used_sources
from whyrobust.study.class_table import read_class_names
from whyrobust.study.config import Config
from whyrobust.study.dataset_settings import Dataset, PhotoTestSet
from whyrobust.study.heads_table import FITTED_HEADS
from whyrobust.study.held_out import held_out_range, source_of_held_out
from whyrobust.study.input_files import downloadable_files, files_of, read_class_counts, read_prompt_sets
from whyrobust.study.kind_settings import Icons
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.pinned_sources import PinnedSource
from whyrobust.study.plan import OWN, Head, Plan, Run
from whyrobust.study.training_settings import ProgressiveResizing

SECONDS_AN_HOUR = 3600
GIGABYTE = 1e9

#: A backward pass costs twice a forward pass (Kaplan et al. 2020, appendix B).
PASSES_OF_TRAINING = 3

#: What the rates of training and embedding on a CPU were measured with (benchmarks/measure_rates.py).
MEASURED_MODEL = "resources/models/icon-cnn.json"

#: Memory in GB that a stage holds besides its tables (docs/performance.md), with libraries.
BASE_MEMORY_GB = {"data": 0.3, "training": 1.1}

#: Bytes in memory: a uid with its label and group as Arrow holds them, a uid as Python holds it, a location, what a run
#: holds of an image of its subset (docs/performance.md).
KEPT_ROW_BYTES, PYTHON_UID_BYTES, LOCATION_BYTES, TRAINING_ROW_BYTES = 150, 250, 100, 1000
INK_BYTES = 1024
FLOAT_BYTES = 4


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
class Cost:
    """What one stage costs.

    Attributes:
        stage: its rule.
        jobs: how many.
        cpu_hours: of one core.
        gpu_hours: of one GPU.
        memory_gb: largest memory of a job.
        disk_gb: what it leaves on the disk.
        longest_hours: of its longest job, on the cores and GPUs that a job has.
    """

    stage: str
    jobs: int
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    memory_gb: float = BASE_MEMORY_GB["data"]
    disk_gb: float = 0.0
    longest_hours: float = 0.0


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
    )  # fmt: skip


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
        raise CostError(f"nobody knows how many images '{name}' has: give --images {name}=NUMBER")
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


def estimate(study: StudySize, rates: Rates, measured_model: ModelSize) -> list[Cost]:
    """Return the cost of every stage of a study that costs anything, in the order of the workflow.

    Args:
        study: its plan.
        rates: work done in a second.
        measured_model: the model that rates of training were measured with; others are scaled by their operations.
    """
    return [
        cost
        for cost in (*_costs_of_data(study, rates), *_costs_of_models(study, rates, measured_model))
        if cost.jobs or cost.disk_gb
    ]


def _hours(work: float, rate: float) -> float:
    return work / rate / SECONDS_AN_HOUR


def _costs_of_data(study: StudySize, rates: Rates) -> list[Cost]:
    photographs = {name: size for name, size in study.datasets.items() if size.photographs}
    icons = {name: size for name, size in study.datasets.items() if not size.photographs}
    sources = {name: size for name, size in study.datasets.items() if size.is_source}
    slices = [size for size in photographs.values() for _ in range(size.slices)]
    largest = max((size.images / size.slices for size in photographs.values()), default=0)
    in_photographs = sum(size.images for size in photographs.values())
    in_icons = sum(size.images for size in icons.values())
    in_sources = sum(size.images for size in sources.values())
    largest_source = max(size.images for size in sources.values())
    tests = sum(size.images for size in study.datasets.values() if not size.is_source)
    fetched = [size for size in photographs.values() if size.bytes_fetched]
    startup = rates["seconds_a_job"] / SECONDS_AN_HOUR
    row_bytes = rates["bytes_a_record"] + rates["bytes_an_index_row"] + INK_BYTES

    def cost(stage: str, jobs: int, hours: float, memory_bytes: float = 0.0, disk_bytes: float = 0.0,
             of_longest: float = 1.0, threads: int = 1) -> Cost:  # fmt: skip
        memory = BASE_MEMORY_GB["data"] + memory_bytes / GIGABYTE
        longest = startup + hours * of_longest / threads if jobs else 0.0
        return Cost(stage, jobs, hours + jobs * startup, 0.0, memory, disk_bytes / GIGABYTE, longest)

    loaded = sum(study.downloads.values())
    listed = sum(size.images for size in fetched)
    build, index = _hours(in_photographs, rates["pairs_read"]), _hours(in_photographs, rates["pictures_checked"])
    share = largest / max(1, in_photographs)
    texts = rates["bytes_a_record"] * in_sources
    of_texts = sum(size.slices for size in sources.values())
    learnt = {(part, run.caption) for run in study.runs if run.caption for part in study.components[run.source]}
    captioned = [sources[part] for part, _ in learnt]
    largest_texts = max(size.images / size.slices for size in sources.values())
    # Each image is compared with its mirror image too.
    compared = _hours(in_sources * tests * 2, rates["thumbnails_compared"])
    subsets = {(run.source, run.train_images, run.seed) for run in study.runs if not run.published}
    subsets |= {
        (head.fitted_on, run.train_images, run.seed)
        for run in study.runs
        for head in study.heads[run.run]
        if head.head in FITTED_HEADS and head.fitted_on != OWN
    }
    drawn_from = sum(sum(study.datasets[part].images for part in study.components[source]) for source, _, _ in subsets)
    drawn = sum(images for _, images, _ in subsets)
    return [
        cost("pictures that are there", 0, 0.0, 0, sum(size.bytes_given for size in photographs.values())),
        cost("download_source", len(study.downloads), _hours(loaded, rates["bytes_downloaded"]), 0, loaded,
             max(study.downloads.values(), default=0) / max(1, loaded)),
        cost("list_pairs", len(fetched), 0.0, 0, texts if fetched else 0),
        cost("fetch_pairs", len(fetched), _hours(listed, rates["pairs_fetched"]), 0,
             sum(size.bytes_fetched for size in fetched), threads=16),
        cost("build_records", 1 if icons else 0, 0.01, 0, 0),
        cost("build_photo_records", len(slices), build, 8 * largest, rates["bytes_a_record"] * in_photographs, share),
        cost("build_images", len(icons), _hours(in_icons, rates["icons_drawn"]), 0,
             in_icons * (study.image_size**2 * 3 + INK_BYTES),
             max((size.images for size in icons.values()), default=0) / max(1, in_icons)),
        cost("index_images", len(slices), index, LOCATION_BYTES * largest, INK_BYTES * in_photographs, share, 8),
        cost("join_slices", len(photographs), _hours(in_photographs, rates["records_joined"]), 0,
             row_bytes * in_photographs,
             max((size.images for size in photographs.values()), default=0) / max(1, in_photographs)),
        cost("assemble_captions", sum(size.slices for size in captioned),
             _hours(sum(size.images for size in captioned), rates["captions_made"]),
             10 * rates["bytes_a_record"] * largest_texts, texts,
             largest_texts / max(1, sum(size.images for size in captioned))),
        cost("compare_images", of_texts, compared, KEPT_ROW_BYTES * (largest_texts + tests) + INK_BYTES * tests, 0,
             largest_texts / in_sources, 8 if any(size.photographs for size in sources.values()) else 1),
        cost("decontaminate", 1, 0.0, KEPT_ROW_BYTES * tests + INK_BYTES * tests, KEPT_ROW_BYTES / 5 * in_sources),
        cost("match_text", of_texts, _hours(in_sources, rates["texts_matched"]),
             10 * rates["bytes_a_record"] * largest_texts, 0, largest_texts / in_sources),
        cost("describe_data", 1, _hours(in_sources, rates["texts_matched"]), KEPT_ROW_BYTES * largest_source),
        cost("draw_subset", len(subsets), _hours(drawn_from, rates["uids_drawn"]), PYTHON_UID_BYTES * largest_source,
             KEPT_ROW_BYTES / 5 * drawn),
    ]  # fmt: skip


def _costs_of_models(study: StudySize, rates: Rates, measured: ModelSize) -> list[Cost]:
    startup = rates["seconds_a_job"] / SECONDS_AN_HOUR
    tests = sum(size.images for size in study.datasets.values() if not size.is_source)
    trained = [run for run in study.runs if not run.published]
    evaluated = [run for run in study.runs if run.evaluated]
    drawings = not any(size.photographs for size in study.datasets.values())
    gpu_flops = rates.peak_flops * rates["gpu_utilisation"]

    def job(parts: Sequence[tuple[float, float]], cpu_hours: float, gpus: int = 1) -> tuple[float, float, float]:
        """Return CPU hours, GPU hours and wall hours of a job of parts, each with its operations and images to decode.

        The GPU waits in each part where decoding is slower.
        """
        decoding = [0.0 if drawings else _hours(decoded, rates["pictures_cropped"]) for _, decoded in parts]
        if not study.on_gpu:
            return cpu_hours + sum(decoding) + startup, 0.0, cpu_hours / study.threads + startup
        waits = [
            max(_hours(flops, gpu_flops), hours / study.loader_threads)
            for (flops, _), hours in zip(parts, decoding, strict=True)
        ]
        wall = sum(waits) + startup
        return sum(decoding) + wall, wall, wall / gpus

    def together(of_runs: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
        """Return the hours of one job that does what several would do, and starts once."""
        cpu, gpu, wall = (sum(hours) - startup * (len(of_runs) - 1) for hours in zip(*of_runs, strict=True))
        return cpu, max(gpu, 0.0), wall

    jobs: dict[str, list[tuple[float, float, float]]] = {"train_run": [], "embed_test_sets": [], "fit_heads": []}
    disk = dict.fromkeys(jobs, 0.0)
    for run in trained:
        size = study.models[run.model]
        as_measured = training_flops(run, measured) / run.samples_seen
        parts = training_parts(run, size, study.resized_share)
        on_cpu = _hours(sum(flops for flops, _ in parts) / as_measured, rates[f"samples_trained_{run.objective}"])
        jobs["train_run"].append(job(parts, on_cpu, study.gpus_per_run))
        disk["train_run"] += FLOAT_BYTES * (size.parameters if run.has_text_tower else size.image_parameters)
    # Runs that differ in their seed alone are embedded, and their heads fitted, by one job.
    of_groups: dict[str, dict[str, list[tuple[float, float, float]]]] = {"embed_test_sets": {}, "fit_heads": {}}
    for run in evaluated:
        size = study.models[run.model]
        fitted_on = {head.fitted_on for head in study.heads[run.run] if head.head in FITTED_HEADS}
        fitting = run.train_images * len(fitted_on)
        prompts = study.classes * study.prompts * (size.text_flops if run.has_text_tower else 0.0)
        flops = (tests + fitting) * size.image_flops + prompts
        on_cpu = _hours(flops / measured.image_flops, rates["images_embedded"])
        of_groups["embed_test_sets"].setdefault(run.group, []).append(job([(flops, tests + fitting)], on_cpu))
        disk["embed_test_sets"] += FLOAT_BYTES * size.embed_dim * (tests + fitting)
        probes = sum(head.head == "linear_probe" for head in study.heads[run.run])
        if fitted_on:
            products = probes * run.train_images * size.embed_dim * study.classes
            hours = _hours(products, rates["probe_products"])
            # A probe's steps are matrix products: 100 passes of both directions for each penalty, on a GPU.
            of_groups["fit_heads"].setdefault(run.group, []).append(job([(products * 2 * 3 * 5 * 100, 0)], hours))
    for stage, groups in of_groups.items():
        jobs[stage] = [together(of_runs) for of_runs in groups.values()]
    largest_run = max((run.train_images for run in trained), default=0)
    memory = BASE_MEMORY_GB["training"] + TRAINING_ROW_BYTES * largest_run / GIGABYTE
    costs = [
        Cost(stage, len(done), sum(cpu for cpu, _, _ in done), sum(gpu for _, gpu, _ in done), memory,
             disk[stage] / GIGABYTE, max((wall for _, _, wall in done), default=0.0))
        for stage, done in jobs.items()
    ]  # fmt: skip
    scores = sum(len(study.heads[run.run]) for run in evaluated) * tests
    rest = rates["seconds_a_study"] / SECONDS_AN_HOUR
    return [*costs, Cost("the stages after", 1, rest, 0.0, 4.0, 8 * scores / GIGABYTE, rest)]


def wall_hours(costs: Sequence[Cost], cores: int, gpus: int) -> float:
    """Return how long a study takes on so many cores and GPUs, stage after stage: an upper bound, since some overlap.

    A stage takes as long as its work is spread evenly, and no less than its longest job.
    """
    return sum(
        max(cost.gpu_hours / gpus if cost.gpu_hours else cost.cpu_hours / cores, cost.longest_hours) for cost in costs
    )


def as_table(costs: Sequence[Cost]) -> str:
    """Return the costs as a Markdown table with their total."""
    rows = [
        (cost.stage, f"{cost.jobs:,}", f"{cost.cpu_hours:,.1f}", f"{cost.gpu_hours:,.1f}" if cost.gpu_hours else "",
         f"{cost.memory_gb:,.1f}", f"{cost.disk_gb:,.1f}")
        for cost in costs
    ]  # fmt: skip
    rows.append(
        ("**total**", f"{sum(cost.jobs for cost in costs):,}", f"{sum(cost.cpu_hours for cost in costs):,.1f}",
         f"{sum(cost.gpu_hours for cost in costs):,.1f}", f"{max(cost.memory_gb for cost in costs):,.1f}",
         f"{sum(cost.disk_gb for cost in costs):,.1f}")
    )  # fmt: skip
    head = [
        "| stage | jobs | CPU hours | GPU hours | GB of memory a job | GB on disk |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])
