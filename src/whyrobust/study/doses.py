"""Series of mixtures: sources that hold rising shares of one source in place of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from whyrobust.study.dataset_settings import Source
from whyrobust.study.kind_settings import Mixture, View


@dataclass(frozen=True)
class DoseSeries:
    """Mixtures of two sources.

    Attributes:
        start: the source that the shares replace, named first in the mixtures.
        end: the source whose share rises, named second.
        shares: share of ``end`` by the name of the source, rising; 0 and 1 are the two themselves.
        views: the same of views of the two, which are no doses.
    """

    start: str
    end: str
    shares: Mapping[str, float]
    views: Mapping[str, float]


def dose_series(sources: Mapping[str, Source], used: Iterable[str]) -> list[DoseSeries]:
    """Return the series of a study: one for every two sources of which mixtures are used.

    Args:
        sources: settings of the sources by name.
        used: sources that runs are trained on; others are left out.
    """
    trained = set(used)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, source in sources.items():
        if isinstance(source, Mixture) and len(source.shares) == 2 and name in trained:
            start, end = source.shares
            found.setdefault((start, end), {})[name] = source.shares[end]
    return [
        DoseSeries(
            start,
            end,
            dict(sorted((shares | {start: 0.0, end: 1.0}).items(), key=lambda one: one[1])),
            {
                name: float(source.of == end)
                for name, source in sources.items()
                if isinstance(source, View) and source.of in (start, end) and name in trained
            },
        )
        for (start, end), shares in found.items()
    ]
