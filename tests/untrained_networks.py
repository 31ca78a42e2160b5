"""Untrained networks that give their classes in about equal parts, for the bundles that segment volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.engines import save_whole
from pipeline.networks import ValidUNet

BUNDLES = Path(__file__).parents[1] / "bundles"
CT, MR = "phantom_ct_segmentation", "hippocampus_mr_segmentation"
_CLASSES = {CT: (4, [4, 6, 8, 10]), MR: (3, [4, 6, 8])}


def settings_of(bundle: str) -> dict[str, Any]:
    """Return the config ids of a bundle that fit the network of `checkpoint_of`."""
    return {"network_def::channels": _CLASSES[bundle][1], "device": "cpu", "precision": "fp32"}


def checkpoint_of(bundle: str, folder: Path) -> Path:
    """Write a checkpoint for a bundle into a folder."""
    return write_untrained(folder / f"{bundle}.pt", *_CLASSES[bundle])


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
