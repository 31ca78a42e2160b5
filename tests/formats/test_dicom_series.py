"""Good DICOM series against ITK, real label maps and what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_store
import imagecodecs
import itk
import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless
from scipy.spatial.transform import Rotation

from pipeline.formats import read_dicom_series, write_dicom_series

AXIAL = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2.5, -100], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(-1024, 3072, (7, 9, 6), dtype=np.int16)
DATA_STORE = Path(data_store.__file__).parent / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "series"


def edit(path: Path, change: Callable[[pydicom.FileDataset], Any]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def itk_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a series as ITK does: (row, column, slice), and the affine to RAS."""
    names = itk.GDCMSeriesFileNames.New(Directory=str(folder))
    reader = itk.ImageSeriesReader[itk.Image[itk.F, 3]].New(
        FileNames=names.GetFileNames(names.GetSeriesUIDs()[0]), ForceOrthogonalDirection=False
    )
    reader.Update()
    return itk_volume(reader.GetOutput())


def itk_volume(image: Any) -> tuple[np.ndarray, np.ndarray]:
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) @ np.diag(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    ras = np.diag([-1, -1, 1, 1]) @ lps
    # ITK's index is (column, row, slice), and its arrays are (slice, row, column).
    return np.moveaxis(itk.array_from_image(image), 0, -1), ras[:, [1, 0, 2, 3]]


def turned(seed: int) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix() @ np.diag([0.7, 0.8, 2.5])
    # Slices ascend along columns cross rows: (slice) = (column) × (row) of the index axes.
    if np.linalg.det(affine) > 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = np.random.default_rng(seed).uniform(-200, 200, 3)
    return affine


ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": np.array([[0, 0, 1.5, 10], [0, -0.8, 0, 20], [-0.7, 0, 0, 30], [0, 0, 0, 1.0]]),
    "coronal": np.array([[0, -0.8, 0, 10], [0, 0, 1.5, 20], [-0.7, 0, 0, 30], [0, 0, 0, 1.0]]),
    **{f"oblique {seed}": turned(seed) for seed in range(4)},
}


