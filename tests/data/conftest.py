"""Fixtures of the tests of whyrobust.data."""

from __future__ import annotations

import pytest

from whyrobust.data.archives import Pack


@pytest.fixture
def pack(tmp_path):
    """Return an empty pack that takes images."""
    with (tmp_path / "pack.bin").open("wb") as handle:
        yield Pack(handle, tmp_path / "pack.bin")
