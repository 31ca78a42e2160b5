"""Putting the frames of a series in order, and refusing, or repairing where asked, what is no even stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..counted import agreed, counted
from ..errors import ConfigError, ImageError
from . import dicom_geometry as geometry
from .dicom_checks import check_instances, files_of
from .dicom_frames import ACQUISITION_ATTRIBUTES, Frame

Repair = Literal[
    "duplicate",
    "empty-file",
    "gap",
    "interleaved",
    "localizer",
    "modality",
    "monochrome1-invert",
    "monochrome1-keep",
    "rescale",
    "slice-spacing",
    "tilt",
    "units",
]
REPAIRS: Final[dict[str, str]] = {
    "duplicate": "drop slices at the place of another one whose values are all equal",
    "empty-file": "leave out files of 0 bytes",
    "gap": "fill missing slices by linear interpolation between their neighbours",
    "interleaved": "keep slices of several acquisitions that take turns along the normal",
    "localizer": "leave out images that call themselves LOCALIZER in Image Type",
    "modality": "take a series of another modality than the bundle was made for",
    "monochrome1-invert": "MONOCHROME1 in physical units: invert the stored values, as some makers did",
    "monochrome1-keep": "MONOCHROME1 in physical units: keep the values, as the standard has it",
    "rescale": "CT and PET without rescale: 1 and 0 for the slope and the intercept that are missing, and no units",
    "slice-spacing": "take 1 mm for a single slice whose header gives no thickness",
    "tilt": "keep the pixels of a tilted gantry and say the shear in the affine",
    "units": "take values in other or unknown units for those that the bundle was made for",
}
"""What `allow` may name, and what each does."""


_NAMING_FILES: Final = ("duplicate", "empty-file", "localizer", "slice-spacing")


def without_file_names(repair: str) -> str:
    """Return what a `DicomSeries` says of a repair without names of files, which may be those of patients.

    Examples:
        >>> without_file_names("duplicate: 1 slice equal to another at its position left out: DOE^JANE/1: a, 2")
        'duplicate: 1 slice equal to another at its position left out'
    """
    name, what, *_ = repair.split(": ", 2)
    return f"{name}: {what}" if name in _NAMING_FILES else repair


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames on an even grid.

    Attributes:
        frames: In the order along the normal, ascending.
        places: (frame,) index of the slice of each frame; there are more slices than frames where gaps are filled.
        affine: (4, 4) float64, from (row, column, slice) to RAS mm.
        repairs: What was repaired.
    """

    frames: tuple[Frame, ...]
    places: NDArray[np.int64]
    affine: NDArray[np.float64]
    repairs: tuple[str, ...]

    @property
    def slices(self) -> int:
        """Number of slices of the volume."""
        return int(self.places[-1]) + 1


def check_allowed(allow: Collection[str]) -> frozenset[str]:
    """Refuse a repair that does not exist.

    Raises:
        ConfigError: If `allow` names one.
    """
    names = (allow,) if isinstance(allow, str) else allow
    for name in names:
        if name not in REPAIRS:
            raise ConfigError(f"no repair is named {name!r}; there are {', '.join(REPAIRS)}")
    if {"monochrome1-invert", "monochrome1-keep"} <= set(names):
        raise ConfigError("the repairs monochrome1-invert and monochrome1-keep exclude each other; name one")
    return frozenset(names)


