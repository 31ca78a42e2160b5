"""Finding the series in a folder of DICOM files, and the segmentations (SEG) that refer to them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from tqdm.auto import tqdm

from ..errors import ImageError, LabelError, ManifestError
from .case_files import SEGMENTATION_CLASSES
from .dicom_reference import referenced_series
from .digests import content_sha256, files_of
from .index_entries import FoundClass, Index
from .manifest_entries import Case, Code
from .pseudonyms import Pseudonyms

_TAGS: Final = [
    *("SOPClassUID", "PatientID", "IssuerOfPatientID", "PatientName", "OtherPatientIDs", "PatientBirthDate"),
    *("AccessionNumber", "InstitutionName", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows"),
    *("PatientIdentityRemoved", "ReferencedSeriesSequence", "SegmentSequence"),
]
_IDENTIFYING: Final = (
    *("PatientID", "PatientName", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "InstitutionName"),
)
# Shorter ones stand in many paths by chance.
_LEAST_LETTERS: Final = 3


@dataclass
class _Series:
    """The files of one series, and its first header."""

    header: Dataset
    paths: list[Path] = field(default_factory=list)


def index_dicom(
    folder: Path,
    paths: Sequence[Path],
    pseudonyms: Pseudonyms,
    patient_pattern: re.Pattern[str] | None = None,
    *,
    identifying_paths: bool = False,
    progress: bool = False,
) -> Index | None:
    """Return the cases that the DICOM files make up, one for each series of images; None where there is no DICOM image.

    Patients, studies and series are pseudonyms. The label of a case is the SEG that refers to its series, its classes
    are the segments with their codes. Objects without pixels (reports, plans, DICOMDIR) and files that are not DICOM
    are counted. Files without a SeriesInstanceUID are one series in each folder.

    Args:
        folder: The data folder.
        paths: The files in it that may be DICOM.
        pseudonyms: What makes the pseudonyms.
        patient_pattern: Finds the patient in a path, where files have no PatientID; by default that is refused.
        identifying_paths: Take paths that contain what the headers say of the patient.
        progress: Show a progress bar.

    Raises:
        ManifestError: If a file has no PatientID, or a path contains an identifier that its header holds: the manifest
            would carry it.
        ImageError: If a header is damaged.
        LabelError: If a SEG refers to a series that is not there, several refer to one, or they number their segments
            differently.
    """
    # pydicom's warnings of values that break a rule quote them, and they may be names.
    with pydicom.config.disable_value_validation():
        return _scanned(
            folder, paths, pseudonyms, patient_pattern, identifying_paths=identifying_paths, progress=progress
        )


def _scanned(
    folder: Path,
    paths: Sequence[Path],
    pseudonyms: Pseudonyms,
    patient_pattern: re.Pattern[str] | None,
    *,
    identifying_paths: bool,
    progress: bool,
) -> Index | None:
    series: dict[str, _Series] = {}
    segmentations: list[tuple[Path, Dataset]] = []
    skipped: Counter[str] = Counter()
    are_removed: list[bool] = []
    without_series = 0
    for path in tqdm(paths, desc="reading headers", unit="file", disable=not progress, leave=False):
        header = _header(path)
        if header is None:
            skipped["not DICOM" if path.stat().st_size else "empty (0 bytes)"] += 1
        elif header.get("SOPClassUID") in SEGMENTATION_CLASSES:
            segmentations.append((path, header))
        elif "Rows" not in header:
            skipped["DICOM without an image"] += 1
        else:
            if not identifying_paths:
                _check_path(path, folder, header)
            are_removed.append(header.get("PatientIdentityRemoved") == "YES")
            uid = str(header.get("SeriesInstanceUID") or "")
            without_series += not uid
            # No UID begins so. Where a series is not told, its folder tells it; reading the series checks its geometry.
            one = series.setdefault(uid or f"folder {path.parent.relative_to(folder)}", _Series(header))
            if one.header.get("PatientID") != header.get("PatientID"):
                raise ManifestError(
                    f"{one.paths[0]} and {path} are one series of two patients (0010,0020); expected one; export them "
                    "anew"
                )
            one.paths.append(path)
    if not series:
        return None
    labels = _labels(segmentations, series.keys())
    bar = tqdm(series.items(), desc="digests", unit="series", disable=not progress, leave=False)
    cases = [_case(folder, uid, one, labels.get(uid), pseudonyms, patient_pattern) for uid, one in bar]
    by_folder = [f"{without_series} without SeriesInstanceUID: a folder is a series"] if without_series else []
    modalities = {str(one.header.get("Modality", "")) for one in series.values()}
    modality = min(modalities)
    return Index(
        cases=cases,
        classes=_classes([segmentation for _, segmentation in segmentations]),
        notes=(*[f"{number} passed over: {reason}" for reason, number in skipped.items()], *by_folder),
        modality=modality if len(modalities) == 1 and re.fullmatch(r"\w{1,16}", modality, re.ASCII) else None,
        deidentification="deidentified" if all(are_removed) else "identified",
        deidentification_method="The files say so: (0012,0062) is YES." if all(are_removed) else None,
    )


def _header(path: Path) -> Dataset | None:
    """Return what is wanted of a header, or None where the file is not DICOM, or a DICOMDIR."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except pydicom.errors.InvalidDicomError:
        return None
    except (EOFError, OSError, ValueError, AttributeError, KeyError) as error:
        raise ImageError(f"{path} is damaged: its DICOM header cannot be read; copy it again") from error
    return header


