"""Fill the tables of README.md and docs/method.md on the icons studies: `python -m tools.write_results`.

After a study has been run, ``--study results/icons`` copies its small tables to docs/results/ first.

Every part stands between ``<!-- made by python -m tools.write_results: NAME -->`` and ``<!-- end -->``; `PARTS` has the
names. Points are percentage points at the reference accuracy of the study. Nothing is computed here: numbers and
verdicts are those of the tables.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tools.write_docs import table
from whyrobust.analysis.accuracies import OTHER_WEIGHTS
from whyrobust.analysis.measured import MEAN_AXIS
from whyrobust.files import atomic_path, write_text
from whyrobust.report.findings import (
    EffectTerms,
    hidden_sentence,
    is_hidden,
    opposite_shifts,
    secondary_findings,
)
from whyrobust.report.headline import make_headline
from whyrobust.report.number_format import (
    format_p,
    format_points,
    format_points_interval,
    format_whole_percent,
    join_words,
)
from whyrobust.report.page_parts import table_rows
from whyrobust.report.side_by_side import Repetition, compare_verdicts
from whyrobust.study.display_names import LOWERS, RAISES, UNDECIDED, WITHIN, name_cause, name_weighting, spaced
from whyrobust.study.table_cells import is_missing

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "method.md", ROOT / "docs" / "prespecification.md")
COMMITTED = ROOT / "docs" / "results"
NAMES = ("causes", "causes_single_line", "causes_other_weights", "shifts", "dose_response", "dose_response_trends")
MARKER = re.compile(r"(<!-- made by python -m tools\.write_results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: Config of each study that parts are of.
STUDIES = {
    "icons": "config.yaml",
    "icons_seeds_5": "icons-seeds-5.yaml",
    "icons_why": "config/icons-why.yaml",
}
NOT_YET = (
    "\n*Not run yet in this form. What is compared, how it is tested and what would change our mind is fixed in "
    "`docs/prespecification.md`; after a run of `{config}`, `python -m tools.write_results --study results/{study}` "
    "fills this in.*\n\n"
)
Tables = Mapping[str, pd.DataFrame]
Row = dict[str, Any]


def copy_tables(study: Path, folder: Path) -> None:
    """Copy the small tables of a finished study, each as ``<study>_<table>.csv``.

    Raises:
        SystemExit: a table is missing.
    """
    missing = [name for name in NAMES if not (study / f"{name}.csv").exists()]
    if missing:
        raise SystemExit(f"{study} has no {missing[0]}.csv: run the study first, with `make study`")
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        with atomic_path(folder / f"{study.name}_{name}.csv") as temporary:
            temporary.write_bytes((study / f"{name}.csv").read_bytes())


def read_tables(folder: Path, study: str) -> dict[str, pd.DataFrame] | None:
    """Return the committed tables of a study by name; None where it has not been run."""
    paths = {name: folder / f"{study}_{name}.csv" for name in NAMES}
    if not all(path.exists() for path in paths.values()):
        return None
    return {name: pd.read_csv(path, keep_default_na=False, na_values=["", "nan"]) for name, path in paths.items()}


def fill(text: str, of_studies: Mapping[str, Tables | None]) -> str:
    """Return a page with its parts up to date.

    Args:
        text: the page.
        of_studies: tables of each study that a part is of; None of one that has not been run.

    Raises:
        KeyError: for a name that is not in `PARTS`.
    """

    def part(match: re.Match[str]) -> str:
        of = PARTS[match[2]]
        tables = [found for study in of.studies if (found := of_studies[study]) is not None]
        if len(tables) == len(of.studies):
            beside = [of_studies[study] for study in of.beside]
            return match[1] + "\n" + of.make(*tables, *beside) + "\n" + match[3]
        missing = next(study for study in of.studies if of_studies[study] is None)
        return match[1] + NOT_YET.format(study=missing, config=STUDIES[missing]) + match[3]

    return MARKER.sub(part, text)


def _interval(row: Row, name: str = "effect", low: str = "low", high: str = "high") -> str:
    """Write an effect in points with its interval: ``+1.0 (-0.5 to +2.5)``; without one where there is none."""
    value, ends = row[f"{name}_points"], (row[f"{low}_points"], row[f"{high}_points"])
    if is_missing(value):
        return "not measured"
    shown = format_points(value)
    return shown if any(is_missing(end) for end in ends) else f"{shown} ({format_points_interval(*ends)})"


def _raw_interval(row: Row) -> str:
    return _interval(row, "raw_shift", "raw_shift_low", "raw_shift_high")


def _primary(tables: Tables) -> list[Row]:
    causes = tables["causes"]
    return table_rows(causes[causes["family"] == "primary"])


def _of_mean(causes: pd.DataFrame) -> list[Row]:
    return table_rows(causes[causes["shift"] == "mean"])


def _other_weights(tables: Tables) -> str:
    others = {(row["cause"], row["shift"]): row for row in table_rows(tables["causes_other_weights"])}
    causes = tables["causes"]
    rows = [
        [str(row["comparison"]), spaced(str(row["shift"])), *(_with_verdict(one) for one in (row, other))]
        for row in table_rows(causes[causes["main"].astype(bool)])
        if (other := others.get((row["cause"], row["shift"]))) is not None
    ]
    other_name = str(tables["causes_other_weights"]["class_weights"].iloc[0])
    own, other_words = (f"accuracies {name_weighting(name)}" for name in (OTHER_WEIGHTS[other_name], other_name))
    return table(["comparison", "test set", own, other_words], rows)


def _equivalence(row: Row) -> str:
    interval = format_points_interval(row["equivalence_low_points"], row["equivalence_high_points"])
    return f"{interval}; {format_p(row['p_equivalence'])}" if interval else "-"


def _with_verdict(row: Row) -> str:
    verdict = row["role"] if is_missing(row["verdict"]) else row["verdict"]
    return f"{_interval(row)}: {verdict}"


def _lines(tables: Tables, row: Row) -> dict[str, Row]:
    """Return the same effect beyond each single line, by its in-distribution test set, the paper's first."""
    lines = tables["causes_single_line"]
    same = lines[(lines["comparison"] == row["comparison"]) & (lines["cause"] == row["cause"])]
    found = table_rows(same[same["shift"] == row["shift"]].sort_values("measurement", key=lambda kind: kind != "paper"))
    return {str(one["x_test_set"]): one for one in found}


