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
from .resample import SAMPLING_MODES, SamplingMode, base_coordinates, resample


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

    Equal to `scipy.ndimage.zoom(order=3, mode="mirror")` of each component, and so to what `elasticdeform` does.

    Args:
        control: (2, gh, gw) float, displacements in pixels, (row, column); the knots at the corners of the grid lie on
            the centres of the corner pixels. At least 2 by 2 knots.
        shape: (H, W) of the result.

    Returns:
        (2, H, W), of the dtype and on the device of `control`, in pixels.

    Raises:
        ConfigError: If the grid is smaller than 2 by 2, or `control` is no float tensor of shape (2, gh, gw).

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 3.1.
    """
    if not isinstance(control, torch.Tensor) or not control.is_floating_point():
        kind = control.dtype if isinstance(control, torch.Tensor) else type(control).__name__
        raise ConfigError(f"control must be a tensor of real numbers, got {kind}; convert it first (torch.as_tensor)")
    if control.ndim != 3 or control.shape[0] != 2:
        raise ConfigError(f"control must be (2, rows, columns) displacements, got {tuple(control.shape)}")
    check_grid_shape(control.shape[1:])
    rows, columns = (
        torch.from_numpy(spline_matrix(int(points), int(samples)).copy()).to(control)
        for points, samples in zip(control.shape[1:], shape, strict=True)
    )
    return rows @ control @ columns.T


def check_grid_shape(grid_shape: Sequence[int]) -> None:
    """Refuse a grid of fewer than 2 by 2 knots.

    Raises:
        ConfigError: If it has fewer.
    """
    if len(grid_shape) != 2 or min(grid_shape) < 2:
        raise ConfigError(
            f"grid_shape must be two numbers of at least 2, got {tuple(grid_shape)}; the paper's is (3, 3)"
        )


def check_sigma_px(sigma_px: float) -> None:
    """Refuse a standard deviation that is negative or not finite.

    Raises:
        ConfigError: If it is.
    """
    if not (np.isfinite(sigma_px) and sigma_px >= 0):
        raise ConfigError(f"sigma_px must be at least 0, got {sigma_px}; the paper's is 10 pixels")


class RandGridElasticd(RandomizableTransform, MapTransform):
    """Deform all keys of a sample with one smooth random displacement.

    Args:
        keys: Keys to deform, each (C, H, W) with one common H and W.
        mode: `"bilinear"`, `"bicubic"` or `"nearest"` for each key, or one for all. Labels want `"nearest"`.
        grid_shape: Knots of the coarse grid, (rows, columns).
        sigma_px: Standard deviation of each knot's displacement along rows and along columns, in pixels.
        prob: Probability that a sample is deformed at all.

    Raises:
        ConfigError: If an argument is out of range, or the keys of a sample differ in size.

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
        self.control: npt.NDArray[np.float64] | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw whether to deform, and the displacements of the knots: `control`, (2, gh, gw) pixels, or None."""
        super().randomize(None)
        self.control = self.R.normal(0.0, self.sigma_px, (2, *self.grid_shape)) if self._do_transform else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the deformed sample; a sample that is not drawn, or not displaced, comes back as it is."""
        self.randomize()
        sample = dict(data)
        if self.control is None or not self.control.any():
            return sample
        shape = common_size(sample, self.keys)
        reference = torch.as_tensor(sample[self.keys[0]])
        control = torch.from_numpy(self.control).to(reference.device, torch.float32)
        coordinates = base_coordinates(shape, reference.device) + interpolate_displacement(control, shape)
        for key in self.keys:
            sample[key] = resample(sample[key], coordinates, self.modes[key])
        return sample


def modes_of_keys(
    keys: Sequence[Hashable], mode: SamplingMode | Sequence[SamplingMode]
) -> dict[Hashable, SamplingMode]:
    """Pair each key with its sampling mode.

    Raises:
        ConfigError: If there is a mode too few or too many, or one that is not known.
    """
    modes = [mode] * len(keys) if isinstance(mode, str) else list(mode)
    if len(modes) != len(keys):
        raise ConfigError(f"mode must name one mode for all keys or one for each, got {modes} for keys {list(keys)}")
    for name in modes:
        if name not in SAMPLING_MODES:
            raise ConfigError(f"mode must be one of {SAMPLING_MODES}, got {name!r}")
    return dict(zip(keys, modes, strict=True))


def common_size(sample: Mapping[Hashable, Any], keys: Sequence[Hashable]) -> tuple[int, int]:
    """Return the (H, W) that all keys of a sample share.

    Raises:
        ConfigError: If they differ, or are not (C, H, W); the message names the case.
    """
    sizes = {key: tuple(sample[key].shape) for key in keys}
    if any(len(size) != 3 for size in sizes.values()) or len({size[1:] for size in sizes.values()}) != 1:
        raise ConfigError(
            f"case '{sample.get('case', 'unnamed')}': all keys must be (channel, row, column) of one size, got "
            + ", ".join(f"{key} {size}" for key, size in sizes.items())
        )
    rows, columns = sizes[keys[0]][1:]
    return rows, columns


def _mirrored(index: int, length: int) -> int:
    period = 2 * (length - 1)
    index %= period
    return min(index, period - index)


def _cubic_b_spline(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = np.abs(distance)
    return np.where(near < 1, 2 / 3 - near**2 + near**3 / 2, np.clip(2 - near, 0, None) ** 3 / 6)
