"""The settings of each kind of data set, one dataclass a kind; `whyrobust.study.data_kinds` is the table of kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from whyrobust.study.picture_formats import PICTURE_ENDINGS
from whyrobust.study.setting_types import (
    Allowed,
    Count,
    Flag,
    InnerShare,
    InputPath,
    Items,
    LeftOut,
    Listed,
    ListedOnce,
    Name,
    OneOrMore,
    Settings,
    Share,
    Text,
)

#: Parts of the icons study; studio_test and web_test are split off by drawing, the table of sets names the others.
ICON_PARTS = ("studio", "web", "studio_test", "web_test", "v2", "rendition", "symbols", "retired", "sketch", "objects")
#: Columns of the table of sets.
SET_COLUMNS = ("set", "part", "team", "family", "licence", "reason")

#: Settings of a view of which it may have one: how its subsets are drawn.
VIEW_RULES = ("class_balanced", "labelled", "match_classes_of")
#: Settings of a view that may be combined: which images it has.
VIEW_FILTERS = (
    "sets", "without", "colour", "one_image_per_drawing", "at_most_per_class", "nearest_to_shifts_at_most",
)  # fmt: skip
#: Those of them that only icons have.
ICON_FILTERS = VIEW_FILTERS[:4]

Slices = Annotated[int, Allowed(ge=1, le=10_000)]
TrueOnly = Literal[True]


@dataclass(frozen=True, kw_only=True)
class DatasetSettings(Settings):
    """Settings that a kind of data set has, besides those of all sources or all test sets."""

    def made_of(self) -> tuple[str, ...]:
        """Return the sources that its images come from, where it is made of others."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Icons(DatasetSettings):
    """Icons of Iconify."""

    part: Name
    """Part of `data.sets`; of test sets also studio_test and web_test, the held-out drawings of studio and web."""


@dataclass(frozen=True, kw_only=True)
class SetNumber(Settings):
    """How many icon sets a view has."""

    number: Count
    """So many sets, drawn at random by the seed of the subset among those that hold enough images together."""


@dataclass(frozen=True, kw_only=True)
class View(DatasetSettings):
    """Some images of another source: those that all its filters leave, drawn by one rule."""

    of: Name
    """The source, which is no view or mixture itself."""
    sets: LeftOut[ListedOnce[Text] | SetNumber] = None
    """Icons: only these sets, or a number of sets."""
    without: LeftOut[ListedOnce[Text]] = None
    """Icons: no images of these sets, or of all sets of these teams."""
    colour: LeftOut[Literal["none", "grey"]] = None
    """Icons: none leaves out images that have colour, grey turns all images grey when a model learns from them."""
    one_image_per_drawing: LeftOut[TrueOnly] = None
    """Icons: of all styles of a drawing, one drawn by the seed."""
    at_most_per_class: LeftOut[Count] = None
    """No more images of a class, drawn by the seed; images without a label are left out."""
    nearest_to_shifts_at_most: LeftOut[Name] = None
    """Only images that are nearer to no image of a shift than the nearest image of this source is (correlation of
    fingerprints; Mayilvahanan et al. 2024)."""
    labelled: LeftOut[TrueOnly] = None
    """Only images with a label."""
    class_balanced: LeftOut[TrueOnly] = None
    """As many images of every class as there are."""
    match_classes_of: LeftOut[Name] = None
    """Classes in the proportions of this source."""

    def made_of(self) -> tuple[str, ...]:
        """Return the source that it is a view of."""
        return (self.of,)

    def __post_init__(self) -> None:
        """Check that there is a filter or a rule, and not two rules."""
        given = sum(getattr(self, name) is not None for name in VIEW_RULES)
        if given > 1:
            raise ValueError(f" is a view with {given} rules: give one of {', '.join(VIEW_RULES)}")
        if not given and not self.filtered:
            raise ValueError(f" is a view of all images: give one of {', '.join((*VIEW_RULES, *VIEW_FILTERS))}")

    @property
    def filtered(self) -> bool:
        """Whether it leaves out images, or changes them, before a subset is drawn."""
        return any(getattr(self, name) is not None for name in VIEW_FILTERS)


@dataclass(frozen=True, kw_only=True)
class Mixture(DatasetSettings):
    """Images of several sources."""

    shares: Annotated[dict[Name, InnerShare], Items(min_length=2)]
    """Share of each source; they add up to 1."""

    def made_of(self) -> tuple[str, ...]:
        """Return the sources that are mixed."""
        return tuple(self.shares)

    def __post_init__(self) -> None:
        """Check that the shares are a whole."""
        total = sum(self.shares.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f".shares add up to {total:g}: allowed is 1")


