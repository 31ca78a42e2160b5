"""Which series `phantom_ct` has: patients, their studies and series, and how each was scanned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .phantom_ct_scan import ScanGrid

_UPRIGHT: Final = (1, 0, 0, 0)
_STRETCHER_LEFT: Final = (14, 1, -1, 1)  # 14 degrees away from the patient's axes
_STRETCHER_RIGHT: Final = (16, -1, 1, 1)  # 12 degrees


@dataclass(frozen=True)
class PhantomSeries:
    """One series of the phantom.

    Attributes:
        patient: Number of the patient, from 1.
        study: Number of the study of this patient, from 1.
        series: Number of the series in this study, from 1.
        lesions: How many lesions the patient has.
        grid: Where its voxels lie.
        growth_mm: By how much the lesions have grown in radius since the first study.
        describes_lesion: Whether the label describes the segment of the lesion. Where the patient has none, it is then
            a segment without a voxel.
        is_shuffled: Whether files have no suffix, and neither their names nor Instance Number tell the order of slices.
            In the others only the names do not tell it.
    """

    patient: int
    study: int
    series: int
    lesions: int
    grid: ScanGrid
    growth_mm: int = 0
    describes_lesion: bool = True
    is_shuffled: bool = False

    @property
    def patient_id(self) -> str:
        """Patient ID, such as PHANTOM-001."""
        return f"PHANTOM-{self.patient:03d}"

    @property
    def case(self) -> str:
        """Id of the case in the manifest, such as p001-s1-1."""
        return f"p{self.patient:03d}-s{self.study}-{self.series}"

    @property
    def image(self) -> str:
        """Folder of the series, relative to that of the data set."""
        return f"{self.patient_id}/study-{self.study}/series-{self.series}"

    @property
    def label(self) -> str:
        """The DICOM SEG, relative to the folder of the data set."""
        return f"{self.patient_id}/study-{self.study}/seg-{self.series}.dcm"


def _grid(
    shape: tuple[int, int, int],
    pixel_q6: int,
    slice_q6: int,
    centre_mm: tuple[int, int, int],
    turn: tuple[int, int, int, int] = _UPRIGHT,
) -> ScanGrid:
    return ScanGrid(shape, pixel_q6, slice_q6, turn, centre_mm)


# Pixels of 2.5 to 3.1 mm, slices of 1.5 to 3 mm. The first 10 series are for training, then 4 each for validation and
# test; patients 2, 5, 9 and 13 have two each.
PHANTOM_CT_SERIES: Final = (
    PhantomSeries(1, 1, 1, 3, _grid((96, 112, 24), 186, 192, (0, 0, 0))),
    PhantomSeries(2, 1, 1, 2, _grid((96, 120, 22), 176, 192, (4, -3, 5)), is_shuffled=True),
    PhantomSeries(2, 2, 1, 2, _grid((104, 104, 28), 200, 160, (-9, 6, -2)), growth_mm=4),
    PhantomSeries(3, 1, 1, 0, _grid((112, 128, 20), 160, 192, (0, 5, 2)), describes_lesion=False),
    PhantomSeries(4, 1, 1, 4, _grid((96, 112, 32), 188, 128, (-5, 0, 0))),
    PhantomSeries(5, 1, 1, 2, _grid((96, 128, 22), 168, 192, (3, 2, -4))),
    PhantomSeries(5, 1, 2, 2, _grid((96, 128, 32), 168, 96, (3, 2, 0))),
    PhantomSeries(6, 1, 1, 0, _grid((100, 116, 24), 180, 192, (8, -4, 0))),
    PhantomSeries(7, 1, 1, 3, _grid((104, 120, 24), 180, 192, (0, 0, 3), _STRETCHER_LEFT)),
    PhantomSeries(8, 1, 1, 2, _grid((96, 108, 26), 192, 176, (-4, 4, 4)), is_shuffled=True),
    PhantomSeries(9, 1, 1, 3, _grid((96, 112, 24), 188, 192, (2, 2, 0))),
    PhantomSeries(9, 2, 1, 3, _grid((104, 128, 30), 166, 128, (-6, -2, 3)), growth_mm=4, is_shuffled=True),
    PhantomSeries(10, 1, 1, 2, _grid((104, 124, 26), 176, 176, (5, 0, -3), _STRETCHER_RIGHT)),
    PhantomSeries(11, 1, 1, 0, _grid((96, 112, 22), 190, 192, (0, -5, 0))),
    PhantomSeries(12, 1, 1, 2, _grid((96, 116, 24), 182, 192, (-3, 3, 2))),
    PhantomSeries(13, 1, 1, 3, _grid((100, 112, 22), 190, 192, (6, 0, 0))),
    PhantomSeries(13, 1, 2, 3, _grid((100, 112, 32), 190, 128, (6, 0, -2)), is_shuffled=True),
    PhantomSeries(14, 1, 1, 0, _grid((108, 124, 20), 170, 192, (0, 6, 4)), describes_lesion=False),
)
