"""What test sets are for: in-distribution test sets, whose accuracies predict the accuracy under shift, and shifts.

A source that is compared should have an in-distribution test set of its own: models are worse on another source's than
on everything else, and so look robust beyond it (Shi et al. 2023, arXiv 2302.01381).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whyrobust.study.config import BaselineSettings
from whyrobust.study.dataset_settings import Source, TestSet
from whyrobust.study.display_names import AVERAGE, MEAN, MEAN_SEEN
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.plan import OWN, Plan, Run, evaluated_rows, matches
from whyrobust.study.setting_checks import ConfigError

#: Names of rows of causes.csv that are no single shift: means of effects over shifts of unseen, and of seen, styles,
#: and the average of accuracies.
MEANS = (MEAN, MEAN_SEEN, AVERAGE)

#: Settings of a test set that only one role has.
ROLE_OF_SETTING = {"source": "in_distribution", "case_study": "shift", "seen_in": "shift"}


def in_distribution_test_sets(test_sets: Mapping[str, TestSet]) -> dict[str, TestSet]:
    """Return the in-distribution test sets; the first is that of the paper's measurement."""
    return {name: test_set for name, test_set in test_sets.items() if test_set.role == "in_distribution"}


def check_roles(test_sets: Mapping[str, TestSet], sources: Mapping[str, Source]) -> None:
    """Check that there are test sets of both roles, with the settings that their role needs and no others.

    Raises:
        ConfigError: the first problem.
    """
    in_distribution = in_distribution_test_sets(test_sets)
    if not in_distribution or len(in_distribution) == len(test_sets):
        raise ConfigError(
            f"config key test_sets has {len(in_distribution)} of {len(test_sets)} entries with role in_distribution: "
            "allowed is one or more, and one or more with role shift"
        )
    for name, test_set in test_sets.items():
        key = f"config key test_sets.{name}"
        if name in MEANS:
            raise ConfigError(f"{key} has the name of a mean, or an average, over shifts: rename it")
        for setting, role in ROLE_OF_SETTING.items():
            if getattr(test_set, setting) is not None and test_set.role != role:
                raise ConfigError(f"{key}.{setting} is given, but its role is {test_set.role}: allowed is role {role}")
        if test_set.role == "in_distribution" and test_set.classes != "all":
            raise ConfigError(f"{key}.classes is '{test_set.classes}': allowed in distribution is all")
        if test_set.units == "team" and test_set.row.photographs:
            raise ConfigError(f"{key}.units is 'team': allowed for photographs is one of class, drawing")
        for setting, named in (("source", (test_set.source,)), ("seen_in", test_set.seen_in or ())):
            for source in named:
                if source is not None and source not in sources:
                    raise ConfigError(f"{key}.{setting} is '{source}': allowed is one of {', '.join(sources)}")
    for name, test_set in in_distribution.items():
        if test_set.source is None and len(in_distribution) > 1:
            raise ConfigError(
                f"config key test_sets.{name}.source is missing: each of {len(in_distribution)} in-distribution test "
                f"sets needs it, one of {', '.join(sources)}"
            )


def check_standard(baseline: BaselineSettings, in_distribution: Mapping[str, TestSet], runs: Sequence[Run]) -> None:
    """Check that there is a baseline to fit, to runs with a classifier, and a line to fit over each test set.

    Raises:
        ConfigError: the first problem.
    """
    several = len(in_distribution) > 1
    if several and baseline.standard.source is not None:
        raise ConfigError(
            f"config key baseline.standard.source is given: with {len(in_distribution)} in-distribution test sets the "
            "standard models are of every source, leave it out"
        )
    standard = [run for run in runs if run.standard]
    # A plane through as many models as it has coefficients has no residuals.
    needed = len(in_distribution) + 2 if several else 2
    if len(standard) < needed:
        raise ConfigError(
            f"config key baseline.standard fits {len(standard)} planned runs: allowed is {needed} or more, add runs or "
            "widen it"
        )
    other = sorted({run.objective for run in standard if OBJECTIVES[run.objective].main_head != "classifier"})
    if other:
        raise ConfigError(
            f"config key baseline.standard fits runs of objective '{other[0]}': allowed are runs with a classifier, "
            f"objective {' or '.join(name for name, row in OBJECTIVES.items() if row.main_head == 'classifier')}"
        )
    for name, test_set in in_distribution.items():
        of_source = sum(run.source == test_set.source for run in standard)
        if test_set.source is not None and of_source < 2:
            raise ConfigError(
                f"config key baseline.standard fits {of_source} planned runs of source '{test_set.source}', which "
                f"test_sets.{name} is of: allowed is 2 or more, add runs of it"
            )


def sources_without_test_set(plan: Plan, in_distribution: Mapping[str, TestSet]) -> list[str]:
    """Return the sources, made of no other, of compared runs and heads that no in-distribution test set is of.

    A test set that does not say its source is taken to be of that of the standard models, if they have only one.
    """
    rows = evaluated_rows(plan.runs, plan.heads)
    compared: set[str] = set()
    for comparison in plan.comparisons:
        for side in (comparison.start, comparison.end):
            condition = {**comparison.condition, **side}
            chosen = [row for row in rows if matches(row, condition)]
            compared |= {row[field] for row in chosen for field in ("source", "fitted_on")} - {"", OWN}
    named = {test_set.source for test_set in in_distribution.values()}
    standard = {run.source for run in plan.runs if run.standard}
    covered = standard if named == {None} and len(standard) == 1 else named - {None}
    of_test_sets, of_runs = (
        {part for source in names for part in plan.components.get(str(source), (str(source),))}
        for names in (covered, compared)
    )
    return sorted(of_runs - of_test_sets)
