"""A bundle's transforms for images larger than memory: those that treat each pixel for itself.

What such a transform needs to know of the whole image (its mean, its standard deviation) is found in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Activationsd,
    CastToTyped,
    Compose,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    ScaleIntensityRanged,
    Transform,
)
from monai.utils import convert_to_numpy
from numpy.typing import NDArray

from .errors import ConfigError, ImageError
from .formats import StoredPage

Step = Callable[[dict[str, Any]], dict[str, Any]]

_WAY_OUT = "declare others, or give the image as TIFF with pages small enough to be held in memory"


@dataclass(frozen=True)
class PixelTransforms:
    """The pre- and postprocessing of a bundle, applied to parts of an image with the result of the whole.

    Attributes:
        before: What comes after the image is loaded.
        after: From logits to probabilities.
    """

    before: tuple[Transform, ...]
    after: tuple[Transform, ...]

    @classmethod
    def of(cls, preprocessing: Compose, postprocessing: Compose) -> PixelTransforms:
        """Take the transforms of a bundle.

        Raises:
            ConfigError: If one of them looks at other pixels, or at more of the image than mean and standard deviation.
        """
        after_loading = preprocessing.get_index_of_first(lambda part: isinstance(part, LoadImaged)) + 1
        before, after = tuple(preprocessing.transforms[after_loading:]), tuple(postprocessing.transforms)
        for step in before:
            # Not `isinstance`: a subclass may do something else.
            if type(step) not in (NormalizeIntensityd, EnsureTyped, CastToTyped, ScaleIntensityRanged):
                _refuse(step, "NormalizeIntensityd, EnsureTyped, CastToTyped and ScaleIntensityRanged")
            if type(step) is NormalizeIntensityd:
                _check_normalizer(step)
        for step in after:
            if type(step) is not Activationsd:
                _refuse(step, "Activationsd")
            if any(other is not None for other in step.other) or step.converter.kwargs.get("dim", 0) != 0:
                _refuse(step, "Activationsd with sigmoid, or softmax over the classes,")
        return cls(before, after)

    def to_input(self, page: StoredPage) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return what makes input of the network, (1, H, W), from any part of a page, (1, H, W) as stored.

        For each `NormalizeIntensityd` that asks for it, the page is read once.

        Raises:
            ImageError: If the page cannot be read. The function returned raises it for pixels that leave float32.
        """
        steps: list[Step] = []
        for step in self.before:
            steps.append(_with_statistics(step, page, tuple(steps)) if type(step) is NormalizeIntensityd else step)
        return lambda pixels: _applied(steps, pixels, page)

    def probability(self, logits: torch.Tensor) -> NDArray[np.float32]:
        """Return the class probabilities of a part of an image, (class, H, W)."""
        sample: dict[str, Any] = {"pred": logits}
        for step in self.after:
            sample = step(sample)
        return np.asarray(convert_to_numpy(sample["pred"], dtype=np.float32))

    def __str__(self) -> str:
        """Return all transforms with all their settings: equal texts, equal results."""
        return " | ".join(_described(step) for step in (*self.before, *self.after))


def _refuse(step: Transform, allowed: str) -> None:
    raise ConfigError(
        f"{type(step).__name__} cannot be applied to an image that is read strip by strip, as large TIFF and OME-Zarr "
        f"are; of its kind only {allowed} can; {_WAY_OUT}"
    )


def _check_normalizer(step: NormalizeIntensityd) -> None:
    given = (step.normalizer.subtrahend, step.normalizer.divisor)
    if step.normalizer.nonzero or any(np.size(value) != 1 for value in given if value is not None):
        _refuse(step, "NormalizeIntensityd with nonzero=False, and with one number as subtrahend and as divisor,")


def _with_statistics(step: NormalizeIntensityd, page: StoredPage, steps: tuple[Step, ...]) -> NormalizeIntensityd:
    """Return the same normalisation with the numbers that it would find in the whole page."""
    normalizer = step.normalizer
    given = [
        None if value is None else np.asarray(value).item() for value in (normalizer.subtrahend, normalizer.divisor)
    ]
    if None in given:
        found = _mean_and_deviation(page, steps)
        given = [there if value is None else value for value, there in zip(given, found, strict=True)]
    return NormalizeIntensityd(step.keys, *given, dtype=normalizer.dtype, allow_missing_keys=step.allow_missing_keys)


def _mean_and_deviation(page: StoredPage, steps: tuple[Step, ...]) -> tuple[float, float]:
    """Return mean and standard deviation of a page after `steps`, in float64 and rounded to float32 like MONAI's.

    Source:
        Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances (1979).
    """
    count, mean, squares = 0, 0.0, 0.0
    for strip in page.strips():
        values = _applied(steps, strip[np.newaxis], page).astype(np.float64)
        strip_mean = float(values.mean())
        distance = strip_mean - mean
        total = count + values.size
        squares += float(np.square(values - strip_mean).sum()) + distance**2 * count * values.size / total
        mean += distance * values.size / total
        count = total
    return float(np.float32(mean)), float(np.float32(math.sqrt(squares / count)))


def _applied(steps: list[Step] | tuple[Step, ...], pixels: NDArray[Any], page: StoredPage) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        sample: dict[str, Any] = {"image": torch.from_numpy(pixels.astype(np.float32))}
    for step in steps:
        sample = step(sample)
    result = np.asarray(convert_to_numpy(sample["image"], dtype=np.float32))
    if not np.isfinite(result).all():
        raise ImageError(
            f"image {page.path} holds {page.dtype} pixels that are not finite as float32; scale them down first"
        )
    return result


def _described(value: Any) -> str:
    if isinstance(value, Transform):
        settings = ", ".join(f"{name}={_described(setting)}" for name, setting in sorted(vars(value).items()))
        return f"{type(value).__name__}({settings})"
    return repr(value)
