"""Checks of what scores are given: masks, classes, instances and probabilities on one grid, and its spacing.

Messages do not name the case; callers know it and put it in front.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, ImageError, LabelError

_MOST_VALUES_SHOWN: Final = 8
_INSTANCES_END: Final = 2**63


def checked_masks(truth: ArrayLike, pred: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two masks on one grid as bool.

    Args:
        truth: bool, or numbers that are 0 or 1; any number of axes.
        pred: The same.

    Raises:
        LabelError: If the shapes differ, there are no voxels, or one has another value, such as NaN.
    """
    masks = _checked_pair(truth, pred)
    return checked_mask(masks[0], "truth"), checked_mask(masks[1], "pred")


def checked_mask(mask: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return a mask as bool.

    Args:
        mask: bool, or numbers that are 0 or 1; any number of axes.
        name: What the message calls it.

    Raises:
        LabelError: If there is another value, such as NaN.
    """
    array = _checked_numbers(mask, name)
    if array.dtype != np.bool_:
        _check_values(name, array, (0, 1), "compare it with the class that is wanted first")
    return array.astype(bool, copy=False)


def checked_classes(
    truth: ArrayLike, pred: ArrayLike, class_indices: Collection[int]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two maps of class indices on one grid, in the types that they came in.

    Args:
        truth: Class index of each voxel, a whole number of any type.
        pred: The same.
        class_indices: The indices that are known, background included.

    Raises:
        LabelError: If the shapes differ, there are no voxels, or one has a value that is not known, such as NaN.
    """
    maps = _checked_pair(truth, pred)
    for name, indices in zip(("truth", "pred"), maps, strict=True):
        _check_values(name, indices, class_indices, "declare the class in the manifest, or correct the file")
    return maps


def checked_instances(truth: ArrayLike, pred: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two maps of instances on one grid.

    Args:
        truth: The instance of each pixel, a whole number of any type but bool; 0 is background.
        pred: The same.

    Raises:
        LabelError: If the shapes differ, there are no voxels, or a map is bool or has values that are negative, not
            whole, such as NaN, or at least 2^63.
    """
    maps = _checked_pair(truth, pred)
    for name, instances in zip(("truth", "pred"), maps, strict=True):
        if instances.dtype == np.bool_:
            raise LabelError(f"{name} is a bool mask; expected instances, one number each; number its components first")
        if not (np.isfinite(instances).all() and (instances == np.floor(instances)).all()):
            raise LabelError(f"{name} holds values that are not whole numbers; expected instances 1, 2, ... and 0")
        if instances.min() < 0:
            raise LabelError(f"{name} holds the instance {instances.min():g}; expected 1, 2, ... and 0 for background")
        if instances.max() >= _INSTANCES_END:
            raise LabelError(
                f"{name} holds the instance {instances.max():g}; expected less than 2^63; number them anew"
            )
    return maps[0].astype(np.int64), maps[1].astype(np.int64)


def checked_probability(probability: ArrayLike) -> NDArray[np.floating]:
    """Return probabilities as floating point.

    Raises:
        ImageError: If there is none, or one is outside [0, 1] or not a number.
    """
    values = np.asarray(probability)
    if values.size == 0 or values.dtype.kind not in "biuf":
        raise ImageError(f"probability has shape {values.shape} and type {values.dtype}; expected numbers from 0 to 1")
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    lowest, highest = values.min(), values.max()
    if np.isnan(lowest):
        raise ImageError("probability holds values that are not a number; predict again with a network that is finite")
    if lowest < 0 or highest > 1:
        msg = f"probability holds values from {lowest:g} to {highest:g}; expected 0 to 1; apply the activation first"
        raise ImageError(msg)
    return values


def checked_spacing_mm(spacing_mm: Sequence[float], axes: int) -> tuple[float, ...]:
    """Return the spacing of each axis in mm.

    Raises:
        ConfigError: If there is not one for each axis, or one is not a positive number.
    """
    spacing = tuple(float(step) for step in spacing_mm)
    if len(spacing) != axes or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ConfigError(f"spacing_mm must be {axes} positive numbers, one for each axis of the masks, got {spacing}")
    return spacing


def _checked_pair(truth: ArrayLike, pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    arrays = _checked_numbers(truth, "truth"), _checked_numbers(pred, "pred")
    if arrays[0].shape != arrays[1].shape:
        raise LabelError(
            f"truth is {arrays[0].shape} but pred is {arrays[1].shape}; bring the prediction back to the grid of the "
            "truth first"
        )
    if arrays[0].size == 0:
        raise LabelError(f"truth and pred have no voxels: their shape is {arrays[0].shape}; read the files anew")
    return arrays


def _checked_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LabelError(f"{name} has type {array.dtype}; expected whole numbers or bool")
    return array


def _check_values(name: str, array: NDArray[Any], known: Collection[int], way_out: str) -> None:
    is_known = np.isin(array, sorted(known))
    if not is_known.all():
        unknown = np.unique(array[~is_known])
        shown = ", ".join(f"{value:g}" for value in unknown[:_MOST_VALUES_SHOWN])
        shown += ", ..." if unknown.size > _MOST_VALUES_SHOWN else ""
        raise LabelError(f"{name} holds the values [{shown}]; expected {sorted(known)} only; {way_out}")