@dataclass(frozen=True, kw_only=True)
class DrawnByName(DatasetSettings):
    """Pictures, all of them or a part that is drawn by their names."""

    drawn_between: LeftOut[Annotated[tuple[Share, ...], Items(min_length=2)]] = None
    """Each picture has a number from 0 to 1, drawn by its name (YFCC: the photo id); only those from the first to below
    the second of two are read. ``[0.2, 1]`` for a source and ``[0, 0.2]`` for a test set of the same files, or one of
    kind ``held_out``, hold a fifth out."""

    def __post_init__(self) -> None:
        """Check that there are two numbers, the smaller one first."""
        _check_range("drawn_between", self.drawn_between)


@dataclass(frozen=True, kw_only=True)
class Drawn(DrawnByName):
    """Pictures of one's own, all of them or a part that is drawn by their names or classes."""

    classes_between: LeftOut[Annotated[tuple[Share, ...], Items(min_length=2)]] = None
    """The classes of the study are put in an order that is drawn by their names; only pictures of those from the first
    share of them to the second are read. A source with ``[0, 0.5]`` has half of the classes, a test set with
    ``[0.5, 1]`` the others."""

    def __post_init__(self) -> None:
        """Check that there are two numbers of each, the smaller one first."""
        super().__post_init__()
        _check_range("classes_between", self.classes_between)


def _check_range(key: str, between: tuple[float, ...] | None) -> None:
    if between is not None and (len(between) != 2 or between[0] >= between[1]):
        raise ValueError(f".{key} is {list(between)}: allowed are two numbers, the smaller one first")


@dataclass(frozen=True, kw_only=True)
class HeldOut(DatasetSettings):
    """Photographs that a source leaves out; which source is said by the key ``source`` of the test set."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Drawn):
    """Class folders: <folder>/<class>/<picture>."""

    folder: InputPath
    """Folder of class folders."""
    class_table: LeftOut[InputPath] = None
    """Table with columns folder and class (or classes, separated by ;), where folders are not named as the classes."""
    titles_beside: Flag = False
    """Take the text file beside a picture, of its name and with the ending .txt, as its title."""


@dataclass(frozen=True, kw_only=True)
class TextColumns(DatasetSettings):
    """Which columns of a table say something of a picture, and how the table is written."""

    title: LeftOut[Text] = None
    """Column with titles."""
    description: LeftOut[Text] = None
    """Column with descriptions."""
    tags: LeftOut[Text] = None
    """Column with lists of tags, or text separated by commas."""
    label: LeftOut[Text] = None
    """Column with classes; a test set needs it."""
    columns: LeftOut[ListedOnce[Text]] = None
    """CSV and TSV: names of all columns, where the first line does not have them."""
    quoting: Literal["double", "none"] = "double"
    """CSV and TSV: double, text that holds a separator stands in double quotes; none, a quote is a letter."""
    slices: Slices = 1
    """Jobs that prepare the data set, each with its share of the files (docs/scaling.md); results are the same for any
    number."""


@dataclass(frozen=True, kw_only=True)
class ImageTable(Drawn, TextColumns):
    """A table with one row per image."""

    table: Annotated[tuple[InputPath, ...], Items(), OneOrMore()]
    """CSV, TSV, JSON lines (also compressed, .csv.gz) or Parquet: a file, a pattern, a folder of Parquet files, or a
    list."""
    image: Text
    """Column with paths or image bytes."""
    root: LeftOut[InputPath] = None
    """Folder that paths start from; the folder of the table if left out."""
    class_names: LeftOut[InputPath] = None
    """Text with a class name per line, where labels are numbers from 0; the names that Parquet files of the hub bring
    along if left out."""
    captions: LeftOut[Annotated[dict[Name, Text], Items()]] = None
    """Further captions of a picture (alt text, generated ones): names of caption variants, each with its column."""


@dataclass(frozen=True, kw_only=True)
class TextFields(Settings):
    """Where in the JSON of a pair its texts are."""

    title: LeftOut[Text] = None
    """Key of the title in the JSON beside the picture."""
    description: LeftOut[Text] = None
    """Key of the description in the JSON beside the picture."""
    tags: LeftOut[Text] = None
    """Key of the tags in the JSON beside the picture."""


@dataclass(frozen=True, kw_only=True)
class WebDataset(Drawn):
    """Tar shards of image-text pairs."""

    shards: Annotated[tuple[InputPath, ...], Items(), OneOrMore()]
    """Tar files: a pattern (``*``, braces), a folder of them, or a list."""
    image_endings: Listed[Text] = PICTURE_ENDINGS
    """Endings of pictures; the first that a pair has is taken."""
    text_ending: Text = "txt"
    """Ending of the text that becomes the title."""
    fields: TextFields = TextFields()
    """Where in the JSON the texts are."""
    captions: LeftOut[Annotated[dict[Name, Text], Items()]] = None
    """Further captions of a picture (alt text, generated ones): names of caption variants, each with its key of the
    JSON."""
    label: LeftOut[Text] = None
    """Key of the JSON that holds the class."""
    label_ending: Text = "cls"
    """Ending of the text that is the class, where ``label`` is left out."""
    class_names: LeftOut[InputPath] = None
    """Text with a class name per line, where labels are numbers from 0 (``classnames.txt`` of clip_benchmark)."""
    slices: Slices = 1
    """Jobs that prepare the data set, each with its share of the shards (docs/scaling.md); results are the same for any
    number."""


@dataclass(frozen=True, kw_only=True)
class Fetched(DatasetSettings):
    """Photographs that are fetched from their addresses by img2dataset."""

    shorter_side: LeftOut[Annotated[int, Allowed(ge=32)]] = None
    """Photographs with a longer shorter side are resized to it; if left out they keep their bytes."""
    attempts: Annotated[int, Allowed(ge=1, le=20)] = 3
    """How often an address that fails is tried, each time after all others; one that does not exist is tried once."""
    retry_after_seconds: Annotated[int, Allowed(ge=0)] = 60
    """Pause before failed addresses are tried again."""
    stall_seconds: Annotated[int, Allowed(ge=1)] = 600
    """When nothing was written for so long, the fetch is ended and goes on with what is missing, in smaller shards."""


@dataclass(frozen=True, kw_only=True)
class AddressList(Fetched, TextColumns):
    """A table with the address and the caption of a picture per row."""

    addresses: Annotated[tuple[InputPath, ...], Items(), OneOrMore()]
    """CSV, TSV, JSON lines or Parquet: a file, a pattern, a folder of Parquet files, or a list."""
    url: Text = "url"
    """Column with addresses."""
    class_names: LeftOut[InputPath] = None
    """Text with a class name per line, where labels are numbers from 0."""


@dataclass(frozen=True, kw_only=True)
class Yfcc15m(Fetched, DrawnByName):
    """OpenAI's subset of YFCC100M."""

    subset: InputPath
    """The list of the subset, yfcc100m_subset_data.tsv.bz2."""
    shards: LeftOut[Annotated[tuple[InputPath, ...], Items(), OneOrMore()]] = None
    """Tar files, as a pattern or a list, where the images are there."""
    metadata: LeftOut[InputPath] = None
    """yfcc100m_dataset.bz2; with it and without shards the photographs are fetched."""
    slices: Slices = 1
    """Jobs that prepare the data set, each with its share of the shards (docs/scaling.md); results are the same for any
    number."""

    def __post_init__(self) -> None:
        """Check that the images are there or can be downloaded."""
        super().__post_init__()
        if (self.shards is None) == (self.metadata is None):
            raise ValueError(" needs one of shards (images that are there) and metadata (to download them)")
        if self.shorter_side is not None and self.metadata is None:
            raise ValueError(".shorter_side is for photographs that are fetched: remove it, or give metadata")


