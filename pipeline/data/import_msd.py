"""Reading a data set that is laid out as the Medical Segmentation Decathlon does it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ManifestError
from .exchange_layout import DATASET_JSON, NOTES, read_dataset_json
from .imported import Imported, ImportedCase, imported_fields


def import_msd(
    folder: str | Path, patient_pattern: str | None = None, progress: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a manifest for a folder with the `dataset.json` of the Decathlon.

    `training`, `validation` (MONAI's key) and `test` become splits of these names. Test images have a label if it lies
    in `labelsTs`.

    Args:
        folder: The folder that holds `dataset.json`.
        patient_pattern: Regular expression whose first group (the whole, where it has none) tells the patient in the
            path of an image; by default `sub-...` of BIDS, else each image is a patient of its own.
        progress: Show a progress bar.

    Returns:
        The fields, and what a person should know: how many images count as a patient of their own.

    Raises:
        ManifestError: If `dataset.json` is not there, lacks a key, or does not agree with its note; or if images have
            several channels.
        MissingFileError: If a file that it names is not there.
        ImageError: If a file is damaged.
        ConfigError: If the pattern is wrong, or given where a note tells the patients.
    """
    folder = Path(folder)
    content = read_dataset_json(folder)
    try:
        names = {int(value): str(name) for value, name in content["labels"].items()}
        sections = {section: list(content.get(section, [])) for section in ("training", "validation", "test")}
        channels = dict(content.get("modality", {}))
        cases = {
            section: [_case(folder, entry, section == "test") for entry in entries]
            for section, entries in sections.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f"{folder / DATASET_JSON} is not as the Medical Segmentation Decathlon writes it ({error!r}); expected "
            '\'labels\' as {"0": name} and \'training\' as a list of {"image": path, "label": path}'
        ) from error
    if len(channels) > 1:
        raise ManifestError(f"{folder / DATASET_JSON} has {len(channels)} modalities; expected images of one channel")
    modality = str(next(iter(channels.values()), "unknown"))
    found = Imported(
        name=str(content.get("name") or folder.absolute().name),
        description=str(content.get("description") or ""),
        licence=str(content.get("licence") or content.get("license") or ""),
        citation=str(content.get("reference") or ""),
        modality="" if modality == "unknown" else {"MRI": "MR"}.get(modality, modality),
        class_names=names,
        cases=[case for section in cases.values() for case in section],
        splits={section: [case.id for case in found] for section, found in cases.items()},
    )
    return imported_fields(found, folder, content.get(NOTES), patient_pattern, progress)


def _case(folder: Path, entry: Any, is_test: bool) -> ImportedCase:
    image = str(PurePosixPath(entry if isinstance(entry, str) else entry["image"]))
    case_id = PurePosixPath(image).name.removesuffix(".gz").removesuffix(".nii")
    if not is_test:
        return ImportedCase(case_id, image, str(PurePosixPath(entry["label"])))
    label = f"labelsTs/{PurePosixPath(image).name}"
    return ImportedCase(case_id, image, label if (folder / label).is_file() else None)
