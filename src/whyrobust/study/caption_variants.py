"""The table of caption variants: how the text of a record becomes one caption.

A new variant that joins fields is one row here; `whyrobust.data.captions` makes the captions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionVariant:
    """How captions of one kind are made.

    Attributes:
        name: name in configs and tables.
        label: what captions of the kind are called in figures and on the page.
        description: how a caption is made, for the docs.
        fields: which of title, description and tags are joined, in this order; none for the template.
        separator: what stands between the fields, and between tags.
        needs_whole_source: whether it is made from all records of a source together, so that the source has no slices.
    """

    name: str
    label: str
    description: str
    fields: tuple[str, ...]
    separator: str = ", "
    needs_whole_source: bool = False


CAPTION_VARIANTS: dict[str, CaptionVariant] = {
    variant.name: variant
    for variant in (
        CaptionVariant("title", "titles", "the record's title", ("title",)),
        CaptionVariant(
            "title_description",
            "titles and descriptions",
            "title and description",
            ("title", "description"),
        ),
        CaptionVariant("title_tags", "titles and tags", "title and tags", ("title", "tags")),
        CaptionVariant(
            "title_description_tags",
            "titles, descriptions and tags",
            "title, description and tags",
            ("title", "description", "tags"),
        ),
        CaptionVariant(
            "title_tags_description",
            "titles, tags and descriptions",
            "title, tags and description, separated by spaces, as in the README of ImageNet-Captions",
            ("title", "tags", "description"),
            separator=" ",
        ),
        CaptionVariant(
            "template",
            "template captions",
            "the class name in the sentence `caption_template`: language that says no more than the label",
            (),
        ),
        CaptionVariant(
            "shuffled",
            "shuffled captions",
            "the title of another image of the class, drawn among all records of the source: language that says "
            "nothing about the image beyond its class",
            ("title",),
            needs_whole_source=True,
        ),
    )
}
