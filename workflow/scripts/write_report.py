"""Write the report page and the provenance of a study.

Stands alone because it only shows what other stages wrote; it measures nothing.
"""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.data.downloads import read_pinned_sources
from whyrobust.data.text_labels import sum_matches
from whyrobust.files import checksum, write_json
from whyrobust.logs import start_log
from whyrobust.report.page import (
    DataTables,
    Making,
    ReferenceTables,
    RunTables,
    StudyTables,
    render_report,
    write_report,
)
from whyrobust.report.provenance import (
    git_commit,
    machine,
    stage_times,
    without_secrets,
)
from whyrobust.study.code_version import PACKAGE_FOLDER, package_versions

if TYPE_CHECKING:
    from snakemake.script import snakemake

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

FIGURE_SUFFIXES = (".svg", ".pdf", ".png", ".csv", ".json")

if __name__ == "__main__":
    logger = start_log(snakemake.log[0])
    files, params = snakemake.input, snakemake.params
    settings = params.config
    sizes = pd.read_csv(files.sizes)
    removed = pd.read_csv(files.removed)
    # The row without a class is that of all classes.
    matches = iter(pd.read_csv(path, keep_default_na=False, na_values=["nan"]) for path in files.text_matches)
    text_matches = pd.concat(
        sum_matches([table[table["class"] == ""] for table in islice(matches, count)]).assign(source=name)
        for name, count in params.text_slices.items()
    )

    pinned = read_pinned_sources(files.sources_table)
    used = [pinned[name] for name in params.downloads_used]
    licences = [
        pd.DataFrame({"name": row.name, "by": row.citation, "part": "downloaded", "licence": row.licence}, index=[0])
        for row in used
    ]
    if files.sets:
        sets = pd.read_csv(files.sets, keep_default_na=False)
        licences.append(sets[sets["part"] != "excluded"].rename(columns={"set": "name", "team": "by"}))
    runs = pd.read_csv(files.runs)
    trained = pd.DataFrame(params.trained)
    tables = {name: files[name] for name in ("accuracy", "effective_robustness", "baselines", "causes", "runs")}
    provenance = {
        "study": params.study,
        "commit": git_commit(PACKAGE_FOLDER),
        "machine": machine(),
        "packages": package_versions(PACKAGES),
        "downloads": {row.name: {"version": row.version, "checksum": row.checksum} for row in used},
        "images": sizes.to_dict("records"),
        "training_images_removed": removed.to_dict("records"),
        "checksums_sha256": {Path(path).name: checksum(path) for path in tables.values()},
        "seconds_by_stage": stage_times(Path(snakemake.output.report).parent / "benchmarks"),
        "inputs_sha256": {path: checksum(path) for path in files.resource_files},
        "config": without_secrets(settings),
    }
    write_json(snakemake.output.provenance, provenance)
    accuracy = pd.read_csv(files.accuracy)
    test_images = accuracy.drop_duplicates("test_set").set_index("test_set")["images"]
    html = render_report(
        name=params.study,
        study=StudyTables(
            accuracy=accuracy,
            effective=pd.read_csv(files.effective_robustness),
            runs=runs,
            baselines=pd.read_csv(files.baselines),
            bands=pd.read_csv(files.bands),
            causes=pd.read_csv(files.causes),
            regression=pd.read_csv(files.regression),
            several=pd.read_csv(files.several) if files.several else None,
        ),
        data=DataTables(
            classes=pd.read_csv(files.class_counts, keep_default_na=False),
            captions=pd.read_csv(files.captions),
            filters=pd.read_csv(files.filters),
            samples=pd.read_parquet(files.samples),
            pairs=pd.read_parquet(files.pairs),
            removed=removed,
            text_matches=text_matches,
        ),
        details=RunTables(
            trained=trained,
            curves=pd.read_csv(files.curves),
            confusions=pd.read_csv(files.confusions, keep_default_na=False),
            sample_predictions=pd.read_parquet(files.sample_predictions),
        ),
        reference=ReferenceTables(
            effective=pd.read_csv(files.reference),
            baselines=pd.read_csv(files.reference_baselines),
            bands=pd.read_csv(files.reference_bands),
        ),
        making=Making(
            provenance=provenance,
            stages=params.stages,
            images_by_stage={
                "train_run": int(trained["samples_seen"].sum()),
                "embed_test_sets": int(test_images[list(params.test_sets)].sum()) * len(runs),
                "build_images": int(sizes["drawn"].sum()),
                "index_images": int(sizes["drawn"].sum()),
                "decontaminate": int(sizes["drawn"].sum()),
            },
            licences=pd.concat(licences) if licences else pd.DataFrame(columns=["name", "by", "part", "licence"]),
            citations=[row.citation for row in used if row.citation],
            commands=params.commands,
            figures=sorted(path.name for path in Path(files.figures).iterdir() if path.suffix in FIGURE_SUFFIXES),
            latex={path.name: path.read_text(encoding="utf-8") for path in sorted(Path(files.figures).glob("*.tex"))},
        ),
        test_kinds={name: facts["kind"] for name, facts in params.test_sets.items()},
        similarity=settings["data"]["near_duplicate_similarity"],
        text_fields=settings["data"]["text_match"]["fields"],
        scale=settings["baseline"]["scale"],
        colours=params.colours,
        confidence=(settings["intervals"]["accuracy"], settings["intervals"]["effect"]),
    )
    write_report(snakemake.output.report, html)
    logger.info("report of %d bytes", len(html))
