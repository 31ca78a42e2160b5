"""Draw a training tile: place, rotation, scale, flip and elastic deformation in one resampling of the full image."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple

from ..errors import ConfigError
from ..geometry import ValidGeometry
from .elastic import check_grid_shape, check_sigma_px, common_size, interpolate_displacement, modes_of_keys
from .resample import SamplingMode, base_coordinates, resample


@dataclass(frozen=True)
class TileDraw:
    """What was drawn for one tile; enough to make the same tile again.

    Attributes:
        corner_px: (row, column) of the first pixel of the output tile in the image, before the rest is applied.
        angle_deg: Rotation about the tile's centre, from rows towards columns.
        scale: Size of a step between pixels of the tile, in pixels of the image: above 1 shows more tissue.
        flip: Whether the columns run backwards.
        control_px: (2, gh, gw) displacements at the knots of a coarse grid over the input tile, in pixels.
    """

    corner_px: tuple[int, int]
    angle_deg: float
    scale: float
    flip: bool
    control_px: npt.NDArray[np.float64]

    def coordinates(self, input_px: int, margin_px: int) -> torch.Tensor:
        """Return where in the image each pixel of the input tile lies: (2, input_px, input_px), (row, column)."""
        centre = (input_px - 1) / 2
        offsets = (base_coordinates((input_px, input_px)) - centre) * self.scale
        rows, columns = offsets[0], -offsets[1] if self.flip else offsets[1]
        angle = math.radians(self.angle_deg)
        places = torch.stack(
            [
                math.cos(angle) * rows - math.sin(angle) * columns + (self.corner_px[0] - margin_px + centre),
                math.sin(angle) * rows + math.cos(angle) * columns + (self.corner_px[1] - margin_px + centre),
            ]
        )
        if self.control_px.any():
            control = torch.from_numpy(self.control_px).float()
            places += interpolate_displacement(control, (input_px, input_px))
        return places


class RandTiled(Randomizable, MapTransform):
    """Draw one training tile of a sample: the image at the input side, label and weight at the output side.

    The output tile is placed evenly over the image; where the input tile reaches beyond it, the image is mirrored
    without repeating its edge pixels, and so are label and weight where deformation takes them there. All keys are
    sampled once, from the full image, at the same places, so that nothing is interpolated twice and nothing is cut off.

    The paper asks for shift, rotation and elastic deformation and gives numbers for the last only. Shift anywhere,
    rotation by any angle and flips are our choice.

    Args:
        keys: Keys of (C, H, W) images with one common H and W.
        mode: `"bilinear"`, `"bicubic"` or `"nearest"` for each key, or one for all. Labels want `"nearest"`.
        tile_px: Side of the input tile, legal for `geometry`.
        geometry: Geometry of the network that is to be trained, `network.geometry`.
        output_keys: Those of `keys` that are compared with the network's output and get its side.
        grid_shape: Knots of the elastic deformation's grid over the input tile, (rows, columns).
        sigma_px: Standard deviation of each knot's displacement along rows and along columns; 0 turns it off.
        angle_deg: Rotation is drawn evenly from -angle_deg to angle_deg.
        scale: Range that the scale is drawn from, evenly.
        flip_prob: Probability of a mirror image.

    Raises:
        TileSizeError: If `tile_px` is not legal.
        ConfigError: If another argument is out of range, or the keys of a sample differ in size.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), sections 2 and 3.1.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: SamplingMode | Sequence[SamplingMode],
        tile_px: int,
        geometry: ValidGeometry,
        output_keys: KeysCollection = ("label", "weight"),
        grid_shape: Sequence[int] = (3, 3),
        sigma_px: float = 10.0,
        angle_deg: float = 180.0,
        scale: Sequence[float] = (1.0, 1.0),
        flip_prob: float = 0.5,
    ) -> None:
        MapTransform.__init__(self, keys)
        check_grid_shape(grid_shape)
        check_sigma_px(sigma_px)
        if not 0 <= angle_deg <= 180:
            raise ConfigError(f"angle_deg must be in [0, 180], got {angle_deg}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ConfigError(f"scale must be two positive numbers, the smaller first, got {tuple(scale)}")
        if not 0 <= flip_prob <= 1:
            raise ConfigError(f"flip_prob must be in [0, 1], got {flip_prob}")
        self.modes = modes_of_keys(self.keys, mode)
        self.input_px = tile_px
        self.output_px = geometry.output_px(tile_px)
        self.margin_px = geometry.margin_px
        self.output_keys = set(ensure_tuple(output_keys))
        if not self.output_keys <= set(self.keys):
            raise ConfigError(
                f"output_keys must be among keys {list(self.keys)}, got {sorted(map(str, self.output_keys))}"
            )
        self.grid_shape = tuple(grid_shape)
        self.sigma_px = sigma_px
        self.angle_deg = angle_deg
        self.scale = tuple(scale)
        self.flip_prob = flip_prob

    def draw(self, shape: Sequence[int]) -> TileDraw:
        """Draw a tile for an image of `shape` (H, W)."""
        # An image smaller than the tile is kept whole, at an even place in the tile.
        row, column = (
            int(self.R.randint(min(length - self.output_px, 0), max(length - self.output_px, 0) + 1))
            for length in shape
        )
        return TileDraw(
            corner_px=(row, column),
            angle_deg=float(self.R.uniform(-self.angle_deg, self.angle_deg)),
            scale=float(self.R.uniform(*self.scale)),
            flip=bool(self.R.random_sample() < self.flip_prob),
            control_px=self.R.normal(0.0, self.sigma_px, (2, *self.grid_shape)),
        )

    def apply(self, sample: Mapping[Hashable, Any], draw: TileDraw) -> dict[Hashable, Any]:
        """Return the tile that `draw` describes."""
        tile = dict(sample)
        places = draw.coordinates(self.input_px, self.margin_px)
        inside = slice(self.margin_px, self.margin_px + self.output_px)
        for key in self.keys:
            wanted = places[:, inside, inside] if key in self.output_keys else places
            tile[key] = resample(tile[key], wanted, self.modes[key])
        return tile

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a random tile of the sample, and under `"tile_draw"` what was drawn."""
        draw = self.draw(common_size(data, self.keys))
        return {**self.apply(data, draw), "tile_draw": draw}
