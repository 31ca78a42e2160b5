"""NIfTI in and out, against nibabel and ITK, over real files, generated ones and damaged ones."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import NibabelReader
from monai.transforms import LoadImage
from nibabel.testing import data_path

from pipeline.errors import ImageError, LabelError, OutputError
from pipeline.formats import NiftiReader, check_same_grid, read_nifti, write_nifti

SHIPPED = ("anatomical.nii", "standard.nii.gz", "reoriented_anat_moved.nii")
PLACING = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim", "dim_info"),
)
FREE_TEXT = ("descrip", "aux_file", "db_name", "intent_name", "data_type")
RAMP = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
OBLIQUE = np.array([[0.0, -2.0, 0.1, 10.0], [1.5, 0.0, 0.2, -20.0], [0.1, 0.3, 4.0, 30.5], [0, 0, 0, 1]])


def header_digits(path: Path) -> dict[str, bytes]:
    """What places the voxels, byte for byte in little-endian order."""
    header = nib.load(path).header
    return {name: np.asarray(header[name]).astype(header[name].dtype.newbyteorder("<")).tobytes() for name in PLACING}


def check_round_trip(source: Path, target: Path) -> None:
    """Read, write like the source, and compare everything with nibabel's own reading of both files."""
    image = read_nifti(source)
    write_nifti(target, image.voxels, image)
    ours, theirs = nib.load(target), nib.load(source)
    assert header_digits(target) == header_digits(source)
    assert ours.get_data_dtype() == theirs.get_data_dtype().newbyteorder("=")
    np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert nib.aff2axcodes(ours.affine) == nib.aff2axcodes(theirs.affine)
    again = read_nifti(target)
    assert again.voxels.dtype == image.voxels.dtype
    assert again.voxels.tobytes() == image.voxels.tobytes()
    np.testing.assert_array_equal(again.affine, image.affine)


def affine_of_itk(path: Path) -> np.ndarray[Any, Any]:
    """The affine to RAS that ITK, which knows nothing of nibabel, finds in a file."""
    image = itk.imread(os.fspath(path))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1
    return affine


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_of_nibabel_round_trip_to_the_bit(name: str, suffix: str, tmp_path: Path) -> None:
    check_round_trip(Path(data_path) / name, tmp_path / f"copy{suffix}")


@pytest.mark.parametrize("name", SHIPPED)
def test_itk_sees_the_voxels_where_we_see_them(name: str) -> None:
    source = Path(data_path) / name
    image = read_nifti(source)
    np.testing.assert_allclose(affine_of_itk(source), image.affine, atol=1e-4)
    np.testing.assert_array_equal(itk.array_from_image(itk.imread(os.fspath(source))).T, image.voxels)


