"""Every problem of a data set is found, alone and together, in real NIfTI, PNG and DICOM files."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest

from pipeline.data import check_data_set, index_data_set
from pipeline.errors import ManifestError, MissingFileError

AFFINE = np.array([[-0.5, 0, 0, 10], [0, 0.7, 0.1, -20], [0, -0.05, 2.5, 30], [0, 0, 0, 1.0]])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three volumes of two patients with labels, and a manifest for them."""
    for number, case in enumerate(("a1", "a2", "b1")):
        voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) + number
        save(tmp_path / f"imagesTr/{case}.nii.gz", voxels)
        save(tmp_path / f"labelsTr/{case}.nii.gz", (voxels % 3).astype(np.uint8))
    fields, _ = index_data_set(tmp_path, patient_pattern=r"/([ab])\d")
    fields["splits"] = {"training": ["a1", "a2"], "validation": ["b1"]}
    (tmp_path / "set.json").write_text(json.dumps(fields))
    return tmp_path


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    fields = json.loads((folder / "set.json").read_text())
    edit(fields)
    (folder / "set.json").write_text(json.dumps(fields))


def forget_digests(folder: Path) -> None:
    change(folder, lambda fields: [case.update(image_sha256=None, label_sha256=None) for case in fields["cases"]])


def problems(folder: Path) -> list[str]:
    return [str(problem).replace(str(folder), "DATA") for problem in check_data_set(folder / "set.json", folder)]


def test_a_good_data_set_has_no_problem(folder: Path):
    assert problems(folder) == []


def test_all_problems_of_a_bad_data_set_are_listed_with_their_cases(folder: Path):
    (folder / "imagesTr/a1.nii.gz").unlink()
    save(folder / "labelsTr/a2.nii.gz", np.full((4, 5, 6), 7, np.uint8))
    change(folder, lambda fields: fields["splits"].update(training=["a1"], validation=["b1", "a2"], test=["b1"]))
    found = problems(folder)
    assert [problem.split(":")[0] for problem in found] == ["manifest"] * 2 + ["case 'a1'"] + ["case 'a2'"] * 2
    for problem, text in zip(
        found,
        [
            "patient 'a' is in the splits 'training' and 'validation'",
            "case 'b1' is in the splits 'validation' and 'test'",
            "DATA/imagesTr/a1.nii.gz not found; ask the owner",
            "label DATA/labelsTr/a2.nii.gz has SHA-256",
            "holds the values 7, which stand for no class; the classes have [0, 1, 2]",
        ],
        strict=True,
    ):
        assert text in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    ("shape", "affine", "text"),
    [
        ((4, 5, 7), AFFINE, "has 4 × 5 × 7 voxels but its image has 4 × 5 × 6"),
        ((4, 6, 5), AFFINE, "has 4 × 6 × 5 voxels but its image has 4 × 5 × 6"),
        ((4, 5, 6), AFFINE @ np.diag([2, 1, 1, 1]), "lies up to 3 voxels from the grid of its image"),
        ((4, 5, 6), AFFINE @ np.diag([-1, 1, 1, 1]), "lies up to 6 voxels from"),
        ((4, 5, 6), AFFINE + np.outer([0.06, 0, 0, 0], [0, 0, 0, 1]), "lies up to 0.12 voxels from"),
    ],
    ids=["size", "axes swapped", "voxel sides", "flipped", "shifted by an eighth of a voxel"],
)
def test_a_label_on_another_grid_is_found(folder: Path, shape: tuple[int, ...], affine: np.ndarray, text: str):
    forget_digests(folder)
    save(folder / "labelsTr/a2.nii.gz", np.zeros(shape, np.uint8), affine)
    (problem,) = problems(folder)
    assert problem.startswith("case 'a2': label DATA/labelsTr/a2.nii.gz ")
    assert text in problem


def test_affines_that_differ_by_the_rounding_of_headers_are_the_same(folder: Path):
    forget_digests(folder)
    save(folder / "labelsTr/a2.nii.gz", np.zeros((4, 5, 6), np.uint8), AFFINE + 1e-5)
    assert problems(folder) == []


