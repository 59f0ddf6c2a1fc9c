"""The split by drawing: held-out icons never share a drawing (``group``) with those that stay.

A drawing comes in many files, as outline and filled and in several sizes: 28 % of icons held out by file had a near
copy in training.
"""

from __future__ import annotations

import hashlib

import pandas as pd


def is_held_out(group: str, share: float, seed: int) -> bool:
    """Say whether a group is held out: sha256 of seed and group, as a number in [0, 1), is below the share.

    The answer depends on nothing but the arguments: adding sets or icons never moves a drawing across.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split_by_drawing(records: pd.DataFrame, share: float = 0.2, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split records in two so that no group is on both sides.

    Args:
        records: a table with the column ``group``.
        share: expected share of the groups that is held out, 0 to 1.
        seed: another seed holds out other groups.

    Returns:
        The records that stay and those held out, each in the order given.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share to hold out is {share}; give a fraction from 0 to 1")
    groups = {group: is_held_out(group, share, seed) for group in records["group"].unique()}
    held_out = records["group"].map(groups).astype(bool)
    return records[~held_out], records[held_out]
