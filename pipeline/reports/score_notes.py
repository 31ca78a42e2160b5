"""What a reader has to know of the settings of scores to read them, in sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .evaluation import Evaluation
from .run_folder import RunFolder


def score_notes(runs: Sequence[RunFolder]) -> list[tuple[str, list[RunFolder]]]:
    """Return sentences with the runs whose scores each holds for."""
    found: defaultdict[str, list[RunFolder]] = defaultdict(list)
    for run in runs:
        for text in _notes(run.evaluation) if run.evaluation is not None else ():
            found[text].append(run)
    return list(found.items())


def _notes(evaluation: Evaluation) -> list[str]:
    settings = evaluation.settings
    notes = []
    if "tolerance_mm" in settings:
        notes.append(f"NSD: surfaces that lie no further than {settings['tolerance_mm']} mm apart agree.")
    if "panoptic_iou" in settings:
        notes.append(f"PQ: objects match above an IoU of {settings['panoptic_iou']}; F1: above the one in its name.")
    if settings.get("border_px"):
        notes.append(
            f"SEG and DET leave out objects that lie wholly within {settings['border_px']} px of the image's border."
        )
    if evaluation.kind == "membranes":
        notes.append("Each score is taken at the threshold of the probability that is best for it over all slices.")
    empty = {"nan": "has no score", "perfect": "counts as perfect"}.get(str(settings.get("empty")))
    if empty is not None:
        notes.append(
            f"A case in which neither truth nor prediction has a class or an object {empty}; where only one of them "
            "has it, the score is the worst: 0, and for a distance the diagonal of the image."
        )
    return notes
