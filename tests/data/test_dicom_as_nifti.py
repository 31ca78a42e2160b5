"""DICOM cases exported as NIfTI: every voxel stays where it was, for NiBabel and for ITK alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from pipeline.data import (
    PHANTOM_CT_SERIES,
    Manifest,
    check_data_set,
    export_msd,
    export_nnunet,
    import_msd,
    import_nnunet,
    phantom_ct_scan,
)
from pipeline.errors import ImageError, LabelError, ManifestError

ROOT = Path(__file__).parents[2]
LAYOUTS = {"msd": (export_msd, import_msd, ""), "nnunet": (export_nnunet, import_nnunet, "_0000")}
layouts = pytest.mark.parametrize(("write", "read", "mark"), LAYOUTS.values(), ids=LAYOUTS)


def some_of_the_phantom(path: Path, number: int = 4, **changes: Any) -> Manifest:
    """Write a manifest of the first cases."""
    fields = json.loads((ROOT / "data_manifests" / "phantom_ct.json").read_text(encoding="utf-8"))
    del fields["$schema"]
    fields["cases"] = fields["cases"][:number]
    ids = [case["id"] for case in fields["cases"]]
    fields["splits"] = {"training": ids[:-1], "test": ids[-1:]}
    fields["source"] = {"urls": [], "layout": "generated"}
    path.write_text(json.dumps(fields | changes), encoding="utf-8")
    return Manifest.load(path)


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels in the order of the file, and the affine to RAS."""
    image = itk.imread(str(path))
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ lps


