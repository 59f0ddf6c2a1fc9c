"""The config of a study as types: `load_config` checks what a config file says and returns it as a frozen `Config`.

Each section is a dataclass, each key a field with its type, its default and, as the text below it, what it means;
docs/config.md is made from these. The keys of a data set or an objective come from the tables `data_kinds` and
`objectives_table`. Whether files, sizes and comparisons fit together is checked by `whyrobust.study.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Annotated, Any, Literal

from whyrobust.study.caption_build import CaptionBuild
from whyrobust.study.data_kinds import NO_SOURCES, NO_TEST_SETS
from whyrobust.study.dataset_settings import Source, TestSet, classes_of_sources, classes_of_test_sets
from whyrobust.study.heads_table import FITTED_HEADS, HEADS
from whyrobust.study.objectives_table import OBJECTIVES, ObjectiveSettings
from whyrobust.study.paper_measurement import PaperMeasurement
from whyrobust.study.setting_checks import ConfigError, read_settings, spell_key
from whyrobust.study.setting_types import (
    Allowed,
    Built,
    Colour,
    Count,
    Flag,
    InnerShare,
    InputPath,
    Items,
    LeftOut,
    Listed,
    ListedOnce,
    Name,
    NameOrNone,
    OfKind,
    OneOrMany,
    Seed,
    Sentence,
    Settings,
    Share,
    Similarity,
    Text,
    plain_values,
)
from whyrobust.study.training_settings import Augmentation, FineTuning, ProgressiveResizing
from whyrobust.study.unfinished_settings import Unfinished

ObjectiveName = Annotated[str, Built(lambda: Literal[tuple(OBJECTIVES)])]
ObjectiveOrNone = Annotated[str, Built(lambda: Literal["", *OBJECTIVES])]
LabelsOrNone = Literal["", "annotated", "text_match"]
HeadName = Annotated[str, Built(lambda: Literal[tuple(HEADS)])]
Sentences = Listed[Sentence]
FittedHeadName = Annotated[str, Built(lambda: Literal[FITTED_HEADS])]
AllowedShare = Annotated[float, Allowed(ge=0, le=0.9)]


@dataclass(frozen=True, kw_only=True)
class TextMatch(Settings):
    """How labels are found in text."""

    fields: ListedOnce[Literal["title", "description", "tags"]] = ("title", "description", "tags")
    """Text fields that are searched for class names."""
    policy: Literal["single", "first"] = "single"
    """single: exactly one class and no other noun. first: the class named first."""
    possessives: Flag = False
    """Whether a possessive that looks like no plural names a class too ("the ostrich's nest")."""


@dataclass(frozen=True, kw_only=True)
class MatchSizes(Settings):
    """Subsets of these sources have equal sizes, counted on images obtained, even if a source has fewer."""

    across: ListedOnce[Text]
    """Sources."""
    allowed_shortfall_share: AllowedShare
    """Largest share by which all subsets may be smaller than requested."""


@dataclass(frozen=True, kw_only=True)
class Data(Settings):
    """Where images and names come from."""

    sets: LeftOut[InputPath] = None
    """Icons: table that assigns icon sets to parts."""
    classes: InputPath
    """Table of classes with the column class, and optionally name, synonyms, excluded_phrases."""
    nouns: LeftOut[InputPath] = None
    """Table of nouns that are not classes, but show that a text mentions something else too; needed for icons."""
    pool: LeftOut[Literal["labelled", "all"]] = None
    """Icons that become training records: labelled, those whose name mentions exactly one class, or all."""
    image_size: Annotated[int, Allowed(ge=16, le=512)]
    """Side of the images that models see, in pixels."""
    held_out_share: LeftOut[Annotated[float, Allowed(gt=0, le=0.9)]] = None
    """Icons: share of the drawings of studio, and of web, that is held out for testing."""
    near_duplicate_similarity: Similarity = 0.97
    """Correlation of 16x16 fingerprints (drawings) or grey thumbnails (photographs) from which a training image counts
    as a copy of a test image."""
    repeat_similarity: Similarity | None = None
    """Correlation from which a test image counts as a repeat of another of its set and is left out; 1 leaves out exact
    copies only, null nothing."""
    allowed_failure_share: Share = 0.01
    """Share of images that may fail to draw or decode before the build stops."""
    allowed_unknown_label_share: Share = 0.5
    """Photographs: share of the labels of a training source that may be no class of the study before the build stops;
    such images are kept without a label."""
    seed: Seed = 0
    """Determines held-out drawings, poses and shuffled captions."""
    text_match: TextMatch = TextMatch()
    """How labels are found in text."""
    normalisation: Literal["white_page", "clip"] = "white_page"
    """Mean and deviation of pixels. white_page: 1 and 0.5, so that a white page is 0. clip: those of CLIP models."""
    page_colour: LeftOut[Colour] = None
    """Photographs: colour behind pictures that are transparent, and behind drawings (SVG): white, black or "#rrggbb".
    If left out, transparency is dropped as in open_clip, and drawings are on white."""
    shared_names: Literal["error", "ambiguous"] = "error"
    """How a name that two classes share is treated: as an error in the table, or as a name that gives no label."""
    match_sizes: LeftOut[MatchSizes] = None
    """Subsets of these sources have equal sizes, counted on images obtained, even if a source has fewer than
    requested."""


@dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """How runs are trained; besides these keys one per objective, with its settings."""

    samples_seen: Count
    """Training images shown, counted with repetition."""
    device: Literal["cpu", "cuda", "auto"] = "auto"
    """Device that runs are trained on. A GPU is requested on a cluster only for cuda."""
    threads: Count = 1
    """CPU threads of a run; part of the result."""
    runs_per_gpu: Count = 1
    """Jobs with one GPU that may share it at a time, on one machine: for small models, which fill a small part of it
    (docs/cluster.md). No part of the result. A job counts on its share of the memory."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Precision of products in training. tf32: a GPU rounds to 10 bits what it multiplies, a CPU computes as for fp32.
    bf16 uses autocast: weights, sums and losses stay in 32 bits."""
    compile: Flag = False
    """Compile the image encoder with torch.compile, which takes about a minute per run and needs a C++ compiler."""
    repeatable: Flag = True
    """On a GPU: use operations that give the same result each time, where there are some; false uses the fastest, and
    results vary by rounding. A CPU always gives the same result."""
    images_at_once: Count | None = None
    """Images per forward pass of a process, for batches that do not fit into memory; the gradient is that of the whole
    batch. null for the whole batch at once."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Augmentation, the same for all objectives but simclr."""
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    """Settings that differ if a run starts from another."""
    progressive_resizing: LeftOut[ProgressiveResizing] = None
    """Smaller images, and shorter captions, for the first steps of each run; none if left out."""
    shuffle_block_images: Count = 1
    """Photographs: adjacent images on the disk that are read together, for disks that are slow at random reads; 1
    shuffles all images freely."""
    shuffle_window_blocks: Count = 64
    """Photographs: blocks whose images are shuffled together."""
    decoded_store_gb: Annotated[float, Allowed(ge=0)] = 20.0
    """Photographs: largest file of a source's images that are decoded once, in GB; all runs read them from there. Their
    shorter side is data.image_size divided by the root of min_crop_area. A source whose file would be larger is decoded
    each time an image is shown; 0 does so for all."""

    def settings_of(self, objective: str) -> ObjectiveSettings:
        """Return the settings of an objective."""
        settings: ObjectiveSettings = getattr(self, objective)
        return settings

    def hyperparameters_of(self, objective: str, fine_tuned: bool) -> dict[str, Any]:
        """Return how a run is trained: the augmentation and the settings of its objective, which count more."""
        later = plain_values(self.fine_tuning) if fine_tuned else {}
        later |= plain_values(self, ["progressive_resizing"])
        return plain_values(self.augmentation) | plain_values(self.settings_of(objective)) | later


