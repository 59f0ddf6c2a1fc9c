"""Write the report page and the provenance of a study.

Stands alone because it only shows what other stages wrote; it measures nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from whyrobust.downloads import read_pinned_sources
from whyrobust.files import checksum, write_json
from whyrobust.images import contact_sheet
from whyrobust.logs import start_log
from whyrobust.photographs import Preprocessing, read_images
from whyrobust.provenance import git_commit, machine, package_versions, stage_times
from whyrobust.records import read_records
from whyrobust.report import Strip, render_report, write_report
from whyrobust.subsets import draw_subset

if TYPE_CHECKING:
    from snakemake.script import snakemake

SAMPLES = 40
MAXIMUM_SIDE = 64
PAIRS_SHOWN = 20
PACKAGES = (
    "torch",
    "open_clip_torch",
    "timm",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "altair",
    "resvg-py",
    "snakemake",
)

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    files, params = snakemake.input, snakemake.params
    settings = params.config
    names = [*params.sources, *params.test_sets]
    stores = dict(zip(names, files.images, strict=True))
    # Drawings are shown as they are, photographs at a side at which people recognise things.
    side = settings["data"]["image_size"] if settings["data"]["image_size"] <= MAXIMUM_SIDE else MAXIMUM_SIDE
    how, scale = Preprocessing(side), 2 if side < MAXIMUM_SIDE else 1
    sizes = pd.read_csv(files.sizes)
    strips = []
    for name, records_path, kept_path in zip(names, files.records, files.kept, strict=True):
        kept = pq.read_table(kept_path, columns=["uid"])["uid"].to_pylist()
        shown = draw_subset(kept, min(SAMPLES, len(kept)), seed=0)
        records = read_records(records_path).set_index("uid").loc[shown]
        role = "training source" if name in params.sources else settings["test_sets"][name]["role"].replace("_", "-")
        strips.append(
            Strip(
                name,
                role,
                contact_sheet(np.stack(list(read_images([stores[name]], shown, how))), columns=10, scale=scale),
                [
                    f"{title or 'no title'} → {label if isinstance(label, str) else 'no label'}"
                    for title, label in zip(records["title"], records["label"], strict=True)
                ],
                f"{len(kept):,} images of {records['label'].nunique()} classes among the {len(shown)} shown.",
            )
        )

    pairs = pd.read_csv(files.pairs)
    pair_strips = []
    for (low, high), band in pairs.groupby(["low", "high"]):
        sample = band.head(PAIRS_SHOWN)
        both = np.stack(
            [
                image
                for row in sample.to_dict("records")
                for image in (
                    *read_images([stores[row["source"]]], [row["uid"]], how),
                    *read_images([stores[row["test_set"]]], [row["test_uid"]], how),
                )
            ]
        )
        pair_strips.append(
            Strip(
                f"Similarity {low:.2f} to {high:.2f}",
                "pairs",
                contact_sheet(both, columns=8, scale=scale),
                [f"{row['uid']} and {row['test_uid']} ({row['similarity']:.3f})" for row in sample.to_dict("records")],
                f"{len(sample)} pairs of a training image (left) and its most similar test image (right), "
                f"of {int(band.drop_duplicates('source')['in_band'].sum()):,} in this band.",
            )
        )

    # The row without a class is that of all classes.
    matches = [pd.read_csv(path, keep_default_na=False, na_values=["nan"]).assign(source=name)
               for name, path in zip(params.sources, files.text_matches, strict=True)]  # fmt: skip
    text_matches = pd.concat([table[table["class"] == ""] for table in matches])
    for column in ("precision", "recall"):
        text_matches[column] = pd.to_numeric(text_matches[column], errors="coerce")
    removed = pd.read_csv(files.removed)
    pinned = read_pinned_sources(files.sources_table)
    licences = [
        pd.DataFrame({"name": row.name, "by": row.citation, "part": "downloaded", "licence": row.licence}, index=[0])
        for row in (pinned[name] for name in params.downloads_used)
    ]
    if files.sets:
        sets = pd.read_csv(files.sets, keep_default_na=False)
        licences.append(sets[sets["part"] != "excluded"].rename(columns={"set": "name", "team": "by"}))
    folder = Path(snakemake.output.report).parent
    tables = {name: files[name] for name in ("accuracy", "effective_robustness", "baselines", "causes", "runs")}
    provenance = {
        "study": params.study,
        "commit": git_commit(Path.cwd()),
        "machine": machine(),
        "packages": package_versions(PACKAGES),
        "downloads": {
            name: {"version": pinned[name].version, "checksum": pinned[name].checksum} for name in params.downloads_used
        },
        "images": sizes.to_dict("records"),
        "training_images_removed": removed.to_dict("records"),
        "checksums_sha256": {Path(path).name: checksum(path) for path in tables.values()},
        "seconds_by_stage": stage_times(folder / "benchmarks"),
        "config": settings,
    }
    write_json(snakemake.output.provenance, provenance)
    html = render_report(
        study=params.study,
        accuracy=pd.read_csv(files.accuracy),
        effective=pd.read_csv(files.effective_robustness),
        runs=pd.read_csv(files.runs),
        baselines=pd.read_csv(files.baselines),
        bands=pd.read_csv(files.bands),
        causes=pd.read_csv(files.causes),
        regression=pd.read_csv(files.regression),
        reference=(
            pd.read_csv(files.reference),
            pd.read_csv(files.reference_baselines),
            pd.read_csv(files.reference_bands),
        ),
        strips=strips,
        removed=removed[removed["images"] > 0],
        sizes=sizes,
        pair_strips=pair_strips,
        similarity=settings["data"]["near_duplicate_similarity"],
        licences=pd.concat(licences) if licences else pd.DataFrame(columns=["name", "by", "part", "licence"]),
        text_matches=text_matches,
        text_fields=settings["data"]["text_match"]["fields"],
        provenance=provenance,
        scale=settings["baseline"]["scale"],
        colours=params.colours,
    )
    write_report(snakemake.output.report, html)
    logger.info("report of %d bytes", len(html))
