"""Finding the series in a folder of DICOM files, and the segmentations (SEG) that refer to them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tqdm.auto import tqdm

from ..errors import ImageError, LabelError, ManifestError
from ..formats.dicom_files import DEIDENTIFICATION_RECORD, UNREADABLE
from ..formats.quiet_dicom import quiet_dicom
from .case_files import SEGMENTATION_CLASSES
from .dicom_patients import PATIENT_TAGS, patients_of_series, same_patient_id
from .dicom_reference import referenced_series
from .digests import content_sha256, files_of
from .identifying_words import IDENTIFYING_TAGS, IdentifyingWords
from .index_entries import FoundClass, Index
from .manifest_entries import Case, Code
from .pseudonyms import Pseudonyms

_TAGS: Final = [
    *IDENTIFYING_TAGS,
    *PATIENT_TAGS,
    *("SOPClassUID", "SeriesInstanceUID", "Modality", "Rows", "PatientIdentityRemoved"),
    *("ReferencedSeriesSequence", "SegmentSequence", "DirectoryRecordSequence"),
]


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
    name: str = "",
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
        name: Name of the data set, which must not name a patient either.
        identifying_paths: Take paths that contain what the headers say of the patient.
        progress: Show a progress bar.

    Raises:
        ManifestError: If a file has no PatientID, patients are told ambiguously (`patients_of_series`), or a path or a
            name contains an identifier that a header holds: the manifest would carry it.
        ImageError: If a file cannot be read, or its header is damaged.
        LabelError: If a SEG does not refer to one series in the folder, is of another patient than that, several refer
            to one, they number their segments differently, or a segment lacks its number, label or code.
    """
    with quiet_dicom():  # what pydicom says of values that break a rule quotes them, and they may be names
        return _scanned(
            *(folder, paths, pseudonyms, patient_pattern),
            name=name,
            identifying_paths=identifying_paths,
            progress=progress,
        )


def _scanned(
    folder: Path,
    paths: Sequence[Path],
    pseudonyms: Pseudonyms,
    patient_pattern: re.Pattern[str] | None,
    *,
    name: str,
    identifying_paths: bool,
    progress: bool,
) -> Index | None:
    series: dict[str, _Series] = {}
    segmentations: list[tuple[Path, Dataset]] = []
    skipped: Counter[str] = Counter()
    said, are_removed, without_series = IdentifyingWords(), [], 0
    for path in tqdm(paths, desc="reading headers", unit="file", disable=not progress, leave=False):
        header = _header(path)
        if header is None and path.name == DEIDENTIFICATION_RECORD:
            continue
        if header is None:
            skipped["not DICOM" if path.stat().st_size else "empty (0 bytes)"] += 1
            continue
        is_segmentation = header.get("SOPClassUID") in SEGMENTATION_CLASSES
        if not is_segmentation and "Rows" not in header:
            skipped[_other_than_image(path, header)] += 1
            continue
        said.add(header)
        are_removed.append(header.get("PatientIdentityRemoved") == "YES")
        if is_segmentation:
            segmentations.append((path, header))
            continue
        uid = str(header.get("SeriesInstanceUID") or "")
        without_series += not uid
        # No UID begins so. Where a series is not told, its folder tells it; reading the series checks its geometry.
        one = series.setdefault(uid or f"folder {path.parent.relative_to(folder)}", _Series(header))
        if one.header.get("PatientID") != header.get("PatientID"):
            raise ManifestError(
                f"{one.paths[0]} and {path} are one series of two patients (0010,0020); expected one; export them anew"
            )
        one.paths.append(path)
    if not series:
        return None
    labels = _labels(segmentations, series)
    classes = _classes(segmentations)
    if not identifying_paths:
        _check_names(said, folder, series, labels, name, [one.name for one in classes or ()])
    patients, notes = patients_of_series(
        {uid: one.header for uid, one in series.items()},
        {uid: one.paths[0].relative_to(folder).as_posix() for uid, one in series.items()},
        patient_pattern,
    )
    bar = tqdm(series.items(), desc="digests", unit="series", disable=not progress, leave=False)
    cases = [_case(folder, uid, one, labels.get(uid), pseudonyms, patients[uid]) for uid, one in bar]
    by_folder = [f"{without_series} without SeriesInstanceUID: a folder is a series"] if without_series else []
    modalities = {str(one.header.get("Modality", "")) for one in series.values()}
    modality = min(modalities)
    return Index(
        cases=cases,
        classes=classes,
        notes=(*[f"{number} passed over: {reason}" for reason, number in skipped.items()], *by_folder, *notes),
        modality=modality if len(modalities) == 1 and re.fullmatch(r"\w{1,16}", modality, re.ASCII) else None,
        deidentification="deidentified" if all(are_removed) else "identified",
        deidentification_method="The files say so: (0012,0062) is YES." if all(are_removed) else None,
    )