@cache
def _training_class(objectives: tuple[tuple[str, type[ObjectiveSettings]], ...]) -> type[Training]:
    own = [(name, settings, field(default=settings())) for name, settings in objectives]
    described = {"__doc__": Training.__doc__}
    return make_dataclass(
        "TrainingOfObjectives", own, bases=(Training,), namespace=described, frozen=True, kw_only=True
    )


def training_class() -> type[Training]:
    """Return the class of the section ``training``, with a key per objective."""
    return _training_class(tuple((objective.name, objective.settings) for objective in OBJECTIVES.values()))


@dataclass(frozen=True, kw_only=True)
class Grid(Settings):
    """A grid of runs: every combination of the listed values is one run."""

    objective: OneOrMany[ObjectiveName]
    """What a run is trained by."""
    caption: LeftOut[OneOrMany[NameOrNone]] = None
    """Caption variant of an image-text objective, of the table below or of a source's `captions`; '' where a run learns
    from no captions."""
    labels: LeftOut[OneOrMany[LabelsOrNone]] = None
    """Labels of a run that learns from them (annotated if left out); '' where it does not."""
    source: OneOrMany[Name]
    """Training source, of sources."""
    train_images: OneOrMany[Count]
    """Number of training images."""
    model: LeftOut[OneOrMany[Name]] = None
    """Model, of models; the first if left out."""
    samples_seen: LeftOut[OneOrMany[Count]] = None
    """Images shown, with repetition; training.samples_seen if left out."""
    seed: LeftOut[OneOrMany[Seed]] = None
    """Seeds; those of seeds if left out."""
    pretrain: LeftOut[FirstStage] = None
    """The run that these runs start from; what it leaves out is as in the grid."""


