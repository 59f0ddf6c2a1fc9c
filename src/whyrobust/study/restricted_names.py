"""Names of restricted axes: an in-distribution test set that is restricted to the classes of one shift.

Some shifts cover only some of the study's classes. Both axes of their plot are then about these classes alone (Taori et
al. 2020). `evaluation.restricted_axes` restricts the axes, the analysis looks their accuracies up by these names.
"""

from __future__ import annotations

SEPARATOR = "@"


def restricted_name(test_set: str, shift: str) -> str:
    """Return the name of ``test_set`` restricted to the classes that ``shift`` covers."""
    return f"{test_set}{SEPARATOR}{shift}"


def split_restricted_name(name: str) -> tuple[str, str]:
    """Return the test set and the shift of a name made by `restricted_name`; no shift ("") for any other test set."""
    test_set, _, shift = name.partition(SEPARATOR)
    return test_set, shift
