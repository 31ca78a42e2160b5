"""Number formats: bfloat16 where it was asked for, or where the device computes in it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline import precision
from pipeline.errors import ConfigError
from pipeline.precision import autocast, check_precision, has_bfloat16_units

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["fp32", "bf16", "auto"])
def test_a_known_precision_passes(name: str) -> None:
    check_precision(name)


def test_an_unknown_precision_is_refused_with_all_there_are() -> None:
    with pytest.raises(ConfigError, match=r"precision must be one of \('fp32', 'bf16', 'auto'\), got 'fp16'"):
        check_precision("fp16")


@pytest.mark.parametrize(
    ("name", "units", "wanted"),
    [
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ],
)
def test_a_convolution_computes_in(
    monkeypatch: pytest.MonkeyPatch, name: precision.Precision, units: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda device: units)
    with autocast(CPU, name):
        assert nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 5, 5)).dtype is wanted


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), ({"avx512": True}, False)],
    ids=["AVX512", "AMX", "ARM", "none"],
)
def test_the_units_of_a_cpu_are_found(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], wanted: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16_units(CPU) is wanted


def test_a_torch_that_cannot_tell_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert has_bfloat16_units(CPU) is False


def test_other_devices_run_in_float32() -> None:
    assert has_bfloat16_units(torch.device("meta")) is False
