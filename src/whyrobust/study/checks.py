"""Whether a config can be carried out: `plan_study` checks files, names, sizes and comparisons, and plans the runs.

The types of `whyrobust.study.config` have said what each key may be; here is what only several keys together, or the
files that they name, can tell. Every problem is one line that names the key, the value found and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from whyrobust.study.caption_variants import CAPTION_VARIANTS
from whyrobust.study.comparisons import Comparison, match_pairs
from whyrobust.study.config import Config
from whyrobust.study.dataset_settings import Source, TestSet
from whyrobust.study.display_names import KIND_FIELDS, VERDICTS, name_kind
from whyrobust.study.held_out import check_held_out
from whyrobust.study.input_files import check_class_names, check_files, count_covered_classes, read_class_counts
from whyrobust.study.kind_settings import ICON_PARTS, Icons, Mixture, View
from whyrobust.study.paper_measurement import NONE, check_paper_measurement, check_testbed
from whyrobust.study.plan import (
    OWN,
    Head,
    Plan,
    PlanError,
    Run,
    evaluated_rows,
    plan_heads,
    plan_pretrained,
    plan_runs,
)
from whyrobust.study.roles import check_roles, check_standard, in_distribution_test_sets
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import Settings, chosen_values
from whyrobust.study.view_checks import check_views

#: Folders under ``results`` that all studies share.
SHARED_RESULTS = ("reference", "published", "imagenet_captions")


def check_study_name(name: str) -> None:
    """Check that the folder of a study's results is its own."""
    if name in SHARED_RESULTS:
        raise ConfigError(
            f"config key study is '{name}', the name of a folder that all studies share: allowed is any other name"
        )


def check_test_sets(test_sets: Mapping[str, TestSet]) -> None:
    """Check what test sets of a kind need besides the settings of the kind."""
    for name, test_set in test_sets.items():
        kind = test_set.row
        missing = [key for key in kind.needed_in_test_sets if getattr(test_set, key) is None]
        if missing:
            raise ConfigError(
                f"config key test_sets.{name}.{missing[0]} is missing: a test set of kind '{kind.name}' needs it"
            )
        if kind.own_classes_only and test_set.classes != "own":
            raise ConfigError(
                f"config key test_sets.{name}.classes is '{test_set.classes}': allowed for {kind.name} is own"
            )


def components_of(sources: Mapping[str, Source]) -> dict[str, tuple[str, ...]]:
    """Return for each source the sources that its images come from and that are made of no other.

    Raises:
        ConfigError: a source is made of one that is not there or is made of others itself, or of icons and photographs.
    """
    plain = [name for name, source in sources.items() if not source.row.derived]
    components: dict[str, tuple[str, ...]] = {}
    for name, source in sources.items():
        key = f"config key sources.{name}"
        components[name] = source.made_of() if source.row.derived else (name,)
        others = (source.match_classes_of, source.nearest_to_shifts_at_most) if isinstance(source, View) else ()
        for other in (*components[name], *others):
            if other is not None and other not in plain:
                raise ConfigError(f"{key} builds on '{other}': allowed are {', '.join(plain)}")
        if len({sources[part].row.photographs for part in components[name]}) > 1:
            raise ConfigError(f"{key} mixes icons with photographs: allowed are sources of one of the two")
    return components


