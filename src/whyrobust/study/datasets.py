"""The data sets that a study uses: which there are, the slices that prepare them, and the files that each is read from.

Names only: where results lie is said by the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from whyrobust.study.data_kinds import DataKind
from whyrobust.study.dataset_settings import Dataset, Source, TestSet
from whyrobust.study.file_patterns import FILES_IN_FOLDERS, matching_files
from whyrobust.study.held_out import held_out_range, source_of_held_out
from whyrobust.study.input_files import files_of
from whyrobust.study.kind_settings import Fetched, Icons
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import plain_values
from whyrobust.study.slices import ShardError, Slice, shard_names, slices_of

#: Settings that say how images are fetched.
FETCHING = [setting.name for setting in fields(Fetched)]


@dataclass(frozen=True)
class UsedDatasets:
    """The data sets of a study; training sources that no run needs are not among them.

    Attributes:
        sources: training sources that are made of no other, by name; the images of all sources come from these.
        test_sets: test sets, by name.
        root: folder that relative paths in the config start from.
        text_match: how labels are found in texts.
    """

    sources: Mapping[str, Source]
    test_sets: Mapping[str, TestSet]
    root: Path
    text_match: Mapping[str, Any]

    @cached_property
    def settings(self) -> dict[str, Dataset]:
        """The settings of every data set by its name, sources first."""
        return {**self.sources, **self.test_sets}

    @cached_property
    def names(self) -> list[str]:
        """The names of all data sets, sources first."""
        return list(self.settings)

    @cached_property
    def photographs(self) -> list[str]:
        """Data sets that are made of image files."""
        return [name for name, settings in self.settings.items() if settings.row.photographs]

    @cached_property
    def icons(self) -> list[str]:
        """Data sets that the study draws."""
        return [name for name in self.names if name not in self.photographs]

    def read_as(self, dataset: str) -> str:
        """Return the data set that a data set is read as: the source that holds it out, else itself."""
        return source_of_held_out(self.settings[dataset]) or dataset

    def is_held_out(self, photo_slice: str) -> bool:
        """Return whether the data set that a slice of photographs is of is held out of a source."""
        return bool(source_of_held_out(self.settings[self.photo_slices[photo_slice].dataset]))

    @cached_property
    def fetched(self) -> list[str]:
        """Data sets that are lists of addresses, whose images are fetched from the web."""
        return [name for name, settings in self.settings.items() if settings.fetched]

    @cached_property
    def roles(self) -> dict[str, str]:
        """What each data set is for: ``training_source``, ``in_distribution`` or ``shift``."""
        roles = {name: test_set.role for name, test_set in self.test_sets.items()}
        return {name: roles.get(name, "training_source") for name in self.names}

    @cached_property
    def photo_slices(self) -> dict[str, Slice]:
        """The slices that data sets of photographs are prepared in, by name."""
        return self._slices(self.photographs)

    @cached_property
    def text_slices(self) -> dict[str, Slice]:
        """The slices that the texts of sources are worked on, and their images compared, in; by name."""
        return self._slices(self.sources)

    def _slices(self, names: Iterable[str]) -> dict[str, Slice]:
        listed = [part for name in names for part in slices_of(name, self.settings[self.read_as(name)].slice_count)]
        return {part.name: part for part in listed}

    def photo_slices_of(self, dataset: str) -> list[str]:
        """Return the names of the slices of a data set of photographs, in order."""
        return [name for name, part in self.photo_slices.items() if part.dataset == dataset]

    def text_slices_of(self, sources: Iterable[str]) -> list[str]:
        """Return the names of the slices of the texts of sources, in order."""
        return [part.name for source in sources for part in slices_of(source, self.settings[source].slice_count)]

    def photo_slice(self, name: str) -> dict[str, Any]:
        """Return a slice of photographs as plain values."""
        return asdict(self.photo_slices[name])

    def text_slice(self, name: str) -> dict[str, Any]:
        """Return a slice of texts as plain values."""
        return asdict(self.text_slices[name])

    def part_of(self, dataset: str) -> str:
        """Return the part of the icons that a data set is made of.

        Raises:
            TypeError: it is made of no icons.
        """
        settings = self.settings[dataset]
        if not isinstance(settings, Icons):
            raise TypeError(f"data set '{dataset}' is of kind '{settings.kind}', which has no part of the icons")
        return settings.part

    def pose_of(self, dataset: str) -> str:
        """Return how the icons of a data set are posed: ``plain`` or ``posed``."""
        return str(getattr(self.settings[dataset], "pose", "plain"))

    def records_of(self, dataset: str) -> str:
        """Return the name of the records of a data set; those of icons are named by their part."""
        return dataset if dataset in self.photographs else self.part_of(dataset)

    def kind_of(self, dataset: str) -> DataKind:
        """Return what the table of data-set kinds says of a data set; of what a source holds out, of the source."""
        return self.settings[self.read_as(dataset)].row

    def kind_of_slice(self, name: str) -> DataKind:
        """Return what the table of data-set kinds says of the data set that a slice of photographs is of."""
        return self.kind_of(self.photo_slices[name].dataset)

    def record_names(self, datasets: Iterable[str]) -> list[str]:
        """Return the names of the records of data sets."""
        return [self.records_of(name) for name in datasets]

    def dataset_of_texts(self, text_slice: str) -> str:
        """Return the source that a slice of texts is of."""
        return self.text_slices[text_slice].dataset

    def records_of_texts(self, text_slice: str) -> str:
        """Return the name of the records of the source that a slice of texts is of."""
        return self.records_of(self.dataset_of_texts(text_slice))

    def is_of_photographs(self, text_slice: str) -> bool:
        """Return whether the source that a slice of texts is of is made of image files."""
        return self.dataset_of_texts(text_slice) in self.photographs

    def group_by_source(self, files: Sequence[str], sources: Sequence[str]) -> dict[str, list[str]]:
        """Return files, one per slice of the texts of sources in the order of `text_slices_of`, by source."""
        grouped: dict[str, list[str]] = {name: [] for name in sources}
        for name, path in zip(self.text_slices_of(sources), files, strict=True):
            grouped[self.dataset_of_texts(name)].append(path)
        return grouped

    def slice_settings(self, name: str) -> dict[str, Any]:
        """Return the settings that a slice of photographs is read by; of shards or tables its own, and their names.

        What a source holds out is read by the settings of the source, but for the photographs that are drawn, and has
        with them its role and how its labels are found in its texts.

        Raises:
            ConfigError: two shards of a data set have one name.
        """
        part = self.photo_slices[name]
        read_as = self.read_as(part.dataset)
        settings = plain_values(self.settings[read_as]) | self._of_held_out(part.dataset)
        for unread in ("slices", "says", *FETCHING):  # these do not change what is read
            settings.pop(unread, None)
        key, shards, names = self._shards[read_as]
        if not shards:
            return settings
        # The rows of a single table need no name of it.
        named = {"shard_names": part.share_of(names)} if key == "shards" or len(names) > 1 else {}
        return settings | {key: part.share_of(shards)} | named

    def _of_held_out(self, dataset: str) -> dict[str, Any]:
        """Return the settings that photographs held out of a source have besides those of the source; else none."""
        source = source_of_held_out(self.settings[dataset])
        if not source:
            return {}
        drawn = held_out_range(self.sources[source])
        return {
            "role": self.test_sets[dataset].role,
            "drawn_between": list(drawn or ()),
            "text_match": dict(self.text_match),
        }

    @cached_property
    def _shards(self) -> dict[str, tuple[str, list[str], list[str]]]:
        """For each data set of photographs the setting that names tar shards or tables, those, and their names.

        There are none where they are still to be fetched.
        """
        return {name: self._shards_of(name) for name in self.photographs}

    def _shards_of(self, dataset: str) -> tuple[str, list[str], list[str]]:
        key = "table" if hasattr(self.settings[dataset], "table") else "shards"
        patterns = getattr(self.settings[dataset], key, None)
        shards = matching_files(patterns, self.root, FILES_IN_FOLDERS[key]) if patterns else []
        try:
            return key, shards, shard_names(shards)
        except ShardError as error:
            raise ConfigError(f"config key {key} of '{dataset}': {error}") from error

    def files_of_slice(self, name: str) -> list[str]:
        """Return the files and folders of the config that a slice of photographs is read from."""
        part = self.photo_slices[name]
        read_as = self.read_as(part.dataset)
        # A list of addresses is read when its images are fetched; of a folder that a table's pictures lie in, only
        # those count.
        listed_in = self.kind_of(read_as).listed_in if read_as in self.fetched else ()
        elsewhere = ["shards", "table", *listed_in]
        elsewhere += ["root"] if self.kind_of(read_as).pictures else []
        others = files_of(self.settings[read_as], self.root, leave_out=elsewhere)
        return [*others, *part.share_of(self._shards[read_as][1])]

    def fetched_by_slice(self, name: str) -> list[str]:
        """Return the data set whose images, fetched from the web, a slice of photographs is read from, else none."""
        return [read_as for read_as in [self.read_as(self.photo_slices[name].dataset)] if read_as in self.fetched]

    def files_of_list(self, dataset: str) -> list[str]:
        """Return the files of the config that the addresses of a data set are listed from."""
        return files_of(self.settings[dataset], self.root, leave_out=["class_names"])

    def list_settings(self, dataset: str) -> dict[str, Any]:
        """Return the settings that the addresses of a data set are listed by."""
        settings = self.settings[dataset]
        others = {"class_names", "slices", "drawn_between", *FETCHING}
        names = [setting.name for setting in fields(settings.row.settings) if setting.name not in others]
        values = plain_values(settings, names)
        in_folders = {key: values[key] for key in settings.row.listed_in if key in FILES_IN_FOLDERS}
        return values | {
            key: matching_files(patterns, self.root, FILES_IN_FOLDERS[key]) for key, patterns in in_folders.items()
        }

    def fetch_settings(self, dataset: str) -> dict[str, Any]:
        """Return how the images of a data set are fetched."""
        return plain_values(self.settings[dataset], FETCHING)

    def files_of(self, dataset: str) -> list[str]:
        """Return the files and folders of the config that a whole data set is read from."""
        return files_of(self.settings[self.read_as(dataset)], self.root)

    def whole_size(self, dataset: str) -> dict[str, int | bool | None]:
        """Return how many images a data set should have, None where unknown, and whether fewer will do."""
        settings = self.settings[dataset]
        return {
            "expected": getattr(settings, "whole_images", None),
            "allow_short": getattr(settings, "allow_short", False),
        }

    @cached_property
    def class_coverage(self) -> dict[str, dict[str, str]]:
        """For each test set, which classes may be predicted, and the column of the class table that lists them.

        ``classes`` is all or own; ``covered`` is empty where no column says.
        """
        return {name: self._coverage_of(test_set) for name, test_set in self.test_sets.items()}

    def _coverage_of(self, test_set: TestSet) -> dict[str, str]:
        by_column = test_set.classes == "own" and test_set.row.covered_classes_column
        return {"classes": test_set.classes, "covered": test_set.kind if by_column else ""}

    def covered_column(self, photo_slice: str) -> str | None:
        """Return the column of the class table with the classes that a slice's test set covers; None for a source."""
        dataset = self.photo_slices[photo_slice].dataset
        return self.class_coverage[dataset]["covered"] if dataset in self.class_coverage else None
