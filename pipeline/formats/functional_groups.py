"""Looking up what a multi-frame object says of one of its frames, and where that frame lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dicom_geometry import is_orthonormal, series_affine, slice_normal


def functional_group(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """Return the item of a functional group that holds for a frame: its own, or the one all frames share.

    Args:
        dataset: A multi-frame object.
        frame: Number of the frame, from 1.
        keyword: Of the group's sequence, such as `PlanePositionSequence`.

    Returns:
        The item, or None where the object has no such group for the frame.

    Source:
        DICOM PS3.3, C.7.6.16.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in [*frames[frame - 1 : frame], *shared[:1]]:
        if groups.get(keyword):
            item: Dataset = groups[keyword][0]
            return item
    return None


def frame_affine(dataset: Dataset, frame: int) -> NDArray[np.float64] | None:
    """Return where a frame of a multi-frame object lies, or None where it does not say so.

    Args:
        dataset: A multi-frame object.
        frame: Number of the frame, from 1.

    Returns:
        (4, 4) from (row, column, mm along the normal) to RAS mm.
    """
    position = functional_group(dataset, frame, "PlanePositionSequence")
    orientation = functional_group(dataset, frame, "PlaneOrientationSequence")
    measures = functional_group(dataset, frame, "PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        return None
    return plane_affine(
        position.get("ImagePositionPatient"),
        orientation.get("ImageOrientationPatient"),
        measures.get("PixelSpacing"),
    )


def plane_affine(
    position: Sequence[float] | None, orientation: Sequence[float] | None, spacing_mm: Sequence[float] | None
) -> NDArray[np.float64] | None:
    """Return where the pixels of one plane lie, or None where a value is missing or no such thing.

    Args:
        position: Image Position (Patient).
        orientation: Image Orientation (Patient).
        spacing_mm: Pixel Spacing, (row, column).

    Returns:
        (4, 4) from (row, column, mm along the normal) to RAS mm.
    """
    try:
        values = [tuple(float(number) for number in value or ()) for value in (position, orientation, spacing_mm)]
    except (TypeError, ValueError):
        return None
    are_complete = [len(value) for value in values] == [3, 6, 2]
    if not (are_complete and np.isfinite(np.concatenate(values)).all() and min(values[2]) > 0):
        return None
    if not is_orthonormal(values[1]):
        return None
    return series_affine(values[1], values[2], values[0], slice_normal(values[1]))