def stack_frames(
    frames: Sequence[Frame], allowed: Collection[str], values_of: Callable[[Frame], NDArray[Any]]
) -> Stack:
    """Order frames along their normal and check that they lie on one even grid.

    Args:
        frames: All with the same orientation and spacing, and with a position.
        allowed: Names of `REPAIRS`.
        values_of: Gives the values of a frame; asked only where two frames lie at one place.

    Returns:
        The stack.

    Raises:
        ImageError: If slices are doubled, missing, uneven or displaced, the gantry was tilted, or a single slice has no
            spacing, and the repair is not allowed or not possible.
    """
    orientation = frames[0].facts.orientation or ()
    ordered = sorted(frames, key=lambda frame: float(geometry.along_normal(orientation, frame.position or ())))
    orientation = ordered[0].facts.orientation or ()
    repairs: list[str] = []
    ordered = _without_duplicates(ordered, allowed, values_of, repairs)
    check_instances(ordered)
    _check_turns(ordered, allowed, repairs)
    if len(ordered) == 1:
        step = geometry.slice_normal(orientation) * _single_spacing_mm(ordered[0], allowed, repairs)
        places = np.zeros(1, np.int64)
    else:
        positions = np.asarray([frame.position for frame in ordered])
        heights = geometry.along_normal(orientation, positions)
        places = _places(ordered, heights, allowed, repairs)
        _check_sideways(ordered, positions, float(heights[-1] - heights[0]) / int(places[-1]))
        _check_tilt(ordered, positions, allowed, repairs)
        step = (positions[-1] - positions[0]) / places[-1]
    first = ordered[0]
    affine = geometry.series_affine(orientation, first.facts.pixel_spacing_mm or (), first.position or (), step)
    return Stack(tuple(ordered), places, affine, tuple(repairs))


def _without_duplicates(
    frames: list[Frame],
    allowed: Collection[str],
    values_of: Callable[[Frame], NDArray[Any]],
    repairs: list[str],
) -> list[Frame]:
    """Drop frames that repeat another one, or refuse them."""
    positions = np.asarray([frame.position for frame in frames])
    heights = geometry.along_normal(frames[0].facts.orientation or (), positions)
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) >= geometry.SAME_PLACE_MM)
    groups = [frames[start:end] for start, end in zip(starts, [*starts[1:], len(frames)], strict=True)]
    doubled = [group for group in groups if len(group) > 1]
    if not doubled:
        return frames
    extra = sum(len(group) - 1 for group in doubled)
    named = files_of([frame for group in doubled for frame in group])
    if "duplicate" not in allowed:
        raise ImageError(
            f"{extra + len(doubled)} slices share {counted(len(doubled), 'position')}: {named}; expected one slice a "
            f"position; {_what_differs(doubled[0])}, or allow the repair 'duplicate' if they are copies"
        )
    for group in doubled:
        first = values_of(group[0])
        for other in group[1:]:
            if other.position != group[0].position or not np.array_equal(first, values_of(other)):
                raise ImageError(
                    f"slices at one position differ: {files_of([group[0], other])}; the repair 'duplicate' drops only "
                    f"equal ones; {_what_differs(group)}"
                )
    repairs.append(
        f"duplicate: {counted(extra, 'slice')} equal to another at {agreed(extra, 'its', 'their')} position left out: "
        f"{named}"
    )
    return [group[0] for group in groups]


def _check_turns(frames: Sequence[Frame], allowed: Collection[str], repairs: list[str]) -> None:
    """Refuse acquisitions that take turns along the normal: echoes or time points, half a slice apart, say."""
    for name, values in _differences(frames).items():
        blocks = 1 + sum(value != following for value, following in itertools.pairwise(values))
        if blocks == len(set(values)):
            continue  # one acquisition ends where the next one begins, or each slice has a value of its own
        if "interleaved" not in allowed:
            few = [next(frame for frame, its in zip(frames, values, strict=True) if its == one) for one in set(values)]
            raise ImageError(
                f"slices of {len(set(values))} values of {name} take turns along the normal, such as {files_of(few)}; "
                f"expected one acquisition; {_way_out(frames, [name])}, or allow the repair 'interleaved' if they are "
                "one image"
            )
        repairs.append(f"interleaved: slices kept that take turns in {name}")


def _differences(frames: Sequence[Frame]) -> dict[str, list[str]]:
    """Return the attributes by which acquisitions can be told apart, with the value of each frame."""
    values = zip(*(frame.facts.acquisition for frame in frames), strict=True)
    named = zip(ACQUISITION_ATTRIBUTES, map(list, values), strict=True)
    return {name: found for name, found in named if len(set(found)) > 1}


def _way_out(frames: Sequence[Frame], names: Collection[str]) -> str:
    what = "each of these" if names else "each volume"
    if len({frame.file.path for frame in frames}) < len(frames):
        return f"export {what} as a series of its own"
    return f"put {what} into a folder of its own"


