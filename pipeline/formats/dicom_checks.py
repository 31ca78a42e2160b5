"""What all frames of a DICOM series must have, and have in common; the files that break it are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ..counted import agreed, counted
from ..errors import ImageError
from . import dicom_geometry as geometry
from .dicom_files import UNREADABLE
from .dicom_frames import PIXEL_ATTRIBUTES, Frame

_NAMED = 5  # frames that a message names before it counts the others
_GRAY = ("MONOCHROME1", "MONOCHROME2")


def files_of(frames: Sequence[Frame]) -> str:
    """Return the names of the first files, with frame numbers, and how many more there are."""
    numbers = [frame.source.frame_number for frame in frames]
    names = [
        frame.file.name if number is None else f"{frame.file.name} frame {number}"
        for frame, number in zip(frames, numbers, strict=True)
    ]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_frames(frames: Sequence[Frame]) -> None:
    """Refuse frames that are no gray image in a known place, that do not belong together, or of which some are missing.

    Raises:
        ImageError: With the files and the rule.
    """
    _check_complete(frames)
    _check_concatenations(frames)
    for name, key, told in _COMMON:
        _check_common(frames, name, key, told)
    _check_vectors(
        frames,
        "Image Orientation (Patient)",
        [frame.facts.orientation or () for frame in frames],
        geometry.COSINE_TOLERANCE,
        _way_out_of_mixed(frames),
    )
    spacings = [frame.facts.pixel_spacing_mm or () for frame in frames]
    _check_vectors(
        frames,
        "Pixel Spacing (mm)",
        spacings,
        geometry.SPACING_TOLERANCE * min(map(min, spacings)),
        _way_out_of_mixed(frames),
    )


def _check_complete(frames: Sequence[Frame]) -> None:
    """Refuse frames without what is needed to read and place them."""

    def refuse(broken: Callable[[Frame], bool], verb: str, message: str) -> None:
        """Refuse frames; the verb is that of several."""
        if found := [frame for frame in frames if broken(frame)]:
            of_one = "has" if verb == "have" else f"{verb}s"
            raise ImageError(f"{files_of(found)} {agreed(len(found), of_one, verb)} {message}")

    refuse(
        lambda frame: frame.facts.pixels is None,
        "lack",
        f"one of {', '.join(PIXEL_ATTRIBUTES)}; expected an image with pixels; copy the files again, or leave them out",
    )
    refuse(
        lambda frame: frame.pixels.samples != 1 or frame.pixels.photometric not in _GRAY,
        "hold",
        "colour; expected gray (MONOCHROME1 or MONOCHROME2); leave them out",
    )
    refuse(
        lambda frame: not 1 <= frame.pixels.bits_stored <= frame.pixels.bits_allocated <= 32,
        "state",
        "impossible Bits Stored or Bits Allocated; expected at most 32 bits; export the series again",
    )
    refuse(
        lambda frame: frame.pixels.high_bit != frame.pixels.bits_stored - 1,
        "have",
        "a High Bit that is not Bits Stored - 1 (PS3.5 8.1.1), so that other bits may be meant than those at the "
        "low end; export the series again",
    )
    refuse(
        lambda frame: (
            frame.position is None
            and frame.file.frames > 1
            and "PerFrameFunctionalGroupsSequence" not in frame.file.header
        ),
        "hold",
        "several frames without functional groups, which say where each frame lies; expected classic images or "
        "enhanced multi-frame; export the series as one of these",
    )
    refuse(
        lambda frame: frame.position is None or frame.facts.orientation is None,
        "have",
        "no Image Position or Image Orientation (Patient); without them nobody knows where the slices lie; export "
        "the series again, or save single images as PNG or TIFF",
    )
    refuse(
        lambda frame: not geometry.is_orthonormal(frame.facts.orientation or ()),
        "have",
        "an Image Orientation (Patient) that is not two unit vectors at right angles; export the series again",
    )
    refuse(
        lambda frame: frame.facts.pixel_spacing_mm is None or min(frame.facts.pixel_spacing_mm) <= 0,
        "have",
        "no positive Pixel Spacing; expected the distances of rows and columns in mm; export the series again",
    )
    refuse(
        lambda frame: frame.facts.slope == 0,
        "have",
        "a Rescale Slope of 0, which leaves no image; export the series again",
    )


def _check_concatenations(frames: Sequence[Frame]) -> None:
    """Refuse a multi-frame image that was cut into several files, of which not all are there (PS3.3 C.7.6.16.2.2.4)."""
    parts: dict[str, dict[int, Frame]] = {}
    for frame in frames:
        uid, number = str(frame.file.header.get("ConcatenationUID") or ""), _number(frame, "InConcatenationNumber")
        if uid and number:
            parts.setdefault(uid, {}).setdefault(number, frame)
    for found in parts.values():
        stated = max(_number(frame, "InConcatenationTotalNumber") for frame in found.values())
        total = max(stated, *found)
        if len(found) < total:
            raise ImageError(
                f"{', '.join(found[number].file.name for number in sorted(found)[:_NAMED])} "
                f"{agreed(len(found), 'is', 'are')} {len(found)} of the {total} parts of a multi-frame image "
                "(Concatenation UID); expected all; copy the missing files"
            )


def _number(frame: Frame, keyword: str) -> int:
    """Return a whole number of a header, 0 where there is none."""
    try:
        return int(frame.file.header.get(keyword) or 0)
    except UNREADABLE as error:
        raise ImageError(f"{frame.file.name} has no whole number as {keyword}; export the series again") from error


# Name, value, and whether the message may quote it: identifiers of patients are never quoted.
_COMMON: tuple[tuple[str, Callable[[Frame], Hashable], bool], ...] = (
    ("Patient ID", lambda frame: frame.facts.patient_id, False),
    ("Study Instance UID", lambda frame: frame.facts.study_uid, False),
    ("Modality", lambda frame: frame.facts.modality, True),
    ("Frame of Reference UID", lambda frame: frame.facts.frame_of_reference_uid, False),
    ("size (rows, columns)", lambda frame: (frame.pixels.rows, frame.pixels.columns), True),
    ("Photometric Interpretation", lambda frame: frame.pixels.photometric, True),
    ("way to modality units", lambda frame: frame.facts.rescale, True),
    ("Rescale Type or Units", lambda frame: frame.facts.units or "none", True),
)


def check_instances(frames: Sequence[Frame]) -> None:
    """Refuse files that share an identifier, by which nobody could refer to one of them (PS3.5 9).

    Raises:
        ImageError: With the files.
    """
    first: dict[str, Frame] = {}
    for frame in frames:
        uid = frame.source.sop_instance_uid
        if uid and first.setdefault(uid, frame).file is not frame.file:
            raise ImageError(
                f"{files_of([first[uid], frame])} lie apart and have one SOP Instance UID; expected one of its own for "
                "each; export the series again"
            )


def _check_common(frames: Sequence[Frame], name: str, key: Callable[[Frame], Hashable], told: bool) -> None:
    """Refuse frames of which some have another value than most."""
    values = [key(frame) for frame in frames]
    counts = Counter(values)
    if len(counts) == 1:
        return
    usual = counts.most_common(1)[0][0]
    others = [frame for frame, value in zip(frames, values, strict=True) if value != usual]
    found = f" ({', '.join(str(value) for value in counts)})" if told else ""
    raise ImageError(
        f"mixed {name}{found}: {files_of(others)} {agreed(len(others), 'differs', 'differ')} from the other "
        f"{counted(counts[usual], 'slice')}; expected one value in a series; {_way_out_of_mixed(frames)}"
    )


def _check_vectors(
    frames: Sequence[Frame], name: str, vectors: Sequence[Sequence[float]], tolerance: float, way_out: str
) -> None:
    """Refuse frames of which some have other numbers than most."""
    numbers = np.asarray(vectors, np.float64)
    usual = np.median(numbers, axis=0)
    is_other = np.abs(numbers - usual).max(axis=1) > tolerance
    if is_other.any():
        others = [frame for frame, other in zip(frames, is_other, strict=True) if other]
        kinds = [list(kind) for kind in np.unique(numbers.round(4), axis=0)[:3].tolist()]
        raise ImageError(
            f"mixed {name} ({', '.join(map(str, kinds))}): {files_of(others)} "
            f"{agreed(len(others), 'differs', 'differ')} from most of the {len(frames)} slices by more than "
            f"{tolerance:.2g}; expected one value in a series; {way_out}"
        )


def _way_out_of_mixed(frames: Sequence[Frame]) -> str:
    localizers = [frame for frame in frames if frame.facts.is_localizer]
    if localizers and len(localizers) < len(frames):
        return f"allow the repair 'localizer' to leave out {files_of(localizers)}"
    return "put them into a folder of their own"