@dataclass(frozen=True, kw_only=True)
class FirstStage(Settings):
    """The run that other runs start from; what it leaves out is as in their grid."""

    objective: ObjectiveName
    """What the run is trained by."""
    caption: LeftOut[NameOrNone] = None
    """Caption variant of an image-text objective, of the table below or of a source's `captions`; '' where the run
    learns from no captions."""
    labels: LeftOut[LabelsOrNone] = None
    """Labels of a run that learns from them (annotated if left out); '' where it does not."""
    source: LeftOut[Name] = None
    """Training source, of sources."""
    train_images: LeftOut[Count] = None
    """Number of training images."""
    samples_seen: LeftOut[Count] = None
    """Images shown, with repetition; training.samples_seen if left out."""


@dataclass(frozen=True, kw_only=True)
class RunCondition(Settings):
    """Fields of a run, each with the value or the list of values asked for."""

    objective: LeftOut[OneOrMany[ObjectiveName]] = None
    """What a run is trained by."""
    caption: LeftOut[OneOrMany[NameOrNone]] = None
    """Caption variant; '' where a run learns from no captions."""
    labels: LeftOut[OneOrMany[LabelsOrNone]] = None
    """Labels of a run; '' where it does not learn from them."""
    pretrained_by: LeftOut[OneOrMany[ObjectiveOrNone]] = None
    """Objective of the run that it starts from; '' for random weights."""
    source: LeftOut[OneOrMany[Name]] = None
    """Training source, of sources."""
    train_images: LeftOut[OneOrMany[Count]] = None
    """Number of training images."""
    model: LeftOut[OneOrMany[Name]] = None
    """Model, of models."""
    samples_seen: LeftOut[OneOrMany[Count]] = None
    """Images shown, with repetition."""
    seed: LeftOut[OneOrMany[Seed]] = None
    """Seeds."""


@dataclass(frozen=True, kw_only=True)
class Condition(RunCondition):
    """Fields of a run or of its head, each with the required value or a list of allowed values."""

    head: LeftOut[OneOrMany[HeadName]] = None
    """Head."""
    prompts: LeftOut[OneOrMany[NameOrNone]] = None
    """Prompt set, of prompts; '' if a head has none."""
    fitted_on: LeftOut[OneOrMany[NameOrNone]] = None
    """Images that a head was fitted on: own (the run's subset) or a source; '' if it is not fitted."""


