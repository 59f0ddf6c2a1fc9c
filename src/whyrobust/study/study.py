"""A study as its rules see it: `Study.load` checks a config and plans what is trained, on what, and what is shown.

Everything is plain values and names of data sets, slices, runs and sources; where results lie is said by the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from whyrobust.study.caption_build import BUILT_CAPTIONS, CaptionBuild
from whyrobust.study.caption_tables import caption_names, learns_from_columns
from whyrobust.study.checks import plan_study, used_sources
from whyrobust.study.comparisons import compare_sources
from whyrobust.study.config import Config, Published, load_config
from whyrobust.study.datasets import UsedDatasets
from whyrobust.study.decoded_photographs import decoded_stores_of
from whyrobust.study.doses import dose_series
from whyrobust.study.heads_table import FITTED_HEADS
from whyrobust.study.input_files import downloadable_files, missing_files, published_files, read_prompt_sets
from whyrobust.study.kind_settings import View
from whyrobust.study.pinned_sources import PinnedSource
from whyrobust.study.plan import AFTER_TRAINING, OWN, Head, Plan, Run
from whyrobust.study.published_shifts import has_published_shifts
from whyrobust.study.roles import in_distribution_test_sets, sources_without_test_set
from whyrobust.study.run_groups import group_runs, runs_that_are_there, small_models
from whyrobust.study.setting_types import plain_values
from whyrobust.study.stages import STAGES
from whyrobust.study.unlikely_settings import unlikely_data, unlikely_settings
from whyrobust.study.workflow_files import with_own_files

#: The archive of all icons, in the folder for downloads.
ICON_ARCHIVE = "iconify.tgz"


@dataclass(frozen=True)
class Study:
    """What a valid config asks for.

    Attributes:
        config: the config, with defaults, and with files of the workflow where they are.
        plan: its runs, heads and comparisons.
        prompts: sentences of each prompt set.
        downloads: rows of the table of sources by the path of their file.
        root: folder that relative paths in the config start from.
        written: the config with defaults, and with files as they are written.
    """

    config: Config
    plan: Plan
    prompts: Mapping[str, Sequence[str]]
    downloads: Mapping[str, PinnedSource]
    root: Path
    written: Config

    @classmethod
    def load(cls, given: Mapping[str, Any], root: Path, home: Path | None = None) -> Study:
        """Check a config and return the study.

        Args:
            given: the config as written.
            root: folder that relative paths in it start from.
            home: folder of the workflow, where its own files are found that are not in ``root``.

        Raises:
            ConfigError: the first problem, as one line that names key, value and what is allowed.
        """
        written = load_config(given)
        config = with_own_files(written, root, home) if home else written
        plan = plan_study(config, root)
        prompts = read_prompt_sets(config.prompts, root)
        downloads = downloadable_files(root / config.sources_table, config.downloads)
        return cls(config, plan, prompts, downloads, root, written)

    @property
    def name(self) -> str:
        """Name of the study; its results go to ``results/<name>/``."""
        return self.config.study

    # Data sets

    @cached_property
    def sources(self) -> list[str]:
        """Training sources that the study needs; one without a run costs nothing."""
        return used_sources(self.config, self.plan)

    @cached_property
    def datasets(self) -> UsedDatasets:
        """The data sets that the study needs."""
        sources = {name: self.config.sources[name] for name in self.sources}
        plain = {name: source for name, source in sources.items() if not source.row.derived}
        text_match = plain_values(self.config.data.text_match) | {"shared": self.config.data.shared_names}
        return UsedDatasets(plain, self.config.test_sets, self.root, text_match)

    @cached_property
    def test_sets(self) -> list[str]:
        """The names of the test sets."""
        return list(self.config.test_sets)

    @cached_property
    def in_distribution(self) -> list[str]:
        """The names of the in-distribution test sets; the first is that of the paper's measurement."""
        return list(in_distribution_test_sets(self.config.test_sets))

    @cached_property
    def in_distribution_sources(self) -> dict[str, str]:
        """The source that each in-distribution test set is of, "" where the config does not say."""
        named = in_distribution_test_sets(self.config.test_sets)
        return {name: test_set.source or "" for name, test_set in named.items()}

    @cached_property
    def units(self) -> dict[str, str]:
        """What the bootstrap resamples on each test set: ``team``, ``class`` or ``drawing``."""
        return {name: test_set.unit for name, test_set in self.config.test_sets.items()}

    @cached_property
    def test_set_roles(self) -> dict[str, dict[str, Any]]:
        """What the config says about the part of each test set in the answer, and its unit."""
        keys = ("role", "source", "case_study", "seen_in", "unit")
        return {name: {key: getattr(row, key) for key in keys} for name, row in self.config.test_sets.items()}

    @cached_property
    def shifts(self) -> list[str]:
        """The names of the other test sets."""
        return [name for name in self.test_sets if name not in self.in_distribution]

    @cached_property
    def sources_without_test_set(self) -> list[str]:
        """Sources that are compared and that no in-distribution test set is of: a warning on the page."""
        return sources_without_test_set(self.plan, in_distribution_test_sets(self.config.test_sets))

    # Runs

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Trained and published models by name."""
        return {run.run: run for run in self.plan.runs}

    @cached_property
    def dose_series(self) -> list[dict[str, Any]]:
        """Series of mixtures that scored runs are trained on, as plain values."""
        used = {run.source for run in self.runs.values() if run.evaluated}
        return [asdict(series) for series in dose_series(self.config.sources, used)]

    @cached_property
    def trained(self) -> list[str]:
        """The names of the runs that are trained here."""
        return [name for name, run in self.runs.items() if not run.published]

    @cached_property
    def evaluated(self) -> list[str]:
        """The names of the runs that are scored."""
        return [name for name, run in self.runs.items() if run.evaluated]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The scored runs by group, which one job embeds, and fits heads for."""
        if self.config.unfinished:
            return runs_that_are_there(self.config.unfinished.groups, self.evaluated)
        return group_runs(self.plan.runs, self.plan.heads, small_models(self.config.models, self.root))

    def runs_of(self, group: str) -> list[str]:
        """Return the scored runs of a group."""
        return self.groups[group]

    @cached_property
    def with_fitted_heads(self) -> dict[str, list[str]]:
        """The scored runs that have heads fitted on embeddings, by group."""
        fitted = {group: [name for name in runs if self.fitted_heads_of(name)] for group, runs in self.groups.items()}
        return {group: runs for group, runs in fitted.items() if runs}

    def rows_of(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return runs as rows of ``runs.csv``."""
        return [self.runs[name].as_row() for name in names]

    def trained_row_of(self, run: str) -> dict[str, Any]:
        """Return what a run is trained by: its row of ``runs.csv``, without what is done with it afterwards."""
        return {name: value for name, value in self.runs[run].as_row().items() if name not in AFTER_TRAINING}

    def seed_of(self, run: str) -> int:
        """Return the seed of a run."""
        return self.runs[run].seed

    def hyperparameters_of(self, run: str) -> dict[str, Any]:
        """Return how a run is trained: augmentation, the settings of its objective, and the samples that it sees."""
        planned = self.runs[run]
        chosen = self.config.training.hyperparameters_of(planned.objective, bool(planned.pretrained_run))
        return chosen | {"samples_seen": planned.samples_seen}

    @cached_property
    def warnings(self) -> list[str]:
        """What is allowed and rarely meant, in settings and in data sets."""
        batches = {name: self.hyperparameters_of(name).get("batch_size", 0) for name in self.trained}
        classes = self.root / self.config.data.classes
        found = unlikely_settings(classes, [self.runs[run] for run in batches], batches)
        return found + unlikely_data(classes, self.config.sources, self.config.test_sets, self.root)

    def prompts_of(self, group: str) -> dict[str, Sequence[str]]:
        """Return the prompt sets that the runs of a group are embedded with: none where they have no text tower."""
        return dict(self.prompts) if self.runs[self.groups[group][0]].has_text_tower else {}

    def components_of(self, run: str) -> tuple[str, ...]:
        """Return the sources, made of no other, that the images of a run come from."""
        return self.plan.components[self.runs[run].source]

    def captions_of(self, run: str) -> list[str]:
        """Return the names of the tables of captions that a run learns from."""
        variant = self.runs[run].caption
        return caption_names(variant, self.datasets.text_slices_of(self.components_of(run))) if variant else []

    def matched_label_slices_of(self, run: str) -> list[str]:
        """Return the slices of texts in which the labels were found that a run learns from."""
        by_text = self.runs[run].labels == "text_match"
        return self.datasets.text_slices_of(self.components_of(run)) if by_text else []

    @cached_property
    def pretrained(self) -> set[str]:
        """The runs that others start from."""
        return {start for run in self.trained for start in self.pretrained_runs_of(run)}

    def pretrained_runs_of(self, run: str) -> list[str]:
        """Return the run that a run starts from, none where it starts from random weights."""
        pretrained = self.runs[run].pretrained_run
        return [pretrained] if pretrained else []

    def priority_of(self, run: str) -> int:
        """Return whether a run is trained before others (0: it is not), since a longer chain of stages waits for it.

        Runs that others are fine-tuned from go first, then those, then runs whose embeddings heads are fitted on.
        """
        if run in self.pretrained:
            return 3
        if self.pretrained_runs_of(run):
            return 2
        return self.priority_of_group(self.runs[run].seedless)

    def priority_of_group(self, group: str) -> int:
        """Return whether a group of runs is embedded before others (0: it is not)."""
        return int(group in self.with_fitted_heads)

    def model_file_of(self, run: str) -> str:
        """Return the file that describes the model of a run that is trained here."""
        return self.config.models[self.runs[run].model]

    def model_files_of(self, group: str) -> list[str]:
        """Return the file that describes the model of a group, none for a published model, which brings its own."""
        run = self.groups[group][0]
        return [] if self.runs[run].published else [self.model_file_of(run)]

    def published_settings_of(self, run: str) -> dict[str, Any]:
        """Return the settings of a published model by the name of its run."""
        return plain_values(self._published[run])

    def published_files_of(self, run: str) -> list[str]:
        """Return the files that a published model is read from: its weights and its description, where it has them."""
        return published_files(self._published[run], self.root)

    @cached_property
    def _published(self) -> dict[str, Published]:
        return {f"published-{entry.name}": entry for entry in self.config.pretrained}

    # Heads

    def heads_of(self, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the heads that runs are evaluated with, as plain values, by run."""
        return {name: [asdict(head) for head in self.plan.heads[name]] for name in names}

    def fitted_heads_of(self, run: str) -> list[Head]:
        """Return the heads of a run that are fitted on embeddings of training images."""
        return [head for head in self.plan.heads[run] if head.head in FITTED_HEADS]

    def fitted_head_rows_of(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """Return the fitted heads of the runs of a group that have some, as plain values, by run."""
        return {run: [asdict(head) for head in self.fitted_heads_of(run)] for run in self.with_fitted_heads[group]}

    def fitting_sources_of(self, run: str) -> dict[str, str]:
        """Return the sources that the fitted heads of a run are fitted on, by the name that the heads have for them."""
        named = dict.fromkeys(head.fitted_on for head in self.fitted_heads_of(run))
        return {name: self.runs[run].source if name == OWN else name for name in named}

    def fitted_on(self, group: str) -> dict[str, list[str]]:
        """Return the names that the fitted heads of each run of a group have for what they are fitted on, by run."""
        return {run: list(self.fitting_sources_of(run)) for run in self.groups[group]}

    def fitting_components_of(self, group: str) -> list[str]:
        """Return the sources, made of no other, that the fitted heads of a group need images of."""
        needed = [name for run in self.groups[group] for name in self.fitting_sources_of(run).values()]
        return list(dict.fromkeys(part for name in needed for part in self.plan.components[name]))

    @cached_property
    def comparison_rows(self) -> list[dict[str, Any]]:
        """The comparisons as plain values."""
        return [asdict(comparison) for comparison in self.plan.comparisons]

    # Subsets

    def subset_of(self, run: str) -> dict[str, str | int]:
        """Return source, size and seed of the subset that a run is trained on."""
        return self._subset(self.runs[run].source, run)

    def fitting_subsets_of(self, group: str) -> list[dict[str, str | int]]:
        """Return source, size and seed of the subsets that heads are fitted on, for each run of a group in turn."""
        return [
            self._subset(source, run) for run in self.groups[group] for source in self.fitting_sources_of(run).values()
        ]

    def _subset(self, source: str, run: str) -> dict[str, str | int]:
        planned = self.runs[run]
        return {"source": source, "train_images": planned.train_images, "seed": planned.seed}

    def components_of_source(self, source: str) -> tuple[str, ...]:
        """Return the sources, made of no other, that the images of a source come from."""
        return self.plan.components[source]

    def source_settings(self, source: str) -> dict[str, Any]:
        """Return the settings of a source that decide which images it has, as plain values."""
        settings = plain_values(self.config.sources[source])
        return {name: value for name, value in settings.items() if name != "says"}

    def tables_of_source(self, source: str) -> list[str]:
        """Return the tables of images that the subsets of a source are drawn from, without folder and ending."""
        if source in self.filtered_views:
            return [f"views/{source}"]
        return [f"decontaminated/{name}" for name in self.components_of_source(source)]

    @cached_property
    def filtered_views(self) -> list[str]:
        """Views whose images are chosen before subsets are drawn."""
        found = ((name, self.config.sources[name]) for name in self.sources)
        return [name for name, source in found if isinstance(source, View) and source.filtered]

    @cached_property
    def similar_sources(self) -> list[str]:
        """Sources, made of no other, whose nearest images to test images are found: all where none is made in slices.

        Comparing millions of photographs a second time would take as long as decontamination.
        """
        names = list(self.datasets.sources)
        several = len(names) > 1 and all(self.datasets.sources[name].slice_count == 1 for name in names)
        return names if several else []

    @cached_property
    def compared_sources(self) -> list[dict[str, Any]]:
        """The first comparison of each two sources, as plain values."""
        return [asdict(comparison) for comparison in compare_sources(self.plan.comparisons)]

    @cached_property
    def source_comparisons(self) -> list[dict[str, Any]]:
        """Those of `compared_sources` that are between similar sources."""
        similar = set(self.similar_sources)
        return [one for one in self.compared_sources if {one["start"]["source"], one["end"]["source"]} <= similar]

    def datasets_of_view(self, view: str) -> list[str]:
        """Return the data sets that the images of a view are chosen by: its source, then what that is compared with."""
        settings = self.config.sources[view]
        limited_by = settings.nearest_to_shifts_at_most if isinstance(settings, View) else None
        compared = [] if limited_by is None else [limited_by, *self.shifts]
        return [*self.components_of_source(view), *compared]

    def class_reference_of(self, source: str) -> list[str]:
        """Return the source whose class proportions a view has, none where it has its own."""
        settings = self.config.sources[source]
        named = settings.match_classes_of if isinstance(settings, View) else None
        return [named] if named is not None else []

    @cached_property
    def _sources_of_size(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for name in self.trained:
            found.setdefault(self.runs[name].train_images, set()).add(self.runs[name].source)
        return found

    def matched_with(self, source: str, train_images: int) -> list[str]:
        """Return the sources whose subsets of a size are kept equal, where this is one: those that have runs of it."""
        matched = self.config.data.match_sizes
        across = matched.across if matched else ()
        with_size = self._sources_of_size.get(train_images, set())
        return [name for name in across if name in with_size or name == source] if source in across else []

    @property
    def allowed_shortfall_share(self) -> float:
        """Share by which the sizes of matched subsets may be missed."""
        return self.config.data.match_sizes.allowed_shortfall_share if self.config.data.match_sizes else 0

    def subset_threads(self, source: str) -> int:
        """Return by how many processes a subset is drawn: photographs may be millions, icons are not."""
        return 2 if set(self.plan.components[source]) & set(self.datasets.photographs) else 1

    @cached_property
    def captions(self) -> dict[tuple[str, str], list[str]]:
        """Names of the tables of captions, one per slice, by source and by the variant that runs learn from."""
        learnt = {(name, self.runs[run].caption) for run in self.trained for name in self.components_of(run)}
        slices_of = self.datasets.text_slices_of
        return {(name, kind): caption_names(kind, slices_of([name])) for name, kind in sorted(learnt) if kind}

    # Downloads

    @property
    def icon_archive(self) -> str:
        """Path of the archive of all icons."""
        return Path(self.config.downloads, ICON_ARCHIVE).as_posix()

    def download(self, file: str) -> PinnedSource:
        """Return the row of the table of sources for a file in the folder for downloads."""
        return self.downloads[Path(self.config.downloads, file).as_posix()]

    def pinned_by(self, file: str) -> dict[str, str]:
        """Return what makes a downloaded file the right one; another address is no reason to fetch it again."""
        row = self.download(file)
        return {"version": row.version, "checksum": row.checksum}

    @cached_property
    def _files_of_photographs(self) -> set[str]:
        """The files and folders of the config that photographs are read from; patterns of shards are looked up once."""
        return {Path(path).as_posix() for name in self.datasets.photographs for path in self.datasets.files_of(name)}

    @cached_property
    def downloads_used(self) -> dict[str, PinnedSource]:
        """Rows of the table of sources that the study reads, by path."""
        paths = self._files_of_photographs | ({self.icon_archive} if self.datasets.icons else set())
        if self.built_captions is not None:
            paths |= {Path(path).as_posix() for path in self.built_captions.files.values()}
        return {path: self.downloads[path] for path in sorted(paths) if path in self.downloads}

    @cached_property
    def built_captions(self) -> CaptionBuild | None:
        """How ImageNet-Captions is built, where a data set of the study reads what is built."""
        return self.config.imagenet_captions if BUILT_CAPTIONS in self._files_of_photographs else None

    def is_given(self, path: str) -> bool:
        """Tell whether an input of a rule is a user's: no result (``<results>/...``), and no file with an address."""
        is_result = path.startswith(("results/", "<"))
        row = None if is_result else self.downloads.get(Path(path).as_posix())
        return not is_result and (row is None or not row.addresses)

    def missing_downloads(self, paths: Iterable[str]) -> str:
        """Return in one line which of these files must be asked for, since they have no address, and are not there yet.

        Args:
            paths: of files that are to be downloaded; others are passed over.
        """
        rows = {path: self.downloads[path] for path in paths if path in self.downloads}
        asked_for = {path: row.how_to_get for path, row in rows.items() if not row.addresses}
        return missing_files(asked_for, self.root)

    # What the record and the page of the study say

    @cached_property
    def sentences(self) -> dict[str, str]:
        """What each used source and each test set is, in one sentence, by its name."""
        sources = {name: self.config.sources[name] for name in self.sources}
        return {name: dataset.sentence for name, dataset in {**sources, **self.config.test_sets}.items()}

    @cached_property
    def resource_files(self) -> list[str]:
        """Small files that the config names and that results depend on, sorted."""
        data = self.config.data
        named = {data.classes, data.nouns, data.sets}
        named |= {self.model_file_of(name) for name in self.trained}
        named |= {value for value in self.config.prompts.values() if isinstance(value, str)}
        named |= {getattr(settings, "class_table", None) for settings in self.datasets.settings.values()}
        named |= {self.config.reported.table} if self.config.reported else set()
        return sorted(path for path in named if path is not None)

    @cached_property
    def on_published_shifts(self) -> bool:
        """Whether a test set is a shift of ImageNet, on which published models have accuracies."""
        return has_published_shifts(test_set.kind for test_set in self.config.test_sets.values())

    @cached_property
    def stages(self) -> list[str]:
        """The stages that the study goes through, in the order of the workflow."""
        build = self.built_captions
        used = {
            "list_flickr_photos": build,
            "look_up_flickr_texts": build and build.metadata,
            "fetch_flickr_texts": build and build.flickr,
            "write_imagenet_captions": build,
            "build_records": self.datasets.icons,
            "build_images": self.datasets.icons,
            "build_photo_records": self.datasets.photographs,
            "assemble_captions": self.captions,
            "index_images": self.datasets.photographs,
            "join_slices": self.datasets.photographs,
            "decode_photographs": any(decoded_stores_of(self, run) for run in self.trained),
            "list_pairs": self.datasets.fetched,
            "fetch_pairs": self.datasets.fetched,
            "download_source": self.downloads_used,
            "import_pretrained": len(self.runs) - len(self.trained),
            "measure_published": self.on_published_shifts,
            "fit_heads": self.with_fitted_heads,
            "filter_view": self.filtered_views,
            "measure_similarity": self.similar_sources,
            "similarity_bands": self.source_comparisons,
            "describe_captions": learns_from_columns(self.captions, self.config.sources),
        }
        return [stage.name for stage in STAGES if used.get(stage.name, True)]