def check_data(
    config: Config,
    counts: Mapping[str, Mapping[str, int]],
    runs: Sequence[Run],
    components: Mapping[str, Sequence[str]],
    covered: Mapping[str, int],
) -> None:
    """Check parts, classes and sizes against the counts of the class table.

    The counts are those before decontamination, so a size that is a little too large is found only when the
    subset is drawn.

    Args:
        config: the config.
        counts: images of each class by part, see `input_files.read_class_counts`.
        runs: the runs that are trained.
        components: see `components_of`.
        covered: see `input_files.count_covered_classes`.
    """
    icon_sources = {name: source.part for name, source in config.sources.items() if isinstance(source, Icons)}
    icon_tests = {name: test_set.part for name, test_set in config.test_sets.items() if isinstance(test_set, Icons)}
    _check_dataset_names(config, bool(icon_sources or icon_tests))
    _check_parts(config, counts, icon_sources, icon_tests)
    for name, test_set in config.test_sets.items():
        if test_set.classes == "own" and covered.get(test_set.kind, 1) == 0:
            raise ConfigError(
                f"config key data.classes is '{config.data.classes}', which says true of no class in a column "
                f"{test_set.kind}: test_sets.{name} needs it, true for each class that the test set covers"
            )
    shared = set(icon_sources.values()) & set(icon_tests.values())
    if shared:
        raise ConfigError(
            f"config key sources uses part '{min(shared)}', which test_sets uses too: allowed is a part once"
        )
    if config.data.pool == "labelled":
        images = {name: counts[part] for name, part in icon_sources.items()}
        for run in runs:
            if set(components[run.source]) <= set(icon_sources):
                most = _most_images(config.sources[run.source], images, components[run.source])
                if run.train_images > most:
                    raise ConfigError(
                        f"config key runs has train_images {run.train_images} for source '{run.source}': "
                        f"allowed is at most {most}"
                    )


def _check_parts(
    config: Config,
    counts: Mapping[str, Mapping[str, int]],
    icon_sources: Mapping[str, str],
    icon_tests: Mapping[str, str],
) -> None:
    """Check that the class table counts the parts of icons, with images of every class that is needed."""
    for section, parts in (("sources", icon_sources), ("test_sets", icon_tests)):
        for name, part in parts.items():
            if part not in counts:
                raise ConfigError(
                    f"config key {section}.{name}.part is '{part}': allowed is one of {', '.join(sorted(counts))}"
                )
            empty = [label for label, images in counts[part].items() if images == 0]
            if empty and (section == "sources" or config.test_sets[name].classes == "all"):
                raise ConfigError(
                    f"config key data.classes is '{config.data.classes}': class '{empty[0]}' has no images in part "
                    f"'{part}', allowed are classes with at least one"
                )


def _most_images(source: Source, counts: Mapping[str, Mapping[str, int]], components: Sequence[str]) -> int:
    """Return how many images a source can have at most, from the images of each class of every plain source.

    A mixture, and a view in the proportions of another source, end where the first of their parts is used up; Webster's
    rule may give a part half an image less than its share (`subsets.draw_mixture`).
    """
    totals = {name: sum(counts[name].values()) for name in counts}
    if isinstance(source, Mixture):
        return min(int((totals[name] + 0.5) / share) for name, share in source.shares.items())
    if isinstance(source, View) and source.match_classes_of is not None:
        wanted, held = counts[source.match_classes_of], counts[source.of]
        total = totals[source.match_classes_of]
        return min(
            totals[source.of],
            *(int((held[name] + 1) * total / images) for name, images in wanted.items() if images > 0),
        )
    return sum(totals[name] for name in components)


def _check_dataset_names(config: Config, icons: bool) -> None:
    """Check that data sets can be distinguished, and that a study of icons defines how they are split."""
    both = sorted(set(config.sources) & set(config.test_sets))
    if both:
        raise ConfigError(f"config key test_sets has '{both[0]}', which is a source too: give it another name")
    if not icons:
        return
    for key in ("sets", "nouns", "pool", "held_out_share"):
        if getattr(config.data, key) is None:
            raise ConfigError(f"config key data.{key} is missing: data sets of kind icons need it")
    datasets = {**config.sources, **config.test_sets}
    taken = sorted(name for name in set(ICON_PARTS) & set(datasets) if datasets[name].row.photographs)
    if taken:
        raise ConfigError(
            f"config key sources or test_sets has '{taken[0]}', the name of a part of the icons: rename it"
        )


def check_sizes_matched(config: Config) -> None:
    """Check that sizes are matched across sources that are made of no other."""
    for name in config.data.match_sizes.across if config.data.match_sizes else ():
        if name not in config.sources or config.sources[name].row.derived:
            plain = [key for key, source in config.sources.items() if not source.row.derived]
            raise ConfigError(f"config key data.match_sizes.across has '{name}': allowed is one of {', '.join(plain)}")


