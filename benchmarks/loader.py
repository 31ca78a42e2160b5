"""Training tiles a second as the bundle draws them, and how many of its workers a data-centre GPU would want."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from pipeline.bundle_config import config_files, parse_bundle
from pipeline.data import prepare_data_set, tile_loader
from pipeline.inferers.network_cost import NetworkCost
from pipeline.losses import PixelWeightedLoss

from .measure import Table, one_thread

CLAIM = (
    "Drawing a tile of 572 px (elastic deformation, rotation, flip, gray values) takes one worker some hundredths of a "
    "second: a GPU that trains as many steps a second keeps it busy."
)
BUNDLE = Path(__file__).parents[1] / "bundles" / "em_membrane_segmentation"
# Assumed: an H100 (SXM, 989 TFLOP/s in bfloat16 without sparsity) reaches 40 % of its peak in the convolutions of this
# network, and a step costs three forward passes, of which two go backwards.
H100_FLOPS, SHARE_OF_PEAK, PASSES_A_STEP = 989e12, 0.4, 3


def run(rounds: int) -> Table:
    """Measure the loader of the paper's training with 1 and 2 workers; a round is 100 tiles."""
    table = Table(CLAIM, unit="a second")
    with tempfile.TemporaryDirectory() as folder, one_thread():
        overrides = {"bundle_root": str(BUNDLE), "dataset_dir": folder}
        parser = parse_bundle(config_files(BUNDLE, "train"), overrides)
        set_determinism(0)
        prepare_data_set(parser.get_parsed_content("manifest"), folder, progress=True, splits=["training"])
        tiles = parser.get_parsed_content("train::dataset")
        network = parser.get_parsed_content("network_def")
        for workers in (1, 2):
            table.add({f"tiles, {workers} workers": [tiles_a_second(tiles, workers) for _ in range(rounds)]})
    one, two = (table.medians[f"tiles, {workers} workers"] for workers in (1, 2))
    table.add({"steps of one tile that keep one worker busy": [one]})
    table.goal("tiles of two workers over those of one (two cores)", two / one, ">=", 1.5)
    flops = PASSES_A_STEP * float(NetworkCost.of(network, network.geometry, 1).tile_flops(572, 572))
    steps = SHARE_OF_PEAK * H100_FLOPS / flops
    table.add({"assumed: steps of one tile on an H100": [steps], "workers that it keeps busy": [steps / one]})
    if torch.cuda.is_available():
        measured = training_steps_a_second(network, next(iter(tile_loader(tiles))))
        table.add({"measured: steps of one tile on this GPU": [measured]})
        table.goal("share of a step that 16 workers make it wait", max(measured / (16 * one) - 1, 0), "<=", 0.05)
    return table


def training_steps_a_second(network: Any, batch: dict[str, torch.Tensor], count: int = 50) -> float:
    """Count steps of SGD in bfloat16 on the first GPU, each with the same tile."""
    network = network.cuda().to(memory_format=torch.channels_last)
    image, label, weight = (batch[key].cuda() for key in ("image", "label", "weight"))
    optimizer, loss = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.99), PixelWeightedLoss("softmax")
    started = 0.0
    for step in range(count + 5):
        if step == 5:
            torch.cuda.synchronize()
            started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            logits = network(image)
        loss(logits, label, weight).backward()
        optimizer.step()
    torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


def tiles_a_second(tiles: Any, workers: int, count: int = 100) -> float:
    """Count tiles after the workers have started."""
    loader = iter(tile_loader(tiles, num_workers=workers))
    for _ in range(2 * workers):
        next(loader)
    started = time.perf_counter()
    for _ in range(count):
        next(loader)
    return count / (time.perf_counter() - started)
