"""Classes are chosen by the number of their drawings."""

import pandas as pd
import pytest

from whyrobust.data.choose_classes import choose_classes
from whyrobust.data.label_matcher import (
    other_nouns,
)


def table(*rows):
    return pd.DataFrame(
        [(name, synonyms, excluded) for name, synonyms, excluded in rows],
        columns=["class", "synonyms", "excluded_phrases"],
    )


def test_classes_are_chosen_by_drawings_not_by_files():
    nouns = table(("cat", "", ""), ("dog", "", ""), ("owl", "", "")).assign(role=["candidate"] * 3)
    nouns.loc[len(nouns)] = ["person", "", "", "other"]

    def part(*rows):
        return pd.DataFrame(rows, columns=["label", "group"])

    records = {
        "studio": part(("cat", "1"), ("cat", "2"), ("dog", "3"), ("dog", "3"), ("owl", "4"), ("owl", "5")),
        "web": part(("cat", "1"), ("dog", "2"), ("person", "9"), (None, "8")),
    }
    chosen = choose_classes(records, nouns, {"studio": 2}, ["web"])
    assert chosen["class"].tolist() == ["cat", "owl"]
    assert chosen["studio"].tolist() == [2, 2]
    assert chosen["web"].tolist() == [1, 0]
    assert choose_classes(records, nouns, {"studio": 1, "web": 1})["class"].tolist() == ["cat", "dog"]
    assert other_nouns(nouns, chosen)["class"].tolist() == ["dog", "person"]
    with pytest.raises(ValueError, match="fewest"):
        choose_classes(records, nouns, {"studio": 3})
    with pytest.raises(ValueError, match="sketch"):
        choose_classes(records, nouns, {"sketch": 1})
