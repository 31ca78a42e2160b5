"""Random elastic deformation as in the paper: Gaussian displacements on a coarse grid, a cubic spline in between.

Displacements are in pixels, in the order (row, column), and point from a pixel of the result to the place in the source
where its value is taken from. Beyond the image the source is mirrored without repeating its edge pixels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from ..errors import ConfigError
from .resample import Places, SamplingMode, base_coordinates
from .sampled_keys import as_sampled, check_finite, checked_keys, modes_of_keys


@lru_cache(maxsize=64)
def spline_matrix(points: int, samples: int) -> npt.NDArray[np.float64]:
    """Return the matrix that takes values at `points` knots to a cubic spline through them at `samples` places.

    Knots and samples are spread evenly with the first and the last of each on one another; beyond the ends the values
    are mirrored without repeating the end knot.

    Args:
        points: Number of knots, at least 2.
        samples: Number of places, at least 1.

    Returns:
        (samples, points) float64, read-only.
    """
    # Column j of `coefficients` holds the B-spline coefficients of the values that are 1 at knot j and 0 elsewhere:
    # (c[i - 1] + 4 c[i] + c[i + 1]) / 6 must be the value at knot i, with c mirrored at both ends.
    through = np.zeros((points, points))
    for knot in range(points):
        through[knot, knot] += 4 / 6
        through[knot, _mirrored(knot - 1, points)] += 1 / 6
        through[knot, _mirrored(knot + 1, points)] += 1 / 6
    coefficients = np.linalg.inv(through)

    places = np.linspace(0, points - 1, samples)
    first = np.floor(places).astype(int)
    matrix = np.zeros((samples, points))
    for offset in (-1, 0, 1, 2):
        basis = _cubic_b_spline(places - (first + offset))
        for sample in range(samples):
            matrix[sample] += basis[sample] * coefficients[_mirrored(int(first[sample]) + offset, points)]
    matrix.flags.writeable = False
    return matrix


def interpolate_displacement(control: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the dense displacement whose cubic spline goes through the displacements at the knots of a coarse grid.

    Equal to `scipy.ndimage.zoom(order=3, mode="mirror")` of each component, and so to what `elasticdeform` does. It is
    a product with one small matrix for each axis.

    Args:
        control: (2, gh, gw) float, displacements in pixels, (row, column), or (B, 2, gh, gw); the knots at the corners
            of the grid lie on the centres of the corner pixels. At least 2 by 2 knots. With three axes likewise.
        shape: (H, W) of the result.

    Returns:
        (2, H, W) or (B, 2, H, W), of the dtype and on the device of `control`, in pixels.

    Raises:
        ConfigError: If the grid is smaller than 2 by 2, or `control` is no float tensor of shape (2, gh, gw).

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 3.1.
    """
    if not isinstance(control, torch.Tensor) or not control.is_floating_point():
        kind = control.dtype if isinstance(control, torch.Tensor) else type(control).__name__
        raise ConfigError(f"control must be a tensor of real numbers, got {kind}; convert it first (torch.as_tensor)")
    axes = len(shape)
    if control.ndim not in (axes + 1, axes + 2) or control.shape[-axes - 1] != axes:
        names = "rows, columns" if axes == 2 else "knots along each axis"
        raise ConfigError(f"control must be ({axes}, {names}) displacements, got {tuple(control.shape)}")
    check_grid_shape(control.shape[-axes:], axes)
    dense = control
    for axis, samples in enumerate(shape, start=-axes):
        matrix = _matrix_on(int(control.shape[axis]), int(samples), control.dtype, control.device)
        # The last axis is a plain product; the others are taken there for theirs.
        dense = (dense.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return dense.contiguous()


@lru_cache(maxsize=64)
def _matrix_on(points: int, samples: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    # Remembered for all callers: one that comes from inference mode must not spoil it for training.
    with torch.inference_mode(False):
        return torch.from_numpy(spline_matrix(points, samples).copy()).to(device, dtype)


def check_grid_shape(grid_shape: Sequence[int], axes: int = 2) -> None:
    """Refuse a grid of fewer than 2 by 2 knots, or of parts of knots.

    Raises:
        ConfigError: If it is no such grid.
    """
    if len(grid_shape) != axes or not all(isinstance(knots, int) and knots >= 2 for knots in grid_shape):
        raise ConfigError(
            f"grid_shape must be {'two' if axes == 2 else axes} whole numbers of at least 2, got {tuple(grid_shape)}; "
            "the paper's is (3, 3)"
        )


def check_sigma_px(sigma_px: float) -> None:
    """Refuse a standard deviation that is negative, not finite, or wider than any image.

    Raises:
        ConfigError: If it is.
    """
    if not 0 <= sigma_px <= 1e6:
        raise ConfigError(f"sigma_px must be at least 0, and at most 1e6, got {sigma_px}; the paper's is 10 pixels")


class RandGridElasticd(RandomizableTransform, MapTransform):
    """Deform all keys of a sample, or of each sample of a batch, with one smooth random displacement.

    It runs where its tensors are. What was drawn stands under `"elastic_control"` in the result: the displacements of
    the knots, (2, gh, gw) or (B, 2, gh, gw) pixels, all 0 where a sample was not to be deformed.

    Args:
        keys: Keys to deform, each (C, H, W) or (B, C, H, W) with one common H and W.
        mode: `"bilinear"`, `"bicubic"` or `"nearest"` for each key, or one for all. Labels want `"nearest"`.
        grid_shape: Knots of the coarse grid, (rows, columns).
        sigma_px: Standard deviation of each knot's displacement along rows and along columns, in pixels.
        prob: Probability that a sample is deformed at all.

    Raises:
        ConfigError: If an argument is out of range, or the keys of a sample differ in size.
        ImageError: If a sample holds NaN or infinity; the message names the case.
        LabelError: If a key of mode `"nearest"` does not hold integers, likewise.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 3.1: a 3 by 3 grid, standard deviation 10 pixels.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: SamplingMode | Sequence[SamplingMode],
        grid_shape: Sequence[int] = (3, 3),
        sigma_px: float = 10.0,
        prob: float = 1.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        if not 0 <= prob <= 1:
            raise ConfigError(f"prob must be in [0, 1], got {prob}")
        RandomizableTransform.__init__(self, prob)
        check_grid_shape(grid_shape)
        check_sigma_px(sigma_px)
        self.modes = modes_of_keys(self.keys, mode)
        self.grid_shape = tuple(grid_shape)
        self.sigma_px = sigma_px
        self.control = np.zeros((2, *self.grid_shape))

    def randomize(self, data: Any = None) -> None:
        """Draw whether to deform, and the displacements of the knots: `control`, (2, gh, gw) pixels."""
        super().randomize(None)
        shape = (2, *self.grid_shape)
        self.control = self.R.normal(0.0, self.sigma_px, shape) if self._do_transform else np.zeros(shape)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the deformed sample; what is not displaced comes back as it is, or as float32 of the same values."""
        keyed = checked_keys(data, self.modes)
        if not keyed.is_batch:
            self.randomize()
            return self.apply(data, self.control)
        controls = []
        for _ in range(keyed.batch):
            self.randomize()
            controls.append(self.control)
        return self.apply(data, np.stack(controls))

    def apply(
        self, sample: Mapping[Hashable, Any], control_px: npt.NDArray[np.float64] | torch.Tensor
    ) -> dict[Hashable, Any]:
        """Return the sample, or the batch, deformed by the displacements `"elastic_control"` of an earlier one.

        Raises:
            ConfigError: If there are not as many displacements as samples.
        """
        keyed = checked_keys(sample, self.modes)
        check_finite(sample, self.modes)
        control = torch.as_tensor(control_px).to(keyed.device, torch.float32)
        expected = (keyed.batch, 2) if keyed.is_batch else (2,)
        if control.shape[:-2] != expected:
            raise ConfigError(
                f"control_px must be {(*expected, 'rows', 'columns')} for this sample, got {tuple(control.shape)}; "
                "give the 'elastic_control' of a sample, or of a batch of as many"
            )
        moved = control.flatten(-3).any(-1)
        result = {**sample, "elastic_control": control_px}
        if not moved.any():
            return result | {key: as_sampled(sample[key], mode) for key, mode in self.modes.items()}
        places = Places.of(
            base_coordinates(keyed.size, keyed.device) + interpolate_displacement(control, keyed.size), keyed.size
        )
        for key, mode in self.modes.items():
            values = places.values(sample[key], mode)
            # On its own grid each pixel of a sample that stays is exact only if it is not interpolated.
            for number in (~moved).nonzero().flatten().tolist() if keyed.is_batch else ():
                values[number] = as_sampled(sample[key], mode)[number]
            result[key] = values
        return result


def _mirrored(index: int, length: int) -> int:
    period = 2 * (length - 1)
    index %= period
    return min(index, period - index)


def _cubic_b_spline(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = np.abs(distance)
    return np.where(near < 1, 2 / 3 - near**2 + near**3 / 2, np.clip(2 - near, 0, None) ** 3 / 6)