def _header(path: Path) -> Dataset | None:
    """Return what is wanted of a header, or None where the file is not DICOM."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except pydicom.errors.InvalidDicomError:
        return None
    except OSError as error:
        if error.errno is not None:
            raise ImageError(f"{path} cannot be read: {error.strerror}; make it readable") from error
        raise ImageError(_damaged(path)) from error
    except UNREADABLE as error:
        raise ImageError(_damaged(path)) from error


def _other_than_image(path: Path, header: Dataset) -> str:
    """Say what a DICOM file without rows is; refuse what is only the beginning of an image, or nothing at all.

    Raises:
        ImageError: If it is damaged.
    """
    stored = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
    sop_class = UID(str(stored))
    if "DirectoryRecordSequence" not in header and (not sop_class or "Image Storage" in sop_class.name):
        raise ImageError(_damaged(path))
    return "DICOM without an image"


def _damaged(path: Path) -> str:
    return f"{path} is damaged: its DICOM header cannot be read to its end; copy it again, or move it away"


def _check_names(
    said: IdentifyingWords,
    folder: Path,
    series: Mapping[str, _Series],
    labels: Mapping[str, Path],
    name: str,
    class_names: Sequence[str],
) -> None:
    """Refuse paths and names that contain what the headers say of a patient: the manifest would hold them.

    Raises:
        ManifestError: If one does.
    """
    paths = [
        path.relative_to(folder)
        for path in (*labels.values(), *(one for each in series.values() for one in each.paths))
    ]
    for what, texts in (
        ("the path of a file", {text for path in paths for text in (path.parent.as_posix(), path.name)}),
        ("the name of the data set (--name, or else of the folder)", {name}),
        ("the label of a segment", set(class_names)),
    ):
        if keyword := said.first_in(texts):
            raise ManifestError(
                f"folder {folder}: {what} contains its {keyword}, and a manifest carries paths; "
                "de-identify the files first (unet-pipeline data deidentify), or pass --identifying-paths"
            )


def _labels(segmentations: Sequence[tuple[Path, Dataset]], series: Mapping[str, _Series]) -> dict[str, Path]:
    labels: dict[str, Path] = {}
    for path, header in segmentations:
        known = [uid for uid in referenced_series(header) if uid in series]
        if len(known) != 1:
            found = f"{len(known)} series" if known else "a series that is not"
            raise LabelError(
                f"label {path} refers to {found} in the folder; expected one; put its series there, or move it away"
            )
        (uid,) = known
        if not same_patient_id(header, series[uid].header):
            raise LabelError(
                f"label {path} has another PatientID (0010,0020) than the series that it refers to; expected the same; "
                "correct it, or move it away"
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
    patient: tuple[str, str],
) -> Case:
    common = Path(os.path.commonpath([path.parent for path in series.paths]))
    names = sorted((path.relative_to(common).as_posix() for path in series.paths), key=str.encode)
    # A folder that holds nothing else stands for the series; otherwise its files are named.
    is_whole = common != folder and tuple(names) == files_of(common)
    return Case(
        id=pseudonyms.of("series", uid),
        patient=pseudonyms.of("patient", *patient),
        study=pseudonyms.of("study", str(series.header.get("StudyInstanceUID", ""))),
        series=pseudonyms.of("series", uid),
        image=common.relative_to(folder).as_posix(),
        image_files=() if is_whole else tuple(names),
        label=None if label is None else label.relative_to(folder).as_posix(),
        image_sha256=content_sha256(common, names),
        label_sha256=None if label is None else content_sha256(label),
    )


def _classes(segmentations: Sequence[tuple[Path, Dataset]]) -> list[FoundClass] | None:
    """Return background and the segments, which all SEGs must number alike; None where there is no SEG."""
    if not segmentations:
        return None
    by_value: dict[int, FoundClass] = {}
    for path, segmentation in segmentations:
        for segment in segmentation.get("SegmentSequence") or ():
            found = _class(path, segment)
            known = by_value.setdefault(found.stored_value, found)
            if known != found:
                raise LabelError(
                    f"segment {found.stored_value} is {known.name!r} in one label and {found.name!r} in another; "
                    "expected the same numbers and codes in all; make the segmentations anew, or index them apart"
                )
    # A label map may name its background: 0 is that anyway.
    by_value[0] = FoundClass("background", 0)
    return [by_value[value] for value in sorted(by_value)]


def _class(path: Path, segment: Dataset) -> FoundClass:
    try:
        return FoundClass(
            name=str(segment.SegmentLabel),
            stored_value=int(segment.SegmentNumber),
            category=_code(segment.get("SegmentedPropertyCategoryCodeSequence")),
            code=_code(segment.get("SegmentedPropertyTypeCodeSequence")),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise LabelError(
            f"label {path} has a segment without a number (0062,0004), a label (0062,0005) or a whole code; expected "
            "all of them; make the segmentation anew"
        ) from error


def _code(sequence: Sequence[Dataset] | None) -> Code | None:
    if not sequence:
        return None
    item = sequence[0]
    return Code(str(item.CodingSchemeDesignator), str(item.CodeValue), str(item.CodeMeaning))