@pytest.mark.parametrize("affine", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_volume_and_affine_come_back_and_equal_itks(folder: Path, affine: np.ndarray, modality: Any) -> None:
    voxels = VOXELS if modality == "CT" else VOXELS.astype(np.int32) + 1024
    write_dicom_series(folder, voxels, affine, modality=modality)
    series = read_dicom_series(folder)
    theirs, their_affine = itk_series(folder)
    if np.linalg.det(affine) > 0:
        # Written against the normal: the slices come back in the other order, each where it was.
        voxels = voxels[:, :, ::-1]
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1]])
    np.testing.assert_array_equal(series.voxels, voxels)
    np.testing.assert_allclose(series.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(series.voxels, theirs)
    np.testing.assert_allclose(series.affine, their_affine, atol=1e-4)
    assert series.voxels.dtype == (np.int16 if modality == "CT" else np.uint16)
    assert series.units == ("HU" if modality == "CT" else None)
    assert series.repairs == ()


def test_shuffled_instance_numbers_and_names_change_nothing(folder: Path) -> None:
    paths = write_dicom_series(folder, VOXELS, AXIAL)
    for path, number in zip(paths, (2, 4, 1, 6, 5, 3), strict=True):
        edit(path, lambda dataset, number=number: setattr(dataset, "InstanceNumber", number))
        path.rename(folder / f"{7 - number}-no-suffix")
    series = read_dicom_series(folder)
    np.testing.assert_array_equal(series.voxels, VOXELS)
    np.testing.assert_allclose(series.affine, AXIAL, atol=1e-6)
    assert [header.InstanceNumber for header in series.headers] == [2, 4, 1, 6, 5, 3]
    assert [frame.path.name for frame in series.frames if frame] == [f"{7 - n}-no-suffix" for n in (2, 4, 1, 6, 5, 3)]


def test_headers_hold_no_pixels_and_name_their_frames(folder: Path) -> None:
    write_dicom_series(folder, VOXELS, AXIAL)
    series = read_dicom_series(folder)
    assert all("PixelData" not in header for header in series.headers)
    assert [frame and frame.sop_instance_uid for frame in series.frames] == [h.SOPInstanceUID for h in series.headers]
    assert all(frame is not None and frame.frame_number is None for frame in series.frames)
    assert series.series_uid == series.headers[0].SeriesInstanceUID


def test_rescale_of_each_slice_is_applied_to_it(folder: Path) -> None:
    stored = VOXELS.astype(int) + 1024
    paths = write_dicom_series(folder, VOXELS, AXIAL)
    slopes = [1.5, 0.25, 3, 0.001, 7, 1]
    for path, slope in zip(paths, slopes, strict=True):
        edit(path, lambda dataset, slope=slope: dataset.update({"RescaleSlope": slope, "RescaleIntercept": slope - 5}))
    series = read_dicom_series(folder)
    assert series.voxels.dtype == np.float32
    np.testing.assert_allclose(series.voxels, stored * np.asarray(slopes) + np.asarray(slopes) - 5, rtol=1e-6)
    np.testing.assert_allclose(series.voxels, itk_series(folder)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("slope", "intercept", "signed", "bits", "dtype"),
    [
        (1, 0, False, 16, np.uint16),
        (1, 0, True, 16, np.int16),
        (1, -1024, False, 12, np.int16),
        (1, -1024, True, 16, np.int32),
        (1, -32768, False, 16, np.int16),
        (-2, 10, False, 12, np.int16),
        (1000, 0, False, 16, np.int32),
        (70000, 5, False, 16, np.int64),
        (0.5, 0, False, 16, np.float32),
    ],
)
def test_whole_rescaling_gives_the_smallest_integers_that_hold_all(
    folder: Path, slope: float, intercept: float, signed: bool, bits: int, dtype: Any
) -> None:
    paths = write_dicom_series(folder, np.zeros((2, 3, 2), int), AXIAL)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = np.array([[low, high, 0], [1, 2, 3]])

    def change(dataset: pydicom.FileDataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = int(signed), bits, bits - 1
        dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()

    for path in paths:
        edit(path, change)
    voxels = read_dicom_series(folder).voxels
    assert voxels.dtype == dtype
    for index in range(2):
        np.testing.assert_array_equal(voxels[:, :, index], stored * slope + intercept)


def compressed(frame: np.ndarray, syntax: UID) -> bytes:
    encoders: dict[UID, Callable[[np.ndarray], bytes]] = {
        JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=16),
        JPEGLSLossless: imagecodecs.jpegls_encode,
        JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0),
    }
    return bytes(encoders[syntax](np.ascontiguousarray(frame)))


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name
)
def test_compressed_series_equal_the_uncompressed_one_and_itks(folder: Path, syntax: UID) -> None:
    def compress(dataset: pydicom.FileDataset) -> None:
        pixels = dataset.pixel_array
        if syntax == RLELossless:
            dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
            return
        dataset.PixelData = encapsulate([compressed(pixels, syntax)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax

    # Smooth, so that every encoder has something to do; large enough for J2K.
    voxels = np.add.outer(np.add.outer(np.arange(40), np.arange(50)), 100 * np.arange(3)).astype(np.int16)
    for path in write_dicom_series(folder, voxels, AXIAL):
        edit(path, compress)
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, voxels)
    np.testing.assert_array_equal(itk_series(folder)[0], voxels)


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"])
def test_jpegs_that_pydicom_cannot_decode_alone_equal_itks(tmp_path: Path, name: str) -> None:
    source = Path(str(get_testdata_file(name)))
    dataset = pydicom.dcmread(source)
    # They lack a place; with one, they are series of a slice.
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.save_as(tmp_path / name)
    voxels = read_dicom_series(tmp_path / name).voxels[:, :, 0]
    expected = np.squeeze(itk.array_from_image(itk.imread(str(source))))
    assert expected.max() > 200
    np.testing.assert_array_equal(voxels, expected)


SINGLE = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "examples_overlay.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
    "MR2_J2KI.dcm",
    "bad_sequence.dcm",
]


