"""The one place where positions change between the patient axes of DICOM and ITK (LPS) and those of NIfTI (RAS)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FLIPPED = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps_to_ras(affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return an affine to RAS mm from one to LPS mm: left becomes right, and posterior anterior.

    Args:
        affine: (4, 4), from voxel index to (left, posterior, superior) in mm.

    Returns:
        (4, 4) float64, from voxel index to (right, anterior, superior) in mm.
    """
    flipped: npt.NDArray[np.float64] = _FLIPPED @ np.asarray(affine, np.float64)
    return flipped


def ras_to_lps(affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return an affine to LPS mm from one to RAS mm; the inverse of `lps_to_ras`, and the same two flips.

    Args:
        affine: (4, 4), from voxel index to (right, anterior, superior) in mm.

    Returns:
        (4, 4) float64, from voxel index to (left, posterior, superior) in mm.
    """
    return lps_to_ras(affine)
