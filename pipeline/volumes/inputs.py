"""The volumes that a user points at: NIfTI files, and DICOM series wherever they lie below a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..counted import counted
from ..errors import ConfigError, ImageError, MissingFileError
from ..formats import (
    RASTER_SUFFIXES,
    DicomFolder,
    DicomSeries,
    ExpectedSeries,
    NiftiImage,
    SeriesListing,
    check_allowed,
    check_orientation,
    is_nifti_name,
    list_files,
    list_series,
    nifti_stem,
    read_dicom_series,
    read_nifti,
    scan_dicom,
    series_digest,
    series_name,
    volume_records,
)

_IMAGE_SUFFIXES = (*RASTER_SUFFIXES, ".zarr")
_USE_VOLUME_BUNDLE = "use a bundle for volumes, such as hippocampus_mr_segmentation"
_USE_IMAGE_BUNDLE = "use a bundle for images, such as em_membrane_segmentation"


@dataclass(frozen=True, eq=False)
class Volume:
    """What was read.

    Attributes:
        voxels: (i, j, k); (row, column, slice) of DICOM.
        affine: (4, 4) float64, from voxel index to RAS mm of the voxel's centre.
        source: The file or the series.
    """

    voxels: NDArray[Any] = field(repr=False)
    affine: NDArray[np.float64]
    source: NiftiImage | DicomSeries = field(repr=False)


@dataclass(frozen=True)
class NiftiInput:
    """A NIfTI file.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def name(self) -> str:
        """What its results are named by: the file's name without suffix."""
        return nifti_stem(self.path)

    @property
    def state(self) -> dict[str, Any]:
        """What a record says of the source that changes when it does."""
        with self.path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def read(self, progress: bool = False) -> Volume:
        """Read the file.

        Args:
            progress: Without effect: a file is read at once.

        Raises:
            ImageError: If it cannot be used, does not say where its axes point, or is no volume.
            MissingFileError: If it does not exist.
        """
        image = read_nifti(self.path)
        if image.voxels.ndim != 3:
            raise ImageError(
                f"image {self.path} has two axes; expected a volume of three; save slices as one volume, or "
                + _USE_IMAGE_BUNDLE
            )
        check_orientation(image)
        return Volume(image.voxels, image.affine, image)


@dataclass(frozen=True)
class SeriesInput:
    """A DICOM series.

    Attributes:
        folder: Folder in which its files lie, or the one file.
        uid: Series Instance UID; empty where its files have none.
        allow: Repairs that may be made.
        expected: What it must be.
        files: Its files, by which a series without a UID is told from others.
        localizers: Series of localizers in its folder that were left out where all series were asked for.
    """

    folder: Path
    uid: str
    allow: frozenset[str] = frozenset()
    expected: ExpectedSeries = field(default_factory=ExpectedSeries)
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    localizers: int = field(default=0, compare=False)

    @property
    def state(self) -> dict[str, Any]:
        """What a record says of the source that changes when slices come or go."""
        return {"files": len(self.files)}

    @property
    def passed_over(self) -> dict[str, int]:
        """How many series of its folder were left out, by what they are."""
        return {"localizer series": self.localizers} if self.localizers else {}

    @cached_property
    def digest(self) -> str:
        """What tells it from other series, and nobody who the patient is."""
        return series_digest(self.uid, self.files)

    @property
    def name(self) -> str:
        """What its results are named by: not its folder or files, which hospitals name by patients."""
        return series_name(self.digest)

    def read(self, progress: bool = False) -> Volume:
        """Read the series; errors are those of `read_dicom_series`.

        Args:
            progress: Show bars on standard error.
        """
        series = read_dicom_series(
            self.folder, self.uid, allow=self.allow, progress=progress, **self.expected._asdict()
        )
        return Volume(series.voxels, series.affine, series)


VolumeInput = NiftiInput | SeriesInput


