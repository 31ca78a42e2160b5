"""From a folder of DICOM files to a volume: ours against MONAI's readers and against decoding alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from monai.data import ITKReader, PydicomReader

from pipeline.formats import DicomSeriesReader, MadeUpPatient, write_dicom_series

from .measure import Table, seconds_in_turns

CLAIM = (
    "A series of 200 CT slices of 512 by 512 loads at least twice as fast as with MONAI's PydicomReader, checks "
    "included, and in no more than 1.5 times what pydicom needs to decode the files one after another."
)
SHAPE = (512, 512, 200)


def run(rounds: int) -> Table:
    """Write a series to a temporary folder and load it in turns."""
    table = Table(CLAIM)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "series"
        hounsfield = np.random.default_rng(0).integers(-1024, 3072, SHAPE, dtype=np.int16)
        affine = np.diag([-0.7, -0.7, 2.0, 1.0])[:, [1, 0, 2, 3]]
        files = write_dicom_series(folder, hounsfield, affine, patient=MadeUpPatient(seed="benchmark"))
        candidates: dict[str, Callable[[], object]] = {
            "ours": partial(load, DicomSeriesReader(), folder),
            "MONAI PydicomReader": partial(load, PydicomReader(), folder),
            "MONAI ITKReader": partial(load, ITKReader(), folder),
            "pydicom, decoding alone": lambda: [pydicom.dcmread(file).pixel_array for file in files],
        }
        np.testing.assert_array_equal(load(DicomSeriesReader(), folder), hounsfield)
        table.add(seconds_in_turns(candidates, rounds))
    seconds = table.medians
    table.goal("times as fast as PydicomReader", seconds["MONAI PydicomReader"] / seconds["ours"], ">=", 2)
    table.goal("times as fast as ITKReader", seconds["MONAI ITKReader"] / seconds["ours"], ">=", 1)
    table.goal("cost over decoding alone", seconds["ours"] / seconds["pydicom, decoding alone"], "<=", 1.5)
    return table


def load(reader: DicomSeriesReader | PydicomReader | ITKReader, folder: Path) -> np.ndarray:
    """Return the voxels, as `LoadImage` gets them."""
    return reader.get_data(reader.read(str(folder)))[0]
