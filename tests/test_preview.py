"""What the preview shows, held to how its tiles were drawn."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised
from PIL import Image

from pipeline.data import ExplainedTile, TileDataset, TileSampler, tile_loader
from pipeline.errors import ConfigError
from pipeline.geometry import ValidGeometry
from pipeline.preview import bundle_tiles, preview_picture, tile_picture
from pipeline.transforms import RandTiled, TileDraw

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"
LINE = (150, 60, 60)
FOUND = (70, 175, 245)


def still_tile(corner_px: tuple[int, int], size_px: tuple[int, int] = (400, 400)) -> ExplainedTile:
    """A tile of 200 px cut straight out of an image, whose network takes 30 px at each side; weights from 3 to 7."""
    rows, columns = np.mgrid[: size_px[0], : size_px[1]]
    painted = ((rows % 32 == 0) | (columns % 32 == 0)).astype(np.float32)
    mirrored = np.pad(painted, 300, mode="reflect")
    row, column = (300 + corner - 30 for corner in corner_px)
    label = torch.zeros(1, 140, 140, dtype=torch.uint8)
    label[:, :70] = 1
    tile = {
        "image": torch.from_numpy(mirrored[row : row + 200, column : column + 200].copy())[None],
        "label": label,
        "weight": torch.linspace(3, 7, 140 * 140).reshape(1, 140, 140),
        "case": "a",
    }
    return ExplainedTile(
        tile, {"image": torch.zeros(1, *size_px)}, TileDraw(corner_px, 0.0, 1.0, False, np.zeros((2, 3, 3)))
    )


def grid_panel(picture: np.ndarray) -> np.ndarray:
    """Return the first panel, of 200 px, below its lines of text."""
    return picture[-206:-6, 6:206]


def output_panel(picture: np.ndarray, number: int) -> np.ndarray:
    """Return image, label or weights, of 140 px, from a picture of its own that begins where the first one ends."""
    left = 212 + 6 + number * 146
    return picture[38:178, left : left + 140]


@pytest.mark.parametrize(
    ("corner_px", "size_px"), [((30, 41), (400, 400)), ((300, 290), (400, 411)), ((-7, 100), (90, 260))]
)
def test_lines_stand_where_the_image_has_them_also_beyond_its_border(
    corner_px: tuple[int, int], size_px: tuple[int, int]
) -> None:
    explained = still_tile(corner_px, size_px)
    shown = (grid_panel(tile_picture(explained)) == LINE).all(-1)
    frame = np.zeros((200, 200), np.bool_)
    frame[29:171, 29:171] = True
    frame[30:170, 30:170] = False
    assert np.array_equal(shown, (explained.tile["image"][0].numpy() == 1) | frame)


def test_lines_bend_as_the_tile_does() -> None:
    """A ramp along the rows shows from which row each pixel comes."""
    size = (300, 260)
    ramp = torch.arange(300.0)[:, None].expand(1, *size)
    tiles = RandTiled("image", "bilinear", 200, ValidGeometry(depth=2), output_keys=())
    tiles.set_random_state(3)
    tile = tiles({"image": ramp})
    others = {"label": torch.zeros(1, 160, 160, dtype=torch.uint8), "weight": torch.ones(1, 160, 160), "case": "a"}
    shown = (grid_panel(tile_picture(ExplainedTile(tile | others, {"image": ramp}, tile["tile_draw"]))) == LINE).all(-1)
    from_line = (tile["image"][0] - 32 * (tile["image"][0] / 32).round()).abs().numpy()
    assert shown[from_line < 0.49].all()
    assert shown.mean() < 0.12


def test_the_output_is_shown_alone_with_its_label_and_the_weights_that_it_has() -> None:
    explained = still_tile((64, 64))
    picture = tile_picture(explained)
    coloured = (output_panel(picture, 1) == FOUND).all(-1)
    # One line where the label ends, and none where the output does.
    assert np.flatnonzero(coloured.any(axis=1)).tolist() == [69]
    assert coloured[69].all()
    weight = output_panel(picture, 2)
    assert weight[0, 0].tolist() == [68, 1, 84]
    assert weight[-1, -1].tolist() == [253, 231, 37]
    assert picture.shape == (244, 212 + 3 * 146 + 6, 3)


def test_a_network_without_a_margin_has_no_frame() -> None:
    explained = still_tile((64, 64))
    whole = {**explained.tile, "label": torch.zeros(1, 200, 200, dtype=torch.uint8), "weight": torch.ones(1, 200, 200)}
    shown = (grid_panel(tile_picture(explained._replace(tile=whole))) == LINE).all(-1)
    places = np.arange(200) + 64
    assert np.array_equal(shown, (places[:, None] % 32 == 0) | (places % 32 == 0))


def test_it_draws_the_tiles_that_training_begins_with(small_run: dict[str, Any]) -> None:
    tiles = bundle_tiles(BUNDLE, overrides=small_run)
    loader = iter(tile_loader(tiles))
    first = [next(loader) for _ in range(3)]
    shown = [tiles.explained(number) for number in islice(TileSampler(tiles, tiles.seed), 3)]
    for batch, explained in zip(first, shown, strict=True):
        assert torch.equal(batch["image"][0], explained.tile["image"])
        assert batch["case"] == [explained.tile["case"]]
    rows = [tile_picture(explained) for explained in shown]
    assert np.array_equal(preview_picture(tiles, 3), np.concatenate(rows))
    with pytest.raises(ConfigError, match="number of tiles must be at least 1, got 0"):
        preview_picture(tiles, 0)
    with pytest.raises(ConfigError, match="number of tiles must be at most 4, those of one epoch, got 5"):
        preview_picture(tiles, 5)


def test_a_random_part_before_the_tile_is_no_obstacle() -> None:
    sample = {"image": torch.zeros(1, 90, 90), "label": torch.zeros(1, 90, 90, dtype=torch.uint8)}
    tiled = RandTiled(["image", "label"], ["bilinear", "nearest"], 92, ValidGeometry(depth=2), "label")
    noise = RandGaussianNoised("image", prob=1.0)
    explained = TileDataset([sample], Compose([noise, tiled])).explained(0)
    assert explained.draw is not None
    assert explained.tile["image"].any()
    assert TileDataset([sample], Compose([noise])).explained(0).draw is None
    with pytest.raises(ConfigError, match="do not tell how tiles were drawn; a preview wants RandTiled"):
        tile_picture(explained._replace(draw=None))


def test_the_command_writes_a_picture(processes: Any, small_run: dict[str, Any], tmp_path: Path) -> None:
    settings = [f"{name}={value}" for name, value in small_run.items() if "channels" not in name]
    arguments = ["preview", BUNDLE, "-n", "2", "-o", tmp_path / "tiles.png", *settings]
    finished = processes.start("pipeline", arguments, tmp_path).wait()
    assert finished.status == 0, finished.stderr
    assert finished.stdout == f"2 training tiles drawn: {tmp_path / 'tiles.png'}\n"
    with Image.open(tmp_path / "tiles.png") as picture:
        # A tile of 188 px, and three views of its output of 4 px, each with room for its words.
        assert picture.width == (188 + 12) + (3 * (128 + 6) + 6)
    assert [path.name for path in tmp_path.iterdir()] == ["tiles.png"]
    before = (tmp_path / "tiles.png").read_bytes()
    again = processes.start("pipeline", arguments, tmp_path).wait()
    assert again.status == 2
    assert again.last_line.endswith("tiles.png already exists; pass --force (in Python: overwrite=True) to replace it")
    assert processes.start("pipeline", [*arguments, "--force"], tmp_path).wait().status == 0
    assert (tmp_path / "tiles.png").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["-o", "tiles.jpg"], r"picture tiles\.jpg must be written as PNG; give it a name that ends in \.png"),
        (["-o", "gone/tiles.png"], r"cannot write gone/tiles\.png: folder .*gone does not exist; create it first"),
        (["-n", "0"], "the number of tiles must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_any_work(
    processes: Any, tmp_path: Path, options: list[str], line: str
) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["preview", BUNDLE, *options, f"dataset_dir={tmp_path / 'data'}"]
    finished = processes.start("pipeline", arguments, tmp_path).wait()
    assert finished.status == 2
    assert re.fullmatch(f"unet-pipeline: error: {line}", finished.last_line), finished.last_line
    assert list((tmp_path / "data").iterdir()) == []