@dataclass(frozen=True)
class SeriesChoice:
    """Which series of DICOM folders are meant, and how they are read.

    Attributes:
        uids: Those with these Series Instance UIDs.
        every: All series but those of localizers alone, which are counted.
        allow: Repairs that may be made, of `pipeline.formats.REPAIRS`.
    """

    uids: Collection[str] = ()
    every: bool = False
    allow: Collection[str] = ()


def find_volumes(
    paths: Sequence[str | Path], choice: SeriesChoice | None = None, *, progress: bool = False
) -> tuple[VolumeInput, ...]:
    """List the volumes among files and folders.

    A folder with NIfTI files directly in it gives these, in natural order. Any other folder is searched to its depths
    for DICOM, told by content. A file that is not named as NIfTI counts as DICOM. A volume named twice counts once.

    Args:
        paths: Files and folders, as the user names them.
        choice: Which series; by default the only one of each folder.
        progress: Show bars on standard error.

    Returns:
        At least one volume. NIfTI files are not opened.

    Raises:
        ConfigError: If only images such as PNG are there, NIfTI files and DICOM series lie in one folder, or the choice
            does not fit the inputs.
        MissingFileError: If a path does not exist.
        ImageError: If there is no volume, there are several series to choose from, or a file is one of several of its
            series in its folder.
    """
    choice = choice or SeriesChoice()
    found: dict[VolumeInput, None] = {}
    for path in map(Path, paths):
        for volume in _volumes(path, choice, progress):
            found.setdefault(volume)
    series = [volume for volume in found if isinstance(volume, SeriesInput)]
    if not series and (choice.uids or choice.every or choice.allow):
        raise ConfigError("--series, --all-series and --allow are for DICOM, and the inputs are NIfTI; leave them out")
    return tuple(found)


def input_of(record: Mapping[str, Any], allow: Collection[str] = ()) -> VolumeInput:
    """Return the volume of a record that `series_records` or `volume_records` gave.

    Args:
        record: The record.
        allow: Repairs of DICOM series that may be made.

    Raises:
        ConfigError: If `allow` names an unknown repair.
    """
    allowed = check_allowed(allow)
    if "uid" not in record:
        return NiftiInput(Path(record["source"]))
    return SeriesInput(Path(record["folder"]), record["uid"], allowed, files=tuple(map(Path, record["image"])))


def find_series(paths: Sequence[str | Path], *, progress: bool = False) -> tuple[SeriesListing, ...]:
    """List the DICOM series among files and folders, for a person to choose from.

    Args:
        paths: Files and folders, searched to their depths.
        progress: Show bars on standard error.

    Returns:
        At least one series, those of each path in the order of their UIDs. Only headers are read.

    Raises:
        MissingFileError: If a path does not exist.
        ImageError: If one holds no series, and what it holds instead.
    """
    listed: list[SeriesListing] = []
    for path in map(Path, paths):
        _check_exists(path)
        found = scan_dicom(path, progress=progress)
        if not found.series:
            _refuse_without_series(found)
        listed += found.series
    return tuple(listed)


def check_not_volumes(paths: Sequence[str | Path]) -> None:
    """Refuse inputs that are volumes, for a bundle that segments images.

    Raises:
        ConfigError: If there is a NIfTI file, a DICOM file, or a folder without images in which there are such.
    """
    for path in map(Path, paths):
        if _is_volume(path):
            raise ConfigError(
                f"input {path} is a volume (NIfTI or DICOM), and the bundle segments images such as PNG and TIFF; "
                + _USE_VOLUME_BUNDLE
            )


