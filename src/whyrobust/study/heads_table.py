"""The table of heads: the ways to turn a trained image encoder into a classifier."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    Attributes:
        name: name in configs and tables.
        label: what it is called in figures and on the page.
        description: what it computes, for the docs.
        fitted: whether it is fitted on a frozen encoder's embeddings of training images.
    """

    name: str
    label: str
    description: str
    fitted: bool


HEADS: dict[str, HeadKind] = {
    head.name: head
    for head in (
        HeadKind("zero_shot", "zero-shot", "similarity of the image to prompts with the class names", fitted=False),
        HeadKind("classifier", "its own classifier", "the linear layer that the run was trained with", fitted=False),
        HeadKind("nearest_mean", "nearest class mean", "similarity to the mean embedding of each class", fitted=True),
        HeadKind("linear_probe", "linear probe", "logistic regression on frozen embeddings", fitted=True),
    )
}

#: Heads that are fitted on a frozen encoder's embeddings of training images.
FITTED_HEADS = tuple(head.name for head in HEADS.values() if head.fitted)
