"""Elastic deformation of one image and its label of 572 by 572 px on one core: ours against what people use."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch

from pipeline.transforms import RandGridElasticd

from .measure import Table, one_thread, seconds_in_turns

CLAIM = (
    "One displacement from two small matrix products and one sampling of each key: eight times as fast as MONAI's "
    "Rand2DElasticd, and faster than TorchIO, elasticdeform and batchgeneratorsv2."
)
SIDE_PX, SIGMA_PX = 572, 10.0
OURS = "RandGridElasticd (3 by 3 grid)"

Deform = Callable[[], object]


def run(rounds: int) -> Table:
    """Measure each package that is installed, at displacements of about the same size."""
    image = np.random.default_rng(0).normal(size=(1, SIDE_PX, SIDE_PX)).astype(np.float32)
    label = (image > 0).astype(np.uint8)
    makers: dict[str, Callable[[np.ndarray, np.ndarray], Deform]] = {
        OURS: ours,
        "MONAI Rand2DElasticd": monai,
        "TorchIO RandomElasticDeformation": torchio,
        "elasticdeform, order 1": elasticdeform_linear,
        "elasticdeform, order 3": elasticdeform_cubic,
        "batchgeneratorsv2 SpatialTransform": batchgenerators,
    }
    candidates: dict[str, Deform] = {}
    for name, make in makers.items():
        try:
            candidates[name] = make(image, label)
        except ImportError as error:
            print(f"{name} is left out: {error}; `make .venv/peers` installs it", file=sys.stderr)
    table = Table(CLAIM)
    with one_thread():
        table.add(seconds_in_turns(candidates, 3 * rounds))
    for name in table.medians:
        if name != OURS:
            wanted = 8 if name.startswith("MONAI") else 1
            table.goal(f"times as fast as {name}", table.medians[name] / table.medians[OURS], ">=", wanted)
    return table


def ours(image: np.ndarray, label: np.ndarray) -> Deform:
    """Return one deformation by this package."""
    sample = {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}
    deform = RandGridElasticd(["image", "label"], ["bilinear", "nearest"], sigma_px=SIGMA_PX)
    return lambda: deform(sample)


def monai(image: np.ndarray, label: np.ndarray) -> Deform:
    """Its control points lie so many pixels apart; it cannot have 3 by 3 of them."""
    from monai.transforms import Rand2DElasticd

    sample = {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}
    deform = Rand2DElasticd(
        ["image", "label"],
        spacing=(SIDE_PX // 2, SIDE_PX // 2),
        magnitude_range=(SIGMA_PX, SIGMA_PX),
        prob=1.0,
        mode=["bilinear", "nearest"],
        padding_mode="reflection",
    )
    return lambda: deform(sample)


def torchio(image: np.ndarray, label: np.ndarray) -> Deform:
    """It wants volumes, here of one slice, and four control points at least."""
    import torchio as tio

    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image)[..., None]),
        label=tio.LabelMap(tensor=torch.from_numpy(label)[..., None]),
    )
    deform = tio.RandomElasticDeformation(num_control_points=(5, 5, 4), max_displacement=(20, 20, 0), locked_borders=0)
    return lambda: deform(subject)


def elasticdeform_linear(image: np.ndarray, label: np.ndarray) -> Deform:
    """Return one deformation by elasticdeform, linear between pixels."""
    return _elasticdeform(image, label, order=1)


def elasticdeform_cubic(image: np.ndarray, label: np.ndarray) -> Deform:
    """Return one deformation by elasticdeform, a cubic spline between pixels."""
    return _elasticdeform(image, label, order=3)


def _elasticdeform(image: np.ndarray, label: np.ndarray, order: int) -> Deform:
    import elasticdeform

    pair = [image[0], label[0]]
    return lambda: elasticdeform.deform_random_grid(pair, sigma=SIGMA_PX, points=3, order=[order, 0], mode="mirror")


def batchgenerators(image: np.ndarray, label: np.ndarray) -> Deform:
    """Its displacements are white noise that is smoothed."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    deform = SpatialTransform(
        (SIDE_PX, SIDE_PX),
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1.0,
        elastic_deform_scale=(0.2, 0.2),
        elastic_deform_magnitude=(0.1, 0.1),
        mode_seg="nearest",
    )
    sample = {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(label).to(torch.int16)}
    return lambda: deform(**sample)
