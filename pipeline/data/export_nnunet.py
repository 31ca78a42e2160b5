"""Writing a data set as nnU-Net version 2 wants it, with splits that it takes as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from .exchange_layout import copy_cases, file_ending, place_cases, whole_folder, write_dataset_json
from .manifest import Manifest
from .manifest_reading import read_manifest_fields

SPLITS_JSON: Final = "splits_final.json"
_ENDINGS: Final = (".nii.gz", ".nii", ".png", ".tif", ".tiff")


def export_nnunet(manifest: Manifest, folder: str | Path, target: str | Path, progress: bool = False) -> None:
    """Write `imagesTr/<case>_0000.<ending>`, `labelsTr/<case>.<ending>`, `dataset.json` and `splits_final.json`.

    Cases of the splits `training`, `validation` and `development` go to `imagesTr`, all others to `imagesTs`. Folds, or
    else training and validation, become `splits_final.json`, which belongs into nnU-Net's folder of preprocessed data.
    Labels hold class indices. What the format has no place for is noted under `unet_pipeline_manifest`.

    Args:
        manifest: The data set; its images are NIfTI, PNG or TIFF, all with one ending, or DICOM series, which become
            `.nii.gz` on their own voxel grid.
        folder: Where its files are.
        target: The folder to make; nnU-Net wants it named `Dataset001_Name`.
        progress: Show a progress bar.

    Raises:
        ManifestError: If an image or a label has another format or ending, or differs from the manifest; or no case
            is in a split that is trained on.
        MissingFileError: If a file is not there.
        ImageError: If a DICOM series cannot be placed without a guess.
        LabelError: If a label holds a value that is no class, or does not belong to its DICOM series.
        OutputError: If `target` exists, lies in `folder` or cannot be written.

    Source:
        MIC-DKFZ/nnUNet, documentation/dataset_format.md and documentation/manual_data_splits.md.
    """
    ending = file_ending(manifest, _ENDINGS, "nnU-Net")
    placed = place_cases(manifest, lambda case: f"{case.id}_0000{ending}", lambda case: f"{case.id}{ending}")
    with whole_folder(target, folder) as partial:
        fields = copy_cases(manifest, Path(folder), partial, placed, read_manifest_fields(manifest.path)[0], progress)
        content = {
            "name": manifest.name,
            "description": manifest.description,
            "reference": manifest.citation,
            "licence": manifest.licence.name,
            "release": manifest.version,
            # Not "CT" by accident: nnU-Net scales intensities by this name.
            "channel_names": {"0": manifest.modality or "unknown"},
            "labels": {entry.name: entry.index for entry in manifest.classes},
            "numTraining": sum(one.side == "Tr" for one in placed),
            "file_ending": ending,
        }
        write_dataset_json(partial, content, fields)
        if splits := _splits(manifest):
            (partial / SPLITS_JSON).write_text(json.dumps(splits, indent=2) + "\n", encoding="utf-8")


def _splits(manifest: Manifest) -> list[dict[str, list[str]]]:
    """Return nnU-Net's folds; none where the manifest has neither folds nor training and validation."""
    if manifest.folds is not None:
        folds = [manifest.fold(number) for number in range(len(manifest.folds.parts))]
    elif {"training", "validation"} <= set(manifest.splits):
        folds = [manifest]
    else:
        return []
    return [
        {
            key: [case.id for case in fold.cases_of(split) if case.label is not None]
            for key, split in (("train", "training"), ("val", "validation"))
        }
        for fold in folds
    ]
