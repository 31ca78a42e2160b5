"""A picture of what the network will see: augmented tiles of a bundle's training, with how each was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from .bundle_config import config_files, parse_bundle
from .data import ExplainedTile, TileDataset, TileSampler, prepare_data_set
from .errors import ConfigError
from .formats import checked_target
from .reports import arranged_pictures, check_picture_name, overlay_picture, save_picture
from .transforms import mirrored_index

_GRID_STEP_PX = 32


def write_preview(
    path: str | Path,
    bundle: str | Path,
    count: int,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the tiles that a bundle's training begins with into a PNG file.

    Args:
        path: The file.
        bundle: Folder of the bundle.
        count: How many tiles.
        overlays: Names of overlays on `train.yaml`.
        overrides: Values of config ids.
        overwrite: Replace the file if it is there.

    Raises:
        PipelineError: One of its kinds, if config or data cannot be used, or the file cannot be written.
    """
    check_picture_name(path)
    checked_target(path, overwrite)
    _check_count(count)
    tiles = bundle_tiles(bundle, overlays, overrides)
    save_picture(path, preview_picture(tiles, count, progress=True), overwrite)


def bundle_tiles(
    bundle: str | Path, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> TileDataset:
    """Return the training tiles that a bundle declares.

    Args:
        bundle: Folder of the bundle.
        overlays: Names of overlays on `train.yaml`.
        overrides: Values of config ids.

    Raises:
        PipelineError: One of its kinds, if config or data cannot be used.
    """
    files = config_files(bundle, "train", overlays)
    parser = parse_bundle(files, {"bundle_root": str(bundle), **(overrides or {})})
    manifest, folder = parser.get_parsed_content("manifest"), parser.get_parsed_content("dataset_dir")
    prepare_data_set(manifest, folder, progress=True, splits=["training"])
    tiles = parser.get_parsed_content("train::dataset")
    if not isinstance(tiles, TileDataset):
        raise ConfigError(
            f"train::dataset of {bundle} is a {type(tiles).__name__}; a preview draws the tiles of a TileDataset"
        )
    return tiles


def preview_picture(tiles: TileDataset, count: int, progress: bool = False) -> NDArray[np.uint8]:
    """Draw the tiles that a training in one process begins with, one a row, in its order.

    Args:
        tiles: The training tiles.
        count: How many, from 1 to the tiles of an epoch.
        progress: Show a progress bar.

    Returns:
        (H, W, 3) uint8, RGB. It names cases as the manifest does.

    Raises:
        ConfigError: If `count` is out of range, or the bundle's tiles do not tell how they were drawn.
    """
    _check_count(count)
    if count > len(tiles):
        raise ConfigError(f"the number of tiles must be at most {len(tiles)}, those of one epoch, got {count}")
    numbers = list(islice(TileSampler(tiles, tiles.seed), count))
    shown = tqdm(numbers, desc="drawing tiles", unit="tile", disable=not progress, leave=False)
    return arranged_pictures([[tile_picture(tiles.explained(number))] for number in shown])


def tile_picture(explained: ExplainedTile) -> NDArray[np.uint8]:
    """Draw one training tile.

    The panels are: the input tile, with the lines that stand every 32 px in the image bent, and mirrored beyond its
    border, as the tile is, and a frame around the network's output; what the output sees, without and with the outlines
    of its label; and its weight map.

    Args:
        explained: The tile: `"image"` (C, h, w), `"label"` and `"weight"` (1, h', w') in its centre, `"case"`.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ConfigError: If nothing tells how the tile was drawn.
    """
    tile, case, draw = explained
    if draw is None:
        raise ConfigError("the training transforms do not tell how tiles were drawn; a preview wants RandTiled in them")
    image, label, weight = (np.asarray(torch.as_tensor(tile[key])) for key in ("image", "label", "weight"))
    # Of slices that are channels, the one that the label belongs to.
    shown = image[len(image) // 2][np.newaxis]
    input_px, output_px = image.shape[-1], label.shape[-1]
    margin_px = (input_px - output_px) // 2
    inside = slice(margin_px, margin_px + output_px)
    places = draw.coordinates(input_px, margin_px)
    folded = [
        mirrored_index(axis, side) for axis, side in zip(places, torch.as_tensor(case["image"]).shape[-2:], strict=True)
    ]
    turned = f"{draw.angle_deg:+.0f}°, scale {draw.scale:.2f}{', mirrored' if draw.flip else ''}"
    bent = f"knots moved by up to {np.linalg.norm(draw.control_px, axis=0).max():.0f} px"
    # Drawn alone: what an object looks like beyond the output is not known.
    panels = [
        overlay_picture(
            shown,
            lines=_grid_lines(torch.stack(folded).numpy(), draw.scale) | _frame(input_px, inside),
            caption=f"case {tile['case']}, output at row {draw.corner_px[0]}, column {draw.corner_px[1]}",
            max_panel_px=max(input_px, 16),
        ),
        overlay_picture(
            shown[:, inside, inside],
            label,
            weight=weight,
            caption=f"the output; {turned}, {bent}",
            max_panel_px=max(output_px, 16),
        ),
    ]
    return arranged_pictures([panels])


def _check_count(count: int) -> None:
    if count < 1:
        raise ConfigError(f"the number of tiles must be at least 1, got {count}")


def _grid_lines(places: NDArray[np.float32], step_px: float) -> NDArray[np.bool_]:
    """Return where a tile shows the lines that stand every 32 px in its image: (h, w) from (2, h, w) places.

    `step_px` is how far apart the places of neighbouring pixels are.
    """
    from_line = np.abs(places - _GRID_STEP_PX * np.round(places / _GRID_STEP_PX))
    return np.asarray((from_line <= step_px / 2).any(axis=0))


def _frame(input_px: int, inside: slice) -> NDArray[np.bool_]:
    """Return the pixels around the output; none where it is the whole tile."""
    frame = np.zeros((input_px, input_px), np.bool_)
    if inside.start > 0:
        around = slice(inside.start - 1, inside.stop + 1)
        frame[around, around] = True
        frame[inside, inside] = False
    return frame
