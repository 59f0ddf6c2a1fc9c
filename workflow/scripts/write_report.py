"""Write the report page, the provenance and the result card of a study.

Stands alone because it only shows what other stages wrote; it measures nothing. It names the figures and does not
wait for them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whyrobust.analysis.published_study import read_tables
from whyrobust.data.text_labels import sum_matches
from whyrobust.files import read_csv, write_json, write_text
from whyrobust.logs import start_log
from whyrobust.report.charts.points import describe_points
from whyrobust.report.figures import latex_tables, list_figures, optional_rows
from whyrobust.report.findings import EffectTerms
from whyrobust.report.page import PageSettings, render_report
from whyrobust.report.page_parts import table_rows
from whyrobust.report.provenance import count_images, list_licences, record_study
from whyrobust.report.result_card import make_card
from whyrobust.report.tables import DataTables, Making, ReferenceTables, RunTables, read_study_tables
from whyrobust.study.derived_sources import DerivedSource
from whyrobust.study.pinned_sources import read_pinned_sources

if TYPE_CHECKING:
    from snakemake.script import snakemake

if __name__ == "__main__":
    logger = start_log(snakemake.log[0], snakemake.threads)
    files, params = snakemake.input, snakemake.params
    config = params.config
    study = read_study_tables(dict(files.items()))
    # The row without a class is that of all classes.
    matches = sum_matches(read_csv(path, keep_empty=True) for path in files.text_matches)
    views = [pd.read_parquet(path, columns=["uid", "label"]).assign(source=Path(path).stem) for path in files.views]
    data = DataTables(
        classes=read_csv(files.class_counts, keep_empty=True),
        captions=read_csv(files.captions),
        filters=read_csv(files.filters),
        samples=pd.read_parquet(files.samples),
        pairs=pd.read_parquet(files.pairs),
        removed=read_csv(files.removed),
        text_matches=matches[matches["class"] == ""],
        caption_variety=read_csv(files.caption_variety) if files.caption_variety else pd.DataFrame(),
        views=pd.concat(views, ignore_index=True) if views else pd.DataFrame(),
    )
    details = RunTables(
        trained=pd.DataFrame(params.trained),
        curves=read_csv(files.curves),
        confusions=read_csv(files.confusions, keep_empty=True),
        class_accuracy=read_csv(files.class_accuracy, keep_empty=True),
        sample_predictions=pd.read_parquet(files.sample_predictions),
    )
    published = [Path(path) for path in files.published]
    reference = ReferenceTables(
        effective=read_csv(files.reference),
        baselines=read_csv(files.reference_baselines),
        bands=read_csv(files.reference_bands),
        published=read_tables(published[0].parent, [path.stem for path in published]) if published else {},
    )
    sizes = read_csv(files.sizes)
    pinned = read_pinned_sources(files.sources_table)
    used = [pinned[name] for name in params.downloads_used]
    provenance = record_study(
        params.study,
        config,
        used,
        sizes,
        data.removed,
        [files.accuracy, files.effective_robustness, files.baselines, files.causes, files.runs],
        files.resource_files,
        Path(snakemake.output.report).parent,
    )
    write_json(snakemake.output.provenance, provenance)
    write_json(snakemake.output.card, make_card(provenance, study))
    samples_seen = int(details.trained["samples_seen"].sum())
    terms, main = EffectTerms(**params.terms), study.effective[study.effective["main"]]
    making = Making(
        provenance=provenance,
        stages=params.stages,
        images_by_stage=count_images(samples_seen, study.accuracy, list(params.test_sets), sizes, len(study.runs)),
        licences=list_licences(used, read_csv(files.sets, keep_empty=True) if files.sets else None),
        citations=[row.citation for row in used if row.citation],
        commands=params.commands,
        figures=list_figures(optional_rows(study)),
        latex=latex_tables(params.study, describe_points(main, study.runs), study.causes, study.single_causes, terms),
        reported=table_rows(read_csv(files.reported, keep_empty=True)) if files.reported else [],
    )
    settings = PageSettings(
        name=params.study,
        test_kinds={name: test_set["kind"] for name, test_set in params.test_sets.items()},
        similarity=config["data"]["near_duplicate_similarity"],
        text_fields=config["data"]["text_match"]["fields"],
        scale=config["baseline"]["scale"],
        colours=params.colours,
        accuracy_confidence=config["intervals"]["accuracy"],
        terms=terms,
        sentences=params.sentences,
        without_test_set=params.without_test_set,
        derived={name: DerivedSource(**made) for name, made in params.derived.items()},
        reported=params.reported,
        paper_line=params.paper_line,
        unfinished=config.get("unfinished"),
    )
    html = render_report(settings, study, data, details, reference, making)
    write_text(snakemake.output.report, html)
    logger.info("report of %d bytes", len(html))
