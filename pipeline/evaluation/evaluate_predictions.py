"""Scoring predictions that anybody made: a folder of files against the split of a manifest."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from ..data import Case, Manifest
from ..errors import ImageError, LabelError, ManifestError, MissingFileError
from .evaluation import Evaluation, SkippedCase
from .predicted_case import CaseReader, Objects, Values
from .prediction_files import CaseFiles, FoundPredictions, Role, find_predictions
from .scored_case import ScoredCase, score_case
from .settings import ScoreKind, ScoreSettings, check_kind, has_membranes

# What is wrong with one case and nothing else; what is wrong with settings or with the disk stops everything.
_OF_A_CASE: Final = (ImageError, LabelError, ManifestError, MissingFileError)


def evaluate_predictions(
    predictions: str | Path,
    manifest: Manifest,
    split: str,
    data: str | Path,
    kind: ScoreKind | None = None,
    settings: ScoreSettings | None = None,
    *,
    values: Values = "auto",
    objects: Objects = "components",
    skip_bad: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Score a folder of predictions.

    Args:
        predictions: The folder; `pipeline.evaluate_command.NAMING_RULE` says which file is of which case.
        manifest: The data set.
        split: Name of the split.
        data: Where the files of the manifest are. Labels and images are held against its digests.
        kind: What is scored. By default membranes where the manifest has two classes and class 0 is named membrane,
            instances where it has two classes and there are instances of every case and no classes, and else classes.
        settings: How it is scored.
        values: What masks hold, see `CaseReader`.
        objects: What the objects of labels are, see `CaseReader`.
        skip_bad: Leave out cases that cannot be scored, and predictions of no case, and say so in the result.
        progress: Show a progress bar.

    Raises:
        PipelineError: One of its kinds: without `skip_bad` for the first case that has two predictions or none, the
            first prediction of no case, or the first case that cannot be scored; what names tell is told first.
    """
    settings = settings or ScoreSettings()
    cases = manifest.cases_of(split)
    if kind is not None:
        check_kind(kind, manifest)
    data, predictions = Path(data), Path(predictions)
    found = find_predictions(predictions, cases, data)
    chosen = kind or default_kind(manifest, found, len(cases))
    role = _role(chosen, found)
    skipped = _check_names(found, manifest, split, predictions, role, skip_bad)
    left_out = {skip.case for skip in skipped}
    reader = CaseReader(manifest, data, chosen, role, values, objects)
    scored: dict[str, ScoredCase] = {}
    wanted = [case for case in cases if case.id not in left_out]
    with tqdm(wanted, desc="scoring", unit="case", disable=not progress) as bar:
        for case in bar:
            bar.set_postfix_str(case.id)
            files = found.files[case.id]
            try:
                _check_files(manifest, case, data)
                scored[case.id] = score_case(case.id, reader.read(case, files), chosen, manifest, settings)
            except _OF_A_CASE as error:
                if not skip_bad:
                    raise
                skipped.append(SkippedCase(case.id, _nameless(error, case, files, manifest, data, predictions)))
    return Evaluation(
        manifest,
        split,
        chosen,
        settings,
        scored,
        tuple(sorted(skipped, key=lambda skip: skip.case)),
        predictions=_described({case: found.files[case] for case in scored}, role),
    )


def default_kind(manifest: Manifest, found: FoundPredictions, cases: int) -> ScoreKind:
    """Return what is scored unless it is said: by the classes of the manifest and by what the predictions are."""
    if has_membranes(manifest):
        return "membranes"
    instances = [files for files in found.files.values() if files.instances is not None and files.classes is None]
    return "instances" if len(manifest.classes) == 2 and len(instances) == cases else "classes"


def _role(kind: ScoreKind, found: FoundPredictions) -> Role:
    """Return the kind of prediction that tells most: the same for every case, or scores would not be comparable."""
    preferred: dict[ScoreKind, tuple[Role, ...]] = {
        "membranes": ("probability", "mask"),
        "instances": ("instances", "mask"),
        "classes": ("mask", "probability"),
    }
    roles = preferred[kind]
    return next((role for role in roles if any(_has(files, role) for files in found.files.values())), roles[0])


def _has(files: CaseFiles, role: Role) -> bool:
    return files.classes is not None if role == "mask" else files.has(role)