def _volumes(path: Path, choice: SeriesChoice, progress: bool) -> list[VolumeInput]:
    _check_exists(path)
    if is_nifti_name(path) and path.is_file():
        return [NiftiInput(path)]
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        raise ConfigError(
            f"input {path} is an image, and the bundle segments volumes (NIfTI and DICOM series); {_USE_IMAGE_BUNDLE}"
        )
    found = scan_dicom(path, progress=progress)
    nifti = _nifti_files(path)
    if nifti and found.series:
        raise ConfigError(
            f"folder {path} holds {counted(len(nifti), 'NIfTI file')} and {len(found.series)} DICOM series; name the "
            "NIfTI files, or put one kind into a folder of its own"
        )
    if nifti:
        return [NiftiInput(file) for file in nifti]
    if not found.series and not (found.empty or found.damaged) and _has_images(path):
        raise ConfigError(
            f"folder {path} holds images and no volume, and the bundle segments volumes (NIfTI and DICOM series); "
            + _USE_IMAGE_BUNDLE
        )
    if path.is_file():
        _check_alone(path, found, progress)
    files = {series.uid: series.paths for series in found.series}
    chosen = _chosen(found, choice)
    localizers = len(found.series) - len(chosen) if choice.every else 0
    return [SeriesInput(path, uid, frozenset(choice.allow), files=files[uid], localizers=localizers) for uid in chosen]


def _chosen(found: DicomFolder, choice: SeriesChoice) -> list[str]:
    uids = [series.uid for series in found.series]
    if not uids:
        _refuse_without_series(found, choice.allow)
    if choice.every:
        images = [series.uid for series in found.series if not series.is_localizer or "localizer" in choice.allow]
        return images or uids  # of which reading says that they are localizers
    listed = list_series(found.series)
    if not choice.uids and len(uids) > 1:
        raise ImageError(
            f"{found.path} holds {len(uids)} DICOM series; choose one with --series UID, or take all with "
            f"--all-series: {listed}"
        )
    unknown = next((uid for uid in choice.uids if uid not in uids), None)
    if unknown is not None:
        raise ImageError(f"{found.path} holds no series {unknown}; there are: {listed}")
    return list(choice.uids) or uids


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise MissingFileError(f"input {path} not found; check the path")


def _check_alone(path: Path, found: DicomFolder, progress: bool) -> None:
    """Refuse a slice that is named without the rest of its series: its mask would be taken for that of the series."""
    # What nobody may read cannot be meant; in folders such as /tmp there is much of it.
    beside = [one for one in path.parent.iterdir() if one.is_file() and os.access(one, os.R_OK)]
    own = {series.uid for series in found.series}
    for series in scan_dicom(beside, progress=progress).series:
        if series.uid in own and len(series.paths) > 1:
            raise ImageError(
                f"input {path} is one of {len(series.paths)} files of its series in {path.parent}, and a series is "
                "segmented as a whole; name the folder, or put a file that is to be segmented alone into one of its own"
            )


def _refuse_without_series(found: DicomFolder, allow: Collection[str] = ()) -> NoReturn:
    """Say what lies where no series does: NIfTI further down, damaged or empty files, others, or nothing."""
    folders = []
    if found.path.is_dir() and not (found.empty or found.damaged):
        folders = sorted({file.parent for file in list_files(found.path) if is_nifti_name(file)})
    if folders:
        others = len(folders) - 1
        more = f" and {counted(others, 'other folder')} below it" if others else ""
        raise ImageError(
            f"folder {found.path} holds no volume itself, but NIfTI files lie in {folders[0]}{more}; expected them "
            "directly in the folder that is named; name that one, or several"
        )
    read_dicom_series(found.path, allow=allow)
    raise ImageError(f"{found.path} holds no DICOM series; check the path")


def _is_volume(path: Path) -> bool:
    if path.is_dir():
        return not _has_images(path) and bool(_nifti_files(path) or scan_dicom(path).series)
    if not path.is_file() or path.suffix.lower() in _IMAGE_SUFFIXES:
        return False
    return is_nifti_name(path) or bool(scan_dicom(path).series)


def _nifti_files(folder: Path) -> list[Path]:
    if not folder.is_dir() or not any(is_nifti_name(entry) for entry in folder.iterdir()):
        return []
    return [Path(record["source"]) for record in volume_records(folder)]


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in _IMAGE_SUFFIXES for entry in folder.iterdir())