def _roles(tables: Tables, role: str) -> list[str]:
    shifts = tables["shifts"]
    return [str(name) for name in shifts.loc[shifts["role"] == role, "test_set"]]


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _count_same(verdicts: Repetition) -> str:
    same = f"{len(verdicts.kept)} of {len(verdicts.primary)} verdicts are the same"
    return f"{same}{verdicts.describe_undecided()}"


def _lead(tables: Tables, repeated: Tables | None) -> str:
    """Return the answer in a sentence, and which of its verdicts other seeds do not give."""
    sentences = [make_headline(tables["causes"], EffectTerms(), other_weights=tables["causes_other_weights"]).lead]
    if repeated is not None:
        verdicts = compare_verdicts(tables["causes"], repeated["causes"])
        same = f"With other seeds {_count_same(verdicts)}"
        changed = join_words([name_cause(row["cause"]) for row, _ in verdicts.changed])
        sentences.append(f"{same}; none is claimed for {changed}." if changed else f"{same}.")
    return f"**{' '.join(sentences)}**\n"


def _answer(tables: Tables, repeated: Tables | None) -> str:
    """Return the answer in sentences: raw differences, then beyond all test sets, then the paper's measurement.

    A verdict that a repetition with other seeds does not give is marked where it stands.
    """
    primary = _primary(tables)
    first = next(row for row in primary if row["cause"] == "training_distribution")
    in_distribution, shifts = _roles(tables, "in_distribution"), _roles(tables, "shift")
    lines = _lines(tables, first)
    of_mean = lines.pop(MEAN_AXIS, None)
    sentences = [
        f"**Raw accuracy.** {first['comparison'].capitalize()} changes accuracy under shift, the mean over "
        f"{_code(shifts)}, by {_raw_interval(first)} points, and accuracy on the test sets of the sources "
        f"({_code(in_distribution)}) by {_interval(first, 'raw_id', 'raw_id_low', 'raw_id_high')} points.",
        f"**Effective robustness beyond all of these test sets.** {_verdict_words(tables['causes'], repeated)}",
        "**The paper's measurement**, beyond a single test set: the same comparison of sources gives "
        + ", ".join(
            f"{_interval(line)} points beyond the line over `{name}`" + ("" if number else " (the paper's)")
            for number, (name, line) in enumerate(lines.items())
        )
        + ". A line over one source's test set favours models of the other.",
    ]
    if of_mean is not None:
        sentences.append(
            f"**Not tested: beyond the line over the mean of these test sets**, the same comparison gives "
            f"{_interval(of_mean)} points. This may be an effect of the source, or that the shifts are nearer to it."
        )
    return "\n\n".join([*sentences, *_weights_words(tables, primary)]) + "\n"


