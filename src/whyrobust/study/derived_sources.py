"""Sources without images of their own: views and mixtures of other sources, as the page describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from whyrobust.study.dataset_settings import Source
from whyrobust.study.kind_settings import Mixture, View


@dataclass(frozen=True)
class DerivedSource:
    """What a view or a mixture is made of.

    Attributes:
        shares: share of each source that it is made of; of a view one, which is 1.
        grey: whether models learn from its images in grey.
    """

    shares: Mapping[str, float]
    grey: bool = False


def derived_sources(sources: Mapping[str, Source], used: Iterable[str]) -> dict[str, DerivedSource]:
    """Return what each view and mixture of a study is made of, by its name.

    Args:
        sources: settings of the sources by name.
        used: sources that are looked at, in the order wanted.
    """
    found = {}
    for name in used:
        source = sources[name]
        if isinstance(source, Mixture):
            found[name] = DerivedSource(dict(source.shares))
        elif isinstance(source, View):
            found[name] = DerivedSource({source.of: 1.0}, source.colour == "grey")
    return found
