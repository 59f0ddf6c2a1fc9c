"""What a study will cost in time, memory, disk and GPU hours, computed from its plan before anyone spends them.

It is arithmetic on sizes and a table of rates (`tools.study_size`): nothing is run, and a rate that was not measured is
marked as published or assumed. docs/scaling.md shows its output, compared with a study that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.study_size import GIGABYTE, ModelSize, Rates, StudySize, training_flops, training_parts
from whyrobust.study.heads_table import FITTED_HEADS
from whyrobust.study.plan import OWN
from whyrobust.study.run_groups import group_runs

SECONDS_AN_HOUR = 3600

#: Memory in GB that a stage holds besides its tables (docs/performance.md), with libraries.
BASE_MEMORY_GB = {"data": 0.3, "training": 1.1}

#: Bytes in memory: a uid with its label and group as Arrow holds them, a uid as Python holds it, a location, what a run
#: holds of an image of its subset (docs/performance.md).
KEPT_ROW_BYTES, PYTHON_UID_BYTES, LOCATION_BYTES, TRAINING_ROW_BYTES = 150, 250, 100, 1000
INK_BYTES = 1024
FLOAT_BYTES = 4

#: Of a job of the rule `decode_photographs`.
THREADS_OF_DECODING = 8


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


def estimate(study: StudySize, rates: Rates, measured_model: ModelSize) -> list[Cost]:
    """Return the cost of every stage of a study that costs anything, in the order of the workflow.

    Args:
        study: its plan.
        rates: work done in a second.
        measured_model: the model that rates of training were measured with; others are scaled by their operations.
    """
    return [
        cost
        for cost in (
            *_costs_of_data(study, rates),
            _cost_of_decoding(study, rates),
            *_costs_of_models(study, rates, measured_model),
        )
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


def _cost_of_decoding(study: StudySize, rates: Rates) -> Cost:
    """Return the cost of decoding photographs once; a source that would be too large has a job that decodes none."""
    stores = {store for run in study.runs if not run.published for store in study.stores(run)}
    sizes = {(source, side): study.bytes_stored(source, side, rates) for source, side in stores}
    written = {store: size for store, size in sizes.items() if size <= study.store_limit_bytes}
    hours = [_hours(study.datasets[source].images, rates["photographs_stored"]) for source, _ in written]
    startup = rates["seconds_a_job"] / SECONDS_AN_HOUR
    return Cost(
        "decode_photographs", len(stores), sum(hours) + len(stores) * startup,
        disk_gb=sum(written.values()) / GIGABYTE,
        longest_hours=startup + max(hours, default=0.0) / THREADS_OF_DECODING if stores else 0.0,
    )  # fmt: skip


def _costs_of_models(study: StudySize, rates: Rates, measured: ModelSize) -> list[Cost]:
    startup = rates["seconds_a_job"] / SECONDS_AN_HOUR
    tests = sum(size.images for size in study.datasets.values() if not size.is_source)
    trained = [run for run in study.runs if not run.published]
    evaluated = [run for run in study.runs if run.evaluated]
    drawings = not any(size.photographs for size in study.datasets.values())
    gpu_flops = rates.peak_flops * rates["gpu_utilisation"]

    def job(
        parts: Sequence[tuple[float, float]], cpu_hours: float, gpus: int = 1, crops: str = "pictures_cropped"
    ) -> tuple[float, float, float]:
        """Return CPU hours, GPU hours and wall hours of a job of parts, each with its operations and images to crop.

        The GPU waits in each part where cropping, whose rate is ``crops``, is slower.
        """
        decoding = [0.0 if drawings else _hours(cropped, rates[crops]) for _, cropped in parts]
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
        crops = "stored_cropped" if study.learns_from_stores(run, rates) else "pictures_cropped"
        jobs["train_run"].append(job(parts, on_cpu, study.gpus_per_run, crops))
        disk["train_run"] += FLOAT_BYTES * (size.parameters if run.has_text_tower else size.image_parameters)
    # The runs of a group are embedded, and their heads fitted, by one job.
    groups = group_runs(evaluated, study.heads, study.small_models)
    group_of = {run: group for group, runs in groups.items() for run in runs}
    of_groups: dict[str, dict[str, list[tuple[float, float, float]]]] = {"embed_test_sets": {}, "fit_heads": {}}
    for run in evaluated:
        size = study.models[run.model]
        fitted_on = {head.fitted_on for head in study.heads[run.run] if head.head in FITTED_HEADS}
        fitting = run.train_images * len(fitted_on)
        prompts = study.classes * study.prompts * (size.text_flops if run.has_text_tower else 0.0)
        flops = (tests + fitting) * size.image_flops + prompts
        on_cpu = _hours(flops / measured.image_flops, rates["images_embedded"])
        of_groups["embed_test_sets"].setdefault(group_of[run.run], []).append(job([(flops, tests + fitting)], on_cpu))
        disk["embed_test_sets"] += FLOAT_BYTES * size.embed_dim * (tests + fitting)
        probes = sum(head.head == "linear_probe" for head in study.heads[run.run])
        if fitted_on:
            products = probes * run.train_images * size.embed_dim * study.classes
            hours = _hours(products, rates["probe_products"])
            # A probe's steps are matrix products: 100 passes of both directions for each penalty, on a GPU.
            of_groups["fit_heads"].setdefault(group_of[run.run], []).append(
                job([(products * 2 * 3 * 5 * 100, 0)], hours)
            )
    for stage, of_stage in of_groups.items():
        jobs[stage] = [together(of_runs) for of_runs in of_stage.values()]
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
