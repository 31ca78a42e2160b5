"""What every volume must be, whatever its file format: finite values, and voxels that are not flat."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..counted import agreed, counted
from ..errors import ImageError

_LEAST_VOLUME = 1e-3  # of the parallelepiped of the three directions, 1 where they are at right angles


def check_finite(what: str, voxels: npt.NDArray[Any]) -> None:
    """Refuse NaN and infinity.

    Args:
        what: How the message begins, such as the path of the image.
        voxels: Any shape.

    Raises:
        ImageError: If there are any.
    """
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        count = voxels.size - int(np.isfinite(voxels).sum())
        raise ImageError(
            f"{what} holds {counted(count, 'voxel')} that {agreed(count, 'is', 'are')} NaN or infinite; expected "
            f"finite numbers; replace {agreed(count, 'it', 'them')} first"
        )


def check_affine(what: str, affine: npt.NDArray[np.float64]) -> None:
    """Refuse an affine that is no (4, 4) map of finite numbers, or flattens the voxels.

    Args:
        what: How the message begins, such as the path of the image.
        affine: From voxel index to mm.

    Raises:
        ImageError: If it does.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise ImageError(
            f"{what} has an affine that is not (4, 4) finite numbers with a last row of 0 0 0 1; correct its header"
        )
    sides_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (sides_mm > 0).all() or abs(np.linalg.det(affine[:3, :3] / sides_mm)) < _LEAST_VOLUME:
        raise ImageError(
            f"{what} has an affine that flattens its voxels (sides {', '.join(f'{side:.3g}' for side in sides_mm)} mm, "
            "or parallel axes); expected three directions; correct its header"
        )
