"""What a reader of a report must know before any figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..counted import counted
from .evaluation import Evaluation
from .model_card import ModelCard
from .run_facts import stopped_early
from .run_folder import RunFolder


def notices(runs: Sequence[tuple[RunFolder, ModelCard | None]]) -> list[tuple[str, list[RunFolder]]]:
    """Return texts with the runs that each holds for; `card` is the model card that the report shows of a run."""
    found: defaultdict[str, list[RunFolder]] = defaultdict(list)
    for run, card in runs:
        for text in (*_of_cases(run), *_of_training(run), *_of_card(run, card)):
            found[text].append(run)
    return list(found.items())


def _of_cases(run: RunFolder) -> list[str]:
    if run.evaluation is None or not run.evaluation.skipped:
        return []
    skipped = run.evaluation.skipped
    return [
        f"The evaluation skipped {counted(len(skipped), 'case')}: {_by_reason(skipped)}. "
        f"Scores are over the {len(run.evaluation.cases)} that are left, and may be too good for that reason."
    ]


def _by_reason(skipped: Mapping[str, str]) -> str:
    """Return cases with their reasons, each reason once."""
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for case, reason in skipped.items():
        cases[reason].append(case)
    return "; ".join(f"{', '.join(of_reason)} ({reason})" for reason, of_reason in cases.items())


def _of_training(run: RunFolder) -> list[str]:
    evaluation = run.evaluation
    found = [text for text in (stopped_early(run),) if text is not None]
    if evaluation is None:
        return [
            *found,
            "There is no evaluation. Scores are those of the validation during training, "
            "by which the checkpoint was chosen: they are likely too good.",
        ]
    if run.record is None:
        return [
            "Nothing is recorded of the training: whether the network was trained on these cases, or chosen by them, "
            "is not known here."
        ]
    found += _of_data(run, evaluation)
    if evaluation.checkpoint_sha256 and run.checkpoint_sha256 not in (None, evaluation.checkpoint_sha256):
        found.append("The evaluation is of other weights than models/model.pt in the folder of the run.")
    return found


def _of_data(run: RunFolder, evaluation: Evaluation) -> list[str]:
    ours, theirs = evaluation.data, run.data
    found = []
    if ours.name != theirs.name:
        return [
            f"The evaluation is on other data, {ours.name} {ours.version}, than the training, "
            f"{theirs.name} {theirs.version}."
        ]
    if ours.sha256 != theirs.sha256:
        found.append(
            f"The manifest of {ours.name} was changed between training ({theirs.version}, SHA-256 "
            f"{theirs.sha256[:8]}…) and evaluation ({ours.version}, {ours.sha256[:8]}…): cases may have changed splits."
        )
    if evaluation.split == "training":
        found.append("The evaluation is on the cases that the network was trained on: scores say nothing of others.")
    elif evaluation.split == "validation":
        found.append(
            "The evaluation is on the validation cases, by which the checkpoint was chosen: "
            "scores are likely somewhat too good."
        )
    return found


def _of_card(run: RunFolder, card: ModelCard | None) -> list[str]:
    if card is None:
        return []
    if run.bundle is None:
        return [
            f"Model card and intended use are those of the bundle {card.name} {card.version}, which this report was "
            "given: the record of the run does not name its bundle."
        ]
    if run.bundle.version != card.version:
        return [
            f"Model card and intended use are those of version {card.version} of the bundle {card.name}; "
            f"the run is of version {run.bundle.version}."
        ]
    return []
