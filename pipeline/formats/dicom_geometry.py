"""Where the voxels of a DICOM series lie: arithmetic on positions and orientations, without files.

DICOM speaks LPS (x to the patient's left, y to the back, z to the head), everything else here RAS; `lps_to_ras` is the
only place where one becomes the other. Lengths are in mm. PS3.3 C.7.6.2.1.1 defines the plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Headers give cosines with at least six digits. A thousandth moves the far edge of a 500 mm image by half a millimetre.
COSINE_TOLERANCE: Final = 1e-3
# Relative; spacings are written by one device in one way, so that only rounding may differ.
SPACING_TOLERANCE: Final = 1e-3
# Share of the slice spacing by which a slice may lie beside its place on the even grid. Positions that were rounded to
# a tenth of a millimetre pass at slices of 1 mm; the smallest fault there is, a slice too many or too few, is 1.
PLACE_TOLERANCE: Final = 0.05
# Positions closer than this along the normal are one position: DICOM's decimal strings resolve far less than 1 µm.
SAME_PLACE_MM: Final = 1e-3
# Rounded positions seem tilted by less; a gantry is tilted by whole degrees.
TILT_TOLERANCE_DEG: Final = 0.1

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


def is_orthonormal(orientation: Sequence[float]) -> bool:
    """Tell whether six cosines are two unit vectors at right angles, within `COSINE_TOLERANCE`.

    Args:
        orientation: Image Orientation (Patient): the direction in which columns follow one another, then rows.
    """
    axes = np.reshape(np.asarray(orientation, np.float64), (2, 3))
    return bool(np.allclose(axes @ axes.T, np.eye(2), rtol=0, atol=COSINE_TOLERANCE))


def slice_normal(orientation: Sequence[float]) -> Array:
    """Return the unit vector that stands on the image plane: the first direction cross the second.

    For axial slices of a patient on the back it points to the head.

    Args:
        orientation: Image Orientation (Patient), six cosines.

    Returns:
        (3,) float64 in LPS.

    Examples:
        >>> slice_normal([1, 0, 0, 0, 1, 0]).tolist()
        [0.0, 0.0, 1.0]
    """
    along_columns, along_rows = np.reshape(np.asarray(orientation, np.float64), (2, 3))
    normal = np.cross(along_columns, along_rows)
    return np.asarray(normal / np.linalg.norm(normal))


def series_affine(
    orientation: Sequence[float], pixel_spacing_mm: Sequence[float], position: ArrayLike, step: ArrayLike
) -> Array:
    """Return the affine from (row, column, slice) to RAS mm; integers are centres of voxels.

    Args:
        orientation: Image Orientation (Patient), six cosines.
        pixel_spacing_mm: Pixel Spacing: between rows, then between columns.
        position: (3,), Image Position (Patient) of the first slice: the centre of its first pixel, LPS mm.
        step: (3,), from each slice to the next one, LPS mm. It need not be along the normal: a tilted gantry gives a
            sheared affine.

    Returns:
        (4, 4) float64.

    Examples:
        >>> series_affine([1, 0, 0, 0, 1, 0], (0.5, 0.25), (10, 20, 30), (0, 0, 2)).tolist()[0]
        [0.0, -0.25, 0.0, -10.0]
    """
    along_columns, along_rows = np.reshape(np.asarray(orientation, np.float64), (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = along_rows / np.linalg.norm(along_rows) * pixel_spacing_mm[0]
    affine[:3, 1] = along_columns / np.linalg.norm(along_columns) * pixel_spacing_mm[1]
    affine[:3, 2] = step
    affine[:3, 3] = position
    # A sum with 0 leaves no negative zeros.
    return lps_to_ras(affine) + 0.0


def along_normal(orientation: Sequence[float], positions: ArrayLike) -> Array:
    """Return how far each position lies along the slice normal, in mm.

    Args:
        orientation: Image Orientation (Patient), six cosines.
        positions: (slice, 3), LPS mm.

    Returns:
        (slice,) float64.
    """
    return np.asarray(np.asarray(positions, np.float64) @ slice_normal(orientation))


def shear_per_mm(orientation: Sequence[float], positions: ArrayLike) -> tuple[Array, Array]:
    """Return how slices move sideways while they follow one another, and what of it is not even.

    Args:
        orientation: Image Orientation (Patient), six cosines.
        positions: (slice, 3), LPS mm, in the order along the normal; first and last differ along it.

    Returns:
        (3,), the sideways way per mm along the normal, from the first slice to the last; and (slice,), by how many mm
        each slice lies beside that line.
    """
    places = np.asarray(positions, np.float64)
    normal = slice_normal(orientation)
    way = places - places[0]
    height = way @ normal
    sideways = way - np.outer(height, normal)
    shear = sideways[-1] / height[-1]
    return np.asarray(shear), np.asarray(np.linalg.norm(sideways - np.outer(height, shear), axis=1))


def tilt_deg(shear: ArrayLike) -> float:
    """Return the angle between the way from slice to slice and the normal, from `shear_per_mm`.

    Examples:
        >>> round(tilt_deg([0, 1, 0]))
        45
    """
    return float(np.degrees(np.arctan(np.linalg.norm(shear))))


def is_even(heights_mm: ArrayLike) -> bool:
    """Tell whether slices follow one another at one spacing, each within `PLACE_TOLERANCE` of its place.

    The grid runs from the first to the last slice, so that small errors must not add up either.

    Args:
        heights_mm: (slice,), ascending, at least two.
    """
    heights = np.asarray(heights_mm, np.float64)
    places = np.linspace(heights[0], heights[-1], len(heights))
    spacing_mm = (heights[-1] - heights[0]) / (len(heights) - 1)
    return bool(np.abs(heights - places).max() <= PLACE_TOLERANCE * spacing_mm)


def missing_places(heights_mm: ArrayLike) -> tuple[int, ...]:
    """Return which places are empty on the grid on which slices with gaps lie, or nothing where there is no such grid.

    The spacing is the smallest step. It must bring every slice to a whole number within `PLACE_TOLERANCE`.

    Args:
        heights_mm: (slice,), ascending and different, at least two.

    Returns:
        Indices on the whole grid, of which the first slice is 0.

    Examples:
        >>> missing_places([0, 2, 8, 10])
        (2, 3)
        >>> missing_places([0, 2, 5])
        ()
    """
    heights = np.asarray(heights_mm, np.float64)
    steps = np.diff(heights)
    # Counted step by step, so that the rounding of the smallest one does not add up along the way.
    last = int(np.rint(steps / steps.min()).sum())
    places = (heights - heights[0]) / (heights[-1] - heights[0]) * last
    whole = np.rint(places).astype(int)
    if np.abs(places - whole).max() > PLACE_TOLERANCE or len(np.unique(whole)) < len(whole):
        return ()
    return tuple(sorted(set(range(last + 1)) - set(whole.tolist())))
