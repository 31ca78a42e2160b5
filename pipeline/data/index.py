"""Making a manifest for a folder of images: what is there, in which pairs or series, with which labels and digests."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from tqdm.auto import tqdm

from ..counted import counted
from ..errors import ConfigError, ImageError, LabelError, MissingFileError
from .case_files import is_nifti, is_raster, read_grid, read_label_values
from .digests import content_sha256
from .index_dicom import index_dicom
from .index_entries import FoundClass, Index
from .index_pairs import Pair, pair_by_folders, pair_by_globs, relative_names
from .manifest_entries import Case
from .patient_pattern import compiled_pattern, name_of_patient, on_their_own_note, patient_in
from .pseudonyms import Pseudonyms

# Labels with more values than this number objects, and are no classes.
_MOST_CLASSES: Final = 64


def index_data_set(
    folder: str | Path,
    *,
    name: str | None = None,
    pseudonyms: Pseudonyms | None = None,
    image_glob: str | None = None,
    label_glob: str | None = None,
    classes: Mapping[str, int] | None = None,
    patient_pattern: str | None = None,
    identifying_paths: bool = False,
    progress: bool = False,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Scan a folder for DICOM series, or for pairs of NIfTI, PNG or TIFF files, and describe them in a manifest.

    DICOM comes first: where there are series, other files are counted and passed over. A series becomes a case;
    patient, study and series are pseudonyms. Otherwise images and labels are paired by the folders `imagesTr` and
    `labelsTr` and the like, or by patterns. The patient of a pair is what `patient_pattern` finds in its path, else the
    subject of BIDS (`sub-…`), else every image counts as a patient of its own. Licence and citation are stated as
    unknown.

    Args:
        folder: The folder; hidden files in it are not looked at.
        name: Name of the data set; the folder's by default.
        pseudonyms: What makes pseudonyms; by default of a random key that is kept nowhere.
        image_glob: Pattern of images, see `pair_by_globs`.
        label_glob: Pattern of labels.
        classes: Values in label files by the name of the class, background first; by default named after their values.
        patient_pattern: Regular expression whose first group (the whole, where it has none) tells the patient in a
            path. What cannot be a name in a manifest becomes a pseudonym.
        identifying_paths: Paths tell who the patients are, and the manifest may hold them: take paths that contain
            identifiers of their DICOM headers, and give cases of pairs pseudonyms, which else are named by their files.
            The manifest is then the one thing that names patients, and its de-identification status says so.
        progress: Show progress bars.

    Returns:
        The fields of the manifest, and what a person should know: how many files were passed over, and why.

    Raises:
        MissingFileError: If the folder is not there.
        ImageError: If there is no image, one is damaged, or a folder or a file cannot be read.
        LabelError: If labels hold values that are no classes, belong to no image, or there are none and `classes` is
            not given.
        ManifestError: If a patient is not known, or paths carry identifiers.
        ConfigError: If a pattern is wrong.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise MissingFileError(f"folder {folder} not found; give the folder of the images")
    if label_glob is not None and image_glob is None:
        raise ConfigError("--label-glob needs --image-glob: the two say together which files belong to each other")
    pattern, pseudonyms = compiled_pattern(patient_pattern), pseudonyms or Pseudonyms()
    paths, links = _list_files(folder)
    images = [path for path in paths if is_nifti(path) or is_raster(path)]
    found = None
    if image_glob is None:
        found = index_dicom(
            *(folder, [path for path in paths if not (is_nifti(path) or is_raster(path))], pseudonyms, pattern),
            name=name or folder.name,
            identifying_paths=identifying_paths,
            progress=progress,
        )
        if found is not None and images:
            note = f"{len(images)} passed over: NIfTI, PNG or TIFF beside DICOM"
            found = replace(found, notes=(*found.notes, note))
    if found is None:
        if not images:
            raise ImageError(
                f"folder {folder} holds no image: of its {counted(len(paths), 'file')} none is DICOM, NIfTI, PNG or "
                "TIFF"
            )
        names = relative_names(folder, images)
        pairs = pair_by_folders(names) if image_glob is None else pair_by_globs(names, image_glob, label_glob)
        found = _index_pairs(folder, pairs, pattern, pseudonyms, classes is None, progress)
        if identifying_paths:
            found = _without_names(found, pseudonyms)
        in_pairs = sum(1 if pair.label is None else 2 for pair in pairs)
        if len(paths) > in_pairs:
            note = f"{len(paths) - in_pairs} passed over: neither image nor label"
            found = replace(found, notes=(*found.notes, note))
    if links:
        found = replace(found, notes=(*found.notes, f"{links} passed over: links to folders"))
    if identifying_paths:  # whatever the headers say
        found = replace(found, deidentification="identified", deidentification_method=None)
    return _fields(found, name or _as_name(folder.name), classes), found.notes


def _list_files(folder: Path) -> tuple[list[Path], int]:
    """Return the files of a folder but hidden ones, sorted, and the number of links to folders, which it leaves."""

    def refuse(error: OSError) -> None:
        raise ImageError(f"folder {error.filename} cannot be listed: {error.strerror}; make it readable")

    paths, links = [], 0
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += sum(Path(root, name).is_symlink() for name in folders)
        paths += [path for name in names if not name.startswith(".") and (path := Path(root, name)).is_file()]
    for path in paths:
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # how Python holds bytes that are no UTF-8
            raise ImageError(f"the name of file {str(path)!a} is not UTF-8, as a manifest wants it; rename it")
    return sorted(paths), links


def _index_pairs(
    folder: Path,
    pairs: Sequence[Pair],
    pattern: re.Pattern[str] | None,
    pseudonyms: Pseudonyms,
    read_values: bool,
    progress: bool,
) -> Index:
    counts = Counter(pair.name for pair in pairs)
    texts = [pair.name if counts[pair.name] == 1 else pair.image.replace("/", "-") for pair in pairs]
    ids = Counter(_as_name(text) for text in texts)
    cases, spacings, values, on_their_own = [], set(), set(), 0
    bar = tqdm(pairs, desc="reading", unit="case", disable=not progress, leave=False)
    for pair, text in zip(bar, texts, strict=True):
        case_id = _as_name(text)
        if ids[case_id] > 1:  # without the letters that ids cannot have, several names are one
            case_id = pseudonyms.of("case", text)
        patient = patient_in(pair.image, pattern)
        on_their_own += patient is None
        cases.append(
            Case(
                id=case_id,
                patient=case_id if patient is None else name_of_patient(patient, pseudonyms),
                image=pair.image,
                label=pair.label,
                image_sha256=content_sha256(folder / pair.image),
                label_sha256=None if pair.label is None else content_sha256(folder / pair.label),
            )
        )
        spacings.add(_spacing_mm(folder / pair.image))
        if pair.label is not None and read_values:
            values |= set(read_label_values(folder / pair.label))
            if len(values) > _MOST_CLASSES:
                raise LabelError(
                    f"labels up to {folder / pair.label} hold {len(values)} values, more than {_MOST_CLASSES}; they "
                    "look like numbers of objects; name the classes: --classes background=0 NAME=1"
                )
    found = None
    if values:
        found = [FoundClass("background" if not value else f"class_{value}".replace("-", "minus_"), value)
                 for value in sorted(values | {0}, key=lambda value: (value != 0, value))]  # fmt: skip
    notes = (on_their_own_note(on_their_own),) if on_their_own else ()
    return Index(cases, found, notes, spacing_mm=spacings.pop() if len(spacings) == 1 else None)


def _without_names(found: Index, pseudonyms: Pseudonyms) -> Index:
    """Return cases under pseudonyms: their ids stand in records and logs, and come from paths that name patients."""
    cases = [
        replace(case, id=pseudonyms.of("case", case.id), patient=pseudonyms.of("patient", case.patient))
        for case in found.cases
    ]
    return replace(found, cases=cases)


def _spacing_mm(path: Path) -> tuple[float, float, float | None] | None:
    read_grid(path)
    if not is_nifti(path):
        return None
    zooms = [float(zoom) for zoom in nibabel.load(path).header.get_zooms()[:3]]
    if len(zooms) < 2 or not all(np.isfinite(zooms)) or min(zooms) <= 0:
        return None
    return zooms[0], zooms[1], zooms[2] if len(zooms) == 3 else None


def _fields(found: Index, name: str, classes: Mapping[str, int] | None) -> dict[str, Any]:
    entries = found.classes
    if classes is not None:
        known = {} if entries is None else {entry.stored_value: entry for entry in entries}
        entries = [replace(known.get(value, FoundClass(key, value)), name=key) for key, value in classes.items()]
    if entries is None:
        raise LabelError("there are no labels that tell the classes; name them: --classes background=0 NAME=1")
    if len(entries) < 2:
        raise LabelError("the labels hold nothing but 0; name the classes: --classes background=0 NAME=1")
    deidentification: dict[str, str] = {"status": found.deidentification}
    if found.deidentification_method:
        deidentification["method"] = found.deidentification_method
    spacing = found.spacing_mm
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"{counted(len(found.cases), 'case')} found in a folder.",
        "licence": {"name": "not stated", "terms": "Not stated: ask the owner of the data before using them."},
        "citation": "not stated",
        "source": {"urls": [], "layout": "the folder as it was indexed"},
        "deidentification": deidentification,
        **({"modality": found.modality} if found.modality else {}),
        "classes": [{"index": index, **_given(asdict(entry))} for index, entry in enumerate(entries)],
        "spacing_mm": None if spacing is None else list(spacing[:2]),
        "slice_spacing_mm": None if spacing is None else spacing[2],
        "split_unit": "patient",
        "cases": [case_fields(case) for case in found.cases],
        "splits": {"all": [case.id for case in found.cases]},
    }


def case_fields(case: Case) -> dict[str, Any]:
    """Return the fields of a case as they stand in a manifest."""
    fields = asdict(case)
    optional = ("block", "study", "series", "image_files", "attributes")
    fields = {key: value for key, value in fields.items() if key not in optional or value}
    if "image_files" in fields:
        fields["image_files"] = list(fields["image_files"])
    return fields


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _as_name(text: str) -> str:
    """Return a text with everything but letters, digits, '.', '_' and '-' replaced, as names in manifests want it."""
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]+", "-", text).lstrip("-._") or "unnamed"
