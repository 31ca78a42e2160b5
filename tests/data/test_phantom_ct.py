"""The generated CT series: real DICOM for readers that did not write it, bytes that never change, and a hard truth."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_tools import dciodvfy
from numpy.typing import NDArray

import pipeline.data
from pipeline.data import (
    PHANTOM_CT_SERIES,
    Manifest,
    PhantomScan,
    PhantomSeries,
    generate_phantom_ct,
    phantom_ct_scan,
    prepare_data_set,
)
from pipeline.data.phantom_ct_files import SEGMENTS
from pipeline.errors import ConfigError, OutputError

MANIFEST = Path(__file__).parents[2] / "data_manifests" / "phantom_ct.json"
OBLIQUE = (7, 10)
HEALTHY = (3, 6, 11, 14)
each_series = pytest.mark.parametrize("series", PHANTOM_CT_SERIES, ids=lambda series: series.case)

# What two processes do at once: say that they are ready, and start together.
RANK = """
import sys
import pipeline.data.phantom_ct
from pipeline.data import generate_phantom_ct

pipeline.data.phantom_ct.PHANTOM_CT_SERIES = pipeline.data.PHANTOM_CT_SERIES[:2]
print("ready", flush=True)
sys.stdin.readline()
generate_phantom_ct(sys.argv[1])
"""


@pytest.fixture(scope="module")
def scans() -> dict[str, PhantomScan]:
    """What the generator says that the files hold, by case."""
    return {series.case: phantom_ct_scan(series) for series in PHANTOM_CT_SERIES}


def slices_of(folder: Path) -> list[pydicom.Dataset]:
    """Read a series with pydicom alone and sort it along the normal."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    along, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    return sorted(slices, key=lambda one: float(np.cross(along, down) @ np.array(one.ImagePositionPatient, float)))


def labels_by_highdicom(path: Path, slices: list[pydicom.Dataset]) -> NDArray[np.uint8]:
    """Read a label with highdicom alone, slice by slice of its series: (row, column, slice)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = highdicom.seg.segread(path)
        stacked = segmentation.get_pixels_by_source_instance(
            [one.SOPInstanceUID for one in slices],
            combine_segments=True,
            assert_missing_frames_are_empty=True,
        )
    return np.moveaxis(stacked, 0, 2).astype(np.uint8)


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """The files under a folder, each with what changes when it is replaced."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_manifest_names_the_series_and_their_files_have_its_digests(phantom_ct: Path) -> None:
    manifest = Manifest.load(MANIFEST)
    manifest.check_files(phantom_ct)
    assert all(case.image_sha256 for case in manifest.cases)
    listed = [(case.id, case.patient, case.image, case.label, case.attributes["lesions"]) for case in manifest.cases]
    assert listed == [
        (series.case, series.patient_id, series.image, series.label, series.lesions) for series in PHANTOM_CT_SERIES
    ]
    belonging = {series.label for series in PHANTOM_CT_SERIES}
    folders = {series.image for series in PHANTOM_CT_SERIES}
    for name in files_in(phantom_ct):
        assert name in belonging or name.rpartition("/")[0] in folders


def test_8_patients_train_3_validate_and_3_test_and_some_have_two_series() -> None:
    manifest = Manifest.load(MANIFEST)
    patients = {name: {case.patient for case in manifest.cases_of(name)} for name in manifest.splits}
    assert {name: len(ids) for name, ids in patients.items()} == {"training": 8, "validation": 3, "test": 3}
    assert {name: len(ids) for name, ids in manifest.splits.items()} == {"training": 10, "validation": 4, "test": 4}
    assert len(set.union(*patients.values())) == 14


def test_the_manifest_says_of_the_classes_what_the_labels_say_of_their_segments() -> None:
    manifest = Manifest.load(MANIFEST)
    assert [label_class.stored_value for label_class in manifest.classes] == [0, 1, 2, 3]
    for label_class, segment in zip(manifest.classes[1:], SEGMENTS, strict=True):
        assert label_class.stored_value == segment.number
        assert label_class.name == segment.label.lower()
        assert label_class.category is not None
        assert label_class.code is not None
        assert (label_class.category.value, label_class.category.meaning) == (
            segment.category.value,
            segment.category.meaning,
        )
        assert (label_class.code.scheme, label_class.code.value) == ("SCT", segment.type.value)
        assert (label_class.modifier is not None) == (segment.laterality == "right")


