"""Pictures that show an image, its label, a prediction and a weight map side by side, for people to look at.

Arrays are `(row, column)`, or `(channel, row, column)` as transforms leave them. A picture is (H, W, 3) uint8, RGB.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from ..counted import counted
from ..errors import ConfigError, ImageError, LabelError, OutputError
from ..formats import whole_file
from ..transforms.instances import interior_instances

Colour = tuple[int, int, int]

_GROUND: Final[Colour] = (28, 28, 30)
_TEXT: Final[Colour] = (225, 225, 225)
# Blue against orange, yellow and pink stay apart on gray images and for colour-blind readers (after Okabe and Ito).
_AGREED: Final[Colour] = (70, 175, 245)
_MERGED: Final[Colour] = (255, 100, 0)
_SPLIT: Final[Colour] = (245, 225, 50)
_LONE: Final[Colour] = (255, 125, 215)
_LINES: Final[Colour] = (150, 60, 60)
# Nine colours of the scale "viridis" (CC0), from low to high.
_SCALE: Final = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float64,
)
_GAP_PX: Final = 6
_BAND_PX: Final = 16
_FONT_PX: Final = 12
_LEAST_PANEL_PX: Final = 128


class _Word(NamedTuple):
    text: str
    colour: Colour = _TEXT


class _Panel(NamedTuple):
    words: Sequence[_Word]
    rgb: NDArray[np.uint8]
    has_scale: bool = False


class _Outlines(NamedTuple):
    objects: NDArray[np.intp]  # (H, W), 0 is background
    colours: NDArray[np.uint8]  # (objects + 1, 3)
    words: Sequence[_Word]


def overlay_picture(
    image: ArrayLike,
    label: ArrayLike | None = None,
    pred: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    lines: ArrayLike | None = None,
    caption: str = "",
    max_panel_px: int = 512,
) -> NDArray[np.uint8]:
    """Draw an image, its label, a prediction and a weight map as panels side by side.

    The panels are: the image; the image with the outlines of the label; with those of the prediction; the weight in
    colours from blue (its least value) to yellow (its greatest). Label, prediction and weight can each be left out.

    With both label and prediction the outlines show what went wrong. A label object is *found* (blue) by the
    predicted object that covers more than half of it; where one predicted object does so for several, all of them
    are *merged* (orange); a label object that none covers so far is *missed* (pink). A predicted object that finds
    none is *split* off (yellow) if more than half of it lies on label objects, and *extra* (pink) if not.

    Gray values run from black at the 0.5th percentile of the panel to white at the 99.5th, in one window for all
    channels; a constant image is gray. A panel keeps the size of the image while its longer side has 128 px to
    `max_panel_px`. A larger image is reduced to `max_panel_px` (the image and the weight by averaging; the outlines
    are drawn afterwards, so they stay one pixel wide), a smaller one is enlarged by the least whole number that makes
    it 128 px, or the greatest that fits `max_panel_px`.

    Args:
        image: (H, W), (1, H, W) or (3, H, W), any type of number.
        label: (H, W) or (1, H, W): a mask of bool, or of 0 and 1, whose 4-connected components are the objects; or
            instance numbers with 0 as background.
        pred: As `label`.
        weight: (H, W) or (1, H, W), any type of number.
        lines: (H, W) bool: what to draw over the first panel.
        caption: A text above the panels. The picture names nothing but what is passed here, so whoever calls decides
            that no patient can be recognised.
        max_panel_px: Greatest side of a panel, at least 16. Four panels, gaps and text make the picture at most
            4 (`max_panel_px` + 6) + 6 px wide and `max_panel_px` + 44 px high for `max_panel_px` of 128 and more, and
            16 px higher for each further line that the text over a narrow panel takes.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: If the image or the weight has another number of dimensions, no pixels, or values that are not
            finite.
        LabelError: If label, prediction, weight or lines differ from the image in height or width, or if label or
            prediction hold fractions or negative numbers.
        ConfigError: If `max_panel_px` is less than 16.
    """
    if max_panel_px < 16:
        msg = f"max_panel_px must be at least 16, got {max_panel_px}"
        raise ConfigError(msg)
    channels = _channels(image, "image", (1, 3))
    shape = (channels.shape[1], channels.shape[2])
    side = _panel_shape(shape, max_panel_px)
    gray = _window(np.stack([_resized(channel, side) for channel in channels], axis=-1))
    first = gray.copy()
    if lines is not None:
        mask = np.asarray(lines, dtype=np.float32)
        _check_shape(mask.shape, "lines", shape)
        first[_resized(mask, side) > 0] = _LINES
    panels = [_Panel([_Word("image")], first)]
    given = {"label": label, "pred": pred}
    objects = {name: _objects(array, name, shape) for name, array in given.items() if array is not None}
    for outlines in _outlines(objects):
        panels.append(_Panel(outlines.words, _drawn(gray, outlines, side)))
    if weight is not None:
        plane = _channels(weight, "weight", (1,))[0]
        _check_shape(plane.shape, "weight", shape)
        least, greatest = float(plane.min()), float(plane.max())
        words = [_Word("weight"), _Word(f"{least:.3g} to {greatest:.3g}")]
        panels.append(_Panel(words, _coloured(_resized(plane, side), least, greatest), has_scale=True))
    return _side_by_side(panels, caption)


def arranged_pictures(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return one picture of rows of pictures, each (H, W, 3) uint8, their tops and left sides in line."""
    width = max(sum(picture.shape[1] for picture in row) for row in rows)
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    arranged = np.full((sum(heights), width, 3), _GROUND, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture in row:
            arranged[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += picture.shape[1]
        top += height
    return arranged


def check_picture_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that does not end in `.png`.

    Raises:
        OutputError: If it does not.
    """
    if Path(path).suffix.lower() != ".png":
        msg = f"picture {path} must be written as PNG; give it a name that ends in .png"
        raise OutputError(msg)


def save_picture(path: str | os.PathLike[str], rgb: NDArray[np.uint8], overwrite: bool = True) -> None:
    """Write a picture as PNG, whole or not at all.

    The file holds pixels and nothing else: no text, no time.

    Args:
        path: Where to; ends in `.png`, in a folder that exists.
        rgb: (H, W, 3) uint8.
        overwrite: Replace a file of that name.

    Raises:
        OutputError: If the name does not end in `.png` or the file cannot be written; nothing is left behind then.
        ImageError: If the picture has another shape or type.
    """
    check_picture_name(path)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        msg = f"picture has shape {rgb.shape} and type {rgb.dtype}; expected (row, column, 3) and uint8"
        raise ImageError(msg)
    with whole_file(path, overwrite=overwrite) as partial:
        Image.fromarray(rgb).save(partial, format="PNG")


def _channels(array: ArrayLike, name: str, counts: tuple[int, ...]) -> NDArray[np.float32]:
    """Return (C, H, W) float32."""
    values = np.asarray(array)
    if values.ndim == 2:
        values = values[np.newaxis]
    if values.ndim != 3 or values.shape[0] not in counts or values.size == 0:
        wanted = " or ".join(f"({count}, row, column)" for count in counts)
        msg = f"{name} has shape {np.shape(array)}; expected (row, column) or {wanted}, with pixels"
        raise ImageError(msg)
    with np.errstate(over="ignore"):  # what is too large for float32 is refused below
        result = values.astype(np.float32)
    if not np.isfinite(result).all():
        msg = f"{name} holds values that are not finite as float32; a picture needs finite ones"
        raise ImageError(msg)
    return result


def _check_shape(found: tuple[int, ...], name: str, shape: tuple[int, int]) -> None:
    if found != shape:
        msg = f"{name} has {found} pixels and the image {shape} (row, column); crop the larger one first"
        raise LabelError(msg)


def _objects(array: ArrayLike, name: str, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return (H, W) objects numbered 1, 2, ... without holes in the numbering; 0 is background."""
    values = np.asarray(array)
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    _check_shape(values.shape, name, shape)
    if values.dtype == np.bool_ or ((values == 0) | (values == 1)).all():
        return interior_instances(values != 0).astype(np.intp)
    if not ((values >= 0) & (values == np.floor(values))).all():
        msg = (
            f"{name} holds fractions, negative numbers or NaN; expected a mask or instance numbers; threshold it first"
        )
        raise LabelError(msg)
    numbers, places = np.unique(values, return_inverse=True)
    return places.reshape(shape) + (0 if numbers[0] == 0 else 1)


def _outlines(objects: dict[str, NDArray[np.intp]]) -> list[_Outlines]:
    """Return what to draw for label and prediction: colours that compare them where both are there."""
    if len(objects) < 2:
        outlines = []
        for name, numbered in objects.items():
            count = int(numbered.max())
            colours = np.full((count + 1, 3), _AGREED, np.uint8)
            outlines.append(_Outlines(numbered, colours, [_Word(name), _Word(counted(count, "object"), _AGREED)]))
        return outlines
    label, pred = objects["label"], objects["pred"]
    columns = int(pred.max()) + 1
    codes, shared_px = np.unique(label * columns + pred, return_counts=True)
    of_label, of_pred = np.divmod(codes, columns)
    on_both = (of_label > 0) & (of_pred > 0)
    of_label, of_pred, shared_px = of_label[on_both], of_pred[on_both], shared_px[on_both]
    label_px, pred_px = np.bincount(label.ravel()), np.bincount(pred.ravel())

    finds = 2 * shared_px > label_px[of_label]  # at most one predicted object a label object
    found = np.bincount(of_pred[finds], minlength=columns)
    on_label = 2 * np.bincount(of_pred, weights=shared_px, minlength=columns) > pred_px
    label_kind = np.zeros(len(label_px), np.intp)
    label_kind[of_label[finds]] = np.where(found[of_pred[finds]] > 1, 2, 1)
    pred_kind = np.select([found > 1, found == 1, on_label], [3, 2, 1], 0)
    return [
        _by_kind("label", label, label_kind, [("missed", _LONE), ("found", _AGREED), ("merged", _MERGED)]),
        _by_kind(
            "pred", pred, pred_kind, [("extra", _LONE), ("split", _SPLIT), ("found", _AGREED), ("merged", _MERGED)]
        ),
    ]


def _by_kind(
    name: str, objects: NDArray[np.intp], kind: NDArray[np.intp], kinds: Sequence[tuple[str, Colour]]
) -> _Outlines:
    counts = np.bincount(kind[1:], minlength=len(kinds))
    words = [_Word(f"{count} {word}", colour) for (word, colour), count in zip(kinds, counts, strict=True)]
    colours = np.array([colour for _, colour in kinds], np.uint8)[kind]
    return _Outlines(objects, colours, [_Word(name), *reversed(words)])


def _panel_shape(shape: tuple[int, int], max_panel_px: int) -> tuple[int, int]:
    longer = max(shape)
    if longer > max_panel_px:
        return (max(1, round(shape[0] * max_panel_px / longer)), max(1, round(shape[1] * max_panel_px / longer)))
    times = max(1, min(math.ceil(_LEAST_PANEL_PX / longer), max_panel_px // longer))
    return (shape[0] * times, shape[1] * times)


def _nearest(plane: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.intp]:
    rows = (2 * np.arange(shape[0]) + 1) * plane.shape[0] // (2 * shape[0])
    columns = (2 * np.arange(shape[1]) + 1) * plane.shape[1] // (2 * shape[1])
    picked: NDArray[np.intp] = plane[rows[:, np.newaxis], columns]
    return picked


def _resized(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the plane averaged over boxes when it gets smaller, and with its pixels repeated when it gets larger."""
    resized = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float32)


def _window(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (H, W, 3) gray or RGB of (H, W, 1 or 3) intensities."""
    black, white = np.percentile(values.astype(np.float64), (0.5, 99.5))
    if white == black:  # constant but for less than one pixel in a hundred
        black, white = float(values.min()), float(values.max())
    shade = (values - black) / (white - black) if white > black else np.full(values.shape, 0.5)
    gray = np.rint(255 * np.clip(shade, 0, 1)).astype(np.uint8)
    return np.repeat(gray, 3 // gray.shape[2], axis=2)


def _coloured(plane: NDArray[np.float32], least: float, greatest: float) -> NDArray[np.uint8]:
    height = (plane.astype(np.float64) - least) / (greatest - least) if greatest > least else np.zeros(plane.shape)
    stops = np.linspace(0, 1, len(_SCALE))
    colours = np.stack([np.interp(height, stops, channel) for channel in _SCALE.T], axis=-1)
    rounded: NDArray[np.uint8] = np.rint(colours).astype(np.uint8)
    return rounded


def _drawn(gray: NDArray[np.uint8], outlines: _Outlines, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the picture with the pixels of each object that have another value beside them in its colour."""
    objects = _nearest(outlines.objects, shape)
    edge = np.zeros(shape, np.bool_)
    differs = objects[1:] != objects[:-1]
    edge[1:] |= differs
    edge[:-1] |= differs
    differs = objects[:, 1:] != objects[:, :-1]
    edge[:, 1:] |= differs
    edge[:, :-1] |= differs
    edge &= objects > 0
    drawn = gray.copy()
    drawn[edge] = outlines.colours[objects[edge]]
    return drawn


def _side_by_side(panels: Sequence[_Panel], caption: str) -> NDArray[np.uint8]:
    height, width = panels[0].rgb.shape[:2]
    cell = max(width, _LEAST_PANEL_PX)  # room for the words over a narrow panel
    total_width = len(panels) * (cell + _GAP_PX) + _GAP_PX
    inner_width = total_width - 2 * _GAP_PX
    told = [[_Word(line)] for line in _text_lines(caption, inner_width)]
    lines = [_lines(panel.words, cell) for panel in panels]
    top = _GAP_PX + _BAND_PX * len(told)
    band_px = _BAND_PX * max(map(len, lines))
    picture = Image.new("RGB", (total_width, top + band_px + height + _GAP_PX), _GROUND)
    if told:
        picture.paste(_band(told, inner_width), (_GAP_PX, _GAP_PX))
    for number, (panel, of_panel) in enumerate(zip(panels, lines, strict=True)):
        left = _GAP_PX + number * (cell + _GAP_PX)
        picture.paste(_band(of_panel, cell, panel.has_scale), (left, top))
        picture.paste(Image.fromarray(panel.rgb), (left, top + band_px))
    return np.asarray(picture)


def _text_lines(text: str, width: int) -> list[str]:
    """Return a text as lines that fit the width; a word that does not fit alone is a line."""
    font = ImageFont.load_default(_FONT_PX)
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _lines(words: Sequence[_Word], width: int) -> list[list[_Word]]:
    """Return words as lines that fit the width."""
    lines: list[list[_Word]] = [[]]
    for word in words:
        if lines[-1] and _ends_px([*lines[-1], word])[-1] > width:
            lines.append([])
        lines[-1].append(word)
    return lines


def _ends_px(words: Sequence[_Word]) -> list[int]:
    """Return where each word of a line ends."""
    font = ImageFont.load_default(_FONT_PX)
    ends: list[int] = []
    left = 0
    for word in words:
        ends.append(left + math.ceil(font.getlength(word.text)))
        left += math.ceil(font.getlength(word.text + "  "))
    return ends


def _band(lines: Sequence[Sequence[_Word]], width: int, has_scale: bool = False) -> Image.Image:
    """Return lines of text; with a colour scale in what is left of the last."""
    band = Image.new("RGB", (width, _BAND_PX * len(lines)), _GROUND)
    draw = ImageDraw.Draw(band)
    font = ImageFont.load_default(_FONT_PX)
    left = 0
    for number, words in enumerate(lines):
        left = 0
        for word in words:
            draw.text((left, _BAND_PX * number), word.text, fill=word.colour, font=font)
            left += math.ceil(font.getlength(word.text + "  "))
    if has_scale and width - left > _BAND_PX:
        ramp = np.tile(np.linspace(0, 1, width - left, dtype=np.float32), (_BAND_PX - 8, 1))
        band.paste(Image.fromarray(_coloured(ramp, 0, 1)), (left, band.height - _BAND_PX + 4))
    return band
