"""Reading a DICOM series as one volume, or refusing what cannot be placed without a guess."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..counted import agreed, counted
from ..errors import ImageError
from .dicom_checks import check_frames, files_of
from .dicom_decoders import add_decoders
from .dicom_expected import check_modality, check_units
from .dicom_files import DicomFolder, PathLike, in_parallel, list_series, name_files, plain_uid, scan_dicom
from .dicom_frames import WHOLE_RESCALES, Frame, KnownFacts, SourceFrame, UnreadableHeaderError, frames_of
from .dicom_pixels import PixelSource, modality_values, pixel_source, stored_values, value_dtype
from .dicom_stack import Stack, check_allowed, stack_frames
from .quiet_dicom import quiet_dicom

_PHYSICAL_MODALITIES = ("CT", "PT")
_ARBITRARY_UNITS = (None, "US", "UNSPECIFIED")


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A series as one volume.

    Attributes:
        voxels: (row, column, slice) in modality units. Slices ascend along the normal (first direction of Image
            Orientation cross the second): towards the head for axial images. In memory each slice is contiguous.
            Stored integers without rescaling keep their dtype; whole slopes and intercepts give int16, or the next
            larger that holds all; else float32.
        affine: (4, 4) float64, from (row, column, slice) to RAS mm of the voxel's centre.
        headers: Headers without pixels in slice order: one a file, so one a slice for classic images.
        series_uid: Series Instance UID.
        repairs: What was repaired, each beginning with the name of the repair. MONOCHROME1 that was inverted is
            said here too, though nobody need allow it.
        frames: (slice,) where each slice came from; None for slices that the repair 'gap' made.
        units: Rescale Type, such as HU; None where the headers name none.
        skipped: How many files in the folder are something else, by what they are.
    """

    voxels: NDArray[Any] = field(repr=False)
    affine: NDArray[np.float64]
    headers: tuple[Dataset, ...] = field(repr=False)
    series_uid: str
    repairs: tuple[str, ...]
    frames: tuple[SourceFrame | None, ...] = field(repr=False)
    units: str | None
    skipped: Mapping[str, int]


def read_dicom_series(
    folder: PathLike | Sequence[PathLike],
    series_uid: str | None = None,
    *,
    allow: Collection[str] = (),
    modality: str | None = None,
    units: str | None = None,
    progress: bool = False,
) -> DicomSeries:
    """Read the one image series in a folder, or the one that is named.

    Classic images and enhanced multi-frame, uncompressed or as RLE, JPEG, JPEG-LS and JPEG 2000. Slices are ordered by
    position along the normal; numbers and names of files mean nothing. Values are `stored * slope + intercept` of each
    slice (PS3.3 C.11.1).

    MONOCHROME1 says that low values are shown white (PS3.3 C.7.6.3.1.2). In arbitrary units it is made MONOCHROME2 by
    swapping low for high among all values that Bits Stored can hold, before rescaling, as ITK does. Where the units are
    physical (CT, PET, or a Rescale Type) that would turn air into bone, so that such series are refused unless `allow`
    names what is true of them: 'monochrome1-keep' or 'monochrome1-invert'.

    Args:
        folder: A folder, searched with all folders in it, one file, or a list of files. They are told by content, not
            by name.
        series_uid: Series Instance UID, needed where there are several image series.
        allow: Names in `pipeline.formats.REPAIRS`: what is named and occurs is repaired, and said in `repairs`.
        modality: Modality that the series must have, such as CT; None where any will do.
        units: Units that its values must be in, such as HU; None likewise.
        progress: Show bars on standard error.

    Returns:
        The volume.

    Raises:
        MissingFileError: If there is no such folder.
        ConfigError: If `allow` names an unknown repair.
        ImageError: If there is no image, no series or several to choose from; if files are empty or damaged; or slices
            are missing, doubled, displaced or tilted, of acquisitions that take turns, have no position, differ in
            size, spacing, orientation, frame of reference, patient, modality, units or the way to them, hold colour, or
            more or fewer pixels than their headers say; if CT or PET has no rescale; or if the series is of another
            modality or in other units than it must be. The message names the files.
    """
    allowed = check_allowed(allow)
    add_decoders()
    with quiet_dicom():
        found = scan_dicom(folder, series_uid, progress=progress)
        with _of_folder(found.path):
            repairs = _check_files(found, series_uid, allowed)
            frames = _frames(found, allowed, repairs)
            check_frames(frames)
            check_modality(frames, modality, allowed, repairs)
            _check_rescale(frames, allowed, repairs)
            check_units(frames, units, allowed, repairs)
            invert = _is_inverted(frames, allowed, repairs)
            dtype = value_dtype(frames)
            stack = stack_frames(frames, allowed, partial(_values, dtype=dtype, invert=invert))
            voxels = _volume(stack, dtype, invert, progress)
    sources: list[SourceFrame | None] = [None] * stack.slices
    for place, frame in zip(stack.places, stack.frames, strict=True):
        sources[place] = frame.source
    files = dict.fromkeys(frame.file for frame in stack.frames)
    return DicomSeries(
        voxels=voxels,
        affine=stack.affine,
        headers=tuple(file.header for file in files),
        series_uid=next((listing.uid for listing in found.series if stack.frames[0].file.path in listing.paths), ""),
        repairs=(*repairs, *stack.repairs),
        frames=tuple(sources),
        units=stack.frames[0].facts.units,
        skipped=found.skipped,
    )


