"""Looking up what a multi-frame object says of one of its frames, and where that frame lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dicom_geometry import plane_affine


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
    values = (
        position.get("ImagePositionPatient"),
        orientation.get("ImageOrientationPatient"),
        measures.get("PixelSpacing"),
    )
    if [len(value or ()) for value in values] != [3, 6, 2]:
        return None
    return plane_affine(*values)