def check_caption_slices(config: Config, runs: Sequence[Run], components: Mapping[str, Sequence[str]]) -> None:
    """Check that a source has one slice where captions are made from all its records together."""
    for run in runs:
        if run.caption in CAPTION_VARIANTS and CAPTION_VARIANTS[run.caption].needs_whole_source:
            for name in components[run.source]:
                if config.sources[name].slice_count > 1:
                    raise ConfigError(
                        f"config key sources.{name}.slices is {config.sources[name].slice_count}: allowed is 1 where "
                        f"runs have the caption '{run.caption}', which is drawn among all records of a source"
                    )


#: Fields of a record that a source may ask for.
RECORD_FIELDS = ("title", "description", "tags", "label")


def check_caption_columns(config: Config, runs: Sequence[Run], components: Mapping[str, Sequence[str]]) -> None:
    """Check that the captions of a source's own columns have names of their own, and that runs find theirs."""
    for name, source in config.sources.items():
        taken = [column for column in source.caption_columns if column in (*CAPTION_VARIANTS, *RECORD_FIELDS)]
        if taken:
            raise ConfigError(
                f"config key sources.{name}.captions has '{taken[0]}', the name of a caption variant or field that "
                "every record has: give it another name"
            )
        known = (*RECORD_FIELDS, *source.caption_columns)
        for needed in getattr(source, "needs", None) or ():
            if needed not in known:
                raise ConfigError(
                    f"config key sources.{name}.needs has '{needed}': allowed is one of {', '.join(known)}"
                )
    for run in runs:
        if run.caption and run.caption not in CAPTION_VARIANTS:
            for name in components[run.source]:
                if run.caption not in config.sources[name].caption_columns:
                    raise ConfigError(
                        f"config key sources.{name}.captions has no '{run.caption}', which a run on {run.source} "
                        "learns from: name its column there, or another caption in the run"
                    )


def _named_fields(config: Config) -> Iterator[tuple[str, Settings]]:
    """Yield the settings that name sources, models or prompt sets, with their keys."""
    for number, grid in enumerate(config.runs):
        yield f"runs[{number}]", grid
        if grid.pretrain is not None:
            yield f"runs[{number}].pretrain", grid.pretrain
    for number, head in enumerate(config.heads):
        yield f"heads[{number}]", head
        yield f"heads[{number}].where", head.where
    yield "baseline.standard", config.baseline.standard
    for cause, comparisons in config.causes.items():
        for number, comparison in enumerate(comparisons):
            sides = {"from": comparison.start, "to": comparison.end, "where": comparison.where}
            for key, side in sides.items():
                yield f"causes.{cause}[{number}].{key}", side


def check_names(config: Config) -> None:
    """Check that grids, heads and comparisons speak of sources, models and prompt sets that the config defines."""
    named = [caption for source in config.sources.values() for caption in source.caption_columns]
    known = {
        "source": list(config.sources),
        "model": list(config.models),
        "prompts": ["", *config.prompts],
        "fitted_on": ["", OWN, *config.sources],
        "caption": ["", *CAPTION_VARIANTS, *dict.fromkeys(named)],
    }
    for key, settings in _named_fields(config):
        for field, allowed in known.items():
            chosen = getattr(settings, field, None) or ()
            for name in (chosen,) if isinstance(chosen, str) else chosen:
                if name not in allowed:
                    words = ", ".join(word or "''" for word in allowed)
                    raise ConfigError(f"config key {key}.{field} is '{name}': allowed is one of {words}")


def check_comparisons(
    runs: Sequence[Run], heads: Mapping[str, Sequence[Head]], comparisons: Sequence[Comparison]
) -> None:
    """Check that every comparison has a pair, and a name by which the tables tell it from the others of its cause."""
    rows = evaluated_rows(runs, heads)
    names: dict[str, list[str]] = {}
    for comparison in comparisons:
        before, name = names.setdefault(comparison.cause, []), comparison.name.strip()
        place = f"config key causes.{comparison.cause}[{len(before)}]"
        if not name:
            raise ConfigError(f"{place}.comparison is {comparison.name!r}: give the comparison a name")
        if name in before:
            raise ConfigError(
                f"{place}.comparison is {comparison.name!r}, as is that of causes.{comparison.cause}"
                f"[{before.index(name)}]: allowed is each name once in a cause"
            )
        before.append(name)
        key = f"{place} ('{comparison.name}')"
        try:
            pairs = match_pairs(comparison, rows)
        except PlanError as error:
            raise ConfigError(f"{key}: {error}") from error
        if not pairs:
            changed = ", ".join(sorted(comparison.changed))
            raise ConfigError(f"{key} has no pair of planned runs: add runs that differ only in {changed}")