def _what_differs(group: Sequence[Frame]) -> str:
    """Say by what attribute slices at one position can be told apart."""
    names = _differences(group)
    way_out = _way_out(group, names)
    return f"they differ in {' and '.join(names)}: {way_out}" if names else way_out


def _single_spacing_mm(frame: Frame, allowed: Collection[str], repairs: list[str]) -> float:
    if frame.facts.slice_spacing_mm:
        return frame.facts.slice_spacing_mm
    if "slice-spacing" not in allowed:
        raise ImageError(
            f"single slice {files_of([frame])} gives neither Spacing Between Slices nor Slice Thickness; expected one "
            "of them; allow the repair 'slice-spacing' to take 1 mm"
        )
    repairs.append(f"slice-spacing: 1 mm taken for a single slice: {files_of([frame])}")
    return 1.0


def _places(
    frames: Sequence[Frame], heights: NDArray[np.float64], allowed: Collection[str], repairs: list[str]
) -> NDArray[np.int64]:
    """Return the slice of each frame."""
    if geometry.is_even(heights):
        return np.arange(len(frames))
    missing = geometry.missing_places(heights)
    steps = np.diff(heights)
    widest = int(np.argmax(steps))
    between = files_of([frames[widest], frames[widest + 1]])
    found = f"slices are {steps.min():.4g} to {steps.max():.4g} mm apart, most between {between}"
    if not missing:
        raise ImageError(
            f"{found}; expected one spacing, and no even grid holds these positions; export the series again, or split "
            "it where the spacing changes"
        )
    if "gap" not in allowed:
        raise ImageError(
            f"{found}: {len(missing)} missing on a grid of {steps.min():.4g} mm; expected one spacing; copy the "
            "missing files, or allow the repair 'gap' to interpolate them"
        )
    if len(missing) >= len(frames):
        raise ImageError(
            f"{found}: {len(missing)} of {len(missing) + len(frames)} slices missing; the repair 'gap' fills fewer "
            "than there are; copy the missing files"
        )
    count = f"{len(missing)} of {len(missing) + len(frames)} slices"
    repairs.append(f"gap: {count} interpolated: {', '.join(map(str, missing))} (counted from 0)")
    return np.setdiff1d(np.arange(len(frames) + len(missing)), missing)


def _check_sideways(frames: Sequence[Frame], positions: NDArray[np.float64], spacing_mm: float) -> None:
    """Refuse slices that lie beside the line from the first to the last one."""
    _, beside_mm = geometry.shear_per_mm(frames[0].facts.orientation or (), positions)
    allowed_mm = max(geometry.PLACE_TOLERANCE * spacing_mm, geometry.SAME_PLACE_MM)
    moved = [frame for frame, distance in zip(frames, beside_mm, strict=True) if distance > allowed_mm]
    if len(moved) > len(frames) // 2:
        moved = [frames[0], frames[-1]]  # one of which bends the line for all the others
    if moved:
        raise ImageError(
            f"{counted(len(moved), 'slice')} {agreed(len(moved), 'lies', 'lie')} up to {beside_mm.max():.4g} mm beside "
            f"the line of the others: {files_of(moved)}; expected at most {allowed_mm:.4g} mm; put "
            f"{agreed(len(moved), 'it', 'them')} into a folder of {agreed(len(moved), 'its', 'their')} own"
        )


def _check_tilt(
    frames: Sequence[Frame], positions: NDArray[np.float64], allowed: Collection[str], repairs: list[str]
) -> None:
    """Refuse slices that follow one another along another line than their normal."""
    angle_deg = geometry.tilt_deg(geometry.shear_per_mm(frames[0].facts.orientation or (), positions)[0])
    if angle_deg <= geometry.TILT_TOLERANCE_DEG:
        return
    if "tilt" not in allowed:
        raise ImageError(
            f"slices are tilted by {angle_deg:.2f}° (gantry tilt), from {files_of([frames[0]])} to "
            f"{files_of([frames[-1]])}; expected positions along the slice normal; allow the repair 'tilt' to keep the "
            "pixels and say the shear in the affine"
        )
    repairs.append(f"tilt: {angle_deg:.2f}° kept as shear in the affine; no pixel was changed")
