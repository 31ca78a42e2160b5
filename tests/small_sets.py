"""Small data sets whose scores can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import Manifest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class SmallSet:
    """A data set with a manifest, and a folder for predictions."""

    folder: Path
    predictions: Path
    path: Path

    @property
    def manifest(self) -> Manifest:
        """The manifest, read."""
        return Manifest.load(self.path)

    def change(self, **fields: Any) -> None:
        """Change fields of the manifest."""
        content = json.loads(self.path.read_text(encoding="utf-8"))
        self.path.write_text(json.dumps(content | fields), encoding="utf-8")


def write_manifest(folder: Path, patients: Mapping[str, str], like: str, suffix: str, **changes: Any) -> None:
    """Write a manifest of the cases of the patients, all in the split `validation`."""
    fields = json.loads((ROOT / "data_manifests" / f"{like}.json").read_text(encoding="utf-8"))
    cases = [
        {
            "id": case,
            "patient": patient,
            "image": f"image/{case}-image{suffix}",
            "label": f"label/{case}{suffix}",
            "image_sha256": None,
            "label_sha256": None,
        }
        for case, patient in patients.items()
    ]
    fields |= {"name": "small", "cases": cases, "splits": {"validation": list(patients)}, **changes}
    (folder / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")


AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def write_volume(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> None:
    """Write NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Write PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def made_up_volumes(tmp_path: Path) -> SmallSet:
    """Three volumes of two patients, 2 × 1 × 3 mm: half of class 1 found, all of it, and none; class 2 in one alone."""
    folder, predictions = tmp_path / "data", tmp_path / "predictions"
    predictions.mkdir()
    folder.mkdir()
    write_manifest(folder, {"a": "p1", "b": "p1", "c": "p2"}, "msd_hippocampus", ".nii.gz")
    for case in "abc":
        truth, pred = np.zeros((2, 4, 5, 3), np.uint8)
        truth[1, 0:4, 1] = 1
        pred[1, 0 : 2 if case == "a" else 4, 1] = 1
        if case == "c":
            truth[3, 0:3, 2] = 2
            pred = np.roll(pred, 1, axis=0)
        write_volume(folder / "image" / f"{case}-image.nii.gz", np.arange(60, dtype=np.float32).reshape(4, 5, 3))
        write_volume(folder / "label" / f"{case}.nii.gz", truth)
        write_volume(predictions / f"{case}_mask.nii.gz", pred)
    return SmallSet(folder, predictions, folder / "manifest.json")


def made_up_nuclei(tmp_path: Path) -> SmallSet:
    """Two images: objects that are found whole, three quarters of one, and one that is not there; and a perfect one."""
    folder, predictions = tmp_path / "data", tmp_path / "predictions"
    predictions.mkdir()
    folder.mkdir()
    classes = [
        {"index": 0, "name": "background", "stored_value": 0},
        {"index": 1, "name": "nucleus", "stored_value": 1},
    ]
    write_manifest(folder, {"a": "p1", "b": "p2"}, "msd_hippocampus", ".png", classes=classes)
    truth = np.zeros((6, 8), np.uint16)
    truth[0, 0:4], truth[3, 0:4] = 5, 9
    pred = np.zeros((6, 8), np.uint16)
    pred[0, 0:4], pred[3, 0:3], pred[5, 6:8] = 1, 2, 3
    for case, of_case in (("a", pred), ("b", truth)):
        write_png(folder / "image" / f"{case}-image.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
        write_png(folder / "label" / f"{case}.png", truth)
        write_png(predictions / f"{case}_instances.png", of_case)
    return SmallSet(folder, predictions, folder / "manifest.json")