@contextmanager
def _of_folder(folder: Path) -> Iterator[None]:
    """Say of which folder an error speaks."""
    try:
        yield
    except ImageError as error:
        # Damaged values that a message quotes may hold line ends.
        raise ImageError(f"DICOM series in {folder}: {' '.join(str(error).split())}") from error


def _check_files(found: DicomFolder, series_uid: str | None, allowed: Collection[str]) -> list[str]:
    """Refuse a folder from which no single, whole series can be taken; return repairs."""
    repairs = []
    if found.damaged:
        raise ImageError(
            f"{name_files(found.damaged, found.path)} "
            + agreed(
                len(found.damaged),
                "is named or begins as DICOM files do and cannot be read, or is a link that leads nowhere; it may be a "
                "slice cut short or lost; copy it again, or move it elsewhere",
                "are named or begin as DICOM files do and cannot be read, or are links that lead nowhere; they may be "
                "slices cut short or lost; copy them again, or move them elsewhere",
            )
        )
    if found.empty:
        named = name_files(found.empty, found.path)
        if "empty-file" not in allowed:
            raise ImageError(
                f"{named} "
                + agreed(
                    len(found.empty),
                    "is empty (0 bytes) and may be a slice; copy it again, or allow the repair 'empty-file' to leave "
                    "it out",
                    "are empty (0 bytes) and may be slices; copy them again, or allow the repair 'empty-file' to leave "
                    "them out",
                )
            )
        repairs.append(f"empty-file: {counted(len(found.empty), 'file')} of 0 bytes left out: {named}")
    if not found.series:
        others = ", ".join(f"{count} {kind}" for kind, count in found.skipped.items()) or "nothing"
        raise ImageError(f"no DICOM images found ({others}); expected the files of an image series; check the folder")
    if series_uid is None and len(found.series) > 1:
        raise ImageError(
            f"{len(found.series)} image series found; name one (--series UID; in Python: series_uid=): "
            + list_series(found.series)
        )
    if not found.files:
        raise ImageError(f"no image of series {plain_uid(series_uid)} found; there are: " + list_series(found.series))
    return repairs


def _frames(found: DicomFolder, allowed: Collection[str], repairs: list[str]) -> list[Frame]:
    """Describe all frames, without localizers where these may be left out."""
    frames: list[Frame] = []
    known: KnownFacts = {}
    for file in found.files:
        try:
            frames += frames_of(file, known)
        except UnreadableHeaderError as error:
            raise ImageError(
                f"{file.name} has values in its header that are not what their attributes hold (a number, a position, "
                "a functional group for each frame); export the series again"
            ) from error
    localizers = [frame for frame in frames if frame.facts.is_localizer]
    if localizers and len(localizers) == len(frames):
        if "localizer" not in allowed:
            raise ImageError(
                f"{files_of(localizers)} {agreed(len(localizers), 'is a localizer', 'are localizers')}, and there is "
                "nothing else in the series; choose another series, or allow the repair 'localizer' to take it all the "
                "same"
            )
        repairs.append(f"localizer: a series of localizers alone taken: {files_of(localizers)}")
    elif localizers and "localizer" in allowed:
        repairs.append(f"localizer: {counted(len(localizers), 'localizer')} left out: {files_of(localizers)}")
        frames = [frame for frame in frames if not frame.facts.is_localizer]
    return frames


