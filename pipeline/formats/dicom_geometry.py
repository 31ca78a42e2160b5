"""Where the voxels of a DICOM series lie: arithmetic on positions and orientations, without files.

DICOM speaks LPS (x to the patient's left, y to the back, z to the head), everything else here RAS; `lps_to_ras` is the
only place where one becomes the other. Lengths are in mm. PS3.3 C.7.6.2.1.1 defines the plane.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_FLIP_X_Y: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps_to_ras(affine: ArrayLike) -> Array:
    """Turn an affine that ends in LPS into one that ends in RAS; applied twice, it gives the affine back.

    Args:
        affine: (4, 4), from any coordinates to LPS in mm.

    Returns:
        (4, 4) float64, from the same coordinates to RAS in mm.

    Examples:
        >>> lps_to_ras(np.eye(4)).diagonal().tolist()
        [-1.0, -1.0, 1.0, 1.0]
    """
    return _FLIP_X_Y @ np.asarray(affine, np.float64)
