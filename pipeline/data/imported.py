"""A manifest for a data set that came in another format: what that format tells, and what stays open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
from tqdm.auto import tqdm

from ..errors import ConfigError, ManifestError
from .case_files import is_nifti, read_grid
from .digests import file_sha256
from .exchange_layout import DATASET_JSON, NOTES
from .manifest import Manifest
from .patient_pattern import compiled_pattern, name_of_patient, on_their_own_note, patient_in
from .pseudonyms import Pseudonyms


@dataclass(frozen=True)
class ImportedCase:
    """A case as another format gives it: its name, and paths relative to the folder."""

    id: str
    image: str
    label: str | None


@dataclass(frozen=True)
class Imported:
    """What another format tells of a data set.

    Attributes:
        name: Its name.
        description: What it is.
        licence: Name of its licence, or an empty text.
        citation: What to cite, or an empty text.
        modality: How the images were made, or an empty text.
        class_names: Names of the classes by their value in labels.
        cases: The cases.
        splits: Ids of the cases of each split.
        parts: Ids of the cases of each fold, or none.
    """

    name: str
    description: str
    licence: str
    citation: str
    modality: str
    class_names: Mapping[int, str]
    cases: Sequence[ImportedCase]
    splits: Mapping[str, Sequence[str]]
    parts: Sequence[Sequence[str]] = ()


def imported_fields(
    found: Imported, folder: Path, notes: Any, patient_pattern: str | None, progress: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a manifest for an imported data set, and what a person should know.

    Where the data set was exported by this project, `notes` is the manifest that was noted; it is taken if it agrees
    with the rest. Otherwise the patient is what `patient_pattern` finds in the path of the image, else the subject of
    BIDS (`sub-...`), else every case counts as a patient of its own, since these formats do not tell patients.

    Args:
        found: What the format tells.
        folder: Where the files are.
        notes: The noted manifest, or None.
        patient_pattern: Regular expression that tells the patient, see `patient_in`; None where notes are taken.
        progress: Show a progress bar.

    Raises:
        ManifestError: If the notes do not agree with the rest, or the result would break a rule of manifests.
        MissingFileError: If a file is not there.
        ConfigError: If the pattern is wrong, or is given beside a note.
    """
    pattern, pseudonyms = compiled_pattern(patient_pattern), Pseudonyms()
    if notes is not None:
        if pattern is not None:
            raise ConfigError(f"{folder} has a note that tells the patients; leave --patient-pattern out")
        _check_notes(found, folder, notes)
        return dict(notes), ()
    values = sorted(found.class_names, key=lambda value: (value != 0, value))
    cases, spacings, on_their_own = [], set(), 0
    for case in tqdm(found.cases, desc="digests", unit="case", disable=not progress, leave=False):
        paths = [path for path in (case.image, case.label) if path is not None]
        for path in paths:
            if ".." in Path(path).parts or Path(path).is_absolute():
                raise ManifestError(
                    f"case {case.id!r}: {path} leaves the folder; correct it in the data set's JSON file"
                )
            read_grid(folder / path)
        spacings.add(_spacing_mm(folder / case.image))
        patient = patient_in(case.image, pattern)
        on_their_own += patient is None
        cases.append(
            {
                "id": case.id,
                "patient": case.id if patient is None else name_of_patient(patient, pseudonyms),
                "image": case.image,
                "label": case.label,
                "image_sha256": file_sha256(folder / case.image),
                "label_sha256": None if case.label is None else file_sha256(folder / case.label),
            }
        )
    spacing = spacings.pop() if len(spacings) == 1 else None
    fields: dict[str, Any] = {
        "name": found.name,
        "version": "1.0.0",
        "description": found.description or "Imported; not described.",
        "licence": {
            "name": found.licence or "not stated",
            "terms": "As stated where the data set comes from; ask there before using it.",
        },
        "citation": found.citation or "not stated",
        "source": {"urls": [], "layout": "the folder as it was imported"},
        "deidentification": {"status": "unknown"},
        **({"modality": found.modality} if found.modality else {}),
        "classes": [
            {"index": index, "name": found.class_names[value], "stored_value": value}
            for index, value in enumerate(values)
        ],
        "spacing_mm": None if spacing is None else [spacing[0], spacing[1]],
        "slice_spacing_mm": None if spacing is None or len(spacing) < 3 else spacing[2],
        "split_unit": "patient",
        "cases": cases,
        "splits": {split: list(ids) for split, ids in found.splits.items() if ids},
    }
    if found.parts:
        fields["folds"] = {"split": next(iter(found.splits)), "seed": None, "parts": [list(ids) for ids in found.parts]}
    Manifest.from_fields(fields, folder / "manifest")
    return fields, (on_their_own_note(on_their_own),) if on_their_own else ()


def _check_notes(found: Imported, folder: Path, notes: Any) -> None:
    noted = Manifest.from_fields(notes, folder / "dataset.json (noted manifest)")
    listed = {(case.id, case.image, case.label) for case in found.cases}
    expected = {(case.id, case.image, case.label) for case in noted.cases}
    if listed != expected:
        odd = min(listed ^ expected, key=str)[0]
        raise ManifestError(
            f"{folder}: case {odd!r} stands otherwise in the noted manifest than in the rest of the data set; "
            "correct one, or remove the note"
        )
    names = {entry.stored_value: entry.name for entry in noted.classes}
    if names != dict(found.class_names):
        raise ManifestError(
            f"{folder}: the classes are {dict(found.class_names)}, but {names} in the noted manifest; correct one, or "
            "remove the note"
        )
    _check_validation(found, folder, noted)
    noted.check_files(folder)


def _check_validation(found: Imported, folder: Path, noted: Manifest) -> None:
    """Refuse a note whose splits are not those that the format tells, where it tells any."""
    labelled = {case.id for case in noted.cases if case.label is not None}
    validation = found.splits.get("validation")
    if validation is None and not found.parts:
        return
    told = list(found.parts) or [validation or ()]
    expected: Sequence[Sequence[str]] = [noted.splits.get("validation", ())]
    if noted.folds is not None and any(told):
        expected = noted.folds.parts
    if [sorted(part) for part in told] != [sorted(labelled.intersection(part)) for part in expected]:
        raise ManifestError(
            f"{folder}: other cases validate than in the noted manifest; correct one, or remove the note "
            f"({NOTES!r} in {DATASET_JSON}), and tell the patients: --patient-pattern"
        )


def _spacing_mm(path: Path) -> tuple[float, ...] | None:
    if not is_nifti(path):
        return None
    return tuple(float(zoom) for zoom in nibabel.load(path).header.get_zooms()[:3])
