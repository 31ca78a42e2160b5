"""CT of the abdomens of made-up patients, as a hospital exports it: DICOM series and DICOM SEG labels, generated.

Fourteen patients in eighteen series. Liver and right kidney touch and overlap in HU with each other, the spleen, the
left kidney and the wall of the trunk, so that no threshold separates them; lesions of the liver are missing in some
patients. What is drawn comes from integer arithmetic, so a seed gives the same voxels on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..errors import ConfigError
from ..formats import lps_to_ras
from .integer_fields import RawStream
from .phantom_ct_anatomy import draw_anatomy
from .phantom_ct_files import write_phantom_series
from .phantom_ct_plan import PHANTOM_CT_SERIES, PhantomSeries
from .phantom_ct_scan import scan


@dataclass(frozen=True, eq=False)
class PhantomScan:
    """One series and its truth.

    Attributes:
        voxels: (row, column, slice) int16, HU.
        labels: On the same grid, uint8: 0 background, 1 liver, 2 right kidney, 3 liver lesion.
        affine: (4, 4) float64, from voxel index to RAS mm of the voxel's centre.
    """

    voxels: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]


def generate_phantom_ct(folder: str | Path, seed: int = 2015, progress: bool = False) -> None:
    """Write the data set `phantom_ct`: of each series a folder of slices, and a DICOM SEG beside it.

    A series lies in `PHANTOM-001/study-1/series-1/`, its label in `PHANTOM-001/study-1/seg-1.dcm`, and so on. UIDs
    follow from the seed and dates are fixed; the same seed gives the same bytes. Those of a label also depend on the
    version of highdicom, which decides what a DICOM SEG says about itself, so the manifest has no digests of labels.

    Every series and every label is there whole or not at all, and what holds the right bytes already is left alone; so
    processes may run this side by side, and a run that was cut off can be run again.

    Args:
        folder: Where to write; made if it is not there.
        seed: Seed of the whole set, at least 0. The manifest `phantom_ct.json` is about 2015.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: If the seed is negative.
        OutputError: If a file cannot be written, or something else is in its place.
    """
    for series in tqdm(PHANTOM_CT_SERIES, desc="phantom_ct", unit="series", disable=not progress):
        made = phantom_ct_scan(series, seed)
        order = RawStream(seed, _stream_of(series) + 1)
        write_phantom_series(Path(folder), series, made.voxels, made.labels, seed, order)


def phantom_ct_scan(series: PhantomSeries, seed: int = 2015) -> PhantomScan:
    """Return one series, which depends on its place in the plan and the seed alone.

    Series of one patient show the same anatomy, scanned anew.

    Args:
        series: One of `PHANTOM_CT_SERIES`.
        seed: Seed of the whole set, at least 0.

    Raises:
        ConfigError: If the seed is negative.

    Examples:
        >>> phantom_ct_scan(PHANTOM_CT_SERIES[0]).voxels.shape
        (96, 112, 24)
    """
    if seed < 0:
        raise ConfigError(f"seed {seed} of phantom_ct is negative: a seed must be at least 0; try 2015")
    anatomy = draw_anatomy(RawStream(seed, 1000 * series.patient), series.lesions)
    voxels, labels = scan(anatomy, series.grid, RawStream(seed, _stream_of(series)), series.growth_mm)
    return PhantomScan(voxels, labels, lps_to_ras(series.grid.affine_lps()))


def _stream_of(series: PhantomSeries) -> int:
    return 1000 * series.patient + 100 * series.study + 10 * series.series
