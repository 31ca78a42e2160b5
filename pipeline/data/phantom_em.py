"""Slices of neural tissue as an electron microscope shows them, generated: a data set that needs no download.

Modelled on the training stack of the ISBI 2012 challenge. All arithmetic is in integers, so a seed gives the same bytes
on every machine and library version; the order in which a slice draws its random numbers is part of that promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from tqdm import tqdm

from ..errors import ConfigError
from .frozen_tiff import write_frozen_tiff
from .integer_fields import Field, Mask, RawStream, bell_q16, binomial_sum, capped_square_distance, smooth_noise_q8
from .phantom_organelles import draw_organelles, draw_smudges
from .phantom_tissue import grow_cells

PHANTOM_EM_SLICES: Final = 30
PHANTOM_EM_SIDE_PX: Final = 512
PHANTOM_EM_SMALLEST_CELL_PX: Final = 48
"""Area in pixels below which a patch walled in by membrane counts as membrane."""

_DISTANCE_CAP_PX: Final = 12

# Gray levels before staining and noise, in 1/16 of a level.
_MIDDLE_Q4: Final = 140 * 16
_LUMEN_Q4: Final = 200 * 16
_INK_Q4: Final = 46 * 16
_MEMBRANE_Q4: Final = 48 * 16
_SMUDGE_Q4: Final = 52 * 16


@dataclass(frozen=True)
class PhantomSlice:
    """One slice and its truth: three arrays of shape `(512, 512)`.

    The truth obeys four laws. `label` is 255 exactly where `cells` is above 0. Pixels of two cells are never
    4-neighbours. The pixels of each cell are one 4-connected component, of at least 48 px. And no cell here holds
    pixels of two cells of the tissue; a cell of the tissue gives one cell here, or several where the border of the
    slice or a neck thinner than its membranes cuts it, or none where too little is left of it.

    Attributes:
        image: uint8 gray values; membranes are dark.
        label: uint8, 255 in the interior of cells and 0 on membrane: the convention of ISBI 2012.
        cells: int32, 0 on membrane, else the number of the cell, from 1 without a gap.
    """

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    cells: npt.NDArray[np.int32]


def generate_phantom_em(folder: str | Path, seed: int = 2015, progress: bool = False) -> None:
    """Write the data set `phantom_em`: `image/00.tif` to `image/29.tif`, and their labels under `label/`.

    Every file is written whole or not at all, and a file that holds the right bytes already is left alone; so
    processes may run this side by side, and a run that was cut off can be run again.

    Args:
        folder: Where to write; made if it is not there.
        seed: Seed of the whole set, at least 0. The manifest `phantom_em.json` is about 2015.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: If the seed is negative.
        OutputError: If a file cannot be written.
    """
    for index in tqdm(range(PHANTOM_EM_SLICES), desc="phantom_em", unit="slice", disable=not progress):
        piece = phantom_em_slice(index, seed)
        write_frozen_tiff(Path(folder) / "image" / f"{index:02d}.tif", piece.image)
        write_frozen_tiff(Path(folder) / "label" / f"{index:02d}.tif", piece.label)


def phantom_em_slice(index: int, seed: int = 2015) -> PhantomSlice:
    """Return one slice, which depends on its number and the seed alone and shares nothing with the other slices.

    Args:
        index: Number of the slice, in 0..29.
        seed: Seed of the whole set, at least 0.

    Raises:
        ConfigError: If the number or the seed is out of range.

    Examples:
        >>> piece = phantom_em_slice(0)
        >>> piece.image.shape, piece.image.dtype.name
        ((512, 512), 'uint8')
    """
    if not 0 <= index < PHANTOM_EM_SLICES:
        msg = f"slice {index} of phantom_em does not exist: slices are numbered 0 to {PHANTOM_EM_SLICES - 1}"
        raise ConfigError(msg)
    if seed < 0:
        msg = f"seed {seed} of phantom_em is negative: a seed must be at least 0; try 2015"
        raise ConfigError(msg)
    stream = RawStream(seed, index)
    tissue = grow_cells(stream, PHANTOM_EM_SIDE_PX)
    square_distance = capped_square_distance(_line_between(tissue), _DISTANCE_CAP_PX)
    thickness = smooth_noise_q8(stream, tissue.shape, radius_px=8, pitch_px=4)

    # Membrane reaches 1.4 px beyond the line at least, which makes it 4 px wide, and up to 5.4 px where it is thick.
    reach_square = np.minimum(2 + np.where(thickness > 100, 3, 0) + np.maximum(thickness - 330, 0) // 24, 30)
    is_interior = square_distance > reach_square
    cells = _cells_of(is_interior)
    square_distance[is_interior & (cells == 0)] = 0  # patches too small for a cell are painted as membrane too
    return PhantomSlice(
        image=_expose(stream, tissue, square_distance, thickness),
        label=np.where(cells > 0, 255, 0).astype(np.uint8),
        cells=cells,
    )


def _line_between(tissue: Field) -> Mask:
    """Return the pixels on either side of every border between two cells."""
    is_line = np.zeros(tissue.shape, dtype=np.bool_)
    for turned, line in ((tissue, is_line), (tissue.T, is_line.T)):
        differs = turned[1:] != turned[:-1]
        line[1:] |= differs
        line[:-1] |= differs
    return is_line


def _cells_of(is_interior: Mask) -> npt.NDArray[np.int32]:
    """Return the 4-connected components that are large enough for a cell, numbered from 1; 0 elsewhere."""
    components, count = ndimage.label(is_interior)
    area_px = np.bincount(components.ravel(), minlength=count + 1)
    is_cell = area_px >= PHANTOM_EM_SMALLEST_CELL_PX
    is_cell[0] = False
    number = np.where(is_cell, np.cumsum(is_cell), 0).astype(np.int32)
    return np.asarray(number[components], dtype=np.int32)


def _expose(stream: RawStream, tissue: Field, square_distance: Field, thickness: Field) -> npt.NDArray[np.uint8]:
    """Return the image: cytoplasm, organelles, membranes and synapses, then blur, uneven staining and noise."""
    shape = tissue.shape
    medium_grain = smooth_noise_q8(stream, shape, radius_px=2, pitch_px=2)
    fine_grain = smooth_noise_q8(stream, shape, radius_px=1)

    cells = int(tissue.max()) + 1
    level_q4 = stream.integers(150 * 16, 180 * 16, cells)
    level_q4 -= np.where(stream.integers(0, 9, cells) == 0, 32 * 16, 0)  # one cell in nine is dark throughout
    roughness_q8 = stream.integers(150, 420, cells)
    gray_q4 = level_q4[tissue] + ((medium_grain * 13 + fine_grain * 14) * roughness_q8[tissue] >> 12)

    ink = draw_organelles(stream, tissue, square_distance)
    patchy_q8 = np.clip(220 + (fine_grain >> 2) + (medium_grain >> 2), 90, 256)
    gray_q4 = _mixed(gray_q4, _LUMEN_Q4, ink.bright_q16 * patchy_q8 >> 8)
    gray_q4 = _mixed(gray_q4, _INK_Q4, ink.dark_q16 * patchy_q8 >> 8)
    gray_q4 = _mixed(gray_q4, _MEMBRANE_Q4, _membrane_q16(stream, square_distance, thickness, fine_grain))
    gray_q4 = _mixed(gray_q4, _SMUDGE_Q4, draw_smudges(stream, square_distance))
    gray_q4 = binomial_sum(np.pad(gray_q4, 1, mode="edge")) >> 4

    gain_q8 = 270 + (smooth_noise_q8(stream, shape, radius_px=64, pitch_px=16) * 34 >> 8)
    gain_q8 = gain_q8 * stream.integer(235, 300) >> 8
    shade_q4 = smooth_noise_q8(stream, shape, radius_px=48, pitch_px=16) * 10 * 16 >> 8
    shade_q4 += stream.integer(-17, 15) * 16
    gray_q4 = _MIDDLE_Q4 + ((gray_q4 - _MIDDLE_Q4) * gain_q8 >> 8) + shade_q4

    rows, columns = shape
    # The weighted sum of 3 by 3 bells of 209 has a standard deviation of 6 * 209: this is noise of 15 gray levels.
    gray_q4 += binomial_sum(stream.bells(rows + 2, columns + 2)) * 15 * 16 // (6 * 209)
    return np.asarray(np.clip(gray_q4 >> 4, 0, 255), dtype=np.uint8)


def _membrane_q16(stream: RawStream, square_distance: Field, thickness: Field, fine_grain: Field) -> Field:
    """Return how much of each pixel is membrane: a bell across it whose width and height change along it."""
    shape = square_distance.shape
    width = smooth_noise_q8(stream, shape, radius_px=4, pitch_px=2)
    stain = smooth_noise_q8(stream, shape, radius_px=4, pitch_px=2)
    # Where the knife met a membrane at a slant it is a wide and pale band.
    slant = np.clip(smooth_noise_q8(stream, shape, radius_px=16, pitch_px=8) - 380, 0, 256)
    scale_q4 = np.clip(58 + (width * 20 >> 8), 26, 160) + np.maximum(thickness - 100, 0) // 2 + slant * 2
    # Below about -1 standard deviation the stain fails; below -1.9 next to nothing of the membrane is left.
    height_q8 = 232 + (stain >> 3) + (fine_grain >> 4) - np.maximum(-stain - 270, 0)
    height_q8 = np.clip(height_q8, 12, 256) * (400 - slant) // 400
    share_q16: Field = bell_q16(square_distance * 16, scale_q4) * height_q8 >> 8
    return share_q16


def _mixed(gray_q4: Field, level_q4: int, share_q16: Field) -> Field:
    """Return the gray values with a share of each pixel, from 0 to 65536, replaced by one level."""
    mixed: Field = gray_q4 + ((level_q4 - gray_q4) * share_q16 >> 16)
    return mixed