@dataclass(frozen=True, kw_only=True)
class ImageNet(DatasetSettings):
    """ImageNet (ILSVRC-2012)."""

    split: Literal["train", "validation"]
    """Which images."""
    images: InputPath
    """The tar as published, or a folder."""
    devkit: LeftOut[InputPath] = None
    """The devkit with the labels of the validation images, where they lie in no class folders."""


@dataclass(frozen=True, kw_only=True)
class ImageNetCaptions(DatasetSettings):
    """ImageNet-Captions: the texts that some training images of ImageNet had on Flickr."""

    annotations: InputPath
    """imagenet_captions.zip or its JSON; results/imagenet_captions/imagenet_captions.json where the key
    imagenet_captions says how it is built."""
    images: InputPath
    """ImageNet's training images: the tar as published, or a folder."""


@dataclass(frozen=True, kw_only=True)
class Archive(DatasetSettings):
    """A test set that is published as one archive."""

    archive: InputPath
    """The archive as published, or the unpacked folder."""


@dataclass(frozen=True, kw_only=True)
class ObjectNet(Archive):
    """ObjectNet, of which the classes that overlap the study's are read."""

    class_table: InputPath
    """Table with columns folder and class (or classes, separated by ;)."""
    password: LeftOut[Text] = None
    """The password that is published with the data set."""


@dataclass(frozen=True, kw_only=True)
class CounterAnimal(Archive):
    """CounterAnimal, one of its two groups."""

    split: Literal["common", "counter"]
    """common, animals on the background that they are mostly photographed on, or counter, on another."""


@dataclass(frozen=True, kw_only=True)
class DomainNet(Drawn):
    """DomainNet, one of its six domains."""

    archive: InputPath
    """The zip of the domain as published, or the unpacked folder."""
    pictures: LeftOut[InputPath] = None
    """The published list of a split, such as clipart_train.txt; all pictures of the domain if left out."""
