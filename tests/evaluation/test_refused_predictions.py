"""Predictions that cannot be scored: refused by the name of the case, or left out when told, with no name of a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from small_sets import AFFINE, SmallSet, write_volume

from pipeline.errors import ImageError, LabelError, ManifestError, MissingFileError
from pipeline.evaluation import evaluate_predictions


def evaluated(small: Any, **options: Any) -> Any:
    return evaluate_predictions(small.predictions, small.manifest, "validation", small.folder, **options)


def in_mask(change: Callable[[np.ndarray], Any]) -> Callable[[Any], None]:
    def do(small: Any) -> None:
        path = small.predictions / "b_mask.nii.gz"
        voxels = change(np.asarray(nib.load(path).dataobj).copy())
        write_volume(path, voxels)

    return do


def moved(small: Any) -> None:
    path = small.predictions / "b_mask.nii.gz"
    affine = AFFINE.copy()
    affine[0, 3] = 2.0
    write_volume(path, np.asarray(nib.load(path).dataobj), affine)


def with_value(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels[0, 0, 0] = value
        return voxels

    return change


def probability_of(value: float) -> Callable[[Any], None]:
    def write(small: Any) -> None:
        for index in (1, 2):
            voxels = np.full((4, 5, 3), 0.25, np.float32)
            voxels[0, 0, 0] = value if index == 2 else 0.25
            write_volume(small.predictions / f"b_probability_{index}.nii.gz", voxels)

    return write


def probabilities_of(*of_classes: float) -> Callable[[Any], None]:
    def write(small: Any) -> None:
        for index, value in enumerate(of_classes, 1):
            voxels = np.zeros((4, 5, 3), np.float32)
            voxels[1, 2, 0] = value
            write_volume(small.predictions / f"b_probability_{index}.nii.gz", voxels)

    return write


def label_with_7(small: Any) -> None:
    path = small.folder / "label" / "b.nii.gz"
    write_volume(path, with_value(7)(np.asarray(nib.load(path).dataobj).copy()))


BAD_CASES = {
    "another size": (in_mask(lambda voxels: voxels[:, :4]), LabelError, "4 × 4 × 3 voxels but its image has 4 × 5 × 3"),
    "another place": (moved, LabelError, "lies up to 1 voxels from the grid of its image"),
    "unknown value": (
        in_mask(with_value(9)),
        LabelError,
        r"holds the values \[9\], which stand for no class.*where masks hold .*, pass --values labels",
    ),
    "fractions": (in_mask(lambda voxels: voxels + np.float32(0.5)), LabelError, r"the values \[0.5, 1.5\]"),
    "unknown value in the label": (label_with_7, LabelError, r"label .* holds the values \[7\]"),
    "a probability above 1": (probability_of(1.5), ImageError, "values from 0.25 to 1.5; expected 0 to 1"),
    "a negative probability": (probability_of(-0.5), ImageError, "values from -0.5 to 0.25; expected 0 to 1"),
    "a NaN probability": (probability_of(math.nan), ImageError, "holds 1 voxel that is NaN"),
    "a probability that is missing": (
        lambda small: write_volume(small.predictions / "b_probability_1.nii.gz", np.zeros((4, 5, 3), np.float32)),
        LabelError,
        r"probabilities of the classes \[1\]; expected \[1, 2\]",
    ),
    "two masks": (
        lambda small: write_volume(small.predictions / "b.nii.gz", np.zeros((4, 5, 3), np.uint8)),
        LabelError,
        "has two predictions, .*b.nii.gz and .*b_mask.nii.gz; expected one; take one away, or pass --skip-bad",
    ),
    "probabilities that exceed 1 together": (
        probabilities_of(0.625, 0.5),
        ImageError,
        "object classes sum to up to 1.125; expected at most 1",
    ),
    "an empty file": (
        lambda small: (small.predictions / "b_mask.nii.gz").write_bytes(b""),
        ImageError,
        "is empty",
    ),
    "no prediction": (
        lambda small: (small.predictions / "b_mask.nii.gz").unlink(),
        MissingFileError,
        "case 'b' of the split 'validation' has no mask in .*--skip-bad",
    ),
    "a label that is gone": (
        lambda small: (small.folder / "label" / "b.nii.gz").unlink(),
        MissingFileError,
        "label .* not found",
    ),
}


@pytest.mark.parametrize("name", BAD_CASES)
def test_a_bad_case_is_refused_by_name_and_skipped_only_when_told(volumes: Any, name: str) -> None:
    spoil, error, match = BAD_CASES[name]
    spoil(volumes)
    with pytest.raises(error, match=match) as raised:
        evaluated(volumes)
    assert "case 'b'" in str(raised.value)
    assert "\n" not in str(raised.value)
    evaluation = evaluated(volumes, skip_bad=True)
    assert evaluation.summary.scores_by_case["dice_anterior"] == {"a": 2 / 3, "c": 0.0}
    (skipped,) = evaluation.record()["skipped"]
    assert skipped["case"] == "b"
    assert skipped["reason"]
    # Files and folders may be named by patients.
    for hidden in (str(volumes.folder), str(volumes.predictions), "b_mask.nii.gz", "b.nii.gz"):
        assert hidden not in skipped["reason"]


def test_a_folder_without_predictions_lacks_masks(volumes: Any) -> None:
    for path in volumes.predictions.iterdir():
        path.rename(path.with_suffix(".npz"))
    with pytest.raises(MissingFileError, match=r"case 'a' \(and 2 more\) of the split 'validation' has no mask in"):
        evaluated(volumes)


def test_a_reason_names_no_file_that_only_a_library_knows(volumes: Any) -> None:
    (volumes.predictions / "b_mask.nii.gz").unlink()
    header = [
        *("NRRD0004", "type: uchar", "dimension: 3", "space: left-posterior-superior", "sizes: 4 5 3"),
        *("space directions: (2,0,0) (0,1,0) (0,0,3)", "kinds: domain domain domain", "encoding: raw"),
        *("space origin: (0,0,0)", "data file: DOE_JANE_1970.raw", ""),
    ]
    (volumes.predictions / "b_mask.nhdr").write_text("\n".join(header), encoding="utf-8")
    evaluation = evaluated(volumes, skip_bad=True)
    (skipped,) = evaluation.skipped
    assert skipped.reason.startswith("its prediction cannot be read as NRRD")
    for hidden in ("DOE", "1970", str(volumes.predictions)):
        assert hidden not in json.dumps(evaluation.record())


def test_a_reason_names_no_place_of_the_manifest(volumes: Any, tmp_path: Path) -> None:
    cases = json.loads(volumes.path.read_text(encoding="utf-8"))["cases"]
    cases[1]["label_sha256"] = "0" * 64
    volumes.change(cases=cases)
    elsewhere = tmp_path / "jane.doe" / "manifest.json"
    elsewhere.parent.mkdir()
    volumes.path.rename(elsewhere)
    moved = SmallSet(volumes.folder, volumes.predictions, elsewhere)
    (skipped,) = evaluated(moved, skip_bad=True).skipped
    assert "its label has SHA-256" in skipped.reason
    assert "but the manifest expects 000" in skipped.reason
    assert str(tmp_path) not in skipped.reason


def test_a_prediction_too_many_is_refused_by_name(volumes: Any) -> None:
    (volumes.predictions / "DOE_JANE_mask.nii.gz").write_bytes(b"")
    with pytest.raises(LabelError, match=r"DOE_JANE_mask.nii.gz belongs to no case of the split 'validation'"):
        evaluated(volumes)
    (volumes.predictions / "c_mask.nii.gz").rename(volumes.predictions / "C.nii.gz")
    with pytest.raises(
        MissingFileError, match=r"case 'c' .* has no mask in .*, but C.nii.gz \(and 1 more\) belongs to"
    ):
        evaluated(volumes)
    (volumes.predictions / "C.nii.gz").rename(volumes.predictions / "c_mask.nii.gz")
    evaluation = evaluated(volumes, skip_bad=True)
    assert len(evaluation.cases) == 3
    assert [skipped.case for skipped in evaluation.skipped] == ["unknown-1"]
    assert "DOE" not in json.dumps(evaluation.record())


def test_a_prediction_of_another_split_is_one_too_many(volumes: Any) -> None:
    volumes.change(splits={"validation": ["a", "b"], "test": ["c"]})
    with pytest.raises(LabelError, match=r"by its name it is of case 'c', which is in test"):
        evaluated(volumes)


def test_a_changed_label_is_refused_where_the_manifest_knows_its_digest(volumes: Any) -> None:
    cases = json.loads(volumes.path.read_text(encoding="utf-8"))["cases"]
    cases[1]["label_sha256"] = "0" * 64
    volumes.change(cases=cases)
    with pytest.raises(ManifestError, match=r"case 'b': label .* has SHA-256"):
        evaluated(volumes)


def test_nothing_is_scored_when_all_cases_are_bad(volumes: Any) -> None:
    for path in volumes.predictions.iterdir():
        path.write_bytes(b"")
    with pytest.raises(LabelError, match=r"no case of the split 'validation' could be scored; the first was skipped"):
        evaluated(volumes, skip_bad=True)
