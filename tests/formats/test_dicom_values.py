"""Values of DICOM series whose headers make them easy to misread, against ITK, pydicom and worked values."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import itk
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from pipeline.formats import REPAIRS, read_dicom_series, write_dicom_series

from .faulty_series import AXIAL, VOXELS, Change, drop, edit, put, refused
from .generated_series import ORIENTATIONS, Geometry, make_multiframe

EVERYTHING = sorted(set(REPAIRS) - {"monochrome1-keep"})


def edit_all(folder: Path, change: Change) -> None:
    for path in sorted(folder.iterdir()):
        edit(path, change)


def lookup(*, has_values: bool = True) -> Dataset:
    """A Modality LUT that doubles stored values up to 1023."""
    table = Dataset()
    table.ModalityLUTType = "HU"
    if has_values:
        table.LUTDescriptor = [1024, 0, 16]
        table["LUTDescriptor"].VR = "US"
        table.LUTData = (2 * np.arange(1024)).tolist()
        table["LUTData"].VR = "US"
    return table


def encode(dataset: pydicom.FileDataset, *streams: bytes, syntax: str) -> None:
    dataset.PixelData = encapsulate(list(streams))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax


# --- byte order and bits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "intercept"), [(15, -1024), (12, 3), (16, 0), (16, -5)])
def test_big_endian_values_are_those_of_itk(folder: Path, tmp_path: Path, bits: int, intercept: int) -> None:
    stored = np.random.default_rng(bits).integers(0, 2**bits, VOXELS.shape).astype(">u2")
    target = tmp_path / "big-endian"
    target.mkdir()
    for index, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.update({"RescaleIntercept": intercept, "BitsStored": bits, "HighBit": bits - 1})
        dataset.PixelData = np.ascontiguousarray(stored[:, :, index]).tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(target / path.name, dataset, implicit_vr=False, little_endian=False)
    series = read_dicom_series(target)
    np.testing.assert_array_equal(series.voxels, stored.astype(int) + intercept)
    assert series.voxels.dtype.byteorder in "=|" + ("<" if sys.byteorder == "little" else ">")
    theirs = itk.array_from_image(itk.imread(str(target / "00004.dcm"), itk.F))
    np.testing.assert_array_equal(series.voxels[:, :, 3], np.squeeze(theirs))


def test_pixels_that_lie_at_the_high_end_are_refused(folder: Path) -> None:
    def shift(dataset: pydicom.FileDataset) -> None:
        dataset.PixelData = (dataset.pixel_array << 4).astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 15

    edit(folder / "00002.dcm", shift)
    assert refused(folder, allow=EVERYTHING).startswith("00002.dcm has a High Bit that is not Bits Stored - 1")
    edit(folder / "00002.dcm", drop("HighBit"))
    assert "High Bit" not in str(read_dicom_series(folder).repairs)


def test_photometric_interpretation_may_be_in_lower_case(folder: Path) -> None:
    for path in folder.iterdir():  # by hand, as pydicom refuses to write it
        path.write_bytes(path.read_bytes().replace(b"MONOCHROME2", b"monochrome2"))
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)


def test_decoded_values_that_bits_stored_cannot_hold_are_refused(tmp_path: Path) -> None:
    # A JPEG-LS of 16 bits whose header says 12, signed: decoders disagree on what 4095 is.
    (path,) = write_dicom_series(tmp_path / "one", np.zeros((40, 50, 1), int), AXIAL)
    pixels = (np.add.outer(np.arange(40), np.arange(50)) - 20).astype(np.int16)
    wrapped = (pixels & 0x0FFF).astype(np.uint16)
    wrapped[0, 0] = 2**15  # so that CharLS writes 16 bits

    def change(dataset: pydicom.FileDataset) -> None:
        dataset.update({"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1})
        encode(dataset, imagecodecs.jpegls_encode(wrapped), syntax=JPEGLSLossless)

    edit(path, change)
    message = refused(tmp_path / "one", allow=EVERYTHING)
    assert re.match(
        r"00001\.dcm decodes to values from -?\d+ to \d+; expected -2048 to 2047, all that its Bits", message
    )


# --- the way to modality units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize("names", [("RescaleIntercept",), ("RescaleSlope",), ("RescaleSlope", "RescaleIntercept")])
def test_ct_and_pet_without_rescale_have_no_units(folder: Path, modality: str, names: tuple[str, ...]) -> None:
    edit_all(folder, put(Modality=modality, Units="BQML"))
    assert read_dicom_series(folder).units == {"CT": "HU", "PT": "BQML"}[modality]
    edit_all(folder, drop(*names))
    assert f"and 1 more are {modality} without Rescale Slope and Rescale Intercept" in refused(folder)
    series = read_dicom_series(folder, allow=["rescale"])
    intercept = 0 if "RescaleIntercept" in names else -1024
    np.testing.assert_array_equal(series.voxels, VOXELS.astype(int) + 1024 + intercept)
    assert series.units is None
    assert series.repairs == (
        "rescale: 1 and 0 taken for the slope and the intercept that are missing; no units are known",
    )


def test_mr_needs_no_rescale(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "mr", VOXELS.astype(int) + 1024, AXIAL, modality="MR")
    series = read_dicom_series(tmp_path / "mr")
    np.testing.assert_array_equal(series.voxels, VOXELS.astype(int) + 1024)
    assert (series.units, series.repairs) == (None, ())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (drop("RescaleIntercept"), "slope and intercept, slope or intercept"),
        (drop("RescaleSlope", "RescaleIntercept"), "slope and intercept, none"),
        (put(ModalityLUTSequence=[lookup()]), "slope and intercept, Modality LUT"),
    ],
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_one_slice_without_the_rescale_of_the_others_is_refused(
    folder: Path, modality: str, change: Change, found: str
) -> None:
    edit_all(folder, put(Modality=modality))
    edit(folder / "00003.dcm", change)
    message = refused(folder, allow=EVERYTHING)
    assert message.startswith(f"mixed way to modality units ({found}): 00003.dcm differs from the other 5 slices")


def test_an_enhanced_ct_without_pixel_value_transformation_is_refused(tmp_path: Path) -> None:
    source = make_multiframe(tmp_path, Geometry((8, 9, 3), ORIENTATIONS["axial"]))
    path = tmp_path / "enhanced.dcm"

    def one_phase(dataset: pydicom.FileDataset) -> None:
        numbers = [frame.frame_number - 1 for frame in source.frames if frame and frame.frame_number]
        dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[numbers]).tobytes()
        dataset.PerFrameFunctionalGroupsSequence = [dataset.PerFrameFunctionalGroupsSequence[n] for n in numbers]
        dataset.NumberOfFrames = len(numbers)

    edit(path, one_phase)
    assert "enhanced.dcm frame 1, enhanced.dcm frame 2, enhanced.dcm frame 3 are CT without" in refused(path)
    np.testing.assert_array_equal(read_dicom_series(path, allow="rescale").voxels, source.voxels)

    def correct_one(dataset: pydicom.FileDataset) -> None:
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
        dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [values]

    edit(path, correct_one)
    assert "mixed way to modality units (none, slope and intercept): enhanced.dcm frame 2" in refused(path)


def test_a_functional_group_of_a_frame_wins_over_the_shared_one(tmp_path: Path) -> None:
    """PS3.3 C.7.6.16.1.1 wants one of them; where a file has both, the frame's own is the nearer one."""
    source = make_multiframe(tmp_path, Geometry((8, 9, 1), ORIENTATIONS["axial"]))
    (frame,) = source.frames

    def change(dataset: pydicom.FileDataset) -> None:
        number = ((frame and frame.frame_number) or 1) - 1
        dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[number]).tobytes()
        dataset.PerFrameFunctionalGroupsSequence = [dataset.PerFrameFunctionalGroupsSequence[number]]
        dataset.NumberOfFrames = 1
        own, shared = Dataset(), Dataset()
        own.RescaleSlope, own.RescaleIntercept = 3, -7
        shared.RescaleSlope, shared.RescaleIntercept = 1, -1024
        dataset.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence = [own]
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [shared]

    edit(tmp_path / "enhanced.dcm", change)
    series = read_dicom_series(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(series.voxels, source.voxels.astype(int) * 3 - 7)


def test_units_of_pet_are_read_and_never_mixed(folder: Path) -> None:
    edit_all(folder, put(Modality="PT", Units="GML"))
    assert read_dicom_series(folder).units == "GML"
    edit(folder / "00005.dcm", put(Units="BQML"))
    assert refused(folder, allow=EVERYTHING).startswith("mixed Rescale Type or Units (GML, BQML): 00005.dcm differ")


def test_monochrome1_in_pet_is_physical_whatever_its_units(folder: Path) -> None:
    edit_all(folder, lambda dataset: drop("RescaleType")(dataset))
    edit_all(folder, put(Modality="PT", PhotometricInterpretation="MONOCHROME1"))
    assert read_dicom_series(folder, allow=["monochrome1-keep"]).units is None
    assert "are MONOCHROME1 in physical units (PT)" in refused(folder)


def test_a_modality_lut_is_applied_or_refused(folder: Path) -> None:
    # Only the last slice has one, and all are of MR, whose values may stay as they are.
    edit_all(folder, lambda dataset: drop("RescaleSlope", "RescaleIntercept", "RescaleType")(dataset))
    stored = (VOXELS.astype(int) + 1024) % 1024

    def change(dataset: pydicom.FileDataset) -> None:
        dataset.ModalityLUTSequence = [lookup()]
        dataset.PixelData = np.ascontiguousarray(stored[:, :, int(dataset.InstanceNumber) - 1]).astype("<u2").tobytes()

    edit_all(folder, change)
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, 2 * stored)
    edit(folder / "00004.dcm", put(ModalityLUTSequence=[lookup(has_values=False)]))
    assert refused(folder).startswith("00004.dcm has a Modality LUT that cannot be read")
    edit_all(folder, put(ModalityLUTSequence=[]))
    assert "without Rescale Slope and Rescale Intercept" in refused(folder)