def _weights_words(tables: Tables, primary: list[Row]) -> list[str]:
    """Say how many verdicts are others with classes weighted the other way, and when the weighting was chosen."""
    others = {row["cause"]: row for row in _of_mean(tables["causes_other_weights"])}
    pairs = [(row["verdict"], others[row["cause"]]) for row in primary if row["cause"] in others]
    if not pairs:
        return []
    changed = sum(other["verdict"] != own for own, other in pairs)
    found = sum(str(other["verdict"]).startswith((RAISES, LOWERS)) for _, other in pairs)
    note = yaml.safe_load((ROOT / STUDIES["icons"]).read_text(encoding="utf-8"))["class_weights_note"]
    return [
        f"**Other weights of classes.** With accuracies {name_weighting(str(pairs[0][1]['class_weights']))} instead, "
        f"{changed} of {len(pairs)} verdicts would be others, and {found} would be findings (last column of "
        f"the table). {note}"
    ]


def _repeated(tables: Tables, repeated: Tables) -> str:
    """Say which verdicts of the primary family a repetition with other seeds gives too."""
    verdicts = compare_verdicts(tables["causes"], repeated["causes"])
    named = [
        f"{name_cause(row['cause'])} is {other['verdict']} ({_interval(other)}) in place of {row['verdict']}"
        for row, other in verdicts.changed
    ]
    kept = _count_same(verdicts)
    told = f"{kept}; {' and '.join(named)}, so that no verdict is claimed for these." if named else f"{kept}."
    secondary = (
        f"Of {len(verdicts.found)} secondary findings {len(verdicts.again)} are found again."
        if verdicts.found
        else "There was no secondary finding to find again."
    )
    more = [
        f"{start}: {'; '.join(_named_again(other) for _, other in pairs)}."
        for start, pairs in (("The others there", verdicts.lost), ("New", verdicts.new))
        if pairs
    ]
    return " ".join([f"**Repeated with seeds 5 to 9**, {told} {secondary}", *more]) + "\n"


def _named_again(row: Row) -> str:
    """Write an effect of the repetition with its adjusted p."""
    return f"{row['comparison']} on {row['shift']} {_interval(row)}, q {format_p(row['p_adjusted'])}"


def _other_seeds(tables: Tables, repeated: Tables) -> str:
    pairs = compare_verdicts(tables["causes"], repeated["causes"]).primary
    rows = [[row["comparison"], _with_verdict(row), _with_verdict(other)] for row, other in pairs]
    return table(["main comparison", "seeds 0 to 4", "seeds 5 to 9"], rows)


def _marks(causes: pd.DataFrame, repeated: Tables | None) -> dict[tuple[str, str], str]:
    """Return a mark of each verdict that the repetition does not give, by comparison and shift; none without one."""
    if repeated is None:
        return {}
    again = {(row["comparison"], row["shift"]): str(row["verdict"]) for row in table_rows(repeated["causes"])}
    return {
        (row["comparison"], row["shift"]): f"; **not confirmed with other seeds: {again[key]}**"
        for row in table_rows(causes[causes["verdict"].notna()])
        if (key := (row["comparison"], row["shift"])) in again and again[key] != row["verdict"]
    }