def put_on(voxels: np.ndarray, affine: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return voxels in the order of another affine of the same places, of which each axis may run backwards."""
    turn = ornt_transform(io_orientation(affine), io_orientation(wanted))
    image = nib.Nifti1Image(voxels, affine).as_reoriented(turn)
    np.testing.assert_allclose(image.affine, wanted, atol=1e-3)
    return np.asanyarray(image.dataobj)


@layouts
def test_voxels_labels_and_places_are_those_of_the_phantom(
    phantom_ct: Path, tmp_path: Path, write: Any, read: Any, mark: str
) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / "phantom_ct.json")
    write(manifest, phantom_ct, tmp_path / "out")
    paths = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert len(paths) == 2 * len(PHANTOM_CT_SERIES) == 36
    truths = {
        f"PHANTOM-{series.patient:03}/study-{series.study}/series-{series.series}": phantom_ct_scan(series)
        for series in PHANTOM_CT_SERIES
    }
    for case in manifest.cases:
        truth = truths[case.image]
        (image,) = (tmp_path / "out").glob(f"images*/{case.id}{mark}.nii.gz")
        (label,) = (tmp_path / "out").glob(f"labels*/{case.id}.nii.gz")
        for path, wanted in ((image, truth.voxels), (label, truth.labels)):
            for voxels, affine in (by_nibabel(path), by_itk(path)):
                np.testing.assert_array_equal(put_on(voxels, affine, truth.affine), wanted)
        for reader in (by_nibabel, by_itk):
            np.testing.assert_array_equal(reader(image)[1], reader(label)[1])
        assert nib.load(image).get_data_dtype() == np.int16
        assert nib.load(label).get_data_dtype() == np.uint8


@layouts
def test_the_export_is_a_data_set_without_a_problem(
    phantom_ct: Path, tmp_path: Path, write: Any, read: Any, mark: str
) -> None:
    manifest = some_of_the_phantom(tmp_path / "in.json")
    write(manifest, phantom_ct, tmp_path / "out")
    fields, _ = read(tmp_path / "out")
    (tmp_path / "back.json").write_text(json.dumps(fields), encoding="utf-8")
    assert check_data_set(tmp_path / "back.json", tmp_path / "out") == []
    found = Manifest.load(tmp_path / "back.json")
    assert [(case.id, case.patient, case.study) for case in found.cases] == [
        (case.id, case.patient, case.study) for case in manifest.cases
    ]
    assert found.splits == manifest.splits
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert dataset.get("file_ending", ".nii.gz") == ".nii.gz"
    # Nothing of the headers goes along.
    stored = b"".join(nib.load(path).header.binaryblock for path in (tmp_path / "out").rglob("*.nii.gz"))
    assert b"PHANTOM" not in stored


def test_segment_numbers_become_class_indices(phantom_ct: Path, tmp_path: Path) -> None:
    manifest = some_of_the_phantom(tmp_path / "in.json", 2)
    fields = json.loads(manifest.path.read_text(encoding="utf-8"))
    classes = fields["classes"]
    turned = [classes[0], *({**entry, "index": index} for index, entry in enumerate(reversed(classes[1:]), 1))]
    other = some_of_the_phantom(tmp_path / "other.json", 2, classes=turned)
    export_msd(manifest, phantom_ct, tmp_path / "one")
    export_msd(other, phantom_ct, tmp_path / "two")
    case = manifest.cases[0].id
    one, two = (by_nibabel(tmp_path / folder / f"labelsTr/{case}.nii.gz")[0] for folder in ("one", "two"))
    assert set(np.unique(one)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(two, np.array([0, 3, 2, 1])[one])


def test_files_of_a_folder_that_holds_another_series_are_taken(phantom_ct: Path, tmp_path: Path) -> None:
    manifest = some_of_the_phantom(tmp_path / "in.json", 2)
    folder, cases = tmp_path / "mixed", []
    fields = json.loads(manifest.path.read_text(encoding="utf-8"))
    for number, case in enumerate(fields["cases"]):
        (folder / "all").mkdir(parents=True, exist_ok=True)
        names = []
        for path in sorted((phantom_ct / case["image"]).iterdir()):
            names.append(f"{number}-{path.name}")
            shutil.copy(path, folder / "all" / names[-1])
        shutil.copy(phantom_ct / case["label"], folder / f"{number}.dcm")
        cases.append({**case, "image": "all", "image_files": names, "image_sha256": None, "label": f"{number}.dcm"})
    mixed = some_of_the_phantom(tmp_path / "mixed.json", 2, cases=cases)
    export_nnunet(manifest, phantom_ct, tmp_path / "one")
    export_nnunet(mixed, folder, tmp_path / "two")
    paths = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.nii.gz"))
    assert len(paths) == 4
    for path in paths:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    noted = json.loads((tmp_path / "two" / "dataset.json").read_text(encoding="utf-8"))["unet_pipeline_manifest"]
    assert not any("image_files" in case for case in noted["cases"])


class TestNiftiLabels:
    @pytest.fixture
    def data_set(self, phantom_ct: Path, tmp_path: Path) -> tuple[Path, Manifest]:
        """A series with its label as NIfTI, as it came out of an export."""
        manifest = some_of_the_phantom(tmp_path / "in.json", 2)
        export_msd(manifest, phantom_ct, tmp_path / "first")
        folder, case = tmp_path / "folder", json.loads(manifest.path.read_text(encoding="utf-8"))["cases"][0]
        shutil.copytree(phantom_ct / case["image"], folder / "series")
        shutil.copy(tmp_path / "first" / "labelsTr" / f"{case['id']}.nii.gz", folder / "label.nii.gz")
        cases = [{**case, "image": "series", "label": "label.nii.gz", "image_sha256": None, "label_sha256": None}]
        splits = {"training": [case["id"]]}
        return folder, some_of_the_phantom(tmp_path / "with.json", cases=cases, splits=splits)

    @pytest.mark.parametrize("axes", ["RAS", "LPI", "SAL", "AIL"])
    def test_a_label_is_turned_to_the_axes_of_its_series(
        self, data_set: tuple[Path, Manifest], tmp_path: Path, axes: str
    ) -> None:
        folder, manifest = data_set
        image = nib.load(folder / "label.nii.gz")
        before = np.asanyarray(image.dataobj)
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes)))
        nib.save(image.as_reoriented(turn), folder / "label.nii.gz")
        export_nnunet(manifest, folder, tmp_path / "out")
        (path,) = (tmp_path / "out" / "labelsTr").iterdir()
        after, affine = by_nibabel(path)
        np.testing.assert_array_equal(after, before)
        (path,) = (tmp_path / "out" / "imagesTr").iterdir()
        np.testing.assert_array_equal(by_nibabel(path)[1], affine)

    def test_a_label_on_another_grid_is_refused(self, data_set: tuple[Path, Manifest], tmp_path: Path) -> None:
        folder, manifest = data_set
        image = nib.load(folder / "label.nii.gz")
        moved = image.affine.copy()
        moved[2, 3] += 1.5
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), moved), folder / "label.nii.gz")
        with pytest.raises(LabelError, match=r"label .*label\.nii\.gz lies up to .* voxels from the grid"):
            export_msd(manifest, folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestRefused:
    def spoiled(self, phantom_ct: Path, tmp_path: Path, **changes: Any) -> tuple[Path, Manifest]:
        fields = json.loads((ROOT / "data_manifests" / "phantom_ct.json").read_text(encoding="utf-8"))
        case = {**fields["cases"][0], "image": "series", "image_sha256": None, "label": "seg.dcm"}
        shutil.copytree(phantom_ct / fields["cases"][0]["image"], tmp_path / "folder" / "series")
        shutil.copy(phantom_ct / fields["cases"][0]["label"], tmp_path / "folder" / "seg.dcm")
        splits = {"training": [case["id"]]}
        return tmp_path / "folder", some_of_the_phantom(tmp_path / "m.json", cases=[case | changes], splits=splits)

    def test_a_series_with_a_gap(self, phantom_ct: Path, tmp_path: Path) -> None:
        folder, manifest = self.spoiled(phantom_ct, tmp_path)
        sorted((folder / "series").iterdir())[5].unlink()
        paths = sorted((folder / "series").iterdir())
        heights = {float(pydicom.dcmread(path).ImagePositionPatient[2]): path for path in paths}
        heights[sorted(heights)[5]].unlink()
        with pytest.raises(ImageError, match=r"slices are .* mm apart, .* missing on a grid"):
            export_msd(manifest, folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_segment_that_is_not_its_class(self, phantom_ct: Path, tmp_path: Path) -> None:
        folder, manifest = self.spoiled(phantom_ct, tmp_path)
        seg = pydicom.dcmread(folder / "seg.dcm")
        seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "78961009"
        seg.save_as(folder / "seg.dcm")
        with pytest.raises(
            LabelError, match=r"seg\.dcm: segment 1 shows SCT:78961009, and the class of this number is SCT:10200004"
        ):
            export_nnunet(manifest, folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_label_of_another_series(self, phantom_ct: Path, tmp_path: Path) -> None:
        folder, manifest = self.spoiled(phantom_ct, tmp_path)
        shutil.copy(phantom_ct / "PHANTOM-002" / "study-1" / "seg-1.dcm", folder / "seg.dcm")
        with pytest.raises(LabelError, match="another frame of reference"):
            export_msd(manifest, folder, tmp_path / "out")

    def test_a_label_of_another_format(self, phantom_ct: Path, tmp_path: Path) -> None:
        folder, manifest = self.spoiled(phantom_ct, tmp_path, label="seg.nrrd")
        (folder / "seg.nrrd").write_bytes(b"NRRD")
        with pytest.raises(ManifestError, match=r"seg\.nrrd of a DICOM series is neither DICOM SEG nor NIfTI; convert"):
            export_msd(manifest, folder, tmp_path / "out")


def test_a_real_series_with_its_seg(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Against what dcmqi made of the same SEG, voxel by voxel where each lies."""
    folder = real_data("dcmqi-ct-seg")
    fields = json.loads((ROOT / "data_manifests" / "phantom_ct.json").read_text(encoding="utf-8"))
    case = {"id": "ct", "patient": "one", "image": "ct-3slice", "label": "liver.dcm"}
    case |= {"image_sha256": None, "label_sha256": None}
    classes = [{key: entry[key] for key in ("index", "name", "stored_value")} for entry in fields["classes"][:2]]
    changes = {"cases": [case], "splits": {"training": ["ct"]}, "classes": classes}
    manifest = some_of_the_phantom(tmp_path / "m.json", **changes)
    export_nnunet(manifest, folder, tmp_path / "out")
    wanted, wanted_affine = by_itk(folder / "liver_seg.nrrd")
    for name, (theirs, their_affine) in {
        "labelsTr/ct.nii.gz": (wanted > 0, wanted_affine),
        "imagesTr/ct_0000.nii.gz": by_itk(folder / "ct-3slice"),
    }.items():
        for voxels, affine in (by_nibabel(tmp_path / "out" / name), by_itk(tmp_path / "out" / name)):
            np.testing.assert_array_equal(put_on(voxels, affine, their_affine), theirs)