def check_colours(colours: Mapping[str, str], runs: Sequence[Run]) -> None:
    """Check that colours are given for kinds of training that the study has, or for verdicts on effects."""
    evaluated = [run for run in runs if run.evaluated]
    kinds = dict.fromkeys(name_kind(**{name: getattr(run, name) for name in KIND_FIELDS}) for run in evaluated)
    known = [*kinds, *VERDICTS]
    for name in colours:
        if name not in known:
            raise ConfigError(f"config key figures.colours has '{name}': allowed is one of {', '.join(known)}")


def used_sources(config: Config, plan: Plan) -> list[str]:
    """Return the training sources that a study needs: those of runs, of fitted heads, and what they are made of."""
    named = {run.source for run in plan.runs if not run.published}
    named |= set(config.data.match_sizes.across if config.data.match_sizes else ())
    for heads in plan.heads.values():
        named |= {head.fitted_on for head in heads} - {"", OWN}
    for source in [config.sources[name] for name in named]:
        if isinstance(source, View):
            named |= {name for name in (source.match_classes_of, source.nearest_to_shifts_at_most) if name is not None}
    return sorted(named | {part for name in named for part in plan.components[name]})


def plan_study(config: Config, root: Path, data_is_there: bool = True) -> Plan:
    """Check that a config can be carried out, and return what it asks for.

    Args:
        config: the config.
        root: folder that relative paths in the config start from.
        data_is_there: whether the files of data sets must be there, or be known to the table of downloads; without
            them the cost of a study can be estimated.

    Raises:
        ConfigError: the first problem, as one line that names key, value and what is allowed.
    """
    check_study_name(config.study)
    components = components_of(config.sources)
    check_roles(config.test_sets, config.sources)
    check_test_sets(config.test_sets)
    check_paper_measurement(config.paper_measurement, config.test_sets)
    check_held_out(config.test_sets, config.sources)
    check_sizes_matched(config)
    check_files(config, root, data_is_there)
    check_views(config.sources, root / config.data.sets if config.data.sets else None)
    check_names(config)
    try:
        runs = plan_runs(
            [chosen_values(grid) for grid in config.runs],
            config.seeds,
            next(iter(config.models)),
            config.training.samples_seen,
            chosen_values(config.baseline.standard),
        )
        published = plan_pretrained([vars(entry) for entry in config.pretrained])
    except PlanError as error:
        raise ConfigError(str(error)) from error
    check_caption_columns(config, runs, components)
    check_caption_slices(config, runs, components)
    table = root / config.data.classes
    counts = read_class_counts(table)
    check_class_names(table, config.data.shared_names)
    check_data(config, counts, runs, components, count_covered_classes(table))
    if config.paper_measurement.testbed != NONE:
        check_testbed(config.test_sets, config.class_weights, table, root)
    runs += published
    check_colours(config.figures.colours, runs)
    fitted = [chosen_values(head) for head in config.heads]
    heads = {run.run: tuple(plan_heads(run, list(config.prompts), fitted)) for run in runs}
    comparisons = [
        Comparison(
            cause=cause,
            name=entry.comparison,
            start=chosen_values(entry.start),
            end=chosen_values(entry.end),
            where=chosen_values(entry.where),
            holds_fixed=entry.holds_fixed,
            matched_accuracy=entry.matched_accuracy,
        )
        for cause, entries in config.causes.items()
        for entry in entries
    ]
    check_standard(config.baseline, in_distribution_test_sets(config.test_sets), runs)
    check_comparisons(runs, heads, comparisons)
    return Plan(tuple(runs), heads, tuple(comparisons), components)