@pytest.mark.parametrize("first", [0, 5])
def test_the_dtype_holds_the_values_of_every_slice(folder: Path, first: int) -> None:
    # One slice alone, whichever it is, goes beyond int16.
    edit(folder / f"{first + 1:05}.dcm", put(RescaleSlope=1000))
    series = read_dicom_series(folder)
    slopes = np.where(np.arange(6) == first, 1000, 1)
    assert series.voxels.dtype == np.int32
    np.testing.assert_array_equal(series.voxels, (VOXELS.astype(int) + 1024) * slopes - 1024)


# --- more or fewer pixels than the header says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: setattr(d, "PixelData", d.PixelData * 3), "has 378 bytes of pixels; expected 126"),
        (put(Rows=3), "has 126 bytes of pixels; expected 54"),
        (put(BitsAllocated=1, BitsStored=1, HighBit=0), "has 126 bytes of pixels; expected 8"),
        (lambda d: setattr(d, "PixelData", d.PixelData + b"\1\0"), "has 128 bytes of pixels; expected 126"),
    ],
    ids=["three frames", "too few rows", "single bits", "two bytes more"],
)
def test_pixels_that_the_header_does_not_account_for_are_refused(folder: Path, change: Change, message: str) -> None:
    edit_all(folder, change)
    assert refused(folder, allow=EVERYTHING).startswith(f"00001.dcm {message}, by the size, the bits and the number of")


