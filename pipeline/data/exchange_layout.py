"""What the Medical Segmentation Decathlon and nnU-Net lay out alike: `imagesTr`, `labelsTr`, and the same for `Ts`."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from tqdm.auto import tqdm

from ..errors import LabelError, ManifestError, OutputError
from ..formats import read_image, write_instances, write_nifti
from .case_files import is_nifti, read_label_values, whole_values
from .dicom_as_nifti import is_dicom_case, label_on_series, write_image_as_nifti
from .digests import file_sha256
from .manifest import Manifest
from .manifest_entries import Case
from .manifest_reading import read_json
from .split import DEVELOPMENT

# What neither format has a place for stands under this key, which their readers pass over.
NOTES: Final = "unet_pipeline_manifest"
DATASET_JSON: Final = "dataset.json"
DICOM_ENDING: Final = ".nii.gz"  # what DICOM series and their labels are written as
_TRAINED_ON: Final = ("training", "validation", DEVELOPMENT)


@dataclass(frozen=True)
class Placed:
    """Where a case goes: paths relative to the exported folder; `side` is what the names of its folders end in."""

    case: Case
    side: str
    image: str
    label: str | None


@contextmanager
def whole_folder(path: str | Path, source: str | Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `path` when the block ends without an error.

    Raises:
        OutputError: If `path` exists (an empty folder may), lies in the folder `source`, or cannot be written.
    """
    target = Path(path).absolute()
    if target.resolve().is_relative_to(Path(source).resolve()):
        raise OutputError(f"{path} lies in {source}, whose files are copied; name a folder beside it")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputError(f"{path} already exists; name a folder that does not, or remove it first")
    partial = target.with_name(f".partial-{secrets.token_hex(4)}")
    try:
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"cannot make {path}: {error.strerror}; choose one that you may write to") from error
        yield partial
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_ending(manifest: Manifest, endings: tuple[str, ...], wanted_by: str) -> str:
    """Return the ending that all images and labels get: the one that they share, and `.nii.gz` for DICOM.

    Raises:
        ManifestError: If a case is of another format than these, or there are two endings.
    """
    first: tuple[str, str] | None = None
    for case in manifest.cases:
        is_dicom = is_dicom_case(case)
        for kind, path, _ in case.files():
            ending = next((ending for ending in endings if path.lower().endswith(ending)), None)
            ending = DICOM_ENDING if is_dicom else ending
            if ending is None:
                raise ManifestError(
                    f"case {case.id!r}: {kind} {path} is not one of {', '.join(endings)}, which {wanted_by} takes; "
                    "convert it first"
                )
            if first is not None and first[0] != ending:
                raise ManifestError(
                    f"{first[1]} and {path} would end differently ({first[0]}, {ending}); {wanted_by} takes one "
                    "ending; convert them"
                )
            first = first or (ending, path)
    assert first is not None  # a manifest has a case
    return first[0]


def place_cases(
    manifest: Manifest, image_name: Callable[[Case], str], label_name: Callable[[Case], str]
) -> list[Placed]:
    """Say where each case goes: what is trained on and has a label to `Tr`, all others to `Ts`.

    Raises:
        ManifestError: If there is nothing to train on.
    """
    trained = {case for split in _TRAINED_ON for case in manifest.splits.get(split, ())}
    placed = []
    for case in manifest.cases:
        side = "Tr" if case.id in trained and case.label is not None else "Ts"
        label = None if case.label is None else f"labels{side}/{label_name(case)}"
        placed.append(Placed(case, side, f"images{side}/{image_name(case)}", label))
    if not any(one.side == "Tr" for one in placed):
        raise ManifestError(
            f"manifest {manifest.path}: no case with a label is in a split named {', '.join(_TRAINED_ON)}, so there is "
            "nothing to train on; draw splits first: unet-pipeline data split"
        )
    return placed


