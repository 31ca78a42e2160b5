"""The paper's border weights: `border_weight_map` against a distance transform of the whole image for each cell."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from pipeline.transforms import border_weight_map

from .measure import Table, one_thread, seconds_in_turns

CLAIM = (
    "Border weights cost what the area of the cells costs: 40 times as fast as the plain definition at 300 cells in "
    "512 by 512 px, and no more than linear in the number of cells."
)
W0, SIGMA_PX = 10.0, 5.0
AREA_PX = 512 * 512 / 300  # for each cell

Instances = npt.NDArray[np.int32]


def run(rounds: int) -> Table:
    """Measure both at 300 cells, and ours from 100 to 3,000 at the same density."""
    table = Table(CLAIM)
    cells = {count: touching_cells(count) for count in (100, 300, 1000, 3000)}
    with one_thread():
        table.add(
            seconds_in_turns(
                {
                    "300 cells: border_weight_map": partial(border_weight_map, cells[300], W0, SIGMA_PX),
                    "300 cells: the whole image for each": partial(by_the_definition, cells[300]),
                },
                rounds,
            )
        )
        table.add(
            seconds_in_turns(
                {
                    f"{count} cells": partial(border_weight_map, instances, W0, SIGMA_PX)
                    for count, instances in cells.items()
                },
                3 * rounds,
            )
        )
    difference = np.abs(border_weight_map(cells[300], W0, SIGMA_PX) - by_the_definition(cells[300])).max()
    seconds = table.medians
    plain, ours = seconds["300 cells: the whole image for each"], seconds["300 cells: border_weight_map"]
    table.goal("300 cells: times as fast as the definition", plain / ours, ">=", 40)
    table.goal("300 cells: largest difference from it", float(difference), "<=", 1e-5)
    growth = seconds["3000 cells"] / seconds["100 cells"] / 30
    table.goal("a cell out of 3000 over one out of 100", growth, "<=", 1)
    return table


def touching_cells(count: int) -> Instances:
    """Return cells around random centres, about 3 px apart, on a square of so many times their area."""
    side_px = round((count * AREA_PX) ** 0.5)
    centres = np.random.default_rng(count).uniform(0, side_px, (count, 2))
    pixels = np.stack(np.mgrid[:side_px, :side_px], axis=-1)
    distances, nearest = KDTree(centres).query(pixels, k=2)
    return np.where(distances[..., 1] - distances[..., 0] < 3, 0, nearest[..., 0] + 1).astype(np.int32)


def by_the_definition(instances: Instances) -> npt.NDArray[np.float64]:
    """Equation 2 of the paper, word for word, but for keeping only the two least distances."""
    nearest, second = (np.full(instances.shape, np.inf) for _ in range(2))
    for cell in range(1, instances.max() + 1):
        if (instances == cell).any():
            distance = ndimage.distance_transform_edt(instances != cell)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    weights = W0 * np.exp(-((nearest + second) ** 2) / (2 * SIGMA_PX**2))
    return np.where(instances == 0, weights, 0)
