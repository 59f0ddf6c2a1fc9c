"""The five questions on published models: all tables in one call.

Offers `make_tables`, which reads ``resources/reference/`` and returns every table that ``results/published/`` has,
`read_tables`, which reads them from there, and `TABLES`, what each of them holds. The modules behind it, in order:
`published_checks` (which tables are refused), `published_tables` (one row per model), `pretraining` (what it was
trained on), `published_lines` (effective robustness), `natural_experiments` (pairs), `published_effects` (effects),
`published_regression` (a second opinion), `published_axes` (a second x axis).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.natural_experiments import QUESTIONS, find_pairs, measure_pairs
from whyrobust.analysis.pretraining import FIELDS, PRETRAINING_FILE, describe_models, documented, read_pretraining
from whyrobust.analysis.published_axes import measure_second_axes
from whyrobust.analysis.published_checks import check_named_values
from whyrobust.analysis.published_effects import (
    claims_by_line,
    estimate_effects,
    indirect_effects,
    leave_out_families,
)
from whyrobust.analysis.published_lines import (
    compare_lines,
    fit_lines,
    measure_models,
    table_of_lines,
    table_of_models,
    trained_on_imagenet_alone,
)
from whyrobust.analysis.published_regression import contrast_terms, regress_models, table_of_terms
from whyrobust.analysis.published_tables import read_other_test_sets, read_published

if TYPE_CHECKING:
    import pandas as pd

TABLES = {
    "models": "one row per model that counts: architecture, training, source, accuracies and effective robustness",
    "effective_robustness": "one row per model, shift, x axis and line: accuracies, expected accuracy, residual",
    "lines": "both baselines of every shift and x axis: models, slope, intercept, R², spread",
    "line_differences": "what both baselines expect at some accuracies, and the difference in points",
    "pairs": "every pair of models of every comparison, per shift and line, and what else differs",
    "effects": "one row per comparison, shift and line: effects, intervals over architectures, verdicts",
    "claims_by_line": "verdicts of both baselines side by side, and which depend on the line",
    "indirect": "two treatments of no common architecture, compared through their common control",
    "families": "how far an effect moves where a family of architectures is left out",
    "regression": "one regression over all documented models, with effects of architectures",
    "regression_contrasts": "differences between the things that models learned from, by that regression",
    "second_axis_fits": "line and plane through zero-shot models, with a second x axis",
    "second_axis_residuals": "residuals of zero-shot models beyond line and plane",
    "disagreements": "models that stand in several tables, and by how much their accuracies differ",
    "left_out": "rows of the tables that do not count, and why",
    "undocumented": "models with an empty field, and which",
}
# What questions order by name, and what `whyrobust.report.published_findings` tells beside it whatever it shows. A
# comparison would be gone without a word where the table of pretraining had another name for it.
NAMED_VALUES = {question.field: question.order for question in QUESTIONS if question.order}
NAMED_VALUES["data"] += ("Instagram hashtags (IG-1B)", "CC-12M", "MetaCLIP")
NAMED_VALUES["objective"] += ("CoCa",)
# The columns of the table of pretraining that such a value is made of, where they are not its own.
_MADE_OF = {"supervision_level": "data, supervision or teacher", "prediction": "predicts"}
# Fields that a fine-tuned model may lack without being undocumented: no rule but the one of size needs them.
_OPTIONAL = ("samples_seen", "weights", "images", "recipe")


def make_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return every table of `TABLES`.

    Args:
        folder: ``resources/reference``.

    Raises:
        ValueError: for tables that `read_published` or `read_pretraining` refuses, or in which nothing has a value that
            a question names.
    """
    published = read_published(folder)
    models = describe_models(published.models, read_pretraining(folder))
    check_named_values(folder / PRETRAINING_FILE, models, NAMED_VALUES, _MADE_OF)
    lines = fit_lines(folder, models, published.accuracies)
    measured = measure_models(published.accuracies, lines)
    pairs = measure_pairs(find_pairs(models), measured, lines)
    effects = estimate_effects(pairs, lines)
    regressions = regress_models(models, measured)
    fits, residuals = measure_second_axes(models, published.accuracies, read_other_test_sets(folder))
    models["on_timm_line"] = trained_on_imagenet_alone(models)
    return {
        "models": table_of_models(models, measured),
        "effective_robustness": measured,
        "lines": table_of_lines(lines),
        "line_differences": compare_lines(lines),
        "pairs": pairs,
        "effects": effects,
        "claims_by_line": claims_by_line(effects),
        "indirect": indirect_effects(effects, lines),
        "families": leave_out_families(pairs, lines),
        "regression": table_of_terms(regressions),
        "regression_contrasts": contrast_terms(regressions),
        "second_axis_fits": fits,
        "second_axis_residuals": residuals,
        "disagreements": published.disagreements,
        "left_out": published.left_out,
        "undocumented": undocumented(models),
    }


def read_tables(folder: Path, names: Iterable[str] = TABLES) -> dict[str, pd.DataFrame]:
    """Read tables of `TABLES` from ``results/published`` by name, empty cells of columns of text as empty text."""
    import pandas as pd

    tables = {}
    for name in names:
        table = pd.read_csv(folder / f"{name}.csv", low_memory=False)
        for column in table.select_dtypes(exclude=["number", "bool"]):
            table[column] = table[column].fillna("")
        tables[name] = table
    return tables


def undocumented(models: pd.DataFrame) -> pd.DataFrame:
    """Return the models with an empty field that comparisons need, which fields these are, and the row's note."""
    fields = [field for field in FIELDS if field not in _OPTIONAL]
    lacking = models[~documented(models, fields)].copy()
    empty = [", ".join(field for field in fields if row[field] == "") for row in lacking[fields].to_dict("records")]
    return lacking.assign(empty=empty)[["model", "collection", "key", "empty", "source", "url", "note"]]