def test_zeros_after_the_pixels_are_padding_up_to_a_frame(folder: Path) -> None:
    edit_all(folder, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + bytes(64)))
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)
    edit(folder / "00002.dcm", lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + bytes(64)))
    assert refused(folder).startswith("00002.dcm has 254 bytes of pixels; expected 126")


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_surplus_compressed_frames_are_refused(tmp_path: Path, syntax: str) -> None:
    (path,) = write_dicom_series(tmp_path / "one", np.zeros((40, 50, 1), int), AXIAL)
    pixels = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint16)
    encoders: dict[str, Any] = {
        JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=16),
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(pixels),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0),
        RLELossless: lambda: pydicom.pixels.get_encoder(RLELossless).encode(
            pixels, rows=40, columns=50, samples_per_pixel=1, number_of_frames=1, bits_allocated=16, bits_stored=16,
            pixel_representation=0, photometric_interpretation="MONOCHROME2", encoding_plugin="pydicom",
        ),
    }  # fmt: skip
    stream = bytes(encoders[syntax]())
    edit(path, put(BitsStored=16, HighBit=15))
    edit(path, lambda dataset: encode(dataset, stream, syntax=syntax))
    np.testing.assert_array_equal(read_dicom_series(tmp_path / "one").voxels[:, :, 0], pixels.astype(int) - 1024)
    edit(path, lambda dataset: encode(dataset, stream, stream, syntax=syntax))
    assert refused(tmp_path / "one").startswith("00001.dcm has 2 compressed frames; expected 1")
    if syntax != RLELossless:  # one codestream in several fragments is one frame (PS3.5 A.4)

        def split(dataset: pydicom.FileDataset) -> None:
            encode(dataset, stream, syntax=syntax)
            dataset.PixelData = encapsulate([stream], fragments_per_frame=2)

        edit(path, split)
        np.testing.assert_array_equal(read_dicom_series(tmp_path / "one").voxels[:, :, 0], pixels.astype(int) - 1024)


def test_a_codestream_of_another_size_than_the_header_is_refused(tmp_path: Path) -> None:
    """Of as many pixels, so that only the sides can tell."""
    (path,) = write_dicom_series(tmp_path / "one", np.zeros((40, 50, 1), int), AXIAL)
    turned = np.add.outer(np.arange(50), np.arange(40)).astype(np.uint16)
    edit(path, lambda dataset: encode(dataset, imagecodecs.jpegls_encode(turned), syntax=JPEGLSLossless))
    assert "00001.dcm has truncated or damaged pixels" in refused(tmp_path / "one")
