"""The membrane scores of 30 slices of 512 by 512 px at 11 thresholds, with and without the warping error."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from pipeline.data import phantom_em_slice
from pipeline.metrics import em_scores_by_case

from .measure import Table, one_thread, seconds_in_turns

CLAIM = (
    "Membrane scores of a stack of 30 slices of 512 by 512 px take less than a minute, and with the warping error less "
    "than ten: its cost grows with the pixels that flip. The proposal is the smoothed darkness of the image, which "
    "leaves more to thin and to bend than a trained network."
)
SLICES = 30


def run(rounds: int) -> Table:
    """Measure both on one core."""
    slices = [generated(number) for number in tqdm(range(SLICES), desc="generating slices", unit="slice", leave=False)]
    without, with_warping = f"{SLICES} slices", f"{SLICES} slices with warping error"
    table = Table(CLAIM)
    with one_thread():
        table.add(
            seconds_in_turns(
                {
                    without: partial(em_scores_by_case, slices, warping=False),
                    with_warping: partial(em_scores_by_case, slices, warping=True),
                },
                rounds,
            )
        )
    table.goal(f"{without}: seconds", table.medians[without], "<=", 60)
    table.goal(f"{with_warping}: seconds", table.medians[with_warping], "<=", 600)
    return table


def generated(number: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Return case id, membrane probability and interior truth of a generated slice."""
    drawn = phantom_em_slice(number)
    dark = -ndimage.gaussian_filter(drawn.image.astype(np.float32), 1.5)
    return f"slice_{number:02d}", (dark - dark.min()) / (dark.max() - dark.min()), drawn.label > 0