def _verdict_words(causes: pd.DataFrame, repeated: Tables | None) -> str:
    """Group the main comparisons by their verdict; then what the mean and the plane hide."""
    primary, marks = table_rows(causes[causes["family"] == "primary"]), _marks(causes, repeated)

    def name(row: Row) -> str:
        mark = marks.get((row["comparison"], row["shift"]), "")
        return f"{name_cause(row['cause'])} ({row['comparison']}: {_interval(row)}{mark})"

    parts = []
    groups = ((RAISES, "raises it"), (LOWERS, "lowers it"), (WITHIN, None), (UNDECIDED, "is undecided"))
    hidden = [row for row in primary if is_hidden(row)]
    for verdict, words in groups:
        members = [row for row in primary if str(row["verdict"]).startswith(verdict) and row not in hidden]
        named = [name(row) for row in members]
        if members:
            parts.append(f"{words or 'is ' + str(members[0]['verdict']) + ' points'}: {'; '.join(named)}")
    others = [row for row in primary if not str(row["verdict"]).startswith((RAISES, LOWERS, WITHIN, UNDECIDED))]
    told = [f"What {part}." for part in parts]
    told += [f"The {name(row)} is {row['verdict']}. **{hidden_sentence(row)}**" for row in hidden]
    told += [f"Of {name_cause(row['cause'])} ({row['comparison']}): {row['verdict']}." for row in others]
    told += [sentence for row in primary for sentence in opposite_shifts(causes, row)]
    return " ".join([*told, *secondary_findings(causes, marks)])


def _main_effects(tables: Tables) -> str:
    others = {str(row["cause"]): row for row in _of_mean(tables["causes_other_weights"])}
    weighting = name_weighting(next((str(row["class_weights"]) for row in others.values()), ""))
    rows = []
    for row in _primary(tables):
        lines = _lines(tables, row)
        paper, other = next(iter(lines.values()), None), others.get(row["cause"])
        rows.append(
            [
                name_cause(row["cause"]),
                row["comparison"],
                _interval(row, "raw_id", "raw_id_low", "raw_id_high"),
                _raw_interval(row),
                _interval(row),
                f"{row['p_adjusted']:.3f}" if not is_missing(row["p_adjusted"]) else "-",
                str(row["verdict"]),
                _equivalence(row),
                format_whole_percent(row["equivalence_power"]) or "-",
                format_whole_percent(row["kept_share"]) or "-",
                "-" if is_missing(row["detectable_points"]) else f"{abs(row['detectable_points']):.1f}",
                "-" if paper is None else _interval(paper),
                "-" if other is None else _with_verdict(other),
            ]
        )
    head = ["cause", "main comparison", "raw, in distribution", "raw, under shift", "beyond all test sets", "p (Holm)"]
    last = f"beyond all test sets, accuracies {weighting}"
    head += ["verdict", "90 % interval; p of equivalence", "shown at a true zero", "left of an effect in step"]
    return table([*head, "detectable", "the paper's measurement", last], rows)


def _by_shift(tables: Tables) -> str:
    causes = tables["causes"]
    mains = {str(row["comparison"]): str(row["cause"]) for row in _primary(tables)}
    shown = [*_roles(tables, "shift"), *_roles(tables, "not informative"), *_roles(tables, "case study")]
    apart = {*_roles(tables, "not informative"), *_roles(tables, "case study")}
    rows = []
    for comparison, cause in mains.items():
        by_shift = {
            str(row["shift"]): row
            for row in table_rows(causes[(causes["comparison"] == comparison) & (causes["cause"] == cause)])
        }
        cells = []
        for shift in shown:
            row = by_shift[shift]
            text = _interval(row)
            cells.append(f"**{text}**" if row["verdict"] in (RAISES, LOWERS) else text)
        rows.append([comparison, *cells])
    head = ["comparison", *(spaced(name) + ("\\*" if name in apart else "") for name in shown)]
    count = causes[["cause", "comparison"]].drop_duplicates().shape[0]
    everything = (
        f"All {count} comparisons on every shift: [docs/results/icons_causes.csv](docs/results/icons_causes.csv)."
    )
    return table(head, rows) + "\n" + everything + "\n"