def test_spinal_cords_round_trip_to_the_bit(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    files = sorted(real_data("sct-spinalcord").rglob("*.nii.gz"))
    assert len(files) == 4
    for number, file in enumerate(files):
        check_round_trip(file, tmp_path / f"{number}.nii.gz")


def test_spinal_cord_stored_psr_is_read_as_stored(real_data: Callable[[str], Path]) -> None:
    (path,) = real_data("sct-spinalcord").rglob("t2.nii.gz")
    image = read_nifti(path)
    assert image.voxels.shape == (60, 55, 52)
    assert image.voxels.dtype == np.int16
    assert nib.aff2axcodes(image.affine) == ("P", "S", "R")
    np.testing.assert_allclose(affine_of_itk(path), image.affine, atol=1e-4)


def test_spinal_cord_of_thick_slices_keeps_its_spacing(real_data: Callable[[str], Path]) -> None:
    (path,) = real_data("sct-spinalcord").rglob("t2s_uncropped.nii.gz")
    image = read_nifti(path)
    assert image.voxels.shape == (320, 320, 11)
    np.testing.assert_allclose(np.linalg.norm(image.affine[:3, :3], axis=0), [0.5, 0.5, 7.5], atol=1e-4)
    np.testing.assert_allclose(affine_of_itk(path), image.affine, atol=1e-4)


@pytest.mark.parametrize(("image", "mask"), [("t2", "t2_seg-manual"), ("t2s_uncropped", "t2s_uncropped_gmseg_manual")])
def test_spinal_cord_masks_lie_on_their_images(real_data: Callable[[str], Path], image: str, mask: str) -> None:
    folder = real_data("sct-spinalcord")
    source, manual = (read_nifti(next(folder.rglob(f"{name}.nii.gz"))) for name in (image, mask))
    check_same_grid("mask", manual.voxels.shape, manual.affine, "image", source.voxels.shape, source.affine)


def test_a_mask_of_another_spinal_cord_is_refused(real_data: Callable[[str], Path]) -> None:
    folder = real_data("sct-spinalcord")
    source, manual = (read_nifti(next(folder.rglob(f"{name}.nii.gz"))) for name in ("t2", "t2s_uncropped_gmseg_manual"))
    with pytest.raises(LabelError, match="320 × 320 × 11 voxels but image has 60 × 55 × 52"):
        check_same_grid("mask", manual.voxels.shape, manual.affine, "image", source.voxels.shape, source.affine)


def test_hippocampi_round_trip_to_the_bit(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("msd-hippocampus")
    dtypes = set()
    greatest = []
    for number, path in enumerate(sorted(folder.glob("*Tr/*.nii.gz"))):
        check_round_trip(path, tmp_path / f"{number}.nii.gz")
        image = read_nifti(path)
        dtypes.add(image.voxels.dtype.name)
        if path.parent.name == "imagesTr":
            greatest.append(float(image.voxels.max()))
            label = read_nifti(folder / "labelsTr" / path.name)
            check_same_grid("label", label.voxels.shape, label.affine, "image", image.voxels.shape, image.affine)
            assert set(np.unique(label.voxels)) <= {0, 1, 2}
    assert dtypes == {"uint8", "float32"}
    assert min(greatest) == 127  # scales differ by three orders of magnitude
    assert max(greatest) == pytest.approx(358_214.66)


# --- generated files -------------------------------------------------------------------------------------------------


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(1, 6), min_size=2, max_size=3))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype[0] == "f" else None
    return draw(hnp.arrays(dtype, tuple(shape), elements=elements, fill=None))


@settings(max_examples=120, deadline=None)
@given(
    voxels=_arrays(),
    numbers=hnp.arrays(np.float64, 12, elements=st.floats(-200, 200)),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_what_is_written_is_read_by_nibabel_and_by_us(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, numbers: np.ndarray, suffix: str
) -> None:
    affine = np.vstack([numbers.reshape(3, 4), [0, 0, 0, 1]]) + np.diag([300, 400, 500, 0])
    path = tmp_path_factory.mktemp("nifti") / f"volume{suffix}"
    write_nifti(path, voxels, affine)
    theirs, ours = nib.load(path), read_nifti(path)
    for found in (np.asanyarray(theirs.dataobj), ours.voxels):
        assert found.dtype == voxels.dtype
        np.testing.assert_array_equal(found, voxels)
    np.testing.assert_array_equal(ours.affine, affine.astype(np.float32))  # the sform is float32 in the standard
    np.testing.assert_array_equal(ours.affine, theirs.affine)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (1, 7, 5), (5, 7, 3)], ids=str)
def test_flat_images_and_single_slices_keep_their_axes(shape: tuple[int, ...], tmp_path: Path) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    stored = nib.Nifti1Image(voxels, OBLIQUE)
    nib.save(stored, tmp_path / "in.nii")
    image = read_nifti(tmp_path / "in.nii")
    assert image.voxels.shape == shape
    np.testing.assert_array_equal(image.voxels, voxels)
    check_round_trip(tmp_path / "in.nii", tmp_path / "out.nii.gz")


