"""In which number format a network runs: float32, or bfloat16 where the device computes in it."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from .errors import ConfigError

Precision = Literal["fp32", "bf16", "auto"]


def check_precision(precision: str) -> None:
    """Refuse a name that is not a precision.

    Raises:
        ConfigError: If it is not one of `Precision`.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision must be one of {get_args(Precision)}, got {precision!r}")


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network runs on `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_bfloat16(device, precision))


def is_bfloat16(device: torch.device, precision: Precision) -> bool:
    """Tell whether a network runs in bfloat16 on `device`.

    `"auto"` is bfloat16 where the device has units for it, and float32 elsewhere: without them bfloat16 is slower.
    """
    return precision == "bf16" or (precision == "auto" and has_bfloat16_units(device))


def number_format(device: torch.device, inferer: object) -> str:
    """Return in what an inferer lets a network compute on `device`: `"bfloat16"` or `"float32"`."""
    return "bfloat16" if is_bfloat16(device, getattr(inferer, "precision", "fp32")) else "float32"


def has_bfloat16_units(device: torch.device) -> bool:
    """Tell whether `device` multiplies in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Releases of torch that do not tell run in float32.
        if not hasattr(torch.cpu, "get_capabilities"):
            return False
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False