@pytest.mark.parametrize("name", SINGLE)
def test_pydicoms_odd_files_give_itks_values_and_places(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    series = read_dicom_series(path)
    image = itk.imread(str(path), itk.F)
    voxels, affine = itk_volume(image)
    np.testing.assert_allclose(series.voxels, voxels, rtol=1e-6)
    # Where there is no spacing of slices, ITK goes its own way.
    np.testing.assert_allclose(series.affine[:, [0, 1, 3]], affine[:, [0, 1, 3]], atol=1e-3)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    spacing_mm = header.get("SpacingBetweenSlices") or header.SliceThickness
    assert np.linalg.norm(series.affine[:3, 2]) == pytest.approx(float(spacing_mm))


def test_enhanced_multi_frame_is_ordered_by_the_frames_positions() -> None:
    # Frame 1 is at z = -159, frame 2 at -149; the normal of this mirrored orientation points down.
    path = DATA_STORE / "eCT_Supplemental.dcm"
    series = read_dicom_series(path)
    frames = itk.array_from_image(itk.imread(str(path)))
    np.testing.assert_array_equal(series.voxels, np.stack([frames[1], frames[0]], -1))
    assert [frame and frame.frame_number for frame in series.frames] == [2, 1]
    np.testing.assert_allclose(series.affine @ [0, 0, 0, 1], [-99.5, 301.5, -149, 1])
    np.testing.assert_allclose(series.affine @ [0, 0, 1, 1], [-99.5, 301.5, -159, 1])
    assert len(series.headers) == 1
    assert series.units == "US"


def as_enhanced(paths: tuple[Path, ...], target: Path, order: tuple[int, ...], encode: UID | None = None) -> None:
    """Write classic slices as one enhanced multi-frame file, each frame with groups of its own."""
    slices = [pydicom.dcmread(paths[index]) for index in order]
    enhanced = pydicom.dcmread(paths[0])
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del enhanced[name]
    del enhanced.SliceThickness
    enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    enhanced.NumberOfFrames = len(slices)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = slices[0].ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = slices[0].PixelSpacing, slices[0].SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    enhanced.SharedFunctionalGroupsSequence = [shared]
    enhanced.PerFrameFunctionalGroupsSequence = []
    for number, one in enumerate(slices):
        groups, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = number + 1, -1024, "HU"
        groups.PlanePositionSequence, groups.PixelValueTransformationSequence = [position], [values]
        enhanced.PerFrameFunctionalGroupsSequence.append(groups)
    pixels = [one.pixel_array for one in slices]
    if encode is None:
        enhanced.PixelData = np.stack(pixels).tobytes()
    else:
        enhanced.PixelData = encapsulate([compressed(frame, encode) for frame in pixels])
        enhanced["PixelData"].is_undefined_length = True
        enhanced.file_meta.TransferSyntaxUID = encode
    target.mkdir()
    enhanced.save_as(target / "enhanced")


@pytest.mark.parametrize("syntax", [None, JPEGLSLossless], ids=["native", "JPEG-LS"])
def test_enhanced_frames_keep_their_own_place_and_rescale(tmp_path: Path, syntax: UID | None) -> None:
    affine = turned(7)
    paths = write_dicom_series(tmp_path / "classic", VOXELS, affine)
    order = (3, 0, 5, 1, 4, 2)
    as_enhanced(paths, tmp_path / "enhanced", order, syntax)
    series = read_dicom_series(tmp_path / "enhanced")
    slopes = np.asarray([order.index(index) + 1 for index in range(6)])
    np.testing.assert_array_equal(series.voxels, (VOXELS.astype(int) + 1024) * slopes - 1024)
    np.testing.assert_allclose(series.affine, affine, atol=1e-6)
    assert [frame and frame.frame_number for frame in series.frames] == slopes.tolist()


def test_frames_of_several_enhanced_files_make_one_volume(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "classic", VOXELS, AXIAL)
    as_enhanced(paths, tmp_path / "first", (0, 2, 4))
    as_enhanced(paths, tmp_path / "second", (1, 3, 5))
    both = tmp_path / "both"
    both.mkdir()
    for name in ("first", "second"):
        (tmp_path / name / "enhanced").rename(both / name)
    edit(both / "second", lambda dataset: setattr(dataset, "SOPInstanceUID", pydicom.uid.generate_uid()))
    series = read_dicom_series(both)
    np.testing.assert_allclose(series.affine, AXIAL, atol=1e-6)
    assert [frame and frame.path.name for frame in series.frames] == ["first", "second"] * 3
    assert len(series.headers) == 2


def test_legacy_monochrome1_without_units_is_inverted_as_itk_does(folder: Path) -> None:
    stored = VOXELS.astype(int) + 1024
    for path in write_dicom_series(folder, stored, AXIAL, modality="MR"):
        edit(path, lambda d: d.update({"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}))
    series = read_dicom_series(folder)
    np.testing.assert_array_equal(series.voxels, 4095 - stored)
    np.testing.assert_array_equal(series.voxels, itk_series(folder)[0])
    assert series.repairs == ("monochrome1: stored values inverted within Bits Stored, MONOCHROME2 now",)


def test_signed_monochrome1_is_inverted_around_minus_one_half(folder: Path) -> None:
    stored = VOXELS % 2048 - 1024

    def sign(dataset: pydicom.FileDataset) -> None:
        dataset.update({"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11})
        dataset.PixelRepresentation = 1
        index = int(dataset.InstanceNumber) - 1
        dataset.PixelData = np.ascontiguousarray(stored[:, :, index]).astype("<i2").tobytes()

    for path in write_dicom_series(folder, np.zeros_like(VOXELS), AXIAL, modality="MR"):
        edit(path, sign)
    # Of -2048 to 2047, each value takes the place of -1 minus itself.
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, -1 - stored)


def test_unused_high_bits_are_dropped(folder: Path) -> None:
    stored = (VOXELS.astype(int) + 1024) % 4096
    for path in write_dicom_series(folder, stored, AXIAL, modality="MR"):

        def overlay(dataset: pydicom.FileDataset) -> None:
            dataset.BitsStored, dataset.HighBit = 12, 11
            dataset.PixelData = (dataset.pixel_array | 0xA000).astype("<u2").tobytes()

        edit(path, overlay)
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, stored)


@pytest.mark.parametrize("name", ["totalseg-ct-dicom/example_ct_dicom", "dcmqi-ct-seg/ct-3slice"])
def test_real_series_equal_itks(real_data: Callable[[str], Path], name: str) -> None:
    dataset, _, inner = name.partition("/")
    folder = real_data(dataset) / inner
    series = read_dicom_series(folder)
    voxels, affine = itk_series(folder)
    np.testing.assert_array_equal(series.voxels, voxels)
    np.testing.assert_allclose(series.affine, affine, atol=1e-4)
    assert series.repairs == ()


def test_siemens_series_has_the_known_densities_under_its_label_map(real_data: Callable[[str], Path]) -> None:
    folder = real_data("totalseg-ct-dicom")
    series = read_dicom_series(folder / "example_ct_dicom")
    labels = nibabel.load(folder / "example_seg_dicom.nii.gz")
    index = np.stack(np.meshgrid(*map(np.arange, series.voxels.shape), indexing="ij"), -1)
    places = apply_affine(np.linalg.inv(labels.affine) @ series.affine, index)
    np.testing.assert_allclose(places, np.rint(places), atol=1e-3)
    label = np.asarray(labels.dataobj)[tuple(np.moveaxis(np.rint(places).astype(int), -1, 0))]
    # Numbers of TotalSegmentator's classes, version 2.
    for number, name, hounsfield in ((5, "liver", 89), (1, "spleen", 80), (52, "aorta", 177)):
        assert series.voxels[label == number].mean() == pytest.approx(hounsfield, abs=2), name


@pytest.mark.parametrize("name", ["liver_seg.nrrd", "partial_overlaps-1.nrrd", "partial_overlaps-3.nrrd"])
def test_ge_series_lies_on_the_grid_of_dcmqis_label_maps(real_data: Callable[[str], Path], name: str) -> None:
    folder = real_data("dcmqi-ct-seg")
    series = read_dicom_series(folder)
    label, affine = itk_volume(itk.imread(str(folder / name)))
    assert label.shape == series.voxels.shape
    np.testing.assert_allclose(series.affine, affine, atol=1e-4)
    assert series.skipped == {"Segmentation Storage": 2, "not DICOM": 5}
