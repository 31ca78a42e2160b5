"""Reading a data set that is laid out for nnU-Net version 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..counted import counted
from ..errors import ManifestError
from .exchange_layout import DATASET_JSON, NOTES, read_dataset_json
from .export_nnunet import SPLITS_JSON
from .imported import Imported, ImportedCase, imported_fields
from .manifest_reading import read_json
from .split import DEVELOPMENT


def import_nnunet(
    folder: str | Path, patient_pattern: str | None = None, progress: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a manifest for a folder such as `nnUNet_raw/Dataset004_Hippocampus`.

    `splits_final.json` is read where it lies beside `dataset.json`: one fold becomes the splits `training` and
    `validation`, several become folds. Without it all labelled cases make up `training`. `imagesTs` becomes `test`.

    Args:
        folder: The folder that holds `dataset.json`.
        patient_pattern: Regular expression whose first group (the whole, where it has none) tells the patient in the
            path of an image; by default `sub-...` of BIDS, else each image is a patient of its own.
        progress: Show a progress bar.

    Returns:
        The fields, and what a person should know: how many images count as a patient of their own.

    Raises:
        ManifestError: If a file of the format is not there, lacks a key, or does not agree with the rest; or if images
            have several channels or labels are regions.
        MissingFileError: If an image has no label.
        ImageError: If a file is damaged.
        ConfigError: If the pattern is wrong, or given where a note tells the patients.
    """
    folder = Path(folder)
    content = read_dataset_json(folder)
    try:
        names = {int(value): str(name) for name, value in content["labels"].items() if name != "ignore"}
        channels, ending = dict(content["channel_names"]), str(content["file_ending"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f"{folder / DATASET_JSON} is not as nnU-Net version 2 wants it ({error!r}); expected 'channel_names', "
            "'file_ending', and 'labels' as {name: value} without regions"
        ) from error
    if len(channels) != 1:
        raise ManifestError(
            f"{folder / DATASET_JSON} has {counted(len(channels), 'channel')}; expected images of one channel"
        )
    trained = [ImportedCase(case, image, f"labelsTr/{case}{ending}") for case, image in _images(folder, "Tr", ending)]
    tested = []
    for case, image in _images(folder, "Ts", ending):
        label = f"labelsTs/{case}{ending}"
        tested.append(ImportedCase(case, image, label if (folder / label).is_file() else None))
    if not trained:
        raise ManifestError(f"{folder / 'imagesTr'} holds no image named CASE_0000{ending}; check the folder")
    splits, parts = _splits(folder, [case.id for case in trained])
    modality = str(next(iter(channels.values())))
    found = Imported(
        name=str(content.get("name") or folder.absolute().name),
        description=str(content.get("description") or ""),
        licence=str(content.get("licence") or content.get("license") or ""),
        citation=str(content.get("reference") or ""),
        modality=modality if modality != "unknown" and modality.isalnum() and len(modality) <= 16 else "",
        class_names=names,
        cases=[*trained, *tested],
        splits={**splits, "test": [case.id for case in tested]},
        parts=parts,
    )
    return imported_fields(found, folder, content.get(NOTES), patient_pattern, progress)


def _images(folder: Path, side: str, ending: str) -> list[tuple[str, str]]:
    """Return the ids of cases and the paths of their images."""
    mark = f"_0000{ending}"
    paths = sorted((folder / f"images{side}").glob(f"*{mark}"))
    return [
        (path.name.removesuffix(mark), f"images{side}/{path.name}") for path in paths if not path.name.startswith(".")
    ]


def _splits(folder: Path, labelled: list[str]) -> tuple[dict[str, list[str]], list[list[str]]]:
    path = folder / SPLITS_JSON
    if not path.is_file():
        return {"training": labelled}, []
    content = read_json(path.read_bytes(), str(path))
    try:
        folds = [([str(case) for case in fold["train"]], [str(case) for case in fold["val"]]) for fold in content]
    except (KeyError, TypeError) as error:
        raise ManifestError(f'{path} is no list of {{"train": cases, "val": cases}}; correct or remove it') from error
    strange = {case for fold in folds for part in fold for case in part} - set(labelled)
    if strange:
        raise ManifestError(f"{path} names case {min(strange)!r}, which is not in imagesTr; correct or remove it")
    if len(folds) == 1:
        return {"training": folds[0][0], "validation": folds[0][1]}, []
    development = [case for case in labelled if any(case in part for fold in folds for part in fold)]
    for number, (train, validation) in enumerate(folds):
        if sorted([*train, *validation]) != sorted(development):
            raise ManifestError(
                f"{path}: fold {number} does not divide all {len(development)} cases in two; expected cross-validation "
                "over the same cases; correct or remove it"
            )
    return {DEVELOPMENT: development}, [validation for _, validation in folds]
