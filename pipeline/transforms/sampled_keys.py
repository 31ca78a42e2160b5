"""The keys of a sample that are sampled at the same places: their modes, and what they must have in common."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import ConfigError, ImageError, LabelError
from .resample import SAMPLING_MODES, SamplingMode


def modes_of_keys(
    keys: Sequence[Hashable], mode: SamplingMode | Sequence[SamplingMode]
) -> dict[Hashable, SamplingMode]:
    """Pair each key with its sampling mode.

    Raises:
        ConfigError: If there is a mode too few or too many, or one that is not known.
    """
    modes = [mode] * len(keys) if isinstance(mode, str) else list(mode)
    if len(modes) != len(keys):
        raise ConfigError(f"mode must name one mode for all keys or one for each, got {modes} for keys {list(keys)}")
    for name in modes:
        if name not in SAMPLING_MODES:
            raise ConfigError(f"mode must be one of {SAMPLING_MODES}, got {name!r}")
    return dict(zip(keys, modes, strict=True))


@dataclass(frozen=True)
class Keyed:
    """What the keys of a sample have in common.

    Attributes:
        size: (H, W).
        batch: Number of samples; 1 where there is no batch axis.
        is_batch: Whether there is one.
        device: Where the first key is.
    """

    size: tuple[int, int]
    batch: int
    is_batch: bool
    device: torch.device


def checked_keys(sample: Mapping[Hashable, Any], modes: Mapping[Hashable, SamplingMode]) -> Keyed:
    """Return what the keys of a sample have in common.

    Raises:
        ConfigError: If one is missing, or they differ in size, or are neither (C, H, W) nor (B, C, H, W); every message
            names the case.
        ImageError: If they hold no pixels.
        LabelError: If one of mode `"nearest"` does not hold integers.
    """
    case = _case(sample)
    missing = [key for key in modes if key not in sample]
    if missing:
        raise ConfigError(f"{case} has no {missing[0]!r}, only {list(sample)}; name keys that the samples have")
    tensors = {key: torch.as_tensor(sample[key]) for key in modes}
    first = next(iter(tensors.values()))
    shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items())
    if first.ndim not in (3, 4) or any(
        (tensor.ndim, tensor.shape[:-3], tensor.shape[-2:]) != (first.ndim, first.shape[:-3], first.shape[-2:])
        for tensor in tensors.values()
    ):
        raise ConfigError(
            f"{case}: all keys must be (channel, row, column) of one size, or batches of such, got {shapes}"
        )
    if first.numel() == 0:
        raise ImageError(f"{case} holds no pixels: {shapes}; leave it out")
    for key, tensor in tensors.items():
        if modes[key] == "nearest" and tensor.is_floating_point():
            raise LabelError(
                f"{case}: {key} holds {tensor.dtype}, but mode 'nearest' is for labels, which are integers; cast it "
                "first (CastToTyped), or give it the mode 'bilinear'"
            )
    rows, columns = first.shape[-2:]
    return Keyed((int(rows), int(columns)), len(first) if first.ndim == 4 else 1, first.ndim == 4, first.device)


def check_finite(sample: Mapping[Hashable, Any], keys: Iterable[Hashable]) -> None:
    """Refuse NaN and infinity in keys of a sample.

    Raises:
        ImageError: If there are any; the message names the case.
    """
    for key in keys:
        tensor = torch.as_tensor(sample[key])
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ImageError(
                f"{_case(sample)}: {key} holds NaN or infinity; expected finite values; mend or mask them first"
            )


def as_sampled(image: Any, mode: SamplingMode) -> torch.Tensor:
    """Return an image as sampling it at its own pixels would, of the same type and on the same device."""
    tensor = torch.as_tensor(image)
    return tensor if mode == "nearest" or tensor.is_floating_point() else tensor.float()


def _case(sample: Mapping[Hashable, Any]) -> str:
    return f"case {sample.get('case', 'unnamed')!r}"
