"""Bring a published open_clip model into a study, in the form in which trained runs are stored.

Stands alone because it is the only stage that reads weights made elsewhere: afterwards a published model is a run like
any other, embedded and scored by the same code.
"""

from typing import TYPE_CHECKING

from whyrobust.files import write_json
from whyrobust.logs import start_log
from whyrobust.training.weights import read_published, save_weights

if TYPE_CHECKING:
    from snakemake.script import snakemake


if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    entry = snakemake.params.published
    published = read_published(entry["model"], entry["weights"])
    metadata = {"open_clip_model": published.name, "description": published.open_clip_config["model_cfg"],
             "preprocessing": published.preprocessing.as_dict(), "images_used": entry["train_images"]}  # fmt: skip
    save_weights(snakemake.output.weights, published.weights, metadata)
    write_json(snakemake.output.open_clip, published.open_clip_config)
    logger.info("%s with weights %s: %d tensors", entry["model"], entry["weights"], len(published.weights))
