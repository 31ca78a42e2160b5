"""A label on the grid of its image passes unchanged; any other is refused by the name of its case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from pipeline.errors import LabelError
from pipeline.transforms import SameGridd

AFFINE = np.array([[0, -2.0, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def volume(affine: np.ndarray, shape: tuple[int, ...] = (1, 4, 5, 6)) -> MetaTensor:
    return MetaTensor(torch.zeros(shape), affine=torch.as_tensor(affine))


def test_a_label_on_the_grid_passes() -> None:
    sample = {"image": volume(AFFINE, (2, 4, 5, 6)), "label": volume(AFFINE + 1e-4), "case": "a"}
    assert SameGridd("label")(sample) == sample


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (volume(AFFINE, (1, 4, 5, 7)), "label of case 'a' has 4 × 5 × 7 voxels but its image has 4 × 5 × 6"),
        (volume(AFFINE @ np.diag([1, 1, -1, 1])), "label of case 'a' lies up to 10 voxels from the grid of its image"),
        (volume(AFFINE + 0.5 * np.eye(4, k=3)), "label of case 'a' lies up to 0.25 voxels"),
    ],
    ids=["size", "upside down", "shift"],
)
def test_a_label_elsewhere_is_refused(label: MetaTensor, expected: str) -> None:
    with pytest.raises(LabelError, match=expected):
        SameGridd("label")({"image": volume(AFFINE), "label": label, "case": "a"})
