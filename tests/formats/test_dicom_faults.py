"""DICOM series that must be refused by name, or repaired where that is allowed, and never misread."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, generate_uid

from pipeline.errors import ConfigError, MissingFileError
from pipeline.formats import REPAIRS, read_dicom_series, write_dicom_series

from .faulty_series import AXIAL, VOXELS, Change, coloured, cut_pixels, drop, edit, moved, put, refused, smaller

FAULTS: dict[str, tuple[dict[int, Change], str]] = {
    "other orientation": (
        {4: put(ImageOrientationPatient=[1, 0, 0, 0, 0.98, 0.199])},
        r"mixed Image Orientation \(Patient\) .*: 00004\.dcm differ",
    ),
    "other size": ({2: smaller}, r"mixed size \(rows, columns\) \(\(7, 9\), \(6, 9\)\): 00002\.dcm differ"),
    "other spacing": ({5: put(PixelSpacing=[0.7, 0.81])}, r"mixed Pixel Spacing .*: 00005\.dcm differ"),
    "other frame of reference": (
        {1: put(FrameOfReferenceUID=generate_uid()), 3: put(FrameOfReferenceUID=generate_uid())},
        r"mixed Frame of Reference UID: 00001\.dcm, 00003\.dcm differ",
    ),
    "frame of reference missing in one": (
        {6: drop("FrameOfReferenceUID")},
        r"mixed Frame of Reference UID: 00006\.dcm differ",
    ),
    "other patient": ({3: put(PatientID="Another")}, r"mixed Patient ID: 00003\.dcm differ"),
    "other study": ({3: put(StudyInstanceUID="1.2.3")}, r"mixed Study Instance UID: 00003\.dcm differ"),
    "other modality": ({3: put(Modality="MR")}, r"mixed Modality \(CT, MR\): 00003\.dcm differ"),
    "other units": ({3: put(RescaleType="US")}, r"mixed Rescale Type or Units \(HU, US\): 00003\.dcm differ"),
    "no position": ({2: drop("ImagePositionPatient")}, r"00002\.dcm has no Image Position or Image Orientation"),
    "no orientation": ({2: drop("ImageOrientationPatient")}, r"00002\.dcm has no Image Position or Image Orientation"),
    "empty position": ({2: put(ImagePositionPatient=None)}, r"00002\.dcm has no Image Position or Image Orientation"),
    "no pixel spacing": ({2: drop("PixelSpacing")}, r"00002\.dcm has no positive Pixel Spacing"),
    "skewed orientation": (
        {index: put(ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0]) for index in range(1, 7)},
        r"00001\.dcm, .* and 1 more have an Image Orientation \(Patient\) that is not two unit vectors",
    ),
    "position of two numbers": ({2: put(ImagePositionPatient=[1, 2])}, r"00002\.dcm has values in its header"),
    "cut pixels": ({3: cut_pixels}, r"00003\.dcm has truncated or damaged pixels"),
    "no pixels": ({3: drop("PixelData")}, r"00003\.dcm ends before its pixels do"),
    "no size": ({3: drop("Rows")}, r"00003\.dcm lacks one of Rows, Columns"),
    "colour": (dict.fromkeys(range(1, 7), coloured), r"00001\.dcm, .* and 1 more hold colour"),
    "one slice of colour": ({5: coloured}, r"00005\.dcm holds colour"),
    "slope of zero": ({5: put(RescaleSlope=0)}, r"00005\.dcm has a Rescale Slope of 0"),
    "impossible bits": ({5: put(BitsStored=17)}, r"00005\.dcm states impossible Bits Stored"),
    "one slice sideways": (
        {3: moved(x=1.5)},
        r"1 slice lies up to 1\.5 mm beside the line of the others: 00003\.dcm; expected at most 0\.1 mm",
    ),
    "uneven": ({3: moved(z=0.7)}, r"slices are 1\.3 to 2\.7 mm apart, most between 00002\.dcm, 00003\.dcm; .*no even"),
    "several frames without groups": (
        {index: put(NumberOfFrames=2) for index in range(1, 7)},
        r"00001\.dcm frame 1, .* hold several frames without functional groups",
    ),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_refused_by_name_and_no_repair_hides_it(
    folder: Path, changes: dict[int, Change], message: str
) -> None:
    read_dicom_series(folder)
    for number, change in changes.items():
        edit(folder / f"{number:05}.dcm", change)
    everything = sorted(set(REPAIRS) - {"monochrome1-keep"})
    for allow in ((), everything):
        text = refused(folder, allow=allow)
        assert re.search(message, text), text


def test_missing_slices_are_refused(folder: Path) -> None:
    for number in (3, 4):
        (folder / f"{number:05}.dcm").unlink()
    assert refused(folder).startswith(
        "slices are 2 to 6 mm apart, most between 00002.dcm, 00005.dcm: 2 missing on a grid of 2 mm"
    )


def test_allowed_gaps_are_interpolated_and_recorded(folder: Path) -> None:
    for number in (3, 4):
        (folder / f"{number:05}.dcm").unlink()
    series = read_dicom_series(folder, allow=["gap"])
    expected = VOXELS.astype(float)
    expected[:, :, 2] = (2 * expected[:, :, 1] + expected[:, :, 4]) / 3
    expected[:, :, 3] = (expected[:, :, 1] + 2 * expected[:, :, 4]) / 3
    assert np.abs(series.voxels - expected).max() <= 0.5
    np.testing.assert_array_equal(series.voxels[:, :, [0, 1, 4, 5]], VOXELS[:, :, [0, 1, 4, 5]])
    np.testing.assert_allclose(series.affine, AXIAL, atol=1e-9)
    assert series.repairs == ("gap: 2 of 6 slices interpolated: 2, 3 (counted from 0)",)
    assert [frame is None for frame in series.frames] == [False, False, True, True, False, False]
    assert len(series.headers) == 4


def test_a_series_that_is_mostly_gaps_is_not_repaired(folder: Path) -> None:
    for number in (3, 4, 5):
        (folder / f"{number:05}.dcm").unlink()
    assert "3 of 6 slices missing; the repair 'gap' fills fewer" in refused(folder, allow=["gap"])


def test_doubled_slices_are_refused(folder: Path) -> None:
    (folder / "copy").write_bytes((folder / "00003.dcm").read_bytes())
    assert refused(folder).startswith("2 slices share 1 position: 00003.dcm, copy; expected one slice a position")


def test_allowed_copies_are_dropped_and_recorded(folder: Path) -> None:
    for name in ("copy", "another"):
        (folder / name).write_bytes((folder / "00003.dcm").read_bytes())
    series = read_dicom_series(folder, allow="duplicate")
    np.testing.assert_array_equal(series.voxels, VOXELS)
    assert series.repairs == (
        "duplicate: 2 slices equal to another at their position left out: 00003.dcm, another, copy",
    )


def test_slices_that_differ_at_one_position_are_never_dropped(folder: Path) -> None:
    (folder / "echo").write_bytes((folder / "00003.dcm").read_bytes())

    def change(dataset: pydicom.FileDataset) -> None:
        pixels = dataset.pixel_array.copy()
        pixels[3, 4] += 1
        dataset.PixelData = pixels.tobytes()
        dataset.AcquisitionNumber = 2

    edit(folder / "echo", change)
    message = refused(folder, allow=["duplicate"])
    assert message.startswith("slices at one position differ: 00003.dcm, echo; the repair 'duplicate' drops only equal")
    assert "they differ in AcquisitionNumber" in message


def test_equal_pixels_with_other_rescale_are_not_copies(folder: Path) -> None:
    (folder / "other").write_bytes((folder / "00003.dcm").read_bytes())
    edit(folder / "other", put(RescaleIntercept=-1000))
    assert "slices at one position differ" in refused(folder, allow=["duplicate"])


@pytest.mark.parametrize("angle_deg", [20, -20, 1])
def test_tilted_gantry_is_refused_and_kept_as_shear_where_allowed(tmp_path: Path, angle_deg: float) -> None:
    tilted = AXIAL.copy()
    tilted[1, 2] = 2 * np.tan(np.radians(angle_deg))
    folder = tmp_path / "tilted"
    write_dicom_series(folder, VOXELS, tilted)
    message = refused(folder)
    assert message.startswith(f"slices are tilted by {abs(angle_deg)}.00° (gantry tilt), from 00001.dcm to 00006.dcm")
    series = read_dicom_series(folder, allow=["tilt"])
    np.testing.assert_array_equal(series.voxels, VOXELS)
    np.testing.assert_allclose(series.affine, tilted, atol=1e-9)
    assert series.repairs == (f"tilt: {abs(angle_deg)}.00° kept as shear in the affine; no pixel was changed",)
    # Every header's own position is where the affine puts the slice.
    for index, header in enumerate(series.headers):
        position = series.affine @ [0, 0, index, 1] * [-1, -1, 1, 1]
        np.testing.assert_allclose(position[:3], header.ImagePositionPatient, atol=1e-6)


def test_a_tilt_with_a_gap_needs_both_repairs(tmp_path: Path) -> None:
    tilted = AXIAL.copy()
    tilted[1, 2] = 0.5
    folder = tmp_path / "tilted"
    paths = write_dicom_series(folder, VOXELS, tilted)
    paths[2].unlink()
    assert "1 missing" in refused(folder, allow=["tilt"])
    assert "tilted by" in refused(folder, allow=["gap"])
    series = read_dicom_series(folder, allow=["tilt", "gap"])
    np.testing.assert_allclose(series.affine, tilted, atol=1e-9)
    assert [repair.partition(":")[0] for repair in series.repairs] == ["gap", "tilt"]


def test_localizer_in_the_series_is_refused_and_left_out_where_allowed(folder: Path) -> None:
    (folder / "scout").write_bytes((folder / "00003.dcm").read_bytes())
    edit(
        folder / "scout",
        put(ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    message = refused(folder)
    assert message.startswith("mixed Image Orientation (Patient)")
    assert "scout differ" in message
    assert "allow the repair 'localizer' to leave out scout" in message
    series = read_dicom_series(folder, allow=["localizer"])
    np.testing.assert_array_equal(series.voxels, VOXELS)
    assert series.repairs == ("localizer: 1 localizer left out: scout",)


def test_monochrome1_in_hounsfield_units_is_refused_kept_or_inverted(folder: Path) -> None:
    for path in folder.iterdir():
        edit(path, put(PhotometricInterpretation="MONOCHROME1"))
    assert "are MONOCHROME1 in physical units (HU)" in refused(folder)
    kept = read_dicom_series(folder, allow=["monochrome1-keep"])
    np.testing.assert_array_equal(kept.voxels, VOXELS)
    assert kept.repairs[0].startswith("monochrome1-keep: ")
    inverted = read_dicom_series(folder, allow=["monochrome1-invert"])
    # 15 bits are stored: value + 1024 becomes 32767 - (value + 1024), and back by the intercept.
    np.testing.assert_array_equal(inverted.voxels, 32767 - (VOXELS.astype(int) + 1024) - 1024)
    assert inverted.repairs[0].startswith("monochrome1-invert: ")


def test_single_slice_takes_its_spacing_from_the_header(tmp_path: Path) -> None:
    (path,) = write_dicom_series(tmp_path / "one", VOXELS[:, :, :1], AXIAL)
    edit(path, put(SpacingBetweenSlices=3.5, SliceThickness=5))
    np.testing.assert_allclose(read_dicom_series(tmp_path / "one").affine[:, 2], [0, 0, 3.5, 0])
    edit(path, drop("SpacingBetweenSlices"))
    series = read_dicom_series(tmp_path / "one")
    np.testing.assert_allclose(series.affine[:, 2], [0, 0, 5, 0])
    assert series.voxels.shape == (7, 9, 1)
    edit(path, drop("SliceThickness"))
    assert refused(tmp_path / "one").startswith("single slice 00001.dcm gives neither Spacing Between Slices nor")
    repaired = read_dicom_series(tmp_path / "one", allow=["slice-spacing"])
    np.testing.assert_allclose(repaired.affine[:, 2], [0, 0, 1, 0])
    assert repaired.repairs == ("slice-spacing: 1 mm taken for a single slice: 00001.dcm",)


def test_positions_rule_over_stated_spacings(folder: Path) -> None:
    for path in folder.iterdir():
        edit(path, put(SpacingBetweenSlices=9, SliceThickness=7))
    np.testing.assert_allclose(read_dicom_series(folder).affine, AXIAL, atol=1e-9)


def test_empty_files_are_refused_and_left_out_where_allowed(folder: Path) -> None:
    (folder / "00006.dcm").write_bytes(b"")
    assert refused(folder).startswith("00006.dcm is empty (0 bytes) and may be a slice")
    series = read_dicom_series(folder, allow=["empty-file"])
    assert series.voxels.shape == (7, 9, 5)
    assert series.repairs == ("empty-file: 1 file of 0 bytes left out: 00006.dcm",)


@pytest.mark.parametrize("share", [0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999])
def test_a_file_cut_anywhere_is_refused_by_name(folder: Path, share: float) -> None:
    path = folder / "00006.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "00006.dcm" in refused(folder)


def test_a_file_of_zeros_is_refused_by_name(folder: Path) -> None:
    (folder / "00006.dcm").write_bytes(bytes(5000))
    assert refused(folder).startswith("00006.dcm is named or begins as DICOM files do and cannot be read")


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "badVR.dcm"])
def test_pydicoms_damaged_files_are_refused(name: str) -> None:
    assert "; " in refused(Path(str(get_testdata_file(name))))


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_cut_codestreams_are_refused(tmp_path: Path, name: str, kept: float) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: int(len(frame) * kept) // 2 * 2]])
    dataset.save_as(tmp_path / "cut")
    assert refused(tmp_path / "cut").startswith("cut has truncated or damaged pixels")


def test_a_cut_jpeg_is_not_filled_with_gray(tmp_path: Path) -> None:
    (path,) = write_dicom_series(tmp_path / "one", np.zeros((64, 64, 1), int), AXIAL)
    image = np.add.outer(np.arange(64), 3 * np.arange(64)).astype(np.uint8)
    encoded = imagecodecs.jpeg8_encode(image, level=95)

    def change(dataset: pydicom.FileDataset, stream: bytes) -> None:
        dataset.update({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0})
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    edit(path, lambda dataset: change(dataset, encoded))
    whole = read_dicom_series(tmp_path / "one").voxels[:, :, 0]
    assert np.abs(whole.astype(int) - image).max() <= 3
    edit(path, lambda dataset: change(dataset, encoded[: len(encoded) // 2]))
    assert "truncated or damaged pixels" in refused(tmp_path / "one")


def test_an_unknown_compression_is_named(folder: Path) -> None:
    def change(dataset: pydicom.FileDataset) -> None:
        dataset.PixelData = encapsulate([b"1234"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = HTJ2KLossless

    edit(folder / "00001.dcm", change)
    assert "00001.dcm is compressed as High-Throughput JPEG 2000" in refused(folder)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith("no DICOM images found (nothing)")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "plan").write_bytes(Path(str(get_testdata_file("rtplan.dcm"))).read_bytes())
    assert refused(tmp_path).startswith("no DICOM images found (1 RT Plan Storage, 1 not DICOM)")


def test_a_missing_folder_and_an_unknown_repair_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere not found"):
        read_dicom_series(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no repair is named 'gaps'; there are duplicate, "):
        read_dicom_series(tmp_path, allow=["gaps"])
    with pytest.raises(ConfigError, match="exclude each other"):
        read_dicom_series(tmp_path, allow=["monochrome1-keep", "monochrome1-invert"])


def test_warnings_of_pydicom_do_not_quote_values(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = folder / "00001.dcm"
    content = path.read_bytes()
    # A birth date that is none makes pydicom warn, and quote it.
    path.write_bytes(content.replace(b"19010203", b"SecretOn"))
    read_dicom_series(folder)
    assert not [warning for warning in recwarn if "Secret" in str(warning.message)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CT2", "161 missing on a grid of 1.25 mm"),
        ("CT2N", "6293, 6924 are localizers, and there is nothing else in the series"),
        ("MR700", "mixed Image Orientation"),
        ("CR1", "has no Image Position"),
        ("TINY_ALPHA", "lack one of Rows"),
        ("MR2", "3 image series found"),
    ],
)
def test_folders_that_pydicom_ships_are_refused(name: str, message: str) -> None:
    root = Path(str(get_testdata_file("DICOMDIR"))).parent
    (folder,) = [path for path in root.rglob(name) if path.is_dir()]
    assert message in refused(folder)
