"""Settings of training sources and test sets: those of their kind (`data_kinds`), and those that all have.

The class of a source of a kind is made from the settings of the kind and those of all sources; test sets likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal

from whyrobust.study.data_kinds import DATA_KINDS, DataKind
from whyrobust.study.display_names import capital, spaced
from whyrobust.study.kind_settings import DatasetSettings
from whyrobust.study.setting_types import Built, Count, Flag, LeftOut, ListedOnce, Name, Text, plain_values

KindName = Annotated[str, Built(lambda: Literal[tuple(DATA_KINDS)])]


@dataclass(frozen=True, kw_only=True)
class Dataset(DatasetSettings):
    """What training sources and test sets have in common."""

    kind: KindName
    """How the images are obtained: one of the kinds that may be a source, or a test set."""
    says: LeftOut[Text] = None
    """What its images are, in a sentence for the page; one is made of kind and part if left out."""

    @property
    def sentence(self) -> str:
        """What its images are, in one sentence: as given, or made of its kind and, of drawings, the kind's settings."""
        if self.says is not None:
            return self.says
        if self.row.photographs:
            return f"{capital(self.row.label)}."
        given = plain_values(self, [setting.name for setting in fields(self.row.settings)])
        return f"{capital(self.row.label)}: {', '.join(_tell(name, value) for name, value in given.items())}."

    @property
    def row(self) -> DataKind:
        """What the table of data-set kinds says of it."""
        return DATA_KINDS[self.kind]

    @property
    def slice_count(self) -> int:
        """Jobs that prepare it."""
        return int(getattr(self, "slices", 1))

    @property
    def caption_columns(self) -> tuple[str, ...]:
        """The caption variants that its own columns hold."""
        return tuple(getattr(self, "captions", None) or ())

    @property
    def fetched(self) -> bool:
        """Whether its photographs are fetched one by one from a list of addresses."""
        return bool(self.row.lister) and getattr(self, "shards", None) is None


def _tell(name: str, value: Any) -> str:  # noqa: ANN401 - a value of a config
    """Tell a setting in words: ``part web``, ``50 % studio, 50 % web``, ``class balanced``, ``8 sets``."""
    if name == "sets" and isinstance(value, Mapping):
        return f"{value['number']} sets"
    if isinstance(value, list):
        return f"{spaced(name)} {', '.join(value)}"
    if isinstance(value, Mapping):
        return ", ".join(f"{100 * share:g} % {spaced(source)}" for source, share in value.items())
    return spaced(name) if value is True else f"{spaced(name)} {spaced(str(value))}"


@dataclass(frozen=True, kw_only=True)
class Source(Dataset):
    """A training source."""


@dataclass(frozen=True, kw_only=True)
class PhotoSource(Source):
    """A training source of photographs."""

    needs: LeftOut[ListedOnce[Name]] = None
    """Records without one of these are left out: title, description, tags, label, or names in `captions`."""


@dataclass(frozen=True, kw_only=True)
class TestSet(Dataset):
    """A test set."""

    role: Literal["in_distribution", "shift"]
    """Whether its accuracy predicts the accuracy under shift, or is a shift."""
    classes: Literal["all", "own"]
    """Classes that may be predicted: all, or those that the test set covers."""
    source: LeftOut[Name] = None
    """In distribution: the training source whose held-out images it has; needed where several test sets are."""
    case_study: LeftOut[Text] = None
    """Shifts: why it is shown but takes part in no verdict."""
    seen_in: LeftOut[ListedOnce[Name]] = None
    """Shifts: training sources that contain its style; it is then counted apart from shifts of unseen styles."""
    units: LeftOut[Literal["team", "class", "drawing"]] = None
    """What the bootstrap resamples, with the drawings in each; team for icons and class for photographs if left out."""

    @property
    def unit(self) -> str:
        """What the bootstrap resamples: ``team``, ``class`` or ``drawing``."""
        return self.units or ("class" if self.row.photographs else "team")


#: How the icons of a test set may be shown, and what is said of them; `whyrobust.data.icon_drawing` draws them so.
POSES: Final = {"plain": "", "posed": "turned and put on a background"}

PoseName = Annotated[str, Built(lambda: Literal[tuple(POSES)])]


@dataclass(frozen=True, kw_only=True)
class IconTestSet(TestSet):
    """A test set of icons."""

    pose: PoseName
    """How its icons are shown: plain, or posed (turned and put on a background)."""

    @property
    def sentence(self) -> str:
        """What its images are, and how they are shown, in one sentence."""
        told = super().sentence
        shown = POSES[self.pose] if self.says is None else ""
        return f"{told.removesuffix('.')}, {shown}." if shown else told


@dataclass(frozen=True, kw_only=True)
class PhotoTestSet(TestSet):
    """A test set of photographs."""

    expected_images: LeftOut[Count] = None
    """How many images the whole set has; as published if left out."""
    allow_short: Flag = False
    """Go on with fewer images than expected."""

    @property
    def whole_images(self) -> int | None:
        """How many images the whole set has, as given or as published; None where nobody says."""
        if self.expected_images is not None:
            return self.expected_images
        return self.row.expected_images(getattr(self, "split", ""))


@cache
def _dataset_class(kind: DataKind, base: type[Dataset]) -> type[Dataset]:
    own = [("kind", Literal[kind.name])]
    named = f"{kind.settings.__name__}{base.__name__}"
    described = {"__doc__": kind.label}
    return make_dataclass(named, own, bases=(kind.settings, base), namespace=described, frozen=True, kw_only=True)


class ClassesByKind(Mapping[str, type[Dataset]]):
    """The class of settings of each of several kinds; it is made when it is asked for."""

    def __init__(self, kinds: Iterable[DataKind], of_photographs: type[Dataset], of_others: type[Dataset]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._bases = {True: of_photographs, False: of_others}

    def __getitem__(self, name: str) -> type[Dataset]:
        """Return the class of a kind."""
        kind = self._kinds[name]
        base: Any = self._bases[kind.photographs]
        return _dataset_class(kind, base)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the kinds."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Return how many kinds there are."""
        return len(self._kinds)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a kind of this name."""
        return name in self._kinds


def classes_of_sources() -> ClassesByKind:
    """Return the class of settings of a training source of each kind."""
    return ClassesByKind((kind for kind in DATA_KINDS.values() if kind.source), PhotoSource, Source)


def classes_of_test_sets() -> ClassesByKind:
    """Return the class of settings of a test set of each kind."""
    return ClassesByKind((kind for kind in DATA_KINDS.values() if kind.test_set), PhotoTestSet, IconTestSet)
