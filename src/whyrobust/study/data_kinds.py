"""The table of data-set kinds: the settings of each, the function that reads it, and what is known of it beforehand.

A new kind is one row here, the dataclass of its settings in `whyrobust.study.kind_settings`, and one reader in
`whyrobust.data.readers`: the config's keys, the checks and the docs come from the row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, get_args, get_type_hints

from whyrobust.study.kind_settings import (
    AddressList,
    Archive,
    CounterAnimal,
    DatasetSettings,
    DomainNet,
    HeldOut,
    Icons,
    ImageFolder,
    ImageNet,
    ImageNetCaptions,
    ImageTable,
    Mixture,
    ObjectNet,
    View,
    WebDataset,
    Yfcc15m,
)
from whyrobust.study.setting_types import Allowed

#: Data sets that are offered as shifts, and why they can be none, in the words of an error.
NO_TEST_SETS = {
    "imagenet_o": (
        "ImageNet-O is no shift: its images show none of ImageNet's 1,000 classes, so no answer is right and there is "
        "no accuracy (it is for detectors of what is out of distribution); leave it out"
    ),
}
#: Test sets that nothing may be trained on, and why.
NO_SOURCES = {
    "objectnet": "the licence of ObjectNet forbids to tune the parameters of any model on it; it may be a test set",
}


@dataclass(frozen=True)
class DataKind:
    """A kind of data set.

    Attributes:
        name: name in configs.
        label: what it is, for the docs.
        settings: class of its settings.
        reader: ``module:function`` that reads it; empty for icons, which are drawn, and for what is made of other
            sources.
        pictures: ``module:function`` that lists the files of pictures which its inputs only name, by its settings.
        lister: ``module:function`` that lists addresses of pictures, in the module of the reader.
        listed_in: settings whose files only the lister reads.
        source: whether a training source may be of this kind.
        test_set: whether a test set may be of this kind.
        derived: whether it is made of other sources.
        held_out: whether it is what a source leaves out, and so is read as the source is.
        needed_in_test_sets: settings that a test set must have though a source need not.
        own_classes_only: whether a test set of this kind is always evaluated on its own classes.
        covered_classes_column: whether the table of classes says in a column of the kind's name which it covers.
        published_images: images that the whole test set has by its paper, so that a short copy is noticed, with the
            value of the setting ``split`` that each number is for, which is empty where the kind has none.
        border_pixels: pixels to cut off each side of a picture.
        keeps_first_of_repeats: whether of several pictures of one uid the first counts; else they are an error.
    """

    name: str
    label: str
    settings: type[DatasetSettings]
    reader: str = ""
    pictures: str = ""
    lister: str = ""
    listed_in: tuple[str, ...] = ()
    source: bool = True
    test_set: bool = True
    derived: bool = False
    held_out: bool = False
    needed_in_test_sets: tuple[str, ...] = ()
    own_classes_only: bool = False
    covered_classes_column: bool = False
    published_images: tuple[tuple[str, int], ...] = ()
    border_pixels: int = 0
    keeps_first_of_repeats: bool = False

    @property
    def photographs(self) -> bool:
        """Whether it is made of image files, read by a reader of its own or by that of a source."""
        return bool(self.reader) or self.held_out

    @property
    def reader_module(self) -> str:
        """The module of the reader, named without the package, as `whyrobust.study.code_version` names modules."""
        return self.reader.partition(":")[0].removeprefix("whyrobust.")

    @cached_property
    def input_keys(self) -> tuple[str, ...]:
        """Settings that name files or folders which the study reads, in the order of the class."""
        hints = get_type_hints(self.settings, include_extras=True)
        return tuple(field.name for field in fields(self.settings) if _names_input(hints[field.name]))

    def expected_images(self, split: str = "") -> int | None:
        """Return how many images a whole test set has, None where nothing is published.

        Args:
            split: value of the setting ``split``; empty where the kind has none.
        """
        return dict(self.published_images).get(split)


def _names_input(hint: Any) -> bool:  # noqa: ANN401 - a type
    if isinstance(hint, Allowed):
        return hint.is_input
    metadata = getattr(hint, "__metadata__", ())
    return any(_names_input(part) for part in (*metadata, *get_args(hint)))


DATA_KINDS: dict[str, DataKind] = {
    kind.name: kind
    for kind in (
        DataKind("icons", "icons of the Iconify sets, drawn by the study", Icons),
        DataKind("view", "some images of another source", View, test_set=False, derived=True),
        DataKind("mixture", "images of several sources", Mixture, test_set=False, derived=True),
        DataKind(
            "held_out",
            "photographs that a source leaves out (drawn_between), with the labels that are found in their texts",
            HeldOut,
            source=False,
            held_out=True,
            needed_in_test_sets=("source",),
        ),
        DataKind(
            "image_folder",
            "class folders of one's own",
            ImageFolder,
            "whyrobust.data.readers.folders:read_image_folder_dataset",
        ),
        DataKind(
            "image_table",
            "a table of one's own with a row per image",
            ImageTable,
            "whyrobust.data.readers.tables:read_image_table_dataset",
            "whyrobust.data.readers.tables:list_named_pictures",
            needed_in_test_sets=("label",),
        ),
        DataKind(
            "webdataset",
            "tar shards of image-text pairs",
            WebDataset,
            "whyrobust.data.readers.webdataset:read_webdataset_dataset",
        ),
        DataKind(
            "address_list",
            "a list of addresses and captions, whose pictures are fetched (CC3M, CC12M, RedCaps, LAION, DataComp)",
            AddressList,
            "whyrobust.data.readers.address_list:read_address_list_dataset",
            lister="whyrobust.data.readers.address_list:list_addresses",
            listed_in=("addresses",),
            needed_in_test_sets=("label",),
            keeps_first_of_repeats=True,
        ),
        DataKind(
            "imagenet",
            "ImageNet (ILSVRC-2012), training or validation images",
            ImageNet,
            "whyrobust.data.readers.imagenet:read_imagenet_dataset",
            published_images=(("validation", 50_000),),
        ),
        DataKind(
            "imagenet_captions",
            "ImageNet-Captions (Fang et al. 2022)",
            ImageNetCaptions,
            "whyrobust.data.readers.imagenet:read_imagenet_captions_dataset",
            test_set=False,
        ),
        DataKind(
            "yfcc15m",
            "OpenAI's subset of YFCC100M",
            Yfcc15m,
            "whyrobust.data.readers.yfcc:read_yfcc15m_dataset",
            lister="whyrobust.data.readers.yfcc:list_yfcc15m",
            listed_in=("metadata",),
            test_set=False,
            keeps_first_of_repeats=True,
        ),
        DataKind(
            "imagenet_v2",
            "ImageNet-V2, matched frequency (Recht et al. 2019)",
            Archive,
            "whyrobust.data.readers.imagenet:read_imagenet_v2_dataset",
            source=False,
            published_images=(("", 10_000),),
        ),
        DataKind(
            "imagenet_v2_threshold",
            "ImageNet-V2, threshold 0.7 (Recht et al. 2019)",
            Archive,
            "whyrobust.data.readers.imagenet:read_imagenet_v2_dataset",
            source=False,
            published_images=(("", 10_000),),
        ),
        DataKind(
            "imagenet_v2_top",
            "ImageNet-V2, top images (Recht et al. 2019)",
            Archive,
            "whyrobust.data.readers.imagenet:read_imagenet_v2_dataset",
            source=False,
            published_images=(("", 10_000),),
        ),
        DataKind(
            "imagenet_r",
            "ImageNet-R (Hendrycks et al. 2021)",
            Archive,
            "whyrobust.data.readers.imagenet:read_wnid_folders_dataset",
            source=False,
            covered_classes_column=True,
            published_images=(("", 30_000),),
        ),
        DataKind(
            "imagenet_a",
            "ImageNet-A (Hendrycks et al. 2021)",
            Archive,
            "whyrobust.data.readers.imagenet:read_wnid_folders_dataset",
            source=False,
            covered_classes_column=True,
            published_images=(("", 7_500),),
        ),
        DataKind(
            "imagenet_sketch",
            "ImageNet-Sketch (Wang et al. 2019)",
            Archive,
            "whyrobust.data.readers.imagenet:read_wnid_folders_dataset",
            source=False,
            published_images=(("", 50_889),),
        ),
        DataKind(
            "objectnet",
            "ObjectNet (Barbu et al. 2019), of its images those of classes that ImageNet has",
            ObjectNet,
            "whyrobust.data.readers.imagenet:read_objectnet_dataset",
            source=False,
            own_classes_only=True,
            published_images=(("", 18_574),),
            # Its pictures have a red border, by its licence of one pixel; the authors' loader cuts off two.
            border_pixels=2,
        ),
        DataKind(
            "counter_animal",
            "CounterAnimal (Wang et al. 2024), animals on common backgrounds or on others",
            CounterAnimal,
            "whyrobust.data.readers.counter_animal:read_counter_animal_dataset",
            source=False,
            published_images=(("common", 7_174), ("counter", 5_926)),
        ),
        DataKind(
            "domainnet",
            "a domain of DomainNet (Peng et al. 2019)",
            DomainNet,
            "whyrobust.data.readers.domainnet:read_domainnet_dataset",
        ),
    )
}
