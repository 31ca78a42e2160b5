"""Compressed frames of label-map and fractional SEG objects.

highdicom would sort all fractions to check them, and compress pixel for pixel in Python. So it gets small stand-ins, of
which it makes everything but the pixels; those are compressed here, a few slices at a time, and put in afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from .functional_groups import functional_group
from .rle_frames import encode_rle

FRACTION_STEPS: Final = 255
"""A fractional SEG stores whole numbers up to this (Maximum Fractional Value): all that 8 bits hold."""

EncodedFrames = Mapping[tuple[int, int], bytes]
"""Codestreams by the number of the segment, or 0 for a label map, and the index of the slice."""

_SLICES_AT_ONCE: Final = 16
_STAND_IN_PX: Final = 8


def encode_frames(masks: NDArray[Any], largest_number: int) -> EncodedFrames:
    """Compress the frames that hold something, or all where none does.

    Args:
        masks: A label map (row, column, slice), or (segment, row, column, slice) of booleans or fractions in [0, 1].
        largest_number: The largest segment number, which decides whether a label map takes 8 or 16 bits.
    """
    dtype = np.dtype(np.uint8 if largest_number < 2**8 else np.uint16)
    encoded = {place: encode_rle(frame) for place, frame in _frames(masks, dtype) if frame.any()}
    return encoded or {place: encode_rle(frame) for place, frame in _frames(masks, dtype)}


def stand_ins(masks: NDArray[Any], encoded: EncodedFrames, images: Sequence[Dataset], number: int) -> NDArray[Any]:
    """Return small frames in place of masks, and make the images as small.

    Args:
        masks: What was encoded.
        encoded: Its frames.
        images: The source, as highdicom gets it.
        number: The number of any segment.

    Returns:
        (slice, row, column), or (slice, row, column, segment) for masks of several segments: as full or empty as these.
    """
    for image in images:
        image.Rows = image.Columns = _STAND_IN_PX
    slices = masks.shape[-1]
    if masks.ndim == 3:
        full = np.isin(np.arange(slices), [index for _, index in encoded]) * np.uint16(number)
    else:
        full = np.array([[(segment + 1, index) in encoded for segment in range(len(masks))] for index in range(slices)])
    small = np.ones((1, _STAND_IN_PX, _STAND_IN_PX, 1), full.dtype) * full.reshape(slices, 1, 1, -1)
    return small[..., 0] if masks.ndim == 3 else small


def put_frames(
    segmentation: Segmentation, encoded: EncodedFrames, images: Sequence[Dataset], masks: NDArray[Any]
) -> None:
    """Put compressed frames into an object that was made of stand-ins, whose references are still to these images."""
    segmentation.Rows, segmentation.Columns = masks.shape[-3:-1]
    if masks.ndim == 4 and len(masks) > 1:
        segmentation.SegmentsOverlap = "UNDEFINED"  # the standard does not say when fractions overlap
    segmentation.PixelData = encapsulate([encoded[place] for place in _places(segmentation, images)])


def _frames(masks: NDArray[Any], dtype: np.dtype[Any]) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
    """Yield the frames as they are stored, segment after segment."""
    for segment, mask in enumerate([masks] if masks.ndim == 3 else masks, int(masks.ndim == 4)):
        for start in range(0, mask.shape[2], _SLICES_AT_ONCE):
            # Frame after frame in memory: slices that lie between each other are slow to pass over.
            block = np.ascontiguousarray(np.moveaxis(mask[:, :, start : start + _SLICES_AT_ONCE], 2, 0))
            for index, frame in enumerate(block, start):
                yield (segment, index), frame.astype(dtype) if masks.ndim == 3 else _steps(frame)


def _steps(fractions: NDArray[Any]) -> NDArray[np.uint8]:
    steps: NDArray[np.float32] = np.rint(fractions.astype(np.float32) * np.float32(FRACTION_STEPS))
    return steps.astype(np.uint8)


def _places(segmentation: Segmentation, images: Sequence[Dataset]) -> Iterator[tuple[int, int]]:
    """Yield the segment and the slice of each frame, in the order that highdicom gave them."""
    slices = {image.SOPInstanceUID: index for index, image in enumerate(images)}
    for number, groups in enumerate(segmentation.PerFrameFunctionalGroupsSequence, 1):
        # Of a single segment all frames share it.
        identified = functional_group(segmentation, number, "SegmentIdentificationSequence")
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        # Frames of a multi-frame source are numbered from 1 in the order of the slices.
        offset = image.get("ReferencedFrameNumber", 1) - 1
        segment = identified.ReferencedSegmentNumber if identified else 0
        yield segment, slices[image.ReferencedSOPInstanceUID] + offset
