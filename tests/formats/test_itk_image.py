"""NRRD and MetaImage in and out, against headers written by hand, nibabel, and the NRRD files of dcmqi."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ImageError, MissingFileError, OutputError
from pipeline.formats import read_itk_image, write_itk_image
from pipeline.formats.dicom_geometry import lps_to_ras

RAMP = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
NRRD_NAMES = {"float32": "float", "float64": "double"}
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN * [0.5, 2.0, 3.0]
OBLIQUE[:3, 3] = [10.25, -20.5, 30.125]


def write_nrrd(path: Path, voxels: np.ndarray, space: str | None = "left-posterior-superior", **fields: str) -> None:
    """Write an NRRD file as its definition says, without any library."""
    places = ["space directions: (2,0,0) (0,3,0) (0,0,4)", "space origin: (10,20,30)"]
    lines = [
        "NRRD0004",
        f"type: {NRRD_NAMES.get(voxels.dtype.name, voxels.dtype.name)}",
        f"dimension: {voxels.ndim}",
        *([f"space: {space}"] if space else []),
        f"sizes: {' '.join(map(str, voxels.shape))}",
        *(places if space else []),
        "endian: little",
        "encoding: raw",
        *(f"{name}:={value}" for name, value in fields.items()),
    ]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels.tobytes("F"))


PLACED = "TransformMatrix = 0 1 0 1 0 0 0 0 1\nOffset = 10 20 30\n"


def write_mha(path: Path, voxels: np.ndarray, element: str, extra: str = "", place: str = PLACED) -> None:
    """Write a MetaImage file as its definition says, without any library; x runs fastest."""
    header = (
        f"ObjectType = Image\nNDims = {voxels.ndim}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = False\n{extra}{place}"
        f"ElementSpacing = 2 3 4\nDimSize = {' '.join(map(str, voxels.shape))}\nElementType = {element}\n"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + voxels.tobytes("F"))


# --- worked values ---------------------------------------------------------------------------------------------------


def test_left_and_posterior_turn_round_and_superior_stays() -> None:
    lps = np.array([[1.0, 2, 3, 10], [4, 5, 6, 20], [7, 8, 9, 30], [0, 0, 0, 1]])
    np.testing.assert_array_equal(lps_to_ras(lps), [[-1, -2, -3, -10], [-4, -5, -6, -20], [7, 8, 9, 30], [0, 0, 0, 1]])
    np.testing.assert_array_equal(lps_to_ras(lps_to_ras(lps)), lps)


def test_an_nrrd_in_lps_is_placed_in_ras(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", RAMP)
    image = read_itk_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.voxels, RAMP)
    assert image.voxels.dtype == np.int16
    np.testing.assert_array_equal(image.affine, [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])


def test_an_nrrd_in_ras_stays_there(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", RAMP, "right-anterior-superior")
    expected = [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_itk_image(tmp_path / "a.nrrd").affine, expected)


def test_an_mha_with_swapped_axes_is_placed_in_ras(tmp_path: Path) -> None:
    write_mha(tmp_path / "a.mha", RAMP, "MET_SHORT")
    image = read_itk_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(image.voxels, RAMP)
    # The rows of TransformMatrix are the directions of the axes: i runs along y with 2 mm, j along x with 3 mm.
    np.testing.assert_array_equal(image.affine, [[0, -3, 0, -10], [-2, 0, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_type_of_nrrd_is_read_as_it_is(dtype: str, tmp_path: Path) -> None:
    voxels = (np.arange(24) * 5).reshape(2, 3, 4).astype(dtype)
    if dtype == "int8":
        voxels -= 100
    write_nrrd(tmp_path / "a.nrrd", voxels)
    found = read_itk_image(tmp_path / "a.nrrd").voxels
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, voxels)


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53) + 1, 2**53, -(2**53)])
def test_64_bit_integers_are_exact_or_refused(value: int, tmp_path: Path) -> None:
    voxels = np.full((2, 2, 2), value, np.int64)
    write_nrrd(tmp_path / "a.nrrd", voxels)
    if abs(value) < 2**53:
        np.testing.assert_array_equal(read_itk_image(tmp_path / "a.nrrd").voxels, voxels)
    else:
        with pytest.raises(ImageError, match=r"64-bit integers beyond 2\*\*53"):
            read_itk_image(tmp_path / "a.nrrd")


# --- laws and other libraries ----------------------------------------------------------------------------------------


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(["u1", "u2", "i2", "u4", "i4", "f4", "f8", "?"]))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=3, max_size=3)))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype[0] == "f" else None
    return draw(hnp.arrays(dtype, shape, elements=elements, fill=None))


@settings(max_examples=60, deadline=None)
@given(
    voxels=_arrays(),
    sides_mm=hnp.arrays(np.float64, 3, elements=st.floats(0.01, 50)),
    angle=st.floats(-3, 3),
    origin_mm=hnp.arrays(np.float64, 3, elements=st.floats(-500, 500)),
    suffix=st.sampled_from([".nrrd", ".mha"]),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    voxels: np.ndarray,
    sides_mm: np.ndarray,
    angle: float,
    origin_mm: np.ndarray,
    suffix: str,
) -> None:
    affine = np.eye(4)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine[:3, :3] = TURN @ tilt * sides_mm
    affine[:3, 3] = origin_mm
    path = tmp_path_factory.mktemp("itk") / f"volume{suffix}"
    write_itk_image(path, voxels, affine)
    image = read_itk_image(path)
    assert image.voxels.dtype == (np.uint8 if voxels.dtype == np.bool_ else voxels.dtype)
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_allclose(image.affine, affine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 4), (4, 1, 1), (1, 4, 1), (1, 1, 1)], ids=str)
def test_a_row_of_voxels_keeps_its_axis(shape: tuple[int, ...], tmp_path: Path) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    write_itk_image(tmp_path / "a.mha", voxels, OBLIQUE)
    np.testing.assert_array_equal(read_itk_image(tmp_path / "a.mha").voxels, voxels)


def test_arrays_in_foreign_order_are_written_in_native_order(tmp_path: Path) -> None:
    write_itk_image(tmp_path / "a.mha", RAMP.astype(">i2"), OBLIQUE)
    found = read_itk_image(tmp_path / "a.mha").voxels
    assert found.dtype == np.dtype(np.int16)
    np.testing.assert_array_equal(found, RAMP)


def test_an_mha_holds_what_its_definition_says(tmp_path: Path) -> None:
    write_itk_image(tmp_path / "a.mha", RAMP, OBLIQUE)
    header, _, rest = (tmp_path / "a.mha").read_bytes().partition(b"ElementDataFile = LOCAL\n")
    fields = dict(line.split(" = ") for line in header.decode().splitlines())
    assert fields["DimSize"] == "2 3 4"
    assert fields["ElementType"] == "MET_SHORT"
    assert [float(number) for number in fields["ElementSpacing"].split()] == pytest.approx([0.5, 2, 3])
    assert [float(number) for number in fields["Offset"].split()] == pytest.approx([-10.25, 20.5, 30.125])
    directions = np.array([float(number) for number in fields["TransformMatrix"].split()]).reshape(3, 3)
    np.testing.assert_allclose(directions.T, np.diag([-1, -1, 1]) @ TURN, atol=1e-12)
    assert len(rest) < RAMP.nbytes * 2


def test_an_nrrd_holds_what_its_definition_says(tmp_path: Path) -> None:
    write_itk_image(tmp_path / "a.nrrd", RAMP, OBLIQUE)
    header, _, rest = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line and line[0] != "#")
    assert fields["sizes"] == "2 3 4"
    assert fields["space"] == "left-posterior-superior"
    np.testing.assert_array_equal(np.frombuffer(gzip.decompress(rest), "<i2").reshape(RAMP.shape, order="F"), RAMP)
    vectors = [[float(part) for part in word[1:-1].split(",")] for word in fields["space directions"].split()]
    np.testing.assert_allclose(np.transpose(vectors), (np.diag([-1, -1, 1, 1]) @ OBLIQUE)[:3, :3], atol=1e-12)


def test_nrrd_of_dcmqi_lies_where_its_segmentation_does(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    import pydicom

    folder = real_data("dcmqi-ct-seg")
    image = read_itk_image(folder / "liver_seg.nrrd")
    assert image.voxels.shape == (512, 512, 3)
    slices = sorted(
        (pydicom.dcmread(path) for path in (folder / "ct-3slice").iterdir()),
        key=lambda one: one.ImagePositionPatient[2],
    )
    first = slices[0]
    assert [float(step) for step in first.PixelSpacing] == pytest.approx(np.abs(np.diag(image.affine)[:2]), rel=1e-5)
    corner = np.array(first.ImagePositionPatient, float) * [-1, -1, 1]
    np.testing.assert_allclose(image.affine[:3, 3], corner, atol=1e-3)
    np.testing.assert_allclose(np.diag(image.affine)[2], 1.0, atol=1e-5)  # SliceThickness says 1.25
    write_itk_image(tmp_path / "copy.nrrd", image.voxels, image)
    again = read_itk_image(tmp_path / "copy.nrrd")
    np.testing.assert_array_equal(again.voxels, image.voxels)
    assert again.voxels.dtype == image.voxels.dtype
    np.testing.assert_allclose(again.affine, image.affine, rtol=1e-12)


def test_what_nibabel_places_and_we_write_is_where_itk_finds_it(tmp_path: Path) -> None:
    # By way of a third format: nibabel's NIfTI in, read by ITK's own NIfTI reader, and our MHA read by ITK.
    import itk

    nib.save(nib.Nifti1Image(RAMP, OBLIQUE), tmp_path / "a.nii")
    write_itk_image(tmp_path / "a.mha", RAMP, OBLIQUE)
    theirs, ours = (itk.imread(str(tmp_path / name)) for name in ("a.nii", "a.mha"))
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(
        itk.array_from_matrix(ours.GetDirection()), itk.array_from_matrix(theirs.GetDirection()), atol=1e-5
    )


def test_no_text_of_the_source_is_carried_over(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "in.nrrd", RAMP, PatientName="Doe^Jane")
    write_mha(tmp_path / "in.mha", RAMP, "MET_SHORT", extra="Comment = Doe^Jane\n")
    for suffix in (".nrrd", ".mha"):
        image = read_itk_image(tmp_path / f"in{suffix}")
        write_itk_image(tmp_path / f"out{suffix}", image.voxels, image)
        assert b"Doe" in (tmp_path / f"in{suffix}").read_bytes()
        assert b"Doe" not in (tmp_path / f"out{suffix}").read_bytes()


def test_a_flat_image_is_written_as_one_slice(tmp_path: Path) -> None:
    write_itk_image(tmp_path / "a.nrrd", RAMP[0], OBLIQUE)
    np.testing.assert_array_equal(read_itk_image(tmp_path / "a.nrrd").voxels, RAMP[0][..., np.newaxis])


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(path: Path, expected: str) -> None:
    with pytest.raises(ImageError, match=expected) as caught:
        read_itk_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "nowhere.nrrd", RAMP, space=None)
    refused(tmp_path / "nowhere.nrrd", "does not say where its axes point")
    write_nrrd(tmp_path / "four.nrrd", RAMP[..., None].repeat(2, 3), space=None)
    refused(tmp_path / "four.nrrd", "has 4 axes")
    write_mha(tmp_path / "colour.mha", np.zeros((2, 3, 4), np.uint8), "MET_UCHAR", "ElementNumberOfChannels = 3\n")
    refused(tmp_path / "colour.mha", "has 3 channels a voxel")
    voxels = np.zeros((2, 3, 4), np.float32)
    voxels[0, 0, 0] = np.nan
    write_nrrd(tmp_path / "nan.nrrd", voxels.astype(np.float32))
    refused(tmp_path / "nan.nrrd", "1 voxel that is NaN or infinite")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_files_that_are_damaged_are_refused(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20), dtype=np.uint8)
    write_itk_image(tmp_path / f"packed{suffix}", noise, OBLIQUE)
    write_nrrd(tmp_path / "plain.nrrd", noise)
    write_mha(tmp_path / "plain.mha", noise, "MET_UCHAR")
    for name in ("packed", "plain"):
        content = (tmp_path / f"{name}{suffix}").read_bytes()
        for kept in (0.01, 0.5, 0.99):
            (tmp_path / f"cut{suffix}").write_bytes(content[: int(len(content) * kept)])
            refused(tmp_path / f"cut{suffix}", "cut short or damaged|neither NRRD nor MetaImage")
    (tmp_path / f"text{suffix}").write_text("not an image\n" * 50)
    refused(tmp_path / f"text{suffix}", "neither NRRD nor MetaImage|cut short or damaged")
    (tmp_path / f"empty{suffix}").touch()
    refused(tmp_path / f"empty{suffix}", "is empty")
    with pytest.raises(MissingFileError, match="not found"):
        read_itk_image(tmp_path / f"nothing{suffix}")


def test_a_header_without_its_voxels_is_refused(tmp_path: Path) -> None:
    write_mha(tmp_path / "a.mhd", RAMP, "MET_SHORT")
    content = (tmp_path / "a.mhd").read_bytes().partition(b"LOCAL")[0]
    (tmp_path / "a.mhd").write_bytes(content + b"a.raw\n")
    refused(tmp_path / "a.mhd", "its file of voxels is missing")
    (tmp_path / "a.raw").write_bytes(RAMP.tobytes("F"))
    np.testing.assert_array_equal(read_itk_image(tmp_path / "a.mhd").voxels, RAMP)


@pytest.mark.parametrize(
    ("voxels", "affine", "expected"),
    [
        (RAMP.astype(np.int64), OBLIQUE, "holds int64 values"),
        (RAMP.astype(np.complex64), OBLIQUE, "holds complex64 values"),
        (RAMP[..., None], OBLIQUE, "has the shape"),
        (np.full((2, 3, 4), np.inf), OBLIQUE, "NaN or infinite"),
        (RAMP, np.diag([1.0, 0, 1, 1]), "flattens its voxels"),
    ],
    ids=["int64", "complex", "4D", "infinite", "flat"],
)
def test_what_cannot_be_held_is_not_written(voxels: Any, affine: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=expected):
        write_itk_image(tmp_path / "a.mha", voxels, affine)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_size_is_not_written_and_an_existing_file_is_kept(tmp_path: Path) -> None:
    write_itk_image(tmp_path / "a.mha", RAMP, OBLIQUE)
    image = read_itk_image(tmp_path / "a.mha")
    with pytest.raises(ImageError, match=r"4 × 3 × 2 voxels do not fit image .* of 2 × 3 × 4"):
        write_itk_image(tmp_path / "b.mha", RAMP.T, image)
    with pytest.raises(OutputError, match="already exists"):
        write_itk_image(tmp_path / "a.mha", RAMP, image.affine)
    with pytest.raises(ImageError, match=r"a name that ends in \.nrrd or \.mha"):
        write_itk_image(tmp_path / "b.mhd", RAMP, image)


@pytest.mark.parametrize(("space", "signs"), [("LPS", (-1, -1)), ("RAS", (1, 1)), ("LAS", (-1, 1))])
def test_the_anatomical_spaces_of_nrrd_lead_to_ras(tmp_path: Path, space: str, signs: tuple[int, int]) -> None:
    write_nrrd(tmp_path / "a.nrrd", RAMP, space)
    turned = np.diag([*signs, 1, 1]) @ [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_itk_image(tmp_path / "a.nrrd").affine, turned)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_a_space_that_is_not_the_patients_is_refused(tmp_path: Path, space: str) -> None:
    write_nrrd(tmp_path / "a.nrrd", RAMP, space)
    with pytest.raises(ImageError, match=rf"its NRRD 'space' is '{space}'; expected LPS, RAS or LAS"):
        read_itk_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("", "TransformMatrix and Offset"),
        ("Offset = 10 20 30\n", "TransformMatrix"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "Offset"),
    ],
)
def test_an_mha_that_does_not_say_where_it_lies_is_refused(tmp_path: Path, place: str, missing: str) -> None:
    write_mha(tmp_path / "a.mha", RAMP, "MET_SHORT", place=place)
    with pytest.raises(ImageError, match=rf"a MetaImage without {missing}\)"):
        read_itk_image(tmp_path / "a.mha")


@pytest.mark.parametrize(("letters", "is_refused"), [("ARI", False), ("???", False), ("RAI", True), ("PRI", True)])
def test_an_mha_that_says_two_things_of_its_axes_is_refused(tmp_path: Path, letters: str, is_refused: bool) -> None:
    # i runs along y, from anterior; j along x, from the right; k from inferior.
    write_mha(tmp_path / "a.mha", RAMP, "MET_SHORT", f"AnatomicalOrientation = {letters}\n")
    if is_refused:
        with pytest.raises(ImageError, match=f"axes come from {letters}, and otherwise in TransformMatrix"):
            read_itk_image(tmp_path / "a.mha")
    else:
        read_itk_image(tmp_path / "a.mha")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_an_image_is_never_overwritten_by_its_mask(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_itk_image(path, RAMP, OBLIQUE)
    image, before = read_itk_image(path), path.read_bytes()
    (tmp_path / f"link{suffix}").symlink_to(path)
    for name in (path, tmp_path / f"link{suffix}"):
        with pytest.raises(OutputError, match="it is a file of the image that this was made from"):
            write_itk_image(name, RAMP > 3, image, overwrite=True)
    assert path.read_bytes() == before
    write_itk_image(tmp_path / f"mask{suffix}", RAMP > 3, image)
