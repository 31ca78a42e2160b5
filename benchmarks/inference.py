"""From an image array to its mask: overlap tiles against sliding windows, the paper's stride and one whole pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import BasicUNet
from torch import nn

from pipeline.inferers import OverlapTileInferer, class_mask
from pipeline.networks import ValidUNet
from pipeline.precision import Precision, is_bfloat16

from .measure import Table, seconds_in_turns

CLAIM = (
    "The paper's network (64 to 1024 channels) takes less than a second from a 512 by 512 array to its mask on two CPU "
    "cores; it is faster than sliding windows over MONAI's padded network and than the paper's own tiles."
)
PAPER_TILE_PX, PAPER_STRIDE_PX = 572, 388

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_] | npt.NDArray[np.uint8]
Segment = Callable[[Image], Mask]


def run(rounds: int) -> Table:
    """Measure all candidates at 512 and 1024 px, and ours at 2048 px."""
    torch.manual_seed(0)
    valid = ValidUNet().eval().to(memory_format=torch.channels_last)
    padded = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(64, 128, 256, 512, 1024, 64)).eval()
    fast, exact = "overlap tiles, precision auto", "overlap tiles, fp32"
    candidates: dict[str, Segment] = {
        fast: partial(by_overlap_tiles, network=valid, precision="auto"),
        exact: partial(by_overlap_tiles, network=valid, precision="fp32"),
        "paper's stride, fp32": partial(by_the_papers_stride, network=valid),
        "one whole pass, fp32": partial(by_one_pass, network=valid),
        "MONAI 256, 0.5": partial(by_sliding_windows, network=padded, window_px=256, overlap=0.5),
        "MONAI 512, 0.25": partial(by_sliding_windows, network=padded, window_px=512, overlap=0.25),
    }
    table = Table(CLAIM)
    for side_px in (512, 1024):
        image = noise(side_px)
        table.add(
            seconds_in_turns(
                {f"{side_px} px: {name}": partial(segment, image) for name, segment in candidates.items()}, rounds
            )
        )
    plan = OverlapTileInferer("auto", precision="auto").plan((512, 512), valid)
    again: dict[str, Callable[[], object]] = {
        "512 px: once more": partial(candidates[fast], noise(512)),
        "512 px: matrix products of as many operations": matrix_products(plan.flops or 0),
        f"2048 px: {fast}": partial(candidates[fast], noise(2048)),
    }
    table.add(seconds_in_turns(again, rounds))

    seconds = table.medians
    table.goal("512 px: seconds", seconds[f"512 px: {fast}"], "<=", 1)
    for side_px in (512, 1024):
        at = f"{side_px} px: "
        for windows in ("MONAI 256, 0.5", "MONAI 512, 0.25"):
            table.goal(f"{at}times as fast as {windows}", seconds[at + windows] / seconds[at + fast], ">=", 2.5)
        stride, whole = seconds[f"{at}paper's stride, fp32"], seconds[f"{at}one whole pass, fp32"]
        table.goal(f"{at}times as fast as the paper's stride in fp32", stride / seconds[at + fast], ">=", 2)
        table.goal(f"{at}times as fast as the paper's stride, both fp32", stride / seconds[at + exact], ">=", 2)
        table.goal(f"{at}cost over one whole pass, both fp32", seconds[at + exact] / whole, "<=", 1.15)
    table.goal("2048 px over 512 px", seconds[f"2048 px: {fast}"] / seconds["512 px: once more"], "<=", 16.5)
    return table


def matrix_products(flops: float) -> Callable[[], object]:
    """Return large matrix products of so many operations: the least time that this machine could need for them."""
    side = 2048
    dtype = torch.bfloat16 if is_bfloat16(torch.device("cpu"), "auto") else torch.float32
    left, right = torch.randn(2, side, side).to(dtype)

    def multiply() -> None:
        for _ in range(round(flops / (2 * side**3))):
            left @ right

    return multiply


def noise(side_px: int) -> Image:
    """Return an image; what is on it makes no difference to the time."""
    return np.random.default_rng(0).integers(0, 256, (side_px, side_px), np.uint8)


def by_overlap_tiles(image: Image, network: nn.Module, precision: Precision) -> Mask:
    """Segment as the bundle does."""
    with torch.inference_mode():
        return to_mask(OverlapTileInferer("auto", precision=precision)(normalised(image), network))


def by_one_pass(image: Image, network: ValidUNet) -> Mask:
    """Mirror the whole image and pass it at once."""
    margin_px = network.geometry.margin_px
    over_px = network.geometry.input_px(len(image)) - len(image) - margin_px
    with torch.inference_mode():
        whole = F.pad(normalised(image), [margin_px, over_px, margin_px, over_px], mode="reflect")
        return to_mask(network(whole)[:, :, : len(image), : len(image)])


def by_the_papers_stride(image: Image, network: ValidUNet) -> Mask:
    """Cut tiles of 572 px every 388 px, as the paper's figure 2 does; the result has seams."""
    margin_px, side_px = network.geometry.margin_px, len(image)
    starts = range(0, side_px, PAPER_STRIDE_PX)
    covered_px = len(starts) * PAPER_STRIDE_PX
    with torch.inference_mode():
        over_px = margin_px + covered_px - side_px
        # Mirrored twice where the last tile reaches farther out than the image is wide.
        inner = F.pad(normalised(image), [margin_px, margin_px, margin_px, margin_px], mode="reflect")
        padded = F.pad(inner, [0, over_px - margin_px, 0, over_px - margin_px], mode="reflect")
        logits = torch.empty(1, 2, covered_px, covered_px)
        for row in starts:
            for column in starts:
                tile = padded[:, :, row : row + PAPER_TILE_PX, column : column + PAPER_TILE_PX]
                logits[:, :, row : row + PAPER_STRIDE_PX, column : column + PAPER_STRIDE_PX] = network(tile)
        return to_mask(logits[:, :, :side_px, :side_px])


def by_sliding_windows(image: Image, network: nn.Module, window_px: int, overlap: float) -> Mask:
    """Segment as MONAI's bundles do."""
    inferer = SlidingWindowInferer((window_px, window_px), sw_batch_size=1, overlap=overlap, mode="gaussian")
    with torch.inference_mode():
        return to_mask(torch.as_tensor(inferer(normalised(image), network)))


def normalised(image: Image) -> torch.Tensor:
    """Return (1, 1, H, W) float32 of mean 0 and standard deviation 1."""
    pixels = torch.from_numpy(image.astype(np.float32))
    return ((pixels - pixels.mean()) / pixels.std())[None, None]


def to_mask(logits: torch.Tensor) -> Mask:
    """Return (H, W) from (1, 2, H, W)."""
    return class_mask(logits.softmax(1)[0].numpy())
