"""Which file belongs to which case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.data import Case
from pipeline.errors import LabelError, MissingFileError
from pipeline.evaluate_command import NAMING_RULE
from pipeline.evaluation.prediction_files import find_predictions


def case_of(case: str, image: str) -> Case:
    return Case(case, "patient", image, "label.png", None, None)


CASES = (case_of("case-1", "images/scan_7.nii.gz"), case_of("case-2", "images/b.ome.tif"))


def roles_of(folder: Path, *names: str, cases: tuple[Case, ...] = CASES) -> dict[str, dict[str, str]]:
    """Write empty files, and return the name of the file of each role of each case."""
    for name in names:
        (folder / name).write_bytes(b"")
    found = find_predictions(folder, cases, folder)
    roles: dict[str, dict[str, str]] = {"strangers": {path.name: "" for path in found.strangers}}
    for case, files in found.files.items():
        single = {"labels": files.labels, "mask": files.mask, "instances": files.instances}
        roles[case] = {role: path.name for role, path in single.items() if path is not None}
        roles[case] |= {f"probability {number}": path.name for number, path in files.probability.items()}
    return {name: of_name for name, of_name in roles.items() if of_name}


@pytest.mark.parametrize(
    ("name", "case", "role"),
    [
        ("case-1.nii.gz", "case-1", "labels"),
        ("case-1.NII", "case-1", "labels"),
        ("scan_7.mha", "case-1", "labels"),
        ("scan_7_mask.nii.gz", "case-1", "mask"),
        ("case-1_mask.nii", "case-1", "mask"),
        ("scan_7_probability_12.nii.gz", "case-1", "probability 12"),
        ("b_mask.tif", "case-2", "mask"),
        ("case-2_mask.png", "case-2", "mask"),
        ("b_instances.tif", "case-2", "instances"),
        ("b_probability.tif", "case-2", "probability 0"),
    ],
)
def test_a_file_is_told_by_id_or_image_and_ending(tmp_path: Path, name: str, case: str, role: str) -> None:
    assert roles_of(tmp_path, name) == {case: {role: name}}


def test_all_that_predict_writes_beside_masks_has_its_role_or_is_passed_over(tmp_path: Path) -> None:
    names = ["b_mask.tif", "b_instances.tif", "b_probability.tif", "b_overlay.png", "scan_7_mask.json"]
    (tmp_path / "more").mkdir()
    (tmp_path / ".partial-b").mkdir()
    wanted = {"mask": "b_mask.tif", "instances": "b_instances.tif", "probability 0": "b_probability.tif"}
    assert roles_of(tmp_path, *names, "notes.txt", ".partial-1.tif") == {"case-2": wanted}


def test_other_images_are_strangers(tmp_path: Path) -> None:
    assert roles_of(tmp_path, "case-3_mask.png", "case-1_mask_2.png", "x.dcm") == {
        "strangers": {"case-3_mask.png": "", "case-1_mask_2.png": "", "x.dcm": ""}
    }


def test_an_id_may_end_as_results_do(tmp_path: Path) -> None:
    cases = (case_of("scan_mask", "scan_mask.png"), case_of("scan", "scan.png"))
    assert roles_of(tmp_path, "scan_mask.png", "scan.png", cases=cases) == {
        "scan_mask": {"labels": "scan_mask.png"},
        "scan": {"labels": "scan.png"},
    }


def test_a_name_that_means_two_cases_is_refused(tmp_path: Path) -> None:
    cases = (case_of("a", "one/1.png"), case_of("b", "two/1.png"), case_of("1", "three/9.png"))
    assert roles_of(tmp_path, "a_mask.png", "b_mask.png", cases=cases).keys() == {"a", "b"}
    with pytest.raises(LabelError, match=r"1_mask.png could be of the cases 1, a, b; name it by the id"):
        roles_of(tmp_path, "1_mask.png", cases=cases)


@pytest.mark.parametrize("second", ["scan_7.nii.gz", "case-1.png", "scan_7_mask.nii"])
def test_two_predictions_of_a_case_are_told(tmp_path: Path, second: str) -> None:
    for name in ("case-1_mask.nii.gz", second, "case-1_instances.png", "b_mask.tif"):
        (tmp_path / name).write_bytes(b"")
    found = find_predictions(tmp_path, CASES, tmp_path)
    assert found.doubled.keys() == {"case-1"}
    assert {path.name for path in found.doubled["case-1"]} == {"case-1_mask.nii.gz", second}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere not found or not a folder"):
        find_predictions(tmp_path / "nowhere", CASES, tmp_path)


def test_the_rule_in_the_help_names_what_is_found(tmp_path: Path) -> None:
    """Every example of the rule is a prediction of the case that it names."""
    examples = {name.rstrip(".") for name in re.findall(r"NAME[\w.]*", NAMING_RULE)} - {"NAME_overlay"}
    assert len(examples) >= 5
    for example in examples:
        name = example.replace("NAME", "case-1")
        folder = tmp_path / name
        folder.mkdir()
        assert "case-1" in roles_of(folder, name if "." in name else f"{name}.tif")