def test_trailing_axes_of_one_are_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(RAMP[..., None, None], np.eye(4)), tmp_path / "in.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "in.nii").voxels, RAMP)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_qform_and_sform_that_differ_are_both_kept(kind: Any, tmp_path: Path) -> None:
    stored = kind(RAMP, None)
    stored.set_qform(np.diag([1.5, 2.0, 2.5, 1.0]) + np.eye(4, k=3) * 7, code="scanner")
    stored.set_sform(OBLIQUE, code="mni")
    stored.header.set_xyzt_units("mm", "msec")
    nib.save(stored, tmp_path / "in.nii.gz")
    check_round_trip(tmp_path / "in.nii.gz", tmp_path / "out.nii.gz")
    header = nib.load(tmp_path / "out.nii.gz").header
    assert type(header).__name__ == kind.__name__.replace("Image", "Header")
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
    assert header.get_xyzt_units() == ("mm", "msec")
    np.testing.assert_allclose(read_nifti(tmp_path / "in.nii.gz").affine, OBLIQUE, rtol=1e-6)


@pytest.mark.parametrize(("unit", "mm"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0), (None, 1.0)])
def test_other_units_become_mm_in_the_affine_and_stay_in_the_file(unit: str | None, mm: float, tmp_path: Path) -> None:
    stored = nib.Nifti1Image(RAMP, OBLIQUE)
    stored.header.set_xyzt_units(unit)
    nib.save(stored, tmp_path / "in.nii")
    expected = OBLIQUE.astype(np.float32).astype(float)
    expected[:3] *= mm
    np.testing.assert_allclose(read_nifti(tmp_path / "in.nii").affine, expected, rtol=1e-12)
    image = read_nifti(tmp_path / "in.nii")
    write_nifti(tmp_path / "out.nii", image.voxels, image)
    assert header_digits(tmp_path / "out.nii") == header_digits(tmp_path / "in.nii")


