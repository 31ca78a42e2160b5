"""Readers of DICOM SEG that share nothing with the package: dcmqi, its NRRD files, and frames by hand."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from pipeline.formats import (
    DicomSeries,
)


def read_nrrd(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the voxels (x, y, z) of an NRRD file and the affine to LPS, by nothing but its text header."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line and line[0] != "#")
    assert fields["space"] == "left-posterior-superior"
    assert fields.get("endian", "little") == "little"
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    dtype = {"short": "<i2", "unsigned char": "u1", "unsigned short": "<u2"}[fields["type"]]
    voxels = np.frombuffer(raw, dtype).reshape([int(size) for size in fields["sizes"].split()], order="F")
    affine = np.eye(4)
    for axis, text in enumerate(fields["space directions"].split(") (")):
        affine[:3, axis] = [float(part) for part in text.strip("()").split(",")]
    affine[:3, 3] = [float(part) for part in fields["space origin"].strip("()").split(",")]
    return voxels, affine


def on_grid(volume: NDArray[Any], lps: NDArray[np.float64], source: DicomSeries) -> NDArray[Any]:
    """Place each voxel of a volume on the grid of the source; all must meet a voxel there, and none another's."""
    index = np.indices(volume.shape).reshape(3, -1)
    ras = np.diag([-1.0, -1.0, 1.0]) @ (lps[:3, :3] @ index + lps[:3, 3:])
    inverse = np.linalg.inv(source.affine)
    found = inverse[:3, :3] @ ras + inverse[:3, 3:]
    assert np.abs(found - found.round()).max() < 1e-3
    target = np.ravel_multi_index(tuple(found.round().astype(int)), source.voxels.shape)  # raises outside the grid
    assert np.unique(target).size == volume.size
    placed = np.zeros(source.voxels.size, volume.dtype)
    placed[target] = volume.ravel()
    return placed.reshape(source.voxels.shape)


def read_by_dcmqi(path: Path, source: DicomSeries, segments: int) -> NDArray[np.bool_]:
    """Return the masks (segment, row, column, slice) as dcmqi, which is built on DCMTK and ITK, reads them."""
    program = Path(sys.executable).with_name("segimage2itkimage")
    folder = path.with_suffix(".dcmqi")
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    described = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    masks = np.zeros((segments, *source.voxels.shape), bool)
    for number, group in enumerate(described, 1):
        volume, affine = read_nrrd(folder / f"{number}.nrrd")
        placed = on_grid(volume, affine, source)
        labels = [segment["labelID"] for segment in group]
        assert set(np.unique(placed)) <= {0, *labels}
        for label in labels:
            masks[label - 1] |= placed == label
    return masks


def read_by_hand(path: Path, source: DicomSeries, segments: int) -> NDArray[Any]:
    """Return stored values (segment, row, column, slice), each frame at the slice of the image that it refers to."""
    dataset = pydicom.dcmread(path)
    count, rows, columns = dataset.NumberOfFrames, dataset.Rows, dataset.Columns
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if dataset.BitsAllocated == 1:
        stored = np.unpackbits(stored, bitorder="little")
    stored = stored[: count * rows * columns].reshape(count, rows, columns)
    slices = {(uid, frame): index for index, (_, uid, frame) in enumerate(source.frames)}
    masks = np.zeros((segments, *source.voxels.shape), np.uint8)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for pixels, groups in zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        index = slices[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        masks[identified[0].ReferencedSegmentNumber - 1, :, :, index] = pixels
    return masks
