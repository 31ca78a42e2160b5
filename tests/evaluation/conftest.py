"""Small data sets whose scores can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sets import SmallSet, made_up_nuclei, made_up_volumes


@pytest.fixture
def volumes(tmp_path: Path) -> SmallSet:
    """Three volumes of two patients, see `made_up_volumes`."""
    return made_up_volumes(tmp_path)


@pytest.fixture
def nuclei(tmp_path: Path) -> SmallSet:
    """Two images with objects, see `made_up_nuclei`."""
    return made_up_nuclei(tmp_path)