def write_scaled(path: Path, slope: float, inter: float) -> None:
    """Write RAMP, with scaling in the header, byte by byte."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(RAMP.shape)
    header.set_sform(OBLIQUE, 1)
    content = bytearray(header.binaryblock)
    content[112:120] = struct.pack("<2f", slope, inter)
    content[108:112] = struct.pack("<f", 352)
    content[344:348] = b"n+1\0"
    path.write_bytes(bytes(content) + bytes(4) + RAMP.tobytes("F"))


@pytest.mark.parametrize("slope", [np.nan, 0.0, 1.0])
def test_slopes_that_scale_nothing_leave_integers(slope: float, tmp_path: Path) -> None:
    write_scaled(tmp_path / "a.nii", slope, 0.0 if slope == 1 else slope)
    image = read_nifti(tmp_path / "a.nii")
    assert image.voxels.dtype == np.int16
    np.testing.assert_array_equal(image.voxels, RAMP)


def test_a_slope_and_an_intercept_are_applied(tmp_path: Path) -> None:
    write_scaled(tmp_path / "a.nii", 0.5, -1024)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").voxels, RAMP * 0.5 - 1024)


def test_big_endian_files_are_read_in_native_order(tmp_path: Path) -> None:
    stored = nib.Nifti1Image(RAMP, OBLIQUE, nib.Nifti1Header(endianness=">"))
    nib.save(stored, tmp_path / "in.nii")
    image = read_nifti(tmp_path / "in.nii")
    assert image.voxels.dtype.isnative
    check_round_trip(tmp_path / "in.nii", tmp_path / "out.nii")


def test_arrays_in_foreign_order_are_written_in_native_order(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", RAMP.astype(">i2"), OBLIQUE)
    stored = nib.load(tmp_path / "a.nii")
    assert stored.get_data_dtype() == np.dtype(np.int16)
    np.testing.assert_array_equal(np.asanyarray(stored.dataobj), RAMP)


def test_no_text_of_the_source_is_carried_over(tmp_path: Path) -> None:
    stored = nib.Nifti1Image(RAMP, OBLIQUE)
    for name in FREE_TEXT:
        stored.header[name] = b"Doe^Jane"
    stored.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe^Jane born 1970-01-01"))
    nib.save(stored, tmp_path / "in.nii.gz")
    image = read_nifti(tmp_path / "in.nii.gz")
    write_nifti(tmp_path / "out.nii", image.voxels > 3, image)
    write_nifti(tmp_path / "out.nii.gz", image.voxels > 3, image)
    assert b"Doe" in gzip.decompress((tmp_path / "in.nii.gz").read_bytes())
    content = (tmp_path / "out.nii").read_bytes()
    assert b"Doe" not in content
    assert gzip.decompress((tmp_path / "out.nii.gz").read_bytes()) == content
    # Neither the name of the temporary file nor a time is left in the compressed file.
    assert (tmp_path / "out.nii.gz").read_bytes()[3:8] == bytes(5)
    assert b"Doe" not in image.header.binaryblock
    assert "Doe" not in str(LoadImage(reader=NiftiReader())(tmp_path / "in.nii.gz").meta)


def test_a_mask_of_booleans_becomes_zeros_and_ones(tmp_path: Path) -> None:
    write_nifti(tmp_path / "mask.nii.gz", RAMP > 5, OBLIQUE)
    found = np.asanyarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, RAMP > 5)


@pytest.mark.parametrize(
    ("moved_voxels", "codes", "refused"),
    [(0.05, (1, 1), False), (0.2, (1, 1), True), (7, (2, 2), True), (7, (1, 4), False), (7, (1, 0), False)],
)
def test_qform_and_sform_must_agree_on_one_space(
    moved_voxels: float, codes: tuple[int, int], refused: bool, tmp_path: Path
) -> None:
    """nibabel takes the sform where its code is set, and says nothing of a qform that differs."""
    qform = np.diag([1.5, 2.0, 2.5, 1.0])
    sform = qform.copy()
    sform[1, 3] += 2.0 * moved_voxels
    stored = nib.Nifti1Image(RAMP, None)
    stored.set_qform(qform, code=codes[0])
    stored.set_sform(sform, code=codes[1])
    nib.save(stored, tmp_path / "a.nii")
    if refused:
        with pytest.raises(ImageError, match=rf"qform and an sform of one space \(code {codes[1]}\) .* {moved_voxels}"):
            read_nifti(tmp_path / "a.nii")
    else:
        affine = read_nifti(tmp_path / "a.nii").affine
        np.testing.assert_allclose(affine, sform if codes[1] else qform, atol=1e-6)
        np.testing.assert_array_equal(affine, nib.load(tmp_path / "a.nii").affine)


def test_nibabel_itself_would_write_a_qform_without_the_shear_and_that_is_refused(tmp_path: Path) -> None:
    sheared = np.diag([1.0, 2.0, 3.0, 1.0])
    sheared[1, 2] = 1.2  # a gantry tilted by 22 degrees
    stored = nib.Nifti1Image(RAMP, None)
    stored.set_qform(sheared, code="scanner")
    stored.set_sform(sheared, code="scanner")
    assert not np.allclose(stored.get_qform(), sheared, atol=0.1)
    nib.save(stored, tmp_path / "nibabel.nii")
    with pytest.raises(ImageError, match=r"qform and an sform of one space"):
        read_nifti(tmp_path / "nibabel.nii")
    write_nifti(tmp_path / "ours.nii", RAMP, sheared)
    header = nib.load(tmp_path / "ours.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)
    np.testing.assert_allclose(read_nifti(tmp_path / "ours.nii").affine, sheared, atol=1e-6)


@pytest.mark.parametrize("sheared", [False, True])
def test_the_qform_is_set_where_it_can_hold_the_affine(sheared: bool, tmp_path: Path) -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.5, 2.0, 3.0]
    affine[:3, 3] = [1, 2, 3]
    affine[0, 2] += 1.0 if sheared else 0.0
    write_nifti(tmp_path / "a.nii", RAMP, affine)
    stored = nib.load(tmp_path / "a.nii")
    assert int(stored.header["qform_code"]) == (0 if sheared else 1)
    assert int(stored.header["sform_code"]) == 1
    if not sheared:
        np.testing.assert_allclose(stored.get_qform(), affine, atol=1e-5)
        np.testing.assert_allclose(affine_of_itk(tmp_path / "a.nii"), affine, atol=1e-5)
    assert stored.header.get_xyzt_units()[0] == "mm"


# --- masks and grids -------------------------------------------------------------------------------------------------


def test_a_mask_of_another_size_is_not_written(tmp_path: Path) -> None:
    write_nifti(tmp_path / "image.nii", RAMP, OBLIQUE)
    image = read_nifti(tmp_path / "image.nii")
    with pytest.raises(ImageError, match=r"4 × 3 × 2 voxels do not fit image .* of 2 × 3 × 4"):
        write_nifti(tmp_path / "mask.nii", RAMP.T, image)
    assert not (tmp_path / "mask.nii").exists()


@pytest.mark.parametrize("off_voxels", [0.0, 0.09])
def test_a_grid_within_the_tolerance_passes(off_voxels: float) -> None:
    shifted = OBLIQUE.copy()
    shifted[:3, 3] += off_voxels * OBLIQUE[:3, 2]
    check_same_grid("mask", (2, 3, 4), shifted, "image", (2, 3, 4), OBLIQUE)


WRONG_GRIDS = {
    "shifted by a seventh of a voxel": OBLIQUE + np.eye(4, k=3) * 0.15 * 2.0,
    "mirrored": OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0]),
    "of other spacing": OBLIQUE @ np.diag([1.0, 1.0, 1.05, 1.0]),
    "turned": OBLIQUE[[1, 0, 2, 3]],
}


@pytest.mark.parametrize("affine", WRONG_GRIDS.values(), ids=WRONG_GRIDS.keys())
def test_a_mask_elsewhere_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(LabelError, match=r"mask lies up to .* voxels from the grid of image; expected at most 0\.1"):
        check_same_grid("mask", (2, 3, 4), affine, "image", (2, 3, 4), OBLIQUE)


def test_a_single_slice_of_another_thickness_is_refused() -> None:
    with pytest.raises(LabelError, match="voxels from the grid"):
        check_same_grid("mask", (5, 5, 1), np.diag([1, 1, 2, 1]), "image", (5, 5, 1), np.eye(4))


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(path: Path, expected: str) -> None:
    before = {entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    with pytest.raises(ImageError, match=expected) as caught:
        read_nifti(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert {entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()} == before


# --- the reader for MONAI --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_reader_gives_what_the_reader_of_monai_gives(name: str) -> None:
    source = Path(data_path) / name
    ours = LoadImage(reader=NiftiReader(), ensure_channel_first=True)(source)
    theirs = LoadImage(reader=NibabelReader(), ensure_channel_first=True)(source)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(np.asarray(ours.affine), np.asarray(theirs.affine))
    assert ours.meta["space"] == theirs.meta["space"]


def test_the_reader_gives_a_flat_image_its_channel(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", RAMP[0], OBLIQUE)
    loaded = LoadImage(reader=NiftiReader(), ensure_channel_first=True)(tmp_path / "a.nii")
    assert loaded.shape == (1, 3, 4)


def test_the_reader_refuses_a_volume_of_unknown_orientation(tmp_path: Path) -> None:
    stored = nib.Nifti1Image(RAMP, None)
    stored.header["sform_code"] = stored.header["qform_code"] = 0
    nib.save(stored, tmp_path / "a.nii")
    assert not read_nifti(tmp_path / "a.nii").has_orientation
    with pytest.raises(ImageError, match="does not say where its axes point"):
        LoadImage(reader=NiftiReader())(tmp_path / "a.nii")


def test_an_image_is_never_overwritten_by_its_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_nifti(path, np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image, before = read_nifti(path), path.read_bytes()
    with pytest.raises(OutputError, match="it is a file of the image that this was made from"):
        write_nifti(path, image.voxels > 3, image, overwrite=True)
    assert path.read_bytes() == before
