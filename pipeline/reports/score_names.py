"""How a person reads a score: its written name, its unit, and which way is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Better = Literal["higher", "lower", "nearer 0"]


@dataclass(frozen=True)
class ScoreName:
    """A score as people write it.

    Attributes:
        text: Its name, with the unit if it has one.
        better: Which way is better; None where the value is no score, such as a threshold, or is not known.
    """

    text: str
    better: Better | None

    @property
    def heading(self) -> str:
        """Name and direction, which stay in one line, as the heading of a table."""
        arrows: dict[Better | None, str] = {
            "higher": "\u00a0↑",
            "lower": "\u00a0↓",
            "nearer 0": "\u00a0→\u00a00",
            None: "",
        }
        return self.text + arrows[self.better]

    def badness(self, value: float) -> float:
        """Return a number that is greater the worse a score is; NaN for NaN and for what is no score."""
        if self.better is None:
            return math.nan
        return {"higher": -value, "lower": value, "nearer 0": abs(value)}[self.better]


_KNOWN: Final = {
    "v_rand": ScoreName("V_rand", "higher"),
    "v_info": ScoreName("V_info", "higher"),
    "rand_error": ScoreName("Rand error", "lower"),
    "pixel_error": ScoreName("pixel error", "lower"),
    "warping_error": ScoreName("warping error", "lower"),
    "dice": ScoreName("Dice", "higher"),
    "mean_dice": ScoreName("mean Dice", "higher"),
    "iou": ScoreName("IoU", "higher"),
    "nsd": ScoreName("NSD", "higher"),
    "hd95_mm": ScoreName("HD95 (mm)", "lower"),
    "assd_mm": ScoreName("ASSD (mm)", "lower"),
    "volume_difference_mm3": ScoreName("volume difference (mm³)", "nearer 0"),
    "relative_volume_difference": ScoreName("relative volume difference", "nearer 0"),
    "seg": ScoreName("SEG", "higher"),
    "det": ScoreName("DET", "higher"),
    "panoptic_quality": ScoreName("PQ", "higher"),
    "segmentation_quality": ScoreName("SQ", "higher"),
    "f1": ScoreName("F1", "higher"),
    "precision": ScoreName("precision", "higher"),
    "recall": ScoreName("recall", "higher"),
}


def score_name(score: str) -> ScoreName:
    """Return how a score is written; one of a class (`dice_anterior`) or threshold (`f1_iou_0.75`) as the score alone.

    Examples:
        >>> score_name("hd95_mm").heading
        'HD95 (mm)\xa0↓'
        >>> score_name("dice_anterior")
        ScoreName(text='Dice, anterior', better='higher')
        >>> score_name("v_rand_threshold").better is None
        True
    """
    score = "".join(letter if letter.isprintable() else " " for letter in score)
    if score in _KNOWN:
        return _KNOWN[score]
    for name in sorted(_KNOWN, key=len, reverse=True):
        if score.startswith(f"{name}_") and not score.endswith("_threshold"):
            known = _KNOWN[name]
            of = score[len(name) + 1 :].replace("_", " ")
            return ScoreName(f"{known.text}, {of.replace('iou ', 'IoU ') if name == 'f1' else of}", known.better)
    return ScoreName(score.replace("_", " "), None)


def written(value: float | None) -> str:
    """Return a number as the report writes it: four decimals, or three digits where these would say too little.

    Examples:
        >>> [written(value) for value in (0.93124, 0.0045, 12.5, 1234.5, 0.0, None, -0.02)]
        ['0.9312', '0.00450', '12.50', '1234.5', '0', '–', '−0.0200']
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if size == 0:
        text = "0"
    elif size >= 1000:
        text = f"{size:.1f}"
    elif size >= 10:
        text = f"{size:.2f}"
    elif size >= 0.01:
        text = f"{size:.4f}"
    else:
        text = f"{size:#.3g}"
    return f"−{text}" if value < 0 else text