def copy_cases(
    manifest: Manifest, folder: Path, target: Path, placed: list[Placed], fields: Mapping[str, Any], progress: bool
) -> dict[str, Any]:
    """Copy images and labels, DICOM as NIfTI; labels hold class indices afterwards, as both formats want.

    Returns:
        The fields of a manifest of the copy: paths, digests and stored values are those of the copy.

    Raises:
        ImageError: If a DICOM series cannot be placed without a guess.
        LabelError: If a label holds a value that is no class, or does not belong to its DICOM series.
        ManifestError: If a file differs from the manifest.
        OutputError: If a file cannot be written.
    """
    manifest.check_files(folder)
    are_indices = all(entry.stored_value == entry.index for entry in manifest.classes)
    entries = []
    by_id = {case["id"]: case for case in fields["cases"]}
    for one in tqdm(placed, desc="copying", unit="case", disable=not progress, leave=False):
        entry = {key: value for key, value in by_id[one.case.id].items() if key != "image_files"}
        if is_dicom_case(one.case):
            _convert(manifest, folder, target, one)
        else:
            _copy(folder / one.case.image, target / one.image)
            if one.label is not None:
                _copy_label(manifest, folder / str(one.case.label), target / one.label, are_indices)
        entry |= {"image": one.image, "image_sha256": file_sha256(target / one.image)}
        if one.label is not None:
            entry |= {"label": one.label, "label_sha256": file_sha256(target / one.label)}
        entries.append(entry)
    classes = [{**entry, "stored_value": entry["index"]} for entry in fields["classes"]]
    return {**fields, "classes": classes, "cases": entries}


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(
            f"cannot copy {source}: {error.strerror}; check the free space and the permissions"
        ) from error


def _convert(manifest: Manifest, folder: Path, target: Path, one: Placed) -> None:
    """Write a DICOM case as NIfTI: image and label on the voxels of the series."""
    (target / one.image).parent.mkdir(parents=True, exist_ok=True)
    series = write_image_as_nifti(folder, one.case, target / one.image)
    if one.label is None:
        return
    source = folder / str(one.case.label)
    voxels = label_on_series(source, series, manifest.classes)
    _check_values(manifest, source, whole_values(source, voxels))
    (target / one.label).parent.mkdir(parents=True, exist_ok=True)
    write_nifti(target / one.label, _indices(voxels, manifest), series.affine)


def _check_values(manifest: Manifest, source: Path, values: Iterable[int]) -> None:
    unknown = set(values) - set(manifest.class_values)
    if unknown:
        raise LabelError(
            f"label {source} holds {min(unknown)}, which stands for no class; the classes have "
            f"{sorted(manifest.class_values)}; correct the label or the manifest"
        )


def _copy_label(manifest: Manifest, source: Path, target: Path, are_indices: bool) -> None:
    _check_values(manifest, source, read_label_values(source))
    if are_indices:
        _copy(source, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_nifti(source):
        image: Any = nibabel.load(source)
        header = image.header.copy()
        header.set_data_dtype(np.uint8)
        indices = _indices(np.asarray(image.dataobj), manifest)
        nibabel.save(type(image)(indices, image.affine, header), target)
    else:
        stored = read_image(source)
        write_instances(target, _indices(stored.pixels[:, 0], manifest).astype(np.uint16))


def _indices(values: np.ndarray[Any, Any], manifest: Manifest) -> np.ndarray[Any, np.dtype[np.uint8]]:
    indices = np.zeros(values.shape, np.uint8)
    for stored_value, index in manifest.class_values.items():
        indices[values == stored_value] = index
    return indices


def write_dataset_json(target: Path, content: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Write `dataset.json` with the manifest of the copy as a note."""
    text = json.dumps({**content, NOTES: fields}, indent=2, ensure_ascii=False) + "\n"
    (target / DATASET_JSON).write_text(text, encoding="utf-8")


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Return what `dataset.json` holds.

    Raises:
        ManifestError: If it is not there, or is no JSON object.
    """
    path = folder / DATASET_JSON
    try:
        content = read_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}; give the folder that holds it") from error
    if not isinstance(content, dict):
        raise ManifestError(f"{path} holds no JSON object; give the folder of the data set")
    return content