def _check_rescale(frames: Sequence[Frame], allowed: Collection[str], repairs: list[str]) -> None:
    """Refuse CT and PET that do not say how to come to their units; all frames have the same of it."""
    first = frames[0].facts
    if first.modality not in _PHYSICAL_MODALITIES or first.rescale in WHOLE_RESCALES:
        return
    if "rescale" not in allowed:
        raise ImageError(
            f"{files_of(frames)} {agreed(len(frames), 'is', 'are')} {first.modality} without Rescale Slope and Rescale "
            "Intercept; without both nobody knows their units; export the series again, or allow the repair 'rescale' "
            "to take 1 and 0 for what is missing"
        )
    repairs.append("rescale: 1 and 0 taken for the slope and the intercept that are missing; no units are known")


def _is_inverted(frames: Sequence[Frame], allowed: Collection[str], repairs: list[str]) -> bool:
    """Decide whether stored values are swapped to make MONOCHROME2 of MONOCHROME1."""
    first = frames[0]
    if first.pixels.photometric != "MONOCHROME1":
        return False
    is_physical = first.facts.modality in _PHYSICAL_MODALITIES or first.facts.units not in _ARBITRARY_UNITS
    if not is_physical or "monochrome1-invert" in allowed:
        name = "monochrome1-invert" if is_physical else "monochrome1"
        repairs.append(f"{name}: stored values inverted within Bits Stored, MONOCHROME2 now")
        return True
    if "monochrome1-keep" not in allowed:
        raise ImageError(
            f"{files_of(frames)} {agreed(len(frames), 'is', 'are')} MONOCHROME1 in physical units "
            f"({first.facts.units or first.facts.modality}); the standard inverts only how they are shown, some makers "
            "the values; look whether air is dark, then allow the repair 'monochrome1-keep' (values are right) or "
            "'monochrome1-invert' (values are inverted)"
        )
    repairs.append("monochrome1-keep: values kept, MONOCHROME1 taken as a matter of display")
    return False


def _values(frame: Frame, dtype: np.dtype[Any], invert: bool) -> NDArray[Any]:
    """Return one frame in modality units."""
    stored = stored_values(pixel_source(frame), frame.index)
    values = np.empty(stored.shape, dtype)
    modality_values(frame, stored, values, invert=invert)
    return values


def _volume(stack: Stack, dtype: np.dtype[Any], invert: bool, progress: bool) -> NDArray[Any]:
    """Decode all frames into one array, several at once, and fill what is missing between them."""
    pixels = stack.frames[0].pixels
    # The pixels of a multi-frame file are read once; those of classic files by the threads that decode them.
    shared: dict[Path, PixelSource] = {}
    for frame in stack.frames:
        if frame.source.frame_number is not None and frame.file.path not in shared:
            shared[frame.file.path] = pixel_source(frame)
    # Of a damaged header the size may be anything: it must be that of a frame before room for all is taken.
    first = stack.frames[0]
    stored = stored_values(shared.get(first.file.path) or pixel_source(first), first.index)
    shape = (stack.slices, pixels.rows, pixels.columns)
    try:
        slices = np.empty(shape, dtype)
    except MemoryError as error:
        raise ImageError(
            f"{counted(stack.slices, 'slice')} of {pixels.rows} × {pixels.columns} px "
            f"{agreed(stack.slices, 'does', 'do')} not fit into memory; expected room for "
            f"{math.prod(shape) * dtype.itemsize / 2**30:.1f} GiB; free memory, or read them on a larger machine"
        ) from error
    modality_values(first, stored, slices[0], invert=invert)

    def decode(item: tuple[int, Frame]) -> None:
        place, frame = item
        source = shared.get(frame.file.path) or pixel_source(frame)
        modality_values(frame, stored_values(source, frame.index), slices[place], invert=invert)

    items = [(int(place), frame) for place, frame in zip(stack.places, stack.frames, strict=True)]
    for _ in in_parallel(decode, items[1:], "slices", progress):
        pass
    _fill_gaps(slices, stack.places)
    return np.moveaxis(slices, 0, -1)


def _fill_gaps(slices: NDArray[Any], places: NDArray[np.int64]) -> None:
    """Interpolate missing slices linearly between their neighbours; integers are rounded to the nearest."""
    for below, above in itertools.pairwise(places):
        for missing in range(below + 1, above):
            weight = (missing - below) / (above - below)
            values = (1 - weight) * slices[below].astype(np.float64) + weight * slices[above]
            slices[missing] = values if slices.dtype.kind == "f" else np.rint(values)