def test_an_image_that_training_refuses_is_found(folder: Path):
    forget_digests(folder)
    voxels = np.zeros((4, 5, 6), np.float32)
    voxels[1, 2, 3] = np.nan
    save(folder / "imagesTr/a2.nii.gz", voxels)
    nowhere = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    nibabel.save(nowhere, folder / "imagesTr/b1.nii.gz")
    nan, unplaced, *grids = sorted(problems(folder))
    assert nan.startswith("case 'a2': image DATA/imagesTr/a2.nii.gz holds 1 voxel that is NaN")
    assert unplaced.startswith("case 'b1': image DATA/imagesTr/b1.nii.gz does not say where its axes point")
    assert not grids


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty (0 bytes)"),
        (b"not at all", "cannot be read as NIfTI"),
        (gzip.compress(b"0" * 400), "cannot be read as NIfTI"),
    ],
    ids=["empty", "text", "gzip of something else"],
)
def test_a_file_that_is_no_nifti_is_found(folder: Path, content: bytes, text: str):
    forget_digests(folder)
    (folder / "labelsTr/a2.nii.gz").write_bytes(content)
    (problem,) = problems(folder)
    assert text in problem


def test_a_label_that_is_cut_short_is_found(folder: Path):
    forget_digests(folder)
    save(folder / "imagesTr/a2.nii.gz", np.zeros((40, 50, 60), np.uint8))
    values = np.random.default_rng(0).integers(0, 3, (40, 50, 60), np.uint8)
    save(folder / "labelsTr/a2.nii.gz", values)
    whole = (folder / "labelsTr/a2.nii.gz").read_bytes()
    (folder / "labelsTr/a2.nii.gz").write_bytes(whole[: len(whole) // 2])
    (problem,) = problems(folder)
    assert "cannot be read as NIfTI: it is cut short, damaged" in problem


def test_a_label_of_fractions_is_found(folder: Path):
    forget_digests(folder)
    save(folder / "labelsTr/a2.nii.gz", np.full((4, 5, 6), 0.5, np.float32))
    (problem,) = problems(folder)
    assert "holds values such as 0.5; expected whole numbers" in problem


def test_a_png_label_of_another_size_is_found(tmp_path: Path):
    for kind, shape in (("images", (6, 8)), ("labels", (8, 6))):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x.png").write_bytes(imagecodecs.png_encode(np.ones(shape, np.uint8)))
    fields, _ = index_data_set(tmp_path)
    (tmp_path / "set.json").write_text(json.dumps(fields))
    (problem,) = problems(tmp_path)
    assert "has 8 × 6 voxels but its image has 6 × 8" in problem


def test_a_manifest_that_is_none_and_a_folder_that_is_not_there_are_refused(folder: Path):
    with pytest.raises(MissingFileError, match=r"data folder .*none not found"):
        check_data_set(folder / "set.json", folder / "none")
    change(folder, lambda fields: fields["cases"][0].pop("patient"))
    with pytest.raises(ManifestError, match=r"cases/0 lacks 'patient'; add what is missing"):
        check_data_set(folder / "set.json", folder)


def test_the_name_of_a_patient_is_not_repeated_in_the_message(folder: Path):
    change(folder, lambda fields: fields["cases"][0].update(patient="Müller, Änne"))
    with pytest.raises(ManifestError, match=r"cases/0/patient is not a pseudonym; expected a name made of") as caught:
        check_data_set(folder / "set.json", folder)
    assert "nne" not in str(caught.value)


def test_the_real_volumes_pass_and_one_changed_voxel_is_found(real_data: Callable[[str], Path], tmp_path: Path):
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / kind).mkdir()
        for path in sorted((real_data("msd-hippocampus") / kind).iterdir())[:3]:
            shutil.copy(path, tmp_path / kind)
    fields, _ = index_data_set(tmp_path)
    (tmp_path / "set.json").write_text(json.dumps(fields))
    assert problems(tmp_path) == []
    label = sorted((tmp_path / "labelsTr").iterdir())[1]
    image = nibabel.load(label)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = 3
    label.chmod(0o644)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), label)
    digest, values = problems(tmp_path)
    assert "has SHA-256" in digest
    assert "holds the values 3, which stand for no class" in values


def test_an_image_that_another_patient_has_too_is_a_problem(folder: Path):
    shutil.copy(folder / "imagesTr/a1.nii.gz", folder / "imagesTr/b1.nii.gz")
    forget_digests(folder)
    assert problems(folder) == [
        "case 'b1': its image is byte for byte that of case 'a1', of another patient; leave one out, or give both one "
        "patient"
    ]


def test_an_image_may_be_there_twice_within_one_patient_and_split(folder: Path):
    shutil.copy(folder / "imagesTr/a1.nii.gz", folder / "imagesTr/a2.nii.gz")
    forget_digests(folder)
    assert problems(folder) == []