def _check_names(
    found: FoundPredictions, manifest: Manifest, split: str, folder: Path, role: Role, skip_bad: bool
) -> list[SkippedCase]:
    """Refuse, or list, cases with two predictions or none and predictions without a case."""
    if found.doubled and not skip_bad:
        case_id, (one, other) = next(iter(found.doubled.items()))
        raise LabelError(
            f"case {case_id!r} has two predictions, {one} and {other}; expected one; take one away, or pass --skip-bad "
            "to score the other cases"
        )
    missing = [case.id for case in manifest.cases_of(split) if not _has(found.files.get(case.id, CaseFiles()), role)]
    if missing and not skip_bad:
        raise MissingFileError(
            f"case {missing[0]!r}{_and_more(missing)} of the split {split!r} has no {role} in {folder}"
            f"{_said_of_strangers(found)}; predict all cases of the split, or pass --skip-bad to score the others"
        )
    if found.strangers and not skip_bad:
        path = found.strangers[0]
        raise LabelError(
            f"prediction {path}{_and_more(found.strangers)} belongs to no case of the split {split!r}"
            f"{_elsewhere(path, manifest)}; take it out of the folder, or pass --skip-bad to score the others"
        )
    skipped = [SkippedCase(case, "it has two predictions of one kind") for case in found.doubled]
    skipped += [
        SkippedCase(case, f"it has no {role} among the predictions") for case in missing if case not in found.doubled
    ]
    # The name of a file that nobody asked for may be that of a patient.
    return skipped + [
        SkippedCase(
            f"unknown-{number}", f"a prediction that belongs to no case of the split{_elsewhere(path, manifest)}"
        )
        for number, path in enumerate(found.strangers, 1)
    ]


def _said_of_strangers(found: FoundPredictions) -> str:
    if not found.strangers:
        return ""
    name = found.strangers[0].name
    return (
        f", but {name}{_and_more(found.strangers)} belongs to none: its name fits no case, or it shows another series"
    )


def _and_more(found: Sequence[object]) -> str:
    """Return how many there are besides the one that is named."""
    return "" if len(found) == 1 else f" (and {len(found) - 1} more)"


def _elsewhere(path: Path, manifest: Manifest) -> str:
    """Return which other case of the manifest a file is named by."""
    name = path.name.split(".")[0]
    matching = [case.id for case in manifest.cases if name == case.id or name.startswith(f"{case.id}_")]
    if not matching:
        return ""
    case = max(matching, key=len)
    splits = ", ".join(split for split, ids in manifest.splits.items() if case in ids)
    return f" (by its name it is of case {case!r}, which is in {splits or 'no split'})"


def _check_files(manifest: Manifest, case: Case, data: Path) -> None:
    """Hold the files of one case against the manifest."""
    replace(manifest, splits={case.id: (case.id,)}).check_files(data, case.id)


def _nameless(error: Exception, case: Case, files: CaseFiles, manifest: Manifest, data: Path, predictions: Path) -> str:
    """Return what an error says without names of files and folders, which may be those of patients."""
    text = re.sub(
        rf"^case {re.escape(repr(case.id))}( of data set {re.escape(repr(manifest.name))})?: ", "", str(error)
    )
    label = [(data / case.label, "its label")] if case.label is not None else []
    named = [(path, "its prediction") for path in files.paths] + label + [(data / case.image, "its image")]
    for path, what in named:
        text = re.sub(rf"((image|label|prediction|probability|segmentation) )?{re.escape(str(path))}", what, text)
    folders = ((predictions, "the folder of predictions"), (data, "the data folder"))
    for path, what in ((manifest.path, "the manifest"), *folders):
        text = text.replace(str(path), what)
    for path, what in named:
        text = text.replace(path.name, what)
    # Of a series, each file has a name; a longer one may hold a shorter one.
    in_series = {path.name for path in (data / case.image).rglob("*")} if (data / case.image).is_dir() else set()
    for name in sorted(in_series, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "a file", text)
    # Libraries quote names that only they know, such as that of the voxels of a detached NRRD header.
    return re.sub(r'"[^"]*"', "a file", text)


def _described(files: dict[str, CaseFiles], role: Role) -> dict[str, Any]:
    """Return what was scored: how many files of which endings, and one digest of them all. No folder, no name."""
    endings: Counter[str] = Counter()
    digest = hashlib.sha256()
    for case, of_case in sorted(files.items()):
        for path in of_case.paths:
            endings["".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix] += 1
            with path.open("rb") as file:
                digest.update(f"{case} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return {"scored": role, "files": dict(sorted(endings.items())), "sha256": digest.hexdigest()}
