"""Checkpoints of untrained networks that give their classes in about equal parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.engines import save_whole
from pipeline.networks import ValidUNet


def write_untrained(path: Path, classes: int, channels: Sequence[int], slices: int = 3, seed: int = 3) -> Path:
    """Write the weights of an untrained network whose last bias makes up for what it prefers."""
    torch.manual_seed(seed)
    network = ValidUNet(slices, classes, channels=tuple(channels), dropout=0.0).eval()
    with torch.inference_mode():
        logits = network(torch.randn(4, slices, 92, 92))
    weights = network.state_dict()
    bias = list(weights)[-1]
    assert weights[bias].shape == (classes,)
    weights[bias] = weights[bias] - logits.mean((0, 2, 3))
    save_whole(weights, path)
    return path
