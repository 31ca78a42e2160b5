"""A CT series that tests break: changes to its files, and what holds for every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from pipeline.errors import PipelineError
from pipeline.formats import read_dicom_series

AXIAL = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2, -100], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 9, 6), dtype=np.int16)
PLANTED = ("Planted^Name", "PlantedId", "19010203", "Planted Hospital")

Change = Callable[[pydicom.FileDataset], Any]


def edit(path: Path, change: Change) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def put(**values: Any) -> Change:
    return lambda dataset: dataset.update(values)


def drop(*names: str) -> Change:
    def change(dataset: pydicom.FileDataset) -> None:
        for name in names:
            del dataset[name]

    return change


def moved(*, x: float = 0, y: float = 0, z: float = 0) -> Change:
    def change(dataset: pydicom.FileDataset) -> None:
        dataset.ImagePositionPatient = np.add(np.asarray(dataset.ImagePositionPatient, float), [x, y, z]).tolist()

    return change


def smaller(dataset: pydicom.FileDataset) -> None:
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:-1]).tobytes()
    dataset.Rows -= 1


def cut_pixels(dataset: pydicom.FileDataset) -> None:
    dataset.PixelData = dataset.PixelData[:-20]


def coloured(dataset: pydicom.FileDataset) -> None:
    dataset.PixelData = np.repeat((dataset.pixel_array % 256).astype(np.uint8)[..., None], 3, -1).tobytes() + b"\0"
    dataset.update({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0})
    dataset.update({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7})


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, **arguments: Any) -> str:
    """Return the message of the refusal, after what holds for all of them."""
    before = snapshot(folder) if folder.is_dir() else {}
    with pytest.raises(PipelineError) as caught:
        read_dicom_series(folder, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"DICOM series in {folder}: ")
    assert not any(secret in message for secret in (*PLANTED, *map(str.lower, PLANTED)))
    assert (snapshot(folder) if folder.is_dir() else {}) == before
    return message.removeprefix(f"DICOM series in {folder}: ")
