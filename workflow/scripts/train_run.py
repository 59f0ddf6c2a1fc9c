"""Train one run: one source, size, seed, objective and kind of supervision.

Stands alone because it is nearly all of a study's time, and because runs that several questions share are trained
once.
"""

import csv
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from whyrobust.class_names import read_class_names
from whyrobust.files import atomic_path, write_json
from whyrobust.gpus import hold_gpus
from whyrobust.images import read_pixels
from whyrobust.loading import ImagesInMemory, PhotographsOnDisk, TrainingImages
from whyrobust.logs import progress_interval, start_log
from whyrobust.models import open_clip_config, read_model_config, read_weights, save_weights, tokenize
from whyrobust.photographs import holds_photographs, open_locations, study_preprocessing
from whyrobust.training import Hyperparameters, Progress, train

if TYPE_CHECKING:
    from snakemake.script import snakemake


def look_up(paths: Sequence[str], column: str, uids: Sequence[str]) -> list[str | None]:
    """Return what a column of several tables with a ``uid`` says of each uid."""
    value_of: dict[str, str | None] = {}
    wanted = pc.field("uid").isin(pa.array(uids, pa.string()))
    for path in paths:
        # Only the rows of the subset, of what may be millions.
        table = pq.read_table(path, columns=["uid", column], filters=wanted)
        value_of |= dict(zip(table["uid"].to_pylist(), table[column].to_pylist(), strict=True))
    return [value_of[uid] for uid in uids]


if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    # Of this node: a scheduler that gives several gives the same number on each.
    gpus = snakemake.resources.get("gpu", 1) // snakemake.resources.get("nodes", 1)
    hold_gpus(snakemake.params.device, gpus)
    run = snakemake.params.run
    hyper = Hyperparameters(**snakemake.params.hyperparameters)
    model_config = read_model_config(snakemake.input.model)
    subset = pq.read_table(snakemake.input.subset)
    uids: list[str] = subset["uid"].to_pylist()
    targets: torch.Tensor | None = None
    classes = read_class_names(snakemake.input.classes)

    if run["supervision"] == "captions":
        found = look_up(snakemake.input.captions, run["caption"], uids)
        uids = [uid for uid, text in zip(uids, found, strict=True) if text is not None]
        captions = [text for text in found if text is not None]
        targets = tokenize(captions, model_config["text_cfg"]["context_length"])
        logger.info("first captions: %s", captions[:5])
    elif run["supervision"] == "labels":
        labels = (
            look_up(snakemake.input.matched_labels, "label", uids)
            if run["labels"] == "text_match"
            else subset["label"].to_pylist()
        )
        uids = [uid for uid, label in zip(uids, labels, strict=True) if label is not None]
        id_of = {name: number for number, name in enumerate(classes)}
        targets = torch.tensor([id_of[label] for label in labels if label is not None])

    # An image without a label, or without a caption made from one, teaches nothing: runs.csv says how many are used.
    if not uids:
        what = run["caption"] or f"label of kind '{run['labels']}'"
        raise ValueError(f"none of the {len(subset)} images of the subset has a {what}: choose a labelled source")
    preprocessing = study_preprocessing(snakemake.params.image_size, snakemake.params.normalisation)
    images: TrainingImages
    if holds_photographs(snakemake.input.images):
        places = open_locations(snakemake.input.images, uids)
        images = PhotographsOnDisk(places, preprocessing, snakemake.params.loader_threads)
    else:
        images = ImagesInMemory(read_pixels(snakemake.input.images, uids), preprocessing)
    rows: list[Progress] = []
    with tqdm(
        total=hyper.steps * hyper.batch_size,
        desc=run["run"],
        unit=" images",
        mininterval=progress_interval(),
    ) as bar:

        def show(progress: Progress) -> None:
            """Move the progress bar and keep the step for the log."""
            rows.append(progress)
            bar.set_postfix(loss=f"{progress.loss:.3f}", refresh=False)
            bar.update(hyper.batch_size)

        weights = train(
            images=images,
            targets=targets,
            objective_name=run["objective"],
            model_config=model_config,
            classes=len(classes),
            hyper=hyper,
            seed=run["seed"],
            threads=snakemake.threads,
            device_name=snakemake.params.device,
            report=show,
            initial=read_weights(snakemake.input.pretrained[0]) if snakemake.input.pretrained else None,
            block=snakemake.params.block,
            window=snakemake.params.window,
        )
    logger.info(
        "torch %s, %d images, %d samples seen, %.0f images a second, last loss %.4f",
        torch.__version__,
        len(uids),
        rows[-1].samples,
        rows[-1].images_per_second,
        rows[-1].loss,
    )
    with atomic_path(snakemake.output.progress) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["step", "samples", "loss", "learning_rate"])
        writer.writerows([p.step, p.samples, f"{p.loss:.6g}", f"{p.learning_rate:.6g}"] for p in rows)
    facts = run | {"classes": classes, "images_used": len(uids), "preprocessing": preprocessing.as_dict()}
    write_json(
        snakemake.output.open_clip,
        open_clip_config(model_config, preprocessing.as_dict(), siglip=run["objective"] == "siglip"),
    )
    save_weights(snakemake.output.weights, weights, facts)
