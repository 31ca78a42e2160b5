"""Writing a data set as the Medical Segmentation Decathlon lays it out, for tools that read `dataset.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .exchange_layout import copy_cases, file_ending, place_cases, whole_folder, write_dataset_json
from .manifest import Manifest
from .manifest_reading import read_manifest_fields

_ENDINGS: Final = (".nii.gz", ".nii")


def export_msd(manifest: Manifest, folder: str | Path, target: str | Path, progress: bool = False) -> None:
    """Write `imagesTr`, `labelsTr`, `imagesTs` and a `dataset.json` with the keys of the Decathlon.

    Cases of the split `validation` stand under `validation`, which is MONAI's key; those of `training` (or of
    `development`, which folds divide) under `training`; all others under `test`. Labels hold class indices. What the
    format has no place for (patients, codes, digests, folds, other splits) is noted under `unet_pipeline_manifest`.

    Args:
        manifest: The data set; its images are NIfTI, or DICOM series, which become NIfTI on their own voxel grid.
        folder: Where its files are.
        target: The folder to make.
        progress: Show a progress bar.

    Raises:
        ManifestError: If an image or a label is neither NIfTI nor DICOM, or differs from the manifest; or no case
            is in a split that is trained on.
        MissingFileError: If a file is not there.
        ImageError: If a DICOM series cannot be placed without a guess.
        LabelError: If a label holds a value that is no class, or does not belong to its DICOM series.
        OutputError: If `target` exists, lies in `folder` or cannot be written.

    Source:
        Antonelli et al.: The Medical Segmentation Decathlon, Nature Communications 13:4128 (2022); the keys are those
        of the published `dataset.json`.
    """
    ending = file_ending(manifest, _ENDINGS, "the Medical Segmentation Decathlon")
    placed = place_cases(manifest, *[lambda case: f"{case.id}{ending}"] * 2)
    validation = set(manifest.splits.get("validation", ()))
    with whole_folder(target, folder) as partial:
        fields = copy_cases(manifest, Path(folder), partial, placed, read_manifest_fields(manifest.path)[0], progress)
        trained = [one for one in placed if one.side == "Tr"]
        listed: dict[str, list[Any]] = {
            section: [
                {"image": f"./{one.image}", "label": f"./{one.label}"}
                for one in trained
                if (one.case.id in validation) == (section == "validation")
            ]
            for section in ("training", "validation")
        }
        listed["test"] = [f"./{one.image}" for one in placed if one.side == "Ts"]
        content = {
            "name": manifest.name,
            "description": manifest.description,
            "reference": manifest.citation,
            "licence": manifest.licence.name,
            "release": manifest.version,
            "tensorImageSize": "3D",
            "modality": {"0": manifest.modality or "unknown"},
            "labels": {str(entry.index): entry.name for entry in manifest.classes},
            "numTraining": len(listed["training"]),
            "numTest": len(listed["test"]),
            **{section: cases for section, cases in listed.items() if cases or section != "validation"},
        }
        write_dataset_json(partial, content, fields)