def _dose_response(tables: Tables) -> str:
    doses, trends = tables["dose_response"], tables["dose_response_trends"]
    doses, trends = (one[one["objective"] == "cross_entropy"] for one in (doses, trends))
    shifts = [name for name in ("mean", *_roles(tables, "shift")) if name in set(doses["shift"])]
    rows = []
    for share in sorted(set(doses["share"].tolist())):
        by_shift = {str(row["shift"]): row for row in table_rows(doses[doses["share"] == share])}
        cells = [f"{format_points(by_shift[name]['raw_shift_points'])}; {_interval(by_shift[name])}" for name in shifts]
        rows.append([f"{100 * share:.0f} %", *cells, format_whole_percent(by_shift[shifts[0]]["kept_share"]) or "-"])
    by_shift = {str(row["shift"]): row for row in table_rows(trends)}
    p = ["-" if is_missing(by_shift[name]["p"]) else f"p = {by_shift[name]['p']:.3f}" for name in shifts]
    rows.append(
        ["trend", *(f"{_interval(by_shift[name], 'trend')}; {q}" for name, q in zip(shifts, p, strict=True)), "-"]
    )
    return table(["share of web", *(spaced(name) for name in shifts), "left by the plane"], rows)


def _shifts(tables: Tables) -> str:
    rows = [
        [
            f"`{row['test_set']}`",
            str(row["role"]) + ("" if is_missing(row["seen_in"]) else f", style seen in {row['seen_in']}"),
            f"{int(row['images']):,}",
            f"{int(row['drawings']):,}",
            f"{int(row['units'])} {row['unit']}s" if row["unit"] != "class" else f"{int(row['units'])} classes",
            *("-" if is_missing(row[name]) else f"{row[name]:.2f}" for name in ("median_accuracy", "r_squared")),
            "-" if is_missing(row["reason"]) else str(row["reason"]),
        ]
        for row in table_rows(tables["shifts"])
    ]
    head = ["test set", "role", "images", "drawings", "units", "median accuracy", "R² of the plane", "why it is apart"]
    return table(head, rows)


def _what_in_it(tables: Tables) -> str:
    causes = tables["causes"]
    of_mean = causes[(causes["cause"] == "training_distribution") & (causes["shift"] == "mean")]
    rows = [
        [
            str(row["comparison"]),
            str(int(row["seeds"])),
            format_points(row["raw_id_points"]),
            _raw_interval(row),
            _interval(row),
            "-" if is_missing(row["p_adjusted"]) else f"{row['p_adjusted']:.3f}",
            str(row["verdict"]),
        ]
        for row in table_rows(of_mean)
    ]
    head = [
        "comparison",
        "seeds",
        "raw, in distribution",
        "raw, under shift",
        "beyond all test sets",
        "adjusted p",
        "verdict",
    ]
    return table(head, rows)


@dataclass(frozen=True)
class Part:
    """What a part is made of.

    Attributes:
        studies: names of the studies that it is of; it says so where one has not been run.
        make: from their tables, and those of ``beside``, to text.
        beside: studies that it is told with where they have been run: None in place of the tables of others.
    """

    studies: tuple[str, ...]
    make: Callable[..., str]
    beside: tuple[str, ...] = ()


#: By the name of the part.
PARTS: dict[str, Part] = {
    "lead": Part(("icons",), _lead, ("icons_seeds_5",)),
    "answer": Part(("icons",), _answer, ("icons_seeds_5",)),
    "main_effects": Part(("icons",), _main_effects),
    "by_shift": Part(("icons",), _by_shift),
    "dose_response": Part(("icons",), _dose_response),
    "shifts": Part(("icons",), _shifts),
    "other_weights": Part(("icons",), _other_weights),
    "repeated": Part(("icons", "icons_seeds_5"), _repeated),
    "other_seeds": Part(("icons", "icons_seeds_5"), _other_seeds),
    "what_in_it": Part(("icons_why",), _what_in_it),
}


def main() -> None:
    """Read the command line, copy the tables of a study where one is given, and fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, help="folder of results whose tables are copied first")
    given = parser.parse_args()
    if given.study:
        copy_tables(given.study, COMMITTED)
    tables = {study: read_tables(COMMITTED, study) for study in STUDIES}
    for page in PAGES:
        write_text(page, fill(page.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    main()
