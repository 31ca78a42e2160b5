"""What tests of DICOM SEG write: segments, label maps, what made them, and changes to an object that was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.formats import (
    AlgorithmIdentification,
    SegmentDescription,
    SnomedCode,
)

from .generated_series import ORIENTATIONS, Geometry

BODY = SnomedCode("123037004", "Body structure")
SEGMENTS = (
    SegmentDescription(1, "Liver", BODY, SnomedCode("10200004", "Liver"), color_rgb=(220, 60, 20)),
    SegmentDescription(2, "Left kidney", BODY, SnomedCode("64033007", "Kidney"), laterality="left"),
    SegmentDescription(3, "Spleen", BODY, SnomedCode("78961009", "Spleen")),
)
DIGEST = "0123456789abcdef" * 4
ALGORITHM = AlgorithmIdentification("phantom_ct_segmentation", "0.1.2", DIGEST)


def label_map(shape: Sequence[int], seed: int, values: Sequence[int] = (0, 1, 2, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size=shape)


AXIAL = Geometry((8, 9, 3), ORIENTATIONS["axial"])
GRID = AXIAL.shape


def change_file(path: Path, change: Callable[[Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