def test_two_processes_that_start_at_once_write_the_bytes_of_one(phantom_ct: Path, tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n"
    for rank in ranks:
        rank.communicate("go\n")
        assert rank.returncode == 0
    names = files_in(tmp_path / "data")
    assert len(names) == sum(series.grid.shape[2] + 1 for series in PHANTOM_CT_SERIES[:2])
    for name in names:
        assert (tmp_path / "data" / name).read_bytes() == (phantom_ct / name).read_bytes()


@pytest.fixture
def two_series(phantom_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the first two series, to which the generator is limited."""
    monkeypatch.setattr("pipeline.data.phantom_ct.PHANTOM_CT_SERIES", PHANTOM_CT_SERIES[:2])
    for series in PHANTOM_CT_SERIES[:2]:
        shutil.copytree(phantom_ct / series.image, tmp_path / "data" / series.image)
        shutil.copy(phantom_ct / series.label, tmp_path / "data" / series.label)
    return tmp_path / "data"


def test_what_is_lost_is_made_again_and_the_rest_stays(two_series: Path, phantom_ct: Path) -> None:
    first, second = PHANTOM_CT_SERIES[:2]
    (two_series / first.label).unlink()
    shutil.rmtree(two_series / second.image)
    before = files_in(two_series)
    generate_phantom_ct(two_series)
    after = files_in(two_series)
    assert {name: after[name] for name in before} == before
    lost = after.keys() - before.keys()
    assert lost == {first.label, *(f"{second.image}/{path.name}" for path in (phantom_ct / second.image).iterdir())}
    for name in after:
        assert (two_series / name).read_bytes() == (phantom_ct / name).read_bytes()


def test_something_else_in_the_place_of_a_series_is_refused_and_stays(two_series: Path) -> None:
    image = two_series / PHANTOM_CT_SERIES[1].image
    (image / "mine.txt").write_text("mine")
    before = files_in(two_series)
    with pytest.raises(OutputError, match=r"PHANTOM-002/study-1/series-1: it exists and differs .*; move it away"):
        generate_phantom_ct(two_series)
    assert files_in(two_series) == before


def test_prepare_generates_what_the_manifest_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.phantom_ct.PHANTOM_CT_SERIES", PHANTOM_CT_SERIES[:1])
    whole = Manifest.load(MANIFEST)
    only_first = whole.__class__(**{**vars(whole), "cases": whole.cases[:1], "splits": {"training": ("p001-s1-1",)}})
    prepare_data_set(only_first, tmp_path / "data")
    only_first.check_files(tmp_path / "data")


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed -1 of phantom_ct is negative: a seed must be at least 0; try 2015"):
        generate_phantom_ct(tmp_path, seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write phantom_ct to .*data: .*; choose a folder"):
        generate_phantom_ct(tmp_path / "data")


def test_another_seed_gives_other_patients(scans: dict[str, PhantomScan]) -> None:
    other = phantom_ct_scan(PHANTOM_CT_SERIES[0], seed=2016)
    assert (other.labels != scans["p001-s1-1"].labels).mean() > 0.01


def test_no_code_that_makes_an_anatomy_divides_or_writes_a_fraction() -> None:
    source = (Path(pipeline.data.__file__).parent / "phantom_ct_anatomy.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), node.lineno
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), node.lineno


# --- what readers that did not write them find -----------------------------------------------------------------------


@each_series
def test_pydicom_and_highdicom_find_the_voxels_and_the_labels(
    phantom_ct: Path, scans: dict[str, PhantomScan], series: PhantomSeries
) -> None:
    slices, wanted = slices_of(phantom_ct / series.image), scans[series.case]
    hu = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices], axis=2)
    np.testing.assert_array_equal(hu, wanted.voxels)
    np.testing.assert_array_equal(labels_by_highdicom(phantom_ct / series.label, slices), wanted.labels)


def test_the_labels_never_change(scans: dict[str, PhantomScan]) -> None:
    """Digests of label files would change with highdicom; their voxels must not."""
    digest = hashlib.sha256()
    for series in PHANTOM_CT_SERIES:
        digest.update(np.ascontiguousarray(scans[series.case].labels).tobytes())
    assert digest.hexdigest() == "331fd4c693e52adb0640f11ff7e573963d7529eb53a857d24c0dfe985ec14a60"


@each_series
def test_headers_put_voxels_where_the_affine_puts_them(
    phantom_ct: Path, scans: dict[str, PhantomScan], series: PhantomSeries
) -> None:
    slices, affine = slices_of(phantom_ct / series.image), scans[series.case].affine
    for index, one in enumerate(slices):
        along, down = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, one.PixelSpacing)
        for row, column in ((0, 0), (17, 0), (0, 31), (one.Rows - 1, one.Columns - 1)):
            place = np.array(one.ImagePositionPatient, float) + row * row_mm * down + column * column_mm * along
            expected = (affine @ [row, column, index, 1])[:3] * [-1, -1, 1]  # RAS to LPS
            np.testing.assert_allclose(place, expected, rtol=0, atol=1e-6)
    assert len(slices) == series.grid.shape[2]


def test_two_patients_lie_oblique_and_no_other(phantom_ct: Path) -> None:
    for series in PHANTOM_CT_SERIES:
        along, down = np.array(slices_of(phantom_ct / series.image)[0].ImageOrientationPatient, float).reshape(2, 3)
        tilt_deg = np.degrees(np.arccos(np.cross(along, down)[2]))
        assert (tilt_deg > 5) == (series.patient in OBLIQUE)
        turned_deg = np.degrees(np.arccos(along[0]))
        assert (turned_deg > 5) == (series.patient in OBLIQUE)


@each_series
def test_a_label_refers_to_its_series_and_describes_its_segments(phantom_ct: Path, series: PhantomSeries) -> None:
    slices, label = slices_of(phantom_ct / series.image), pydicom.dcmread(phantom_ct / series.label)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientIdentityRemoved"):
        assert label[keyword].value == slices[0][keyword].value
    (referred,) = label.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == slices[0].SeriesInstanceUID != label.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence} == {
        one.SOPInstanceUID for one in slices
    }
    described = [
        (item.SegmentLabel, item.SegmentedPropertyTypeCodeSequence[0].CodeValue) for item in label.SegmentSequence
    ]
    organs = [("Liver", "10200004"), ("Right kidney", "64033007")]
    assert described == organs if series.patient in (3, 14) else [*organs, ("Liver lesion", "52988006")]


def test_uids_follow_patient_study_and_series_and_every_instance_has_its_own(phantom_ct: Path) -> None:
    studies, series_uids, frames, instances = {}, {}, {}, []
    for series in PHANTOM_CT_SERIES:
        slices = slices_of(phantom_ct / series.image)
        for one in (*slices, pydicom.dcmread(phantom_ct / series.label)):
            assert one.PatientID == series.patient_id
            assert studies.setdefault((series.patient, series.study), one.StudyInstanceUID) == one.StudyInstanceUID
            assert frames.setdefault((series.patient, series.study), one.FrameOfReferenceUID) == one.FrameOfReferenceUID
            key = (series.case, one.Modality)
            assert series_uids.setdefault(key, one.SeriesInstanceUID) == one.SeriesInstanceUID
            instances.append(one.SOPInstanceUID)
    for uids in (studies, series_uids, frames):
        assert len(set(uids.values())) == len(uids)
    assert len(set(instances)) == len(instances)


def test_nobody_is_named_and_no_date_is_that_of_today(phantom_ct: Path) -> None:
    for path in phantom_ct.rglob("*"):
        if path.is_dir():
            continue
        one = pydicom.dcmread(path, stop_before_pixels=True)
        assert str(one.PatientName).startswith("PHANTOM-")
        assert (one.PatientIdentityRemoved, one.PatientBirthDate) == ("YES", "")
        assert one.DeidentificationMethod == "The patient is made up"
        for element in one.iterall():
            assert element.VR != "DT"
            assert element.VR != "DA" or element.value in ("", "20000101")
            assert element.VR != "TM" or element.value in ("", "120000")


def test_names_of_files_do_not_tell_the_order_of_slices_and_some_numbers_neither(phantom_ct: Path) -> None:
    for series in PHANTOM_CT_SERIES:
        slices = slices_of(phantom_ct / series.image)
        place = {one.SOPInstanceUID: index for index, one in enumerate(slices)}
        names = sorted((phantom_ct / series.image).iterdir())
        by_name = [place[pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID] for path in names]
        by_number = [place[one.SOPInstanceUID] for one in sorted(slices, key=lambda one: int(one.InstanceNumber))]
        assert sorted(by_name) == list(range(len(slices)))
        assert abs(np.corrcoef(by_name, range(len(slices)))[0, 1]) < 0.6
        assert (by_number != list(range(len(slices)))) == series.is_shuffled
        assert {path.suffix for path in names} == ({""} if series.is_shuffled else {".dcm"})
    assert sum(series.is_shuffled for series in PHANTOM_CT_SERIES) >= 2


def test_dciodvfy_finds_nothing(phantom_ct: Path) -> None:
    for series in PHANTOM_CT_SERIES:
        first = sorted((phantom_ct / series.image).iterdir())[0]
        for path, kind in ((first, "CTImage"), (phantom_ct / series.label, "Segmentation")):
            assert dciodvfy(path) == [kind]


# --- what makes it hard ----------------------------------------------------------------------------------------------


def faces_between(labels: NDArray[np.uint8], one: int, other: int) -> int:
    """Count the faces that voxels of two labels share."""
    count = 0
    for axis in range(3):
        ahead, behind = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        count += int(np.sum((ahead == one) & (behind == other)) + np.sum((ahead == other) & (behind == one)))
    return count


@each_series
def test_liver_and_kidney_touch_and_lesions_lie_in_the_liver(
    scans: dict[str, PhantomScan], series: PhantomSeries
) -> None:
    labels = scans[series.case].labels
    assert faces_between(labels, 1, 2) >= 100
    assert np.sum(labels == 1) > 10_000
    assert np.sum(labels == 2) > 1_000
    assert np.any(labels == 3) == (series.patient not in HEALTHY)
    if series.patient not in HEALTHY:
        assert np.sum(labels == 3) >= 100
        assert faces_between(labels, 3, 1) > 2 * faces_between(labels, 3, 0)


@each_series
def test_hu_of_organs_overlap_and_no_window_of_hu_separates_them(
    scans: dict[str, PhantomScan], series: PhantomSeries
) -> None:
    scan = scans[series.case]
    hu = [scan.voxels[scan.labels == label] for label in range(4)]
    assert np.percentile(hu[1], 10) < np.median(hu[2]) < np.percentile(hu[1], 90)
    for label, most in ((1, 0.75), (2, 0.3), (3, 0.3)):
        if hu[label].size:
            assert best_dice_of_a_window(scan, label) < most


def best_dice_of_a_window(scan: PhantomScan, label: int) -> float:
    """Return the best Dice of all voxels between two HU, chosen with the truth at hand."""
    edges = np.arange(-100, 162, 2)
    inside = np.histogram(scan.voxels[scan.labels == label], edges)[0].cumsum()
    everywhere = np.histogram(scan.voxels, edges)[0].cumsum()
    hits = inside[np.newaxis, :] - inside[:, np.newaxis]
    chosen = np.maximum(everywhere[np.newaxis, :] - everywhere[:, np.newaxis], 0)  # 0 where the window is inside out
    dice = 2 * hits / (chosen + np.sum(scan.labels == label))
    return float(dice[np.triu_indices_from(dice, 1)].max())


def test_two_series_of_a_study_show_one_patient_with_other_noise(scans: dict[str, PhantomScan]) -> None:
    thick, thin = scans["p005-s1-1"], scans["p005-s1-2"]
    index = np.stack(np.meshgrid(*map(np.arange, thin.labels.shape), indexing="ij")).reshape(3, -1)
    homogeneous = np.vstack([index, np.ones(index.shape[1])])
    there = np.rint(np.linalg.solve(thick.affine, thin.affine) @ homogeneous)[:3].astype(int)
    common = ((there >= 0) & (there < np.array(thick.labels.shape)[:, None])).all(axis=0)
    assert common.mean() > 0.95
    ours, theirs = thin.labels[tuple(index[:, common])], thick.labels[tuple(there[:, common])]
    for label in (1, 2):
        assert (
            2 * np.sum((ours == label) & (theirs == label)) / (np.sum(ours == label) + np.sum(theirs == label)) > 0.93
        )
    liver = (ours == 1) & (theirs == 1)
    noise = [scan.voxels[tuple(place[:, common][:, liver])] for scan, place in ((thin, index), (thick, there))]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.5


@pytest.mark.parametrize("patient", [2, 9])
def test_lesions_have_grown_in_a_second_study(scans: dict[str, PhantomScan], patient: int) -> None:
    def volume_ml(case: str) -> float:
        return float(np.sum(scans[case].labels == 3) * abs(np.linalg.det(scans[case].affine[:3, :3])) / 1000)

    assert volume_ml(f"p{patient:03d}-s2-1") > 1.3 * volume_ml(f"p{patient:03d}-s1-1")
