"""What a CT scanner makes of a made-up patient: voxels in HU on a grid of one's choice, and the labels of them.

All arithmetic is in integers, as for the anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .integer_fields import Field, RawStream, binomial_sum, smooth_noise_q8
from .phantom_ct_anatomy import Anatomy, Tissue

LIVER, RIGHT_KIDNEY, LESION = 1, 2, 3
"""Values in labels, which are also the numbers of the segments."""

_LABEL_OF_TISSUE: Final = {
    Tissue.LIVER: LIVER,
    Tissue.LIVER_VESSEL: LIVER,
    Tissue.RIGHT_KIDNEY: RIGHT_KIDNEY,
    Tissue.RIGHT_SINUS: RIGHT_KIDNEY,
    Tissue.LESION: LESION,
}
_BELL_SUM_SD: Final = 6 * 209  # of the binomial sum of independent bells


@dataclass(frozen=True)
class ScanGrid:
    """Where voxels lie: whole numbers from which positions follow exactly.

    Attributes:
        shape: Rows, columns, slices.
        pixel_q6: Side of a pixel in 1/64 mm; pixels are squares.
        slice_q6: Spacing of slices in 1/64 mm.
        turn: A quaternion (w, x, y, z) that turns rows, columns and slices away from the patient's axes;
            (1, 0, 0, 0) turns nothing.
        centre_mm: Where the middle of the volume lies, LPS.
    """

    shape: tuple[int, int, int]
    pixel_q6: int
    slice_q6: int
    turn: tuple[int, int, int, int]
    centre_mm: tuple[int, int, int]

    def places(self) -> Field:
        """Return (3, row, column, slice) LPS coordinates of the voxels' centres in sixteenths of a millimetre."""
        rows, columns, slices = self.shape
        # Half steps from the middle, so that volumes of an even number of voxels have whole numbers too.
        row, column, layer = np.ogrid[1 - rows : rows : 2, 1 - columns : columns : 2, 1 - slices : slices : 2]
        steps = column * self.pixel_q6, row * self.pixel_q6, layer * self.slice_q6
        matrix, divisor = self._rotation()
        return np.stack(
            [
                self.centre_mm[axis] * 16
                + sum(matrix[axis][along] * steps[along] for along in range(3)) // (8 * divisor)
                for axis in range(3)
            ]
        )

    def affine_lps(self) -> npt.NDArray[np.float64]:
        """Return (4, 4) from (row, column, slice) to LPS mm of the voxel's centre."""
        matrix, divisor = self._rotation()
        affine = np.eye(4)
        for axis in range(3):
            x, y, z = matrix[axis]
            rows, columns, slices = y * self.pixel_q6, x * self.pixel_q6, z * self.slice_q6
            affine[axis, :3] = [step / (64 * divisor) for step in (rows, columns, slices)]
            back = sum((size - 1) * step for size, step in zip(self.shape, (rows, columns, slices), strict=True))
            affine[axis, 3] = (self.centre_mm[axis] * 128 * divisor - back) / (128 * divisor)
        return affine

    def _rotation(self) -> tuple[list[list[int]], int]:
        """Return the matrix of the quaternion times a divisor: whole numbers."""
        w, x, y, z = self.turn
        matrix = [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
        return matrix, w * w + x * x + y * y + z * z


def scan(
    anatomy: Anatomy, grid: ScanGrid, stream: RawStream, growth_mm: int = 0
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return what a scanner shows of a patient, and the truth.

    Liver, spleen, kidneys and the wall of the trunk differ by less than the noise; a lesion is a little darker than
    the liver, and so are its vessels.

    Args:
        anatomy: The patient.
        grid: The grid.
        stream: Where HU of tissues, texture and noise come from.
        growth_mm: By how much the lesions have grown in radius.

    Returns:
        Voxels in HU, (row, column, slice) int16, and labels on the same grid, uint8.
    """
    tissue = anatomy.tissue(grid.places(), growth_mm)
    level = _draw_levels(stream)
    noise_hu = stream.integer(15, 23)
    rows, columns, slices = grid.shape
    voxels = np.empty(grid.shape, dtype=np.int16)
    for index in range(slices):
        found = tissue[:, :, index]
        is_soft = (found != Tissue.AIR) & (found != Tissue.GAS)
        hu_q4 = level[found] + np.where(is_soft, smooth_noise_q8(stream, found.shape, radius_px=2) * 5 >> 4, 0)
        hu_q4 = binomial_sum(np.pad(hu_q4, 1, mode="edge")) >> 4
        hu_q4 += smooth_noise_q8(stream, found.shape, radius_px=24, pitch_px=8) * 4 >> 4
        hu_q4 += binomial_sum(stream.bells(rows + 2, columns + 2)) * noise_hu * 16 // _BELL_SUM_SD
        voxels[:, :, index] = np.clip(hu_q4 >> 4, -1024, 3071)
    label_of = np.zeros(len(Tissue), dtype=np.uint8)
    for kind, label in _LABEL_OF_TISSUE.items():
        label_of[kind] = label
    return voxels, label_of[tissue]


def _draw_levels(stream: RawStream) -> Field:
    """Return the HU of each tissue times 16, which differ from scan to scan."""
    liver = stream.integer(50, 65)
    kidney = liver + (stream.integer(9, 15) if stream.is_one_in(2) else -stream.integer(9, 15))
    level = {
        Tissue.AIR: -1000,
        Tissue.FAT: stream.integer(-110, -90),
        Tissue.MUSCLE: liver + stream.integer(-10, 7),
        Tissue.LIVER: liver,
        Tissue.LIVER_VESSEL: liver - stream.integer(14, 22),
        Tissue.LESION: liver - stream.integer(34, 48),
        Tissue.RIGHT_KIDNEY: kidney,
        Tissue.RIGHT_SINUS: -stream.integer(20, 50),
        Tissue.LEFT_KIDNEY: kidney,
        Tissue.SPLEEN: liver + stream.integer(-9, 6),
        Tissue.STOMACH: stream.integer(15, 60),
        Tissue.GAS: -950,
        Tissue.BOWEL: stream.integer(20, 55),
        Tissue.GALLBLADDER: stream.integer(5, 20),
        Tissue.BLOOD: liver - stream.integer(8, 20),
        Tissue.BONE: stream.integer(350, 500),
        Tissue.MARROW: stream.integer(140, 220),
    }
    return np.array([level[tissue] * 16 for tissue in Tissue], dtype=np.int64)
