"""Draw a training tile: place, rotation, scale, flip and elastic deformation in one resampling of the full image."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple

from ..counted import agreed, counted
from ..errors import ConfigError
from ..geometry import ValidGeometry
from .elastic import check_grid_shape, check_sigma_px, interpolate_displacement
from .resample import Places, SamplingMode
from .sampled_keys import Keyed, check_finite, checked_keys, modes_of_keys


class TileDraw(NamedTuple):
    """What was drawn for one tile; enough to make the same tile again. A loader makes one of a batch of them.

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

    def coordinates(self, input_px: int, margin_px: int, device: torch.device | None = None) -> torch.Tensor:
        """Return where in the image each pixel of the input tile lies: (2, input_px, input_px), (row, column)."""
        centre = (input_px - 1) / 2
        rows = (torch.arange(input_px, dtype=torch.float32, device=device) - centre) * self.scale
        columns = -rows if self.flip else rows
        angle = math.radians(self.angle_deg)
        first_row, first_column = (corner - margin_px + centre for corner in self.corner_px)
        places = torch.stack(
            [
                (math.cos(angle) * rows + first_row)[:, None] - math.sin(angle) * columns,
                (math.sin(angle) * rows + first_column)[:, None] + math.cos(angle) * columns,
            ]
        )
        if self.control_px.any():
            control = torch.from_numpy(self.control_px).to(device, torch.float32)
            places += interpolate_displacement(control, (input_px, input_px))
        return places


class RandTiled(Randomizable, MapTransform):
    """Draw one training tile of a sample: the image at the input side, label and weight at the output side.

    The output tile is placed evenly over the image; where the input tile reaches beyond it, the image is mirrored
    without repeating its edge pixels, and so are label and weight where deformation takes them there. All keys are
    sampled once, from the full image, at the same places, so that nothing is interpolated twice and nothing is cut off.
    It runs where its tensors are, for one sample or for a batch of them.

    The paper asks for shift, rotation and elastic deformation and gives numbers for the last only. Shift anywhere,
    rotation by any angle and flips are our choice.

    Args:
        keys: Keys of (C, H, W) or (B, C, H, W) images with one common H and W.
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
        ImageError: If a sample holds NaN or infinity; the message names the case.
        LabelError: If a key of mode `"nearest"` does not hold integers, likewise.

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
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1000:
            raise ConfigError(f"scale must be two positive numbers up to 1000, the smaller first, got {tuple(scale)}")
        if not 0 <= flip_prob <= 1:
            raise ConfigError(f"flip_prob must be in [0, 1], got {flip_prob}")
        if not isinstance(tile_px, int):
            raise ConfigError(f"tile_px must be a whole number of pixels, got {tile_px!r}; the paper's is 572")
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

    def apply(self, sample: Mapping[Hashable, Any], draw: TileDraw | Sequence[TileDraw]) -> dict[Hashable, Any]:
        """Return the tile that `draw` describes, or for a batch the tiles of as many draws.

        Raises:
            ConfigError: If there are not as many draws as samples.
        """
        return self._tile(sample, checked_keys(sample, self.modes), draw)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a random tile of the sample, and under `"tile_draw"` what was drawn: for a batch a list."""
        keyed = checked_keys(data, self.modes)
        draws = [self.draw(keyed.size) for _ in range(keyed.batch)]
        return self._tile(data, keyed, draws if keyed.is_batch else draws[0])

    def _tile(
        self, sample: Mapping[Hashable, Any], keyed: Keyed, draw: TileDraw | Sequence[TileDraw]
    ) -> dict[Hashable, Any]:
        draws = [draw] if isinstance(draw, TileDraw) else draw
        if isinstance(draw, TileDraw) == keyed.is_batch or len(draws) != keyed.batch:
            raise ConfigError(
                f"{counted(len(draws), 'draw')} {agreed(len(draws), 'does', 'do')} not fit "
                f"{counted(keyed.batch, 'sample')}; give one TileDraw for a sample, and a list of as many for a batch"
            )
        coordinates = torch.stack([one.coordinates(self.input_px, self.margin_px, keyed.device) for one in draws])
        places = Places.of(coordinates if keyed.is_batch else coordinates[0], keyed.size)
        inside = slice(self.margin_px, self.margin_px + self.output_px)
        seen = places.within(inside, inside)
        result = {**sample, "tile_draw": draw}
        for key, mode in self.modes.items():
            result[key] = (seen if key in self.output_keys else places).values(sample[key], mode)
        # Not the whole image, which may be far larger than its tile.
        check_finite(result, self.modes)
        return result