@dataclass(frozen=True, kw_only=True)
class FittedHead(Settings):
    """Heads that are fitted on frozen encoders."""

    head: FittedHeadName
    """Kind of head."""
    fitted_on: OneOrMany[NameOrNone]
    """Images that it is fitted on: own (the run's subset) or a source."""
    where: RunCondition = RunCondition()
    """The runs that get the head; all if left out."""


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(Settings):
    """What accuracy under shift the standard models have, given their accuracies on all in-distribution test sets."""

    standard: RunCondition
    """The runs that it is fitted to; of every source where there are several in-distribution test sets."""
    scale: Literal["logit", "probit", "linear"] = "logit"
    """Scale of the fit, and of effects."""
    reference_accuracy: InnerShare = 0.5
    """Accuracy under shift at which effects on the scale are given in points."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings(Settings):
    """Pairs of runs that differ only in from and to and lie within where."""

    comparison: Text
    """Name of the comparison."""
    start: Condition = field(metadata={"alias": "from"})
    """One side of each pair."""
    end: Condition = field(metadata={"alias": "to"})
    """The other side of each pair."""
    where: Condition = Condition()
    """What both sides are."""
    holds_fixed: Text
    """What the comparison holds fixed, in words."""
    matched_accuracy: Flag = False
    """Compare at equal in-distribution accuracy: from chooses several runs for each run of to (stopped early, say), and
    the value to start from is interpolated between the two that are nearest below and above it."""


Cause = Literal[
    "training_set_size", "training_distribution", "language_at_training", "language_at_test", "contrastive_loss"
]


@dataclass(frozen=True, kw_only=True)
class Intervals(Settings):
    """Confidence intervals."""

    accuracy: InnerShare = 0.995
    """Confidence of intervals on accuracies."""
    effect: InnerShare = 0.95
    """Confidence of intervals on effects."""
    resamples: Annotated[int, Allowed(ge=20, le=1_000_000)] = 1000
    """Bootstrap resamples."""
    equivalence_points: Annotated[float, Allowed(gt=0, lt=50)] = 2.0
    """Smallest effect of interest, in points: one whose interval lies within it on both sides of zero is small."""
    seed: Seed = 0
    """Seed of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Figures(Settings):
    """Figures."""

    colours: dict[str, Annotated[str, Allowed(pattern="^#[0-9a-fA-F]{6}$")]] = field(default_factory=dict)
    """Colours by kind of training in the words of the legend, or by verdict (raises, lowers, within, undecided)."""


@dataclass(frozen=True, kw_only=True)
class Published(Settings):
    """A published open_clip model that is evaluated beside the trained ones."""

    name: Name
    """Name in tables."""
    model: Text
    """open_clip's name of the architecture, or the path of a model description."""
    weights: Text
    """File of weights, or open_clip's tag of weights that it downloads."""
    trained_on: Text
    """Its training source, in a word, for tables and legends."""
    train_images: Count
    """Number of training images."""


@dataclass(frozen=True, kw_only=True)
class Reported(Settings):
    """Numbers that a paper reports, shown on the page beside what the study finds."""

    table: InputPath
    """Table with columns experiment, place, quantity, test_set, value, unit, verified, source."""
    runs: dict[Name, RunCondition] = field(default_factory=dict)
    """For an experiment of the table, the runs whose accuracy stands beside it; left empty without any."""


