"""Pictures of image, label, prediction and weight side by side, and writing them whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ConfigError, ImageError, LabelError, OutputError, PipelineError
from pipeline.reports import overlay_picture, save_picture

GAP, BAND = 6, 16
FOUND, MERGED, SPLIT, LONE = (70, 175, 245), (255, 100, 0), (245, 225, 50), (255, 125, 215)

Picture = NDArray[np.uint8]


def panels_of(picture: Picture, shape: tuple[int, int]) -> list[Picture]:
    """Cut a picture into its panels, which have this shape and no less than 128 px between their left edges."""
    step = max(shape[1], 128) + GAP
    top = picture.shape[0] - GAP - shape[0]
    lefts = range(GAP, picture.shape[1] - GAP, step)
    return [picture[top : top + shape[0], left : left + shape[1]] for left in lefts]


def where(panel: Picture, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (panel == colour).all(axis=-1)
    return found


def ramp(height: int, width: int) -> NDArray[np.float64]:
    return np.arange(height * width, dtype=float).reshape(height, width)


# What the panels show.


@pytest.mark.parametrize(
    ("given", "count"),
    [
        pytest.param({}, 1, id="image"),
        pytest.param({"label": np.ones((130, 200), np.bool_)}, 2, id="label"),
        pytest.param({"pred": np.ones((130, 200), np.bool_)}, 2, id="pred"),
        pytest.param({"weight": np.ones((130, 200))}, 2, id="weight"),
        pytest.param({name: np.ones((130, 200)) for name in ("label", "pred", "weight")}, 4, id="all"),
    ],
)
def test_each_thing_given_is_one_panel(given: dict[str, Any], count: int) -> None:
    picture = overlay_picture(ramp(130, 200), **given)
    assert picture.dtype == np.uint8
    # With label and prediction the counts take two lines.
    assert picture.shape == (130 + BAND * (1 + (count == 4)) + 2 * GAP, count * (200 + GAP) + GAP, 3)


def test_a_caption_adds_a_line_and_nothing_else() -> None:
    plain = overlay_picture(ramp(130, 200))
    captioned = overlay_picture(ramp(130, 200), caption="case\n07")
    assert captioned.shape[0] == plain.shape[0] + BAND
    np.testing.assert_array_equal(captioned[GAP + BAND :], plain[GAP:])
    assert (captioned[GAP : GAP + BAND] != plain[0, 0]).any()


def test_outlines_are_the_rim_of_each_object_and_leave_the_rest_of_the_image() -> None:
    image = ramp(140, 150)
    label = np.zeros((140, 150), np.bool_)
    label[10:20, 30:45] = True
    plain, outlined = panels_of(overlay_picture(image, label), image.shape)
    rim = label.copy()
    rim[11:19, 31:44] = False
    np.testing.assert_array_equal(where(outlined, FOUND), rim)
    np.testing.assert_array_equal(outlined[~rim], plain[~rim])


def test_touching_instances_get_an_outline_between_them_and_none_along_the_image_edge() -> None:
    label = np.full((130, 130), 7)
    label[:, 60:] = 300
    _, outlined = panels_of(overlay_picture(np.zeros((130, 130)), label), (130, 130))
    expected = np.zeros((130, 130), np.bool_)
    expected[:, 59:61] = True
    np.testing.assert_array_equal(where(outlined, FOUND), expected)


def test_zeros_and_ones_are_a_mask_whose_components_are_the_objects() -> None:
    label = np.zeros((130, 130), np.uint8)
    label[10:20, 10:20] = label[10:20, 40:50] = 1
    numbered = label.astype(np.int32)
    numbered[10:20, 40:50] = 2
    np.testing.assert_array_equal(overlay_picture(label, label), overlay_picture(label, numbered))


def test_no_count_is_cut_off_over_a_narrow_panel() -> None:
    """Counts of 12 and more objects over a panel of 128 px have all the pixels that they have over one of 500 px."""
    label = np.zeros((130, 128), np.int64)
    for number in range(60):
        label[10 * (number // 10) : 10 * (number // 10) + 8, 12 * (number % 10) : 12 * (number % 10) + 8] = number + 1
    pred = np.where(label % 5 == 0, 0, label)
    ink = []
    for width in (128, 500):
        padding = ((0, 0), (0, width - 128))
        picture = overlay_picture(np.zeros((130, width)), np.pad(label, padding), np.pad(pred, padding))
        words = picture[:-130]
        ink.append([int(where(words, colour).sum()) for colour in (FOUND, MERGED, SPLIT, LONE)])
    assert ink[0] == ink[1]
    assert min(ink[0]) > 0


def test_a_long_caption_goes_on_in_a_further_line() -> None:
    plain = overlay_picture(ramp(130, 128))
    captioned = overlay_picture(ramp(130, 128), caption="a case whose name is longer than its picture is wide, slice 3")
    lines = (captioned.shape[0] - plain.shape[0]) // BAND
    assert lines == 3
    for line in range(lines):
        assert (captioned[GAP + line * BAND : GAP + (line + 1) * BAND] != plain[0, 0]).any()
    np.testing.assert_array_equal(captioned[GAP + lines * BAND :], plain[GAP:])


def test_colours_tell_found_merged_split_missed_and_extra_objects() -> None:
    label, pred = np.zeros((140, 200), np.int64), np.zeros((140, 200), np.int64)
    label[10:30, 10:30] = pred[12:30, 10:30] = 1  # found
    label[10:30, 50:69] = 2
    label[10:30, 71:90] = 3
    pred[10:30, 50:90] = 2  # merges both
    label[50:70, 10:50] = 4
    pred[50:70, 10:34], pred[50:70, 36:50] = 3, 4  # found, and a split-off piece
    label[50:70, 70:110] = 5
    pred[50:70, 70:89], pred[50:70, 91:110] = 5, 6  # missed: neither piece has more than half
    label[90:100, 10:20] = 6  # missed
    pred[90:100, 100:120] = 7  # extra
    _, of_label, of_pred = panels_of(overlay_picture(np.zeros((140, 200)), label, pred), (140, 200))

    def colours(panel: Picture, objects: NDArray[np.int64], number: int) -> set[tuple[int, ...]]:
        return {tuple(map(int, colour)) for colour in panel[objects == number]} - {(128, 128, 128)}

    expected_label = {1: FOUND, 2: MERGED, 3: MERGED, 4: FOUND, 5: LONE, 6: LONE}
    expected_pred = {1: FOUND, 2: MERGED, 3: FOUND, 4: SPLIT, 5: SPLIT, 6: SPLIT, 7: LONE}
    assert {number: colours(of_label, label, number) for number in expected_label} == {
        number: {colour} for number, colour in expected_label.items()
    }
    assert {number: colours(of_pred, pred, number) for number in expected_pred} == {
        number: {colour} for number, colour in expected_pred.items()
    }


def test_a_label_or_prediction_without_objects_leaves_the_image() -> None:
    empty = np.zeros((130, 130), np.bool_)
    plain, label, pred = panels_of(overlay_picture(ramp(130, 130), empty, empty), (130, 130))
    np.testing.assert_array_equal(label, plain)
    np.testing.assert_array_equal(pred, plain)


def test_weights_run_from_blue_to_yellow() -> None:
    _, weight = panels_of(overlay_picture(ramp(130, 130), weight=ramp(130, 130)), (130, 130))
    assert tuple(weight[0, 0]) == (68, 1, 84)
    assert tuple(weight[-1, -1]) == (253, 231, 37)
    np.testing.assert_array_equal(
        weight, panels_of(overlay_picture(ramp(130, 130), weight=9 * ramp(130, 130)), (130, 130))[1]
    )


def test_a_constant_image_is_gray_and_a_constant_weight_has_one_colour() -> None:
    image, weight = panels_of(overlay_picture(np.full((130, 130), 7), weight=np.ones((130, 130))), (130, 130))
    assert np.unique(image) == 128
    assert len(np.unique(weight.reshape(-1, 3), axis=0)) == 1


# Intensities.


@pytest.mark.parametrize(
    "scaled",
    [
        pytest.param((ramp(130, 140) % 251).astype(np.uint8), id="8-bit"),
        pytest.param((ramp(130, 140) % 251 * 200).astype(np.uint16), id="16-bit"),
        pytest.param((ramp(130, 140) % 251 * 100 - 9000).astype(np.int16), id="signed"),
        pytest.param(ramp(130, 140) % 251 / 1e6, id="float"),
        pytest.param((ramp(130, 140) % 251 / 1e3).astype(np.float16).astype(np.float32), id="coarse-float"),
    ],
)
def test_a_picture_does_not_depend_on_the_units_of_the_image(scaled: NDArray[np.generic]) -> None:
    expected = overlay_picture(ramp(130, 140) % 251).astype(int)
    assert np.abs(overlay_picture(scaled).astype(int) - expected).max() <= 2


def test_outliers_do_not_blacken_the_image() -> None:
    image = ramp(130, 140)
    spoiled = image.copy()
    spoiled[3, 5] = 1e9
    difference = overlay_picture(image).astype(int) - overlay_picture(spoiled).astype(int)
    assert np.abs(difference[GAP + BAND + 10 :]).max() <= 1


def test_a_few_bright_pixels_on_a_constant_image_are_shown() -> None:
    image = np.zeros((130, 130))
    image[60, 60] = 1
    (panel,) = panels_of(overlay_picture(image), (130, 130))
    assert panel[60, 60].tolist() == [255, 255, 255]
    assert panel.sum() == 3 * 255


def test_channel_first_images_and_planes_are_taken_as_they_are() -> None:
    image, plane = ramp(130, 140), np.ones((130, 140))
    np.testing.assert_array_equal(
        overlay_picture(image[np.newaxis], plane[np.newaxis], weight=plane[np.newaxis]),
        overlay_picture(image, plane, weight=plane),
    )
    rgb = np.stack([image, 0 * image, 0 * image])
    (panel,) = panels_of(overlay_picture(rgb), (130, 140))
    assert panel[-1, -1].tolist() == [255, 0, 0]


# Sizes.


@pytest.mark.parametrize(
    ("shape", "panel"),
    [
        pytest.param((1, 1), (128, 128), id="one-pixel"),
        pytest.param((7, 11), (84, 132), id="tiny"),
        pytest.param((127, 3), (254, 6), id="narrow"),
        pytest.param((128, 5), (128, 5), id="kept-small"),
        pytest.param((511, 512), (511, 512), id="kept-large"),
        pytest.param((513, 300), (512, 299), id="just-too-large"),
        pytest.param((20, 4000), (3, 512), id="long"),
        pytest.param((1, 3000), (1, 512), id="longer"),
    ],
)
def test_panels_have_128_to_512_px_on_their_longer_side(shape: tuple[int, int], panel: tuple[int, int]) -> None:
    label = np.arange(shape[0] * shape[1]).reshape(shape) % 5
    picture = overlay_picture(ramp(*shape), label, label, label, caption="size")
    lines = 2 if panel[1] > 256 else 3  # the caption, and the counts, which take two over a narrow panel
    assert picture.shape == (panel[0] + lines * BAND + 2 * GAP, 4 * (max(panel[1], 128) + GAP) + GAP, 3)
    assert len(panels_of(picture, panel)) == 4


def test_the_greatest_panel_can_be_asked_for() -> None:
    assert overlay_picture(ramp(300, 600), max_panel_px=100).shape == (50 + BAND + 2 * GAP, 128 + 2 * GAP, 3)
    assert overlay_picture(ramp(30, 60), max_panel_px=100).shape == (30 + BAND + 2 * GAP, 128 + 2 * GAP, 3)


def test_a_tiny_image_is_enlarged_pixel_by_pixel() -> None:
    image = np.array([[0.0, 1.0], [1.0, 0.0]])
    (panel,) = panels_of(overlay_picture(image), (128, 128))
    np.testing.assert_array_equal(panel[..., 0], np.kron(255 * image, np.ones((64, 64))))


def test_a_large_image_is_averaged_and_its_outlines_stay_one_pixel_wide() -> None:
    image = np.indices((1024, 1024)).sum(axis=0) % 2  # a chessboard: gray, once averaged
    label = np.zeros((1024, 1024), np.bool_)
    label[200:400, 200:400] = True
    plain, outlined = panels_of(overlay_picture(image, label), (512, 512))
    assert np.unique(plain) == 128
    rim = np.zeros((512, 512), np.bool_)
    rim[100:200, 100:200] = True
    rim[101:199, 101:199] = False
    np.testing.assert_array_equal(where(outlined, FOUND), rim)


# Refusals.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        pytest.param({"image": np.zeros(5)}, ImageError, r"image has shape \(5,\)", id="one-dimensional"),
        pytest.param({"image": np.zeros((2, 9, 9))}, ImageError, r"\(1, row, column\) or \(3, row", id="two-channels"),
        pytest.param({"image": np.zeros((0, 9))}, ImageError, "with pixels", id="empty"),
        pytest.param(
            {"image": np.full((9, 9), np.nan)}, ImageError, "image holds values that are not finite", id="nan"
        ),
        pytest.param({"image": np.full((9, 9), 1e300)}, ImageError, "not finite as float32", id="beyond-float32"),
        pytest.param({"weight": np.full((9, 9), np.inf)}, ImageError, "weight holds values that are not", id="inf"),
        pytest.param({"label": np.ones((9, 8))}, LabelError, r"label has \(9, 8\) pixels .* \(9, 9\)", id="label-size"),
        pytest.param({"pred": np.ones((2, 9, 9))}, LabelError, r"pred has \(2, 9, 9\) pixels", id="pred-classes"),
        pytest.param({"weight": np.ones((8, 9))}, LabelError, "crop the larger one first", id="weight-size"),
        pytest.param(
            {"pred": np.full((9, 9), 0.5)}, LabelError, "pred holds fractions.*threshold it", id="probability"
        ),
        pytest.param({"label": np.full((9, 9), -1)}, LabelError, "label holds fractions, negative", id="negative"),
        pytest.param({"max_panel_px": 15}, ConfigError, "at least 16, got 15", id="no-room"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, Any], error: type[PipelineError], message: str) -> None:
    with pytest.raises(error, match=message):
        overlay_picture(**{"image": np.zeros((9, 9)), **given})


# Files.


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


PICTURE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def test_a_saved_picture_reads_back_and_holds_no_text(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", PICTURE)
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), PICTURE)
        assert file.info == {}
    assert names_in(tmp_path) == ["a.png"]


def test_a_picture_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", PICTURE)
    save_picture(str(tmp_path / "a.png"), PICTURE[::-1])
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), PICTURE[::-1])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_picture_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    save_picture(tmp_path / "a.png", PICTURE)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"cannot write .*a\.png: No space left on device") as caught:
        save_picture(tmp_path / "a.png", PICTURE[::-1])
    assert isinstance(caught.value, PipelineError)
    assert names_in(tmp_path) == ["a.png"]
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), PICTURE)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*none/a\.png: folder .* does not exist"):
        save_picture(tmp_path / "none" / "a.png", PICTURE)


def test_a_name_that_is_not_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.jpg must be written as PNG; give it a name that ends in \.png"):
        save_picture(tmp_path / "a.jpg", PICTURE)


@pytest.mark.parametrize(
    "picture", [PICTURE[..., 0], PICTURE.astype(float), PICTURE[:0]], ids=["gray", "float", "empty"]
)
def test_what_is_not_a_picture_is_refused(tmp_path: Path, picture: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match=r"expected \(row, column, 3\) and uint8"):
        save_picture(tmp_path / "a.png", picture)  # type: ignore[arg-type]
    assert names_in(tmp_path) == []


# Real files.


def test_a_real_slice_with_its_label_is_drawn(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    folder = real_data("isbi2012-em") / "train"
    image, label = (np.asarray(Image.open(folder / kind / "3.png")) for kind in ("image", "label"))
    picture = overlay_picture(image, label == 255, image > 110, weight=label, caption="slice 3")
    panels = panels_of(picture, (512, 512))
    assert len(panels) == 4
    # Membranes hold 22 % of the slice and cells are large: a rim of one pixel a cell is a tenth of it.
    rims = sum(where(panels[1], colour).mean() for colour in (FOUND, MERGED, LONE))
    assert 0.05 < rims < 0.15
    save_picture(tmp_path / "slice.png", picture)