def _check_path(path: Path, folder: Path, header: Dataset) -> None:
    letters = re.sub(r"[\W_]+", " ", path.relative_to(folder).as_posix()).lower()
    for keyword in _IDENTIFYING:
        for part in _parts_of(header.get(keyword)):
            if len(part) >= _LEAST_LETTERS and re.search(rf"(?<!\w){re.escape(part)}(?!\w)", letters):
                raise ManifestError(
                    f"folder {folder}: the path of a file contains its {keyword}, and a manifest carries paths; "
                    "de-identify the files first (unet-pipeline data deidentify), or pass --identifying-paths"
                )


def _parts_of(value: Any) -> Iterator[str]:
    """Yield what stands for a person in the value of an element: the whole, and each word of a name."""
    values: Iterable[Any] = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    for single in values:
        if single:
            words = re.sub(r"[\W_]+", " ", str(single)).lower().strip()
            yield words
            if isinstance(single, pydicom.valuerep.PersonName):
                yield from words.split()


def _labels(segmentations: Sequence[tuple[Path, Dataset]], known: Iterable[str]) -> dict[str, Path]:
    labels: dict[str, Path] = {}
    known = set(known)
    for path, header in segmentations:
        uid = referenced_series(header)
        if uid not in known:
            raise LabelError(
                f"label {path} refers to a series that is not in the folder; put its series there, or move it away"
            )
        other = labels.setdefault(uid, path)
        if other != path:
            raise LabelError(f"labels {other} and {path} refer to one series; expected one label; move the other away")
    return labels


def _case(
    folder: Path,
    uid: str,
    series: _Series,
    label: Path | None,
    pseudonyms: Pseudonyms,
    patient_pattern: re.Pattern[str] | None,
) -> Case:
    common = Path(os.path.commonpath([path.parent for path in series.paths]))
    names = sorted((path.relative_to(common).as_posix() for path in series.paths), key=str.encode)
    # A folder that holds nothing else stands for the series; otherwise its files are named.
    is_whole = common != folder and tuple(names) == files_of(common)
    return Case(
        id=pseudonyms.of("series", uid),
        patient=pseudonyms.of("patient", *_patient(folder, series, patient_pattern)),
        study=pseudonyms.of("study", str(series.header.get("StudyInstanceUID", ""))),
        series=pseudonyms.of("series", uid),
        image=common.relative_to(folder).as_posix(),
        image_files=() if is_whole else tuple(names),
        label=None if label is None else label.relative_to(folder).as_posix(),
        image_sha256=content_sha256(common, names),
        label_sha256=None if label is None else content_sha256(label),
    )


def _patient(folder: Path, series: _Series, pattern: re.Pattern[str] | None) -> tuple[str, ...]:
    identifier = str(series.header.get("PatientID") or "").strip()
    if identifier:
        return (str(series.header.get("IssuerOfPatientID") or "").strip(), identifier)
    path = series.paths[0]
    found = pattern.search(path.relative_to(folder).as_posix()) if pattern else None
    if found is None:
        raise ManifestError(
            f"{path} has no PatientID (0010,0020), so nothing keeps its patient in one split; name the part of the "
            "path that tells the patient: --patient-pattern '^([^/]+)/'"
        )
    return ("path", found.group(found.lastindex or 0))


def _classes(segmentations: Sequence[Dataset]) -> list[FoundClass] | None:
    """Return background and the segments, which all SEGs must number alike; None where there is no SEG."""
    if not segmentations:
        return None
    by_value: dict[int, FoundClass] = {0: FoundClass("background", 0)}
    for segmentation in segmentations:
        for segment in segmentation.get("SegmentSequence", []):
            value = int(segment.SegmentNumber)
            found = FoundClass(
                name=str(segment.SegmentLabel),
                stored_value=value,
                category=_code(segment.get("SegmentedPropertyCategoryCodeSequence")),
                code=_code(segment.get("SegmentedPropertyTypeCodeSequence")),
            )
            known = by_value.setdefault(value, found)
            if known != found:
                raise LabelError(
                    f"segment {value} is {known.name!r} in one label and {found.name!r} in another; expected the same "
                    "numbers in all; make the segmentations anew, or index them apart"
                )
    return [by_value[value] for value in sorted(by_value)]


def _code(sequence: Sequence[Dataset] | None) -> Code | None:
    if not sequence:
        return None
    item = sequence[0]
    return Code(str(item.CodingSchemeDesignator), str(item.CodeValue), str(item.CodeMeaning))