def _default_prompts() -> dict[str, tuple[str, ...] | str]:
    return {"ensemble": ("{class}", "a photo of a {class}", "a picture of the {class}"), "name": ("{class}",)}


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """A study, as its config file says."""

    study: Annotated[str, Allowed(pattern="^[a-z0-9][a-z0-9_-]*$", max_length=100)]
    """Name of the study; results go to results/<study>/."""
    downloads: Text = "downloads"
    """Folder for downloaded archives."""
    data: Data
    """Where images and names come from."""
    sources: Annotated[dict[Name, Annotated[Source, OfKind(classes_of_sources, NO_SOURCES)]], Items()]
    """Training sources by name."""
    test_sets: Annotated[
        dict[Name, Annotated[TestSet, OfKind(classes_of_test_sets, NO_TEST_SETS)]], Items(min_length=2)
    ]
    """Test sets by name; one or several are in_distribution, the first of them that of the paper's measurement."""
    class_weights: Literal["images", "equal"] = "images"
    """What an accuracy is: images, the share of a test set's images that is right. equal: the mean over its classes of
    that share, which compares test sets whose classes come in other proportions (ImageNet's come in equal ones). The
    main comparisons are measured with the other weighting too, as a sensitivity analysis."""
    class_weights_note: LeftOut[Text] = None
    """What a reader must know about the choice of class_weights, such as when it was made; shown beside the results of
    the other weighting."""
    caption_template: Sentence = "a photo of a {class}"
    """Sentence of the caption variant template."""
    prompts: Annotated[dict[Name, Sentences | Text], Items()] = field(default_factory=_default_prompts)
    """Prompt sets by name: sentences with {class} for the class name, or a text file with one per line. The
    first set is the one that causes are measured with."""
    heads: tuple[FittedHead, ...] = ()
    """Heads fitted on frozen encoders, besides the heads that runs have anyway."""
    models: Annotated[dict[Name, InputPath], Items()] = field(
        default_factory=lambda: {"icon_cnn": "resources/models/icon-cnn.json"}
    )
    """Paths of open_clip model descriptions by name."""
    training: Annotated[Training, Built(training_class)]
    """How runs are trained."""
    seeds: ListedOnce[Seed] = (0,)
    """Seeds of every grid that names none."""
    runs: Listed[Grid]
    """Grids of runs: every combination of the listed values is one run."""
    baseline: BaselineSettings
    """What accuracy under shift the standard models have."""
    paper_measurement: PaperMeasurement = field(default_factory=PaperMeasurement)
    """Habits of the paper beside the study's own."""
    causes: Annotated[dict[Cause, Listed[ComparisonSettings]], Items()]
    """Controlled comparisons by cause; the first of a cause is its main one."""
    intervals: Intervals = Intervals()
    """Confidence intervals."""
    figures: Figures = Figures()
    """Figures."""
    reported: LeftOut[Reported] = None
    """Numbers that a paper reports."""
    sources_table: InputPath = "resources/sources.tsv"
    """Table of the files that can be downloaded."""
    pretrained: tuple[Published, ...] = ()
    """Published open_clip models that are evaluated beside the trained ones."""
    img2dataset: Text = "img2dataset"
    """The command img2dataset, which fetches images from the web."""
    imagenet_captions: LeftOut[CaptionBuild] = None
    """How ImageNet-Captions is built, where results/imagenet_captions/imagenet_captions.json is asked for
    (docs/imagenet-captions.md)."""
    finished_work: LeftOut[Text] = None
    """Folder where finished work is shared by studies, or none (docs/cluster.md). The environment variable
    WHYROBUST_FINISHED_WORK goes first; ~/.cache/whyrobust/finished if neither names one."""
    unfinished: LeftOut[Unfinished] = None
    """What a study lacks that still runs: written by make peek, never by hand. The page says that it is unfinished."""


#: Keys of ``training`` that are resources of the rule train_run now, with the resource of each and what it is.
MOVED_TO_RESOURCES = {
    "mem_mb": ("mem_mb", "a run's memory"),
    "runtime_minutes": ("runtime", "a run's time"),
    "gpus_per_run": ("gpu", "the number of GPUs of a run (for device cpu `processes`)"),
    "nodes_per_run": ("nodes", "the number of machines of a run"),
    "checkpoint_minutes": ("checkpoint_minutes", "the time between two checkpoints"),
    "checkpoint_steps": ("checkpoint_steps", "the number of steps between two checkpoints"),
    "loader_threads": ("loader_threads", "the number of threads that decode photographs"),
}


def check_moved_keys(given: Mapping[str, Any]) -> None:
    """Check that no key is where it was in earlier versions.

    Raises:
        ConfigError: the first that does, with where it went.
    """
    training = given.get("training")
    for key, (resource, what) in MOVED_TO_RESOURCES.items():
        if isinstance(training, Mapping) and key in training:
            raise ConfigError(
                f"config key training.{key} has moved: {what} is a resource; use --set-resources "
                f"train_run:{resource}=... or your profile (docs/cluster.md)"
            )
    causes = given.get("causes")
    for cause, entries in causes.items() if isinstance(causes, Mapping) else ():
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, Mapping) and "contrast" in entry:
                key = spell_key(("causes", cause, number))
                raise ConfigError(f"config key {key}.contrast has a new name: call it comparison")


@cache
def _config_class(*_names: tuple[str, ...]) -> type[Config]:
    """Return the class of the config; another one where a table in code has got another row."""
    return type(Config.__name__, (Config,), {"__doc__": Config.__doc__})


def load_config(given: Mapping[str, Any]) -> Config:
    """Return a config as types, with defaults for what it leaves out.

    Raises:
        ConfigError: the first problem, as one line that names key, value and what is allowed.
    """
    check_moved_keys(given)
    return read_settings(_config_class(tuple(OBJECTIVES), tuple(HEADS)), given)
