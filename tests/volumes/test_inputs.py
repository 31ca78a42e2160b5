"""Which volumes are found where a user points, and what is said where a wrong place is named."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from pipeline.cli import main
from pipeline.data import index_data_set
from pipeline.errors import ImageError
from pipeline.formats import MadeUpPatient, read_dicom_series, scan_dicom, write_dicom_series
from pipeline.volumes import SeriesChoice, SeriesInput, find_series, find_volumes

AFFINE = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2.5, -100], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(0, 900, (7, 9, 6)).astype(np.int16)
CLASSES = {"background": 0, "liver": 1}


def write_nifti_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), path)


class TestOneFile:
    def test_a_slice_of_a_series_is_refused_and_the_folder_named(self, tmp_path: Path) -> None:
        paths = write_dicom_series(tmp_path / "series", VOXELS, AFFINE)
        for allow in ((), ("gap", "slice-spacing")):
            with pytest.raises(ImageError, match=r"is one of 6 files of its series in .*series, .* name the folder"):
                find_volumes([paths[2]], SeriesChoice(allow=allow))

    def test_slices_named_one_by_one_are_refused(self, tmp_path: Path) -> None:
        """As a shell does that is given `series/*`."""
        paths = write_dicom_series(tmp_path / "series", VOXELS, AFFINE)
        with pytest.raises(ImageError, match=r"is one of 6 files of its series"):
            find_volumes(paths, SeriesChoice(every=True))

    def test_one_of_two_files_without_a_uid_is_refused(self, tmp_path: Path) -> None:
        paths = write_dicom_series(tmp_path / "series", VOXELS[:, :, :2], AFFINE)
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.SeriesInstanceUID = ""
            dataset.save_as(path)
        with pytest.raises(ImageError, match=r"is one of 2 files of its series"):
            find_volumes([paths[0]])

    def test_a_series_of_one_file_is_taken_wherever_it_lies(self, tmp_path: Path) -> None:
        """Beside other series, other things, and slices of its own series in another folder."""
        (path, *_) = write_dicom_series(tmp_path / "a", VOXELS, AFFINE)
        alone = tmp_path / "b" / "IM1"
        alone.parent.mkdir()
        alone.write_bytes(path.read_bytes())
        write_dicom_series(tmp_path / "other", VOXELS, AFFINE, patient=MadeUpPatient("PHANTOM-02"))
        for number, other in enumerate((tmp_path / "other").iterdir()):
            other.rename(alone.parent / f"other{number}")
        (alone.parent / "letter.txt").write_text("no image")
        (found,) = find_volumes([alone])
        assert isinstance(found, SeriesInput)
        assert found.uid == pydicom.dcmread(path).SeriesInstanceUID
        np.testing.assert_array_equal(found.read().voxels, read_dicom_series(path).voxels)

    def test_an_enhanced_file_is_a_series(self, tmp_path: Path) -> None:
        path = Path(str(pydicom.data.get_testdata_file("eCT_Supplemental.dcm")))
        copy = tmp_path / "enhanced.dcm"
        copy.write_bytes(path.read_bytes())
        (found,) = find_volumes([copy])
        assert scan_dicom(copy).series[0].slices > 1
        assert isinstance(found, SeriesInput)
        assert found.uid == pydicom.dcmread(path).SeriesInstanceUID


class TestNiftiFurtherDown:
    def test_the_folder_is_named_that_holds_it(self, tmp_path: Path) -> None:
        write_nifti_file(tmp_path / "task" / "imagesTr" / "a.nii.gz")
        (tmp_path / "task" / "readme.txt").write_text("no image")
        with pytest.raises(ImageError, match="NIfTI files lie in") as caught:
            find_volumes([tmp_path / "task"])
        assert str(caught.value) == (
            f"folder {tmp_path / 'task'} holds no volume itself, but NIfTI files lie in {tmp_path / 'task/imagesTr'}; "
            "expected them directly in the folder that is named; name that one, or several"
        )

    def test_of_several_folders_the_others_are_counted(self, tmp_path: Path) -> None:
        for name in ("sub-2/anat", "sub-1/anat", "sub-3/anat"):
            write_nifti_file(tmp_path / name / "t1.nii")
        with pytest.raises(ImageError, match=r"NIfTI files lie in .*sub-1/anat and 2 other folders below it; "):
            find_volumes([tmp_path])

    def test_nothing_is_said_of_nifti_where_slices_are_damaged(self, tmp_path: Path) -> None:
        write_nifti_file(tmp_path / "down" / "a.nii")
        (tmp_path / "slice.dcm").write_bytes(b"")
        with pytest.raises(ImageError, match=r"slice\.dcm (is|are) empty \(0 bytes\)"):
            find_volumes([tmp_path])


def write_several(folder: Path, number: int) -> list[str]:
    """Write several series of different sizes into one folder; return their UIDs in order."""
    folder.mkdir()
    uids = []
    for series in range(number):
        shape = (5 + series, 7, 2 + series)
        paths = write_dicom_series(folder / str(series), np.zeros(shape, np.int16), AFFINE, modality="MR")
        uids.append(generate_uid())
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.SeriesInstanceUID = uids[-1]
            dataset.SeriesDescription = "HANSEN KNEE"
            dataset.save_as(path)
    return sorted(uids)


class TestManySeries:
    def test_five_are_named_and_the_others_counted(self, tmp_path: Path) -> None:
        uids = write_several(tmp_path / "export", 8)
        tail = r"and 3 more \(unet-pipeline predict --list shows all\)$"
        for choice, start in (
            (SeriesChoice(), r"holds 8 DICOM series; choose one with --series UID, or take all with --all-series: "),
            (SeriesChoice(["1.2.3"]), r"holds no series 1\.2\.3; there are: "),
        ):
            with pytest.raises(ImageError, match=start + ".*" + tail) as caught:
                find_volumes([tmp_path / "export"], choice)
            assert [uid for uid in uids if uid in str(caught.value)] == uids[:5]
        for uid in (None, "1.2.3"):
            with pytest.raises(ImageError, match=tail):
                read_dicom_series(tmp_path / "export", uid)

    def test_two_of_three_are_chosen(self, tmp_path: Path) -> None:
        uids = write_several(tmp_path / "export", 3)
        found = find_volumes([tmp_path / "export"], SeriesChoice([uids[2], uids[0]]))
        assert [volume.uid for volume in found if isinstance(volume, SeriesInput)] == [uids[2], uids[0]]

    def test_five_are_named_without_a_count(self, tmp_path: Path) -> None:
        uids = write_several(tmp_path / "export", 5)
        with pytest.raises(ImageError, match=r"px\)$") as caught:
            find_volumes([tmp_path / "export"])
        assert all(uid in str(caught.value) for uid in uids)

    def test_a_list_shows_all_in_a_table_and_writes_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        uids = write_several(tmp_path / "export", 8)
        before = sorted(tmp_path.rglob("*"))
        for extra in ([], ["--bundle", "nowhere", "-o", str(tmp_path / "out")]):
            main(["predict", "--list", str(tmp_path / "export"), *extra])
            said = capsys.readouterr().out
            head, *rows = said.splitlines()
            assert head.split("  ")[0].strip() == "SERIES"
            assert [row.split()[0] for row in rows] == uids
            assert len({line.index("MR") for line in rows} | {head.index("MODALITY")}) == 1
            by_slices = sorted((int(row.split()[2]), " ".join(row.split()[3:])) for row in rows)
            assert by_slices == [(2 + number, f"{5 + number} × 7") for number in range(8)]
            assert "HANSEN" not in said
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_list_of_two_folders_has_the_series_of_both(self, tmp_path: Path) -> None:
        uids = [write_several(tmp_path / name, number) for name, number in (("a", 2), ("b", 1))]
        found = find_series([tmp_path / "a", tmp_path / "b"])
        assert [series.uid for series in found] == list(itertools.chain(*uids))

    @pytest.mark.parametrize("place", ["empty", "nowhere"])
    def test_a_list_of_nothing_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(SystemExit) as caught:
            main(["predict", "--list", str(tmp_path / place)])
        assert caught.value.code == 2
        said = {"empty": "no DICOM images found (nothing)", "nowhere": "not found; check the path"}[place]
        assert said in capsys.readouterr().err.splitlines()[-1]

    def test_segmenting_still_needs_a_bundle_and_a_place(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["predict", "images", "--bundle", "b"])
        assert caught.value.code == 2
        assert "the following arguments are required: -o/--output" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(["predict", "images"])
        assert "required: --bundle, -o/--output" in capsys.readouterr().err


class TestRecordOfDeidentification:
    @pytest.fixture
    def deidentified(self, tmp_path: Path) -> Path:
        """A series that the command de-identified."""
        write_dicom_series(tmp_path / "in", VOXELS, AFFINE)
        main(["data", "deidentify", str(tmp_path / "in"), str(tmp_path / "out")])
        return tmp_path / "out"

    def test_it_is_not_counted_among_what_is_passed_over(self, deidentified: Path) -> None:
        assert [path.name for path in deidentified.rglob("*.json")] == ["deidentification.json"]
        assert dict(read_dicom_series(deidentified).skipped) == {}
        assert find_series([deidentified])[0].slices == 6
        _, notes = index_data_set(deidentified, classes=CLASSES)
        assert not [note for note in notes if "passed over" in note]

    def test_another_file_is_counted(self, deidentified: Path) -> None:
        (deidentified / "other.json").write_text("{}")
        assert dict(read_dicom_series(deidentified).skipped) == {"not DICOM": 1}
        assert "1 passed over: not DICOM" in index_data_set(deidentified, classes=CLASSES)[1]
        (deidentified / "other.json").unlink()
        with pytest.raises(ImageError, match=r"no DICOM images found \(1 not DICOM\)"):
            find_volumes([deidentified / "deidentification.json"])


class TestLocalizers:
    @pytest.fixture
    def export(self, tmp_path: Path) -> tuple[Path, str, str]:
        """A folder with an axial series and a scout in a series of its own; their UIDs."""
        folder = tmp_path / "export"
        folder.mkdir()
        axial, scout = (
            write_dicom_series(folder / name, VOXELS[:, :, :number], AFFINE, patient=MadeUpPatient("PHANTOM-03"))
            for name, number in (("axial", 6), ("scout", 1))
        )
        uids = [generate_uid(), generate_uid()]
        for uid, paths in zip(uids, (axial, scout), strict=True):
            for path in paths:
                dataset = pydicom.dcmread(path)
                dataset.SeriesInstanceUID = uid
                dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if uid == uids[1] else "AXIAL"]
                dataset.save_as(path)
        return folder, uids[0], uids[1]

    def test_a_series_of_them_is_left_out_of_all_and_counted(self, export: tuple[Path, str, str]) -> None:
        folder, axial, scout = export
        (found,) = find_volumes([folder], SeriesChoice(every=True))
        assert isinstance(found, SeriesInput)
        assert (found.uid, found.passed_over) == (axial, {"localizer series": 1})
        both = find_volumes([folder], SeriesChoice(every=True, allow=["localizer"]))
        assert {volume.uid for volume in both if isinstance(volume, SeriesInput)} == {axial, scout}

    def test_a_list_says_which_they_are(
        self, export: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder, axial, scout = export
        main(["predict", "--list", str(folder)])
        rows = {row.split()[0]: row.split()[1:] for row in capsys.readouterr().out.splitlines()}
        assert (rows[scout][:3], rows[axial][:2]) == (["CT", "localizer", "1"], ["CT", "6"])

    def test_one_that_is_chosen_is_refused_unless_allowed(self, export: tuple[Path, str, str]) -> None:
        folder, _, scout = export
        with pytest.raises(ImageError, match="is a localizer, and there is nothing else in the series; choose another"):
            read_dicom_series(folder, scout, allow=["slice-spacing"])
        series = read_dicom_series(folder, scout, allow=["localizer", "slice-spacing"])
        assert series.repairs[0].startswith("localizer: a series of localizers alone taken: ")
