"""Segmenting volumes: DICOM series to DICOM SEG and NIfTI to masks, in real processes, read back by other programs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import itk
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_tools import dciodvfy
from identifier_scan import IdentifierScan
from monai.transforms import Compose, Invertd, LoadImaged, Spacingd
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from untrained_networks import write_untrained

from pipeline.data import Manifest
from pipeline.errors import ConfigError, MissingFileError
from pipeline.formats import DicomSeriesReader, MadeUpPatient, NiftiReader, read_dicom_series, write_dicom_series
from pipeline.predict import Predictor
from pipeline.predict_volumes import predict_volumes, volume_probability
from pipeline.volumes import NiftiInput, SeriesInput, find_volumes, prepared

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"
IMAGE_BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"
CHANNELS = [4, 6, 8]
SETTINGS = {"network_def::channels": CHANNELS, "device": "cpu", "precision": "fp32"}
# Sagittal slices of a volume that is stored with oblique axes; all sizes and spacings differ.
SHAPE = (24, 31, 11)
AFFINE = np.array([[0.1, 0.79, 0.2, 30.5], [-0.9, 0.05, 0.1, 20.25], [0, -0.15, 1.5, -100], [0, 0, 0, 1]])


def orthogonal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an affine near another whose axes are at right angles and whose slices ascend along the normal."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = np.linalg.qr(affine[:3, :3])[0]
    directions = directions * np.sign((directions * affine[:3, :3]).sum(0))
    result = affine.copy()
    result[:3, :3] = directions * spacing
    return result


OBLIQUE = orthogonal(AFFINE)


def anatomy(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """Return smooth shapes without any symmetry, with noise."""
    random = np.random.default_rng(seed)
    waves = random.normal(size=shape)
    for axis in range(3):
        waves = sum(np.roll(waves, step, axis) for step in range(-2, 3))
    return np.asarray((waves / waves.std() * 200 + 500 + random.normal(0, 10, shape)).clip(0, 2000), np.int16)


@pytest.fixture(scope="session")
def volume_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, biased so that it gives the three classes in about equal parts."""
    return write_untrained(tmp_path_factory.mktemp("run") / "weights.pt", 3, CHANNELS)


@pytest.fixture(scope="session")
def predictor(volume_checkpoint: Path) -> Predictor:
    return Predictor.from_bundle(BUNDLE, volume_checkpoint, overrides=SETTINGS)


@pytest.fixture
def predict(processes: Any, volume_checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run `python -m pipeline predict` in a process of its own."""

    def run(*arguments: Any, bundle: Path = BUNDLE, checkpoint: Path = volume_checkpoint, **options: Any) -> Any:
        given = ["predict", "--bundle", bundle, "--checkpoint", checkpoint, *arguments]
        settings = ["network_def::channels=" + json.dumps(CHANNELS), "device=cpu", "precision=fp32"]
        for setting in settings:
            given += ["--set", setting]
        return processes.start("pipeline", given, tmp_path, **options).wait()

    return run


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def name_of(series_uid: str) -> str:
    return "series-" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]


def mask_of(predictor: Predictor, volume_input: NiftiInput | SeriesInput) -> NDArray[np.uint8]:
    """Return the class indices that the predictor gives, on the grid of the source."""
    return volume_probability(predictor, volume_input.read()).argmax(0).astype(np.uint8)


def read_by_highdicom(path: Path, folder: Path) -> NDArray[Any]:
    """Return a label map (row, column, slice), each frame at the image that it refers to."""
    series = read_dicom_series(folder)
    uids = [header.SOPInstanceUID for header in series.headers]
    frames = highdicom.seg.segread(path).get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    return np.moveaxis(frames, 0, -1)


def read_by_dcmqi(path: Path, affine: NDArray[np.float64], shape: Sequence[int], folder: Path) -> NDArray[Any]:
    """Return a label map as dcmqi and ITK read it, each voxel where its physical place is on the grid."""
    folder.mkdir()
    command = [Path(sys.executable).with_name("segimage2itkimage"), "--inputDICOM", path, "-t", "nrrd"]
    done = subprocess.run([*command, "--outputDirectory", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    labels = np.zeros(shape, np.uint8)
    for number in range(1, len(groups) + 1):
        image = itk.imread(str(folder / f"{number}.nrrd"))
        stored = np.moveaxis(itk.array_from_image(image), (0, 1, 2), (2, 1, 0))
        index = np.argwhere(stored > 0)
        scaled = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
        ras = (index @ scaled.T + np.array(image.GetOrigin())) * [-1, -1, 1]
        found = np.c_[ras, np.ones(len(ras))] @ np.linalg.inv(affine).T[:, :3]
        assert np.abs(found - found.round()).max(initial=0) < 1e-2
        labels[tuple(found.round().astype(int).T)] = stored[tuple(index.T)]
    return labels


# --- DICOM in, DICOM SEG out -----------------------------------------------------------------------------------------


def test_a_series_becomes_the_seg_that_the_predictor_gave(
    predict: Callable[..., Any], predictor: Predictor, tmp_path: Path, volume_checkpoint: Path
) -> None:
    folder, out = tmp_path / "export", tmp_path / "out"
    write_dicom_series(folder, anatomy(), OBLIQUE, modality="MR")
    before = contents_of(folder)
    finished = predict(folder, "-o", out)
    assert finished.status == 0, finished.stderr
    assert finished.stdout == f"1 volume segmented on cpu in float32: {out}\n"
    assert "predicting: 100%" in finished.stderr
    assert contents_of(folder) == before

    series = read_dicom_series(folder)
    name = name_of(series.series_uid)
    assert entries_of(out) == {f"{name}_seg.dcm", f"{name}_seg.json"}
    path = out / f"{name}_seg.dcm"
    wanted = mask_of(predictor, SeriesInput(folder, series.series_uid))
    assert wanted.shape == SHAPE
    assert min(np.bincount(wanted.ravel(), minlength=3)) > 100
    np.testing.assert_array_equal(read_by_highdicom(path, folder), wanted)
    np.testing.assert_array_equal(read_by_dcmqi(path, series.affine, SHAPE, tmp_path / "dcmqi"), wanted)
    assert dciodvfy(path) == ["Segmentation"]

    seg = pydicom.dcmread(path)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series.series_uid
    assert seg.StudyInstanceUID == series.headers[0].StudyInstanceUID
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Anterior hippocampus", "Posterior hippocampus"]
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(volume_checkpoint.read_bytes()).hexdigest()
    for item in seg.SegmentSequence:
        (made,) = item.SegmentationAlgorithmIdentificationSequence
        assert (made.AlgorithmName, made.AlgorithmVersion) == (metadata["name"], metadata["version"])
        assert made.AlgorithmParameters == f"weights_sha256={digest}"
    record = json.loads((out / f"{name}_seg.json").read_text(encoding="utf-8"))
    assert record["bundle"] == {"name": metadata["name"], "version": metadata["version"], "weights_sha256": digest}
    assert record["source"] == {
        "format": "DICOM",
        "series_uid_sha256": hashlib.sha256(series.series_uid.encode()).hexdigest(),
        "modality": "MR",
        "voxels": list(SHAPE),
        "files": SHAPE[2],
        "repairs": [],
        "skipped": {},
    }
    assert record["results"] == [f"{name}_seg.dcm"]
    assert record["run"]["settings"] == SETTINGS
    assert record["run"]["number_format"] == "float32"


def test_a_real_ct_series_becomes_the_seg_that_the_predictor_gave(
    predict: Callable[..., Any], volume_checkpoint: Path, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Slices stay axial, so that three of them go through the network and not 512."""
    folder, out = real_data("dcmqi-ct-seg") / "ct-3slice", tmp_path / "out"
    arguments = ["--set", "orientation=PLS", "--allow", "modality"]
    finished = predict(folder, "-o", out, *arguments)
    assert finished.status == 0, finished.stderr
    (path,) = out.glob("*_seg.dcm")
    series = read_dicom_series(folder)
    axial = Predictor.from_bundle(BUNDLE, volume_checkpoint, overrides={**SETTINGS, "orientation": "PLS"})
    wanted = mask_of(axial, SeriesInput(folder, series.series_uid))
    assert wanted.shape == (512, 512, 3)
    assert min(np.bincount(wanted.ravel(), minlength=3)) > 100
    np.testing.assert_array_equal(read_by_highdicom(path, folder), wanted)
    np.testing.assert_array_equal(read_by_dcmqi(path, series.affine, wanted.shape, tmp_path / "dcmqi"), wanted)
    # The name of the source's patient has no caret, and stands as it does there.
    assert dciodvfy(path)[1:] == ["Segmentation"]
    assert dciodvfy(path)[0].startswith("Warning - Value dubious for this VR - (0x0010,0x0010)")
    seg = pydicom.dcmread(path)
    assert seg.PatientName == series.headers[0].PatientName
    # The whole folder holds SEG objects beside the images, which are passed over and counted.
    finished = predict(real_data("dcmqi-ct-seg"), "-o", tmp_path / "whole", *arguments)
    assert finished.status == 0, finished.stderr
    assert f"{path.name.split('_')[0]}: 2 Segmentation Storage passed over\n" in finished.stderr
    record = json.loads(next((tmp_path / "whole").glob("*.json")).read_text(encoding="utf-8"))
    assert record["source"]["skipped"]["Segmentation Storage"] == 2


def test_a_single_file_becomes_a_seg_of_one_slice(predict: Callable[..., Any], tmp_path: Path) -> None:
    (path, *others) = write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    finished = predict(path, "-o", tmp_path / "out")
    assert (finished.status, finished.stdout) == (2, "")
    assert f"{path} is one of 11 files of its series in {path.parent}" in finished.last_line
    assert not (tmp_path / "out").exists()
    for other in others:
        other.unlink()
    finished = predict(path, "-o", tmp_path / "out")
    assert finished.status == 0, finished.stderr
    seg = pydicom.dcmread(next((tmp_path / "out").glob("*_seg.dcm")))
    (instance,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID


def test_a_real_series_without_uids_gives_nifti_and_no_seg(
    predict: Callable[..., Any], real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "siemens"
    folder.mkdir()
    for path in sorted((real_data("totalseg-ct-dicom") / "example_ct_dicom").iterdir())[:2]:
        dataset = pydicom.dcmread(path)
        for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID"):
            dataset[keyword].value = ""
        dataset.save_as(folder / path.name)
    arguments = ["--set", "orientation=PLS", "--allow", "modality"]
    finished = predict(folder, "-o", tmp_path / "out", *arguments)
    assert (finished.status, finished.stdout) == (2, "")
    assert "write NIfTI" in finished.last_line
    assert not (tmp_path / "out").exists()
    finished = predict(folder, "-o", tmp_path / "out", *arguments, "--format", "nifti")
    assert finished.status == 0, finished.stderr
    (mask,) = (tmp_path / "out").glob("*_mask.nii.gz")
    np.testing.assert_allclose(nib.load(mask).affine, read_dicom_series(folder).affine, atol=1e-4)


# --- a hospital's export ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """A folder of two series whose files lie about without order, and other objects."""

    folder: Path
    uids: tuple[str, str]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    folder, uids = tmp_path / "DISC", []
    (folder / "A" / "B").mkdir(parents=True)
    for number, size in enumerate([SHAPE, (20, 18, 5)], 1):
        patient = MadeUpPatient("PHANTOM-01", series=number)
        paths = write_dicom_series(tmp_path / "one", anatomy(number, size), OBLIQUE, modality="MR", patient=patient)
        order = np.random.default_rng(number).permutation(len(paths))
        for path, place in zip(paths, order, strict=True):
            dataset = pydicom.dcmread(path)
            dataset.InstanceNumber = int(place)
            dataset.SeriesDescription = "HANSEN KNEE"
            dataset.save_as(path)
            path.rename(folder / ("A/B" if place % 2 else "A") / f"IM{number}{place:03}")
        uids.append(str(dataset.SeriesInstanceUID))
        (tmp_path / "one").rmdir()
    shutil.copy(str(get_testdata_file("DICOMDIR")), folder / "DICOMDIR")
    shutil.copy(str(get_testdata_file("reportsi.dcm")), folder / "A" / "report")
    (folder / "viewer.exe").write_bytes(b"MZ program")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "logo.png")
    return Export(folder, (uids[0], uids[1]))


def test_one_series_of_an_export_is_chosen_by_its_uid(
    predict: Callable[..., Any], predictor: Predictor, export: Export, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finished = predict(export.folder, "-o", out)
    assert (finished.status, finished.stdout) == (2, "")
    listed = "; ".join(
        f"{uid} (MR, {size[2]} slices, {size[0]} × {size[1]} px)"
        for uid, size in sorted(zip(export.uids, [SHAPE, (20, 18, 5)], strict=True))
    )
    assert finished.last_line == (
        f"unet-pipeline: error: {export.folder} holds 2 DICOM series; choose one with --series UID, or take all with "
        f"--all-series: {listed}"
    )
    assert "HANSEN" not in finished.stderr
    assert not out.exists()

    finished = predict(export.folder, "-o", out, "--series", export.uids[1])
    assert finished.status == 0, finished.stderr
    name = name_of(export.uids[1])
    assert entries_of(out) == {f"{name}_seg.dcm", f"{name}_seg.json"}
    skipped = json.loads((out / f"{name}_seg.json").read_text(encoding="utf-8"))["source"]["skipped"]
    assert sum(skipped.values()) == 4
    assert skipped["not DICOM"] == 2
    assert skipped["DICOMDIR"] == 1

    # What was segmented stays, byte for byte, and the other one comes beside it.
    before = contents_of(out)
    finished = predict(export.folder, "-o", out, "--all-series")
    assert finished.status == 2
    assert f"{name}_seg.dcm already exists; pass --force" in finished.last_line
    assert contents_of(out) == before
    finished = predict(export.folder, "-o", out, "--all-series", "--skip-existing")
    assert finished.stdout == f"1 volume segmented on cpu in float32, 1 with results skipped: {out}\n"
    assert before.items() <= contents_of(out).items()
    for uid in export.uids:
        seg = pydicom.dcmread(out / f"{name_of(uid)}_seg.dcm")
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
        assert np.bincount(mask_of(predictor, SeriesInput(export.folder, uid)).ravel(), minlength=3)[1:].min() > 0

    finished = predict(export.folder, "-o", out, "--all-series", "--force")
    assert finished.status == 0, finished.stderr
    assert set(contents_of(out)) > set(before)
    assert all(contents_of(out)[path] != content for path, content in before.items())


def test_an_unknown_series_is_refused_with_the_known_ones(
    predict: Callable[..., Any], export: Export, tmp_path: Path
) -> None:
    finished = predict(export.folder, "-o", tmp_path / "out", "--series", "1.2.3")
    assert finished.status == 2
    assert "holds no series 1.2.3; there are: " in finished.last_line
    assert all(uid in finished.last_line for uid in export.uids)
    assert not (tmp_path / "out").exists()


def test_results_never_go_into_the_folder_that_is_read(
    predict: Callable[..., Any], export: Export, tmp_path: Path
) -> None:
    before = contents_of(export.folder)
    finished = predict(export.folder, "-o", export.folder / "A" / "out", "--series", export.uids[0])
    assert finished.status == 2
    assert "lies in the DICOM folder" in finished.last_line
    assert contents_of(export.folder) == before
    assert not (export.folder / "A" / "out").exists()


# --- NIfTI in, NIfTI out, and the same anatomy in other forms --------------------------------------------------------


def reoriented(image: nib.Nifti1Image, axes: str) -> nib.Nifti1Image:
    """Store a volume in another order of axes; every voxel stays where it is."""
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes))))


def in_one_order(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    image = nib.as_closest_canonical(nib.load(path))
    return np.asanyarray(image.dataobj), image.affine


def test_one_anatomy_gives_one_mask_in_world_space_whatever_its_file(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    """Flipped and permuted NIfTI files, and a DICOM series of the same voxels."""
    voxels, volumes, out = anatomy(), tmp_path / "volumes", tmp_path / "out"
    volumes.mkdir()
    image = nib.Nifti1Image(voxels, OBLIQUE)
    for axes in ("RAS", "LPI", "PSR", "SAL", "AIL"):
        nib.save(reoriented(image, axes), volumes / f"{axes}.nii.gz")
    write_dicom_series(tmp_path / "series", voxels, OBLIQUE, modality="MR")
    finished = predict(volumes, "-o", out)
    assert finished.status == 0, finished.stderr
    assert finished.stdout == f"5 volumes segmented on cpu in float32: {out}\n"
    finished = predict(tmp_path / "series", "-o", tmp_path / "dicom", "--format", "nifti")
    assert finished.status == 0, finished.stderr
    first, affine = in_one_order(out / "RAS_mask.nii.gz")
    assert min(np.bincount(first.ravel(), minlength=3)) > 100
    (of_series,) = (tmp_path / "dicom").glob("*_mask.nii.gz")
    for path in (*out.glob("*_mask.nii.gz"), of_series):
        mask, found = in_one_order(path)
        np.testing.assert_array_equal(mask, first)
        np.testing.assert_allclose(found, affine, atol=1e-4)
    for axes in ("PSR", "SAL"):
        mask, source = (nib.load(path) for path in (out / f"{axes}_mask.nii.gz", volumes / f"{axes}.nii.gz"))
        assert mask.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(mask.affine) == tuple(axes)
        np.testing.assert_array_equal(mask.affine, source.affine)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_a_volume_is_prepared_as_the_reader_of_a_bundle_would(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    if kind == "nifti":
        path, reader = tmp_path / "a.nii.gz", NiftiReader()
        nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), path)
        volume = NiftiInput(path).read()
    else:
        path, reader = tmp_path / "series", DicomSeriesReader()
        write_dicom_series(path, anatomy(), OBLIQUE)
        volume = SeriesInput(path, read_dicom_series(path).series_uid).read()
    load, *rest = predictor.preprocessing.transforms
    assert isinstance(load, LoadImaged)
    loaded = LoadImaged("image", reader=reader, ensure_channel_first=True)
    of_bundle = replace(predictor, preprocessing=Compose([loaded, *rest]))
    wanted = of_bundle.preprocessing({"image": str(path)})["image"]
    np.testing.assert_array_equal(volume_probability(of_bundle, volume).shape, (3, *SHAPE))
    found = prepared(of_bundle.preprocessing, volume)
    np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    np.testing.assert_array_equal(found.affine, wanted.affine)


@pytest.mark.parametrize("pixel_mm", [0.6, 1.7])
def test_a_bundle_that_samples_anew_gives_results_on_the_grid_of_the_source(
    predictor: Predictor, tmp_path: Path, pixel_mm: float
) -> None:
    """As bundles for CT do: pixels of one size for the network, and back."""
    load, turn, *rest = predictor.preprocessing.transforms
    sampled = Spacingd("image", pixdim=(pixel_mm, pixel_mm, -1.0), mode="bilinear", padding_mode="border")
    preprocessing = Compose([load, turn, sampled, *rest])
    softmax, _ = predictor.postprocessing.transforms
    back = Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False)
    ct = replace(predictor, preprocessing=preprocessing, postprocessing=Compose([softmax, back]))
    write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    source = SeriesInput(tmp_path / "series", read_dicom_series(tmp_path / "series").series_uid)
    (results,) = predict_volumes(ct, [source], tmp_path / "out", probability=True, progress=False)
    probability = volume_probability(ct, source.read())
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-4)
    wanted = probability.argmax(0)
    assert min(np.bincount(wanted.ravel(), minlength=3)) > 100
    np.testing.assert_array_equal(read_by_highdicom(results.mask, tmp_path / "series"), wanted)
    # Sampling there and back smooths; most voxels are what they are on the grid itself.
    assert (wanted == mask_of(predictor, source)).mean() > 0.5
    assert results.probability().exists()


# Of noise, RLE makes about as many bytes as there were, at which pydicom wonders.
@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data matches")
def test_probabilities_are_written_beside_the_masks(
    predict: Callable[..., Any], predictor: Predictor, tmp_path: Path
) -> None:
    folder, volume, out = tmp_path / "series", tmp_path / "vol.nii", tmp_path / "out"
    write_dicom_series(folder, anatomy(), OBLIQUE, modality="MR")
    nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), volume)
    for source in (folder, volume):
        finished = predict(source, "-o", out, "--probability")
        assert finished.status == 0, finished.stderr
    uid = read_dicom_series(folder).series_uid
    assert entries_of(out) == {
        *(f"{name_of(uid)}_{ending}" for ending in ("seg.dcm", "seg.json", "probability.dcm")),
        *(f"vol_{ending}" for ending in ("mask.nii.gz", "mask.json", "probability_1.nii.gz", "probability_2.nii.gz")),
    }
    wanted = volume_probability(predictor, NiftiInput(volume).read())
    for index in (1, 2):
        stored = nib.load(out / f"vol_probability_{index}.nii.gz")
        assert stored.get_data_dtype() == np.float32
        np.testing.assert_allclose(np.asanyarray(stored.dataobj), wanted[index], atol=1e-6)
    path = out / f"{name_of(uid)}_probability.dcm"
    uids = [header.SOPInstanceUID for header in read_dicom_series(folder).headers]
    fractions = highdicom.seg.segread(path).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    # The series was written against the direction in which its slices are counted.
    found = np.moveaxis(fractions, (0, 3), (3, 0))[..., ::-1]
    np.testing.assert_allclose(found, wanted[1:], atol=0.5 / 255 + 1e-4)
    assert dciodvfy(path) == ["Segmentation"]


# --- what is refused, and what is left then --------------------------------------------------------------------------


def spoiled(tmp_path: Path, fault: str) -> Path:
    """Make a source with a fault."""
    folder = tmp_path / "source"
    if fault == "empty folder":
        folder.mkdir()
        return folder
    if fault == "not DICOM":
        folder.mkdir()
        (folder / "letter.txt").write_text("no image")
        return folder
    if fault == "missing":
        return folder
    if fault == "a picture":
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
        return tmp_path / "a.png"
    if fault == "pictures":
        folder.mkdir()
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "a.png")
        return folder
    if fault.startswith("NIfTI"):
        path = tmp_path / "a.nii.gz"
        match fault:
            case "NIfTI cut":
                nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), path)
                path.write_bytes(path.read_bytes()[:-300])
            case "NIfTI slice":
                nib.save(nib.Nifti1Image(anatomy()[:, :, 0], OBLIQUE), path)
            case "NIfTI nowhere":
                image = nib.Nifti1Image(anatomy(), None)
                nib.save(image, path)
            case "NIfTI and DICOM":
                write_dicom_series(folder, anatomy(), OBLIQUE)
                nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), folder / "a.nii")
                return folder
        return path
    paths = write_dicom_series(folder, anatomy(), OBLIQUE, modality="MR")
    match fault:
        case "gap":
            paths[4].unlink()
        case "zero bytes":
            paths[4].write_bytes(b"")
        case "cut short":
            paths[4].write_bytes(paths[4].read_bytes()[:-100])
        case "duplicate":
            dataset = pydicom.dcmread(paths[4])
            dataset.SOPInstanceUID = generate_uid()
            dataset.save_as(folder / "copy.dcm")
    return folder


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("empty folder", "no DICOM images found (nothing)"),
        ("not DICOM", "no DICOM images found (1 not DICOM)"),
        ("a picture", "a.png is an image, and the bundle segments volumes"),
        ("pictures", "holds images and no volume, and the bundle segments volumes"),
        ("missing", "not found; check the path"),
        ("gap", "1 missing on a grid of 1.5"),
        ("zero bytes", "is empty (0 bytes)"),
        ("cut short", "00005.dcm"),
        ("duplicate", "slices share 1 position"),
        ("NIfTI cut", "a.nii.gz cannot be read as NIfTI"),
        ("NIfTI slice", "has two axes; expected a volume"),
        ("NIfTI nowhere", "does not say where its axes point"),
        ("NIfTI and DICOM", "holds 1 NIfTI file and 1 DICOM series"),
    ],
)
def test_a_fault_is_one_line_with_status_2_and_nothing_left(
    predict: Callable[..., Any], tmp_path: Path, fault: str, said: str
) -> None:
    source, good = spoiled(tmp_path, fault), tmp_path / "good.nii.gz"
    nib.save(nib.Nifti1Image(anatomy(1), OBLIQUE), good)
    before = contents_of(tmp_path)
    # A good volume comes first, and must not be written either.
    for inputs in ([source], [good, source]):
        finished = predict(*inputs, "-o", tmp_path / "out", "--format", "nifti")
        assert (finished.status, finished.stdout) == (2, "")
        assert said in finished.last_line
        assert "Traceback" not in finished.stderr
        assert [line for line in finished.stderr.splitlines() if "error" in line] == [finished.last_line]
        assert not (tmp_path / "out").exists()
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vol.nii", "--format", "dicom-seg"], "vol.nii is NIfTI, and a DICOM SEG refers to a DICOM series; give the"),
        (["vol.nii", "series"], "the inputs are DICOM series and NIfTI files; give one kind at a time, or --format"),
        (["vol.nii", "--series", "1.2"], "--series, --all-series and --allow are for DICOM"),
        (["series", "--allow", "gpa"], "no repair is named 'gpa'; there are duplicate, "),
        (["series", "--picture"], "--picture is for images"),
        (["vol.nii", "vol.nii.gz"], "would both write"),
        (["series", "--set", "segments=[]"], "the bundle does not say what its classes are"),
        (["vol.nii", "--set", "tile_px=91"], "tile side 91 px does not fit"),
    ],
    ids=["seg of NIfTI", "both kinds", "series of NIfTI", "repair", "picture", "one name", "no segments", "tile"],
)
def test_wrong_arguments_are_one_line(
    predict: Callable[..., Any], tmp_path: Path, arguments: list[str], said: str
) -> None:
    for name in ("vol.nii", "vol.nii.gz"):
        nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), tmp_path / name)
    write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    finished = predict(*arguments, "-o", "out")
    assert (finished.status, finished.stdout) == (2, "")
    assert said in finished.last_line
    assert finished.last_line.startswith("unet-pipeline: error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["vol.nii", "volumes", "series", "series/00001.dcm"])
def test_a_bundle_for_images_refuses_volumes(processes: Any, trained_run: Any, tmp_path: Path, source: str) -> None:
    (tmp_path / "volumes").mkdir()
    for path in (tmp_path / "vol.nii", tmp_path / "volumes" / "vol.nii"):
        nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), path)
    write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    given = ["predict", source, "--bundle", trained_run.bundle, "-o", "out", "--set", "device=cpu"]
    for extra, said in (
        ([], f"input {source} is a volume (NIfTI or DICOM), and the bundle segments images such as PNG and TIFF; use"),
        (["--format", "nifti"], "--format is for volumes, and bundle"),
        (["--all-series"], "--all-series is for volumes, and bundle"),
    ):
        finished = processes.start("pipeline", [*given, *extra], tmp_path).wait()
        assert (finished.status, finished.stdout) == (2, "")
        assert said in finished.last_line
        assert not (tmp_path / "out").exists()


def test_segments_that_are_not_the_classes_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    source = SeriesInput(tmp_path / "series", read_dicom_series(tmp_path / "series").series_uid)
    fewer = replace(predictor, segments=predictor.segments[:1])
    with pytest.raises(ConfigError, match="lists 1 segment and its network gives 2 classes beside the background"):
        predict_volumes(fewer, [source], tmp_path / "out", progress=False)
    assert entries_of(tmp_path / "out") == set()


def test_a_bundle_without_the_way_back_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(anatomy(shape=(12, 12, 12)), OBLIQUE), tmp_path / "a.nii")
    softmax, _ = predictor.postprocessing.transforms
    one_way = replace(predictor, postprocessing=Compose([softmax]))
    with pytest.raises(ConfigError, match=r"does not bring predictions back .* with monai\.transforms\.Invertd"):
        predict_volumes(one_way, [NiftiInput(tmp_path / "a.nii")], tmp_path / "out", progress=False)
    raw = replace(predictor, postprocessing=Compose([predictor.postprocessing.transforms[1]]))
    with pytest.raises(ConfigError, match=r"for probabilities; expected \[0, 1\]; declare an activation"):
        predict_volumes(raw, [NiftiInput(tmp_path / "a.nii")], tmp_path / "out", probability=True, progress=False)
    assert entries_of(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, MissingFileError, "results must say which bundle they came from"),
        ("{", ConfigError, "is not valid JSON"),
        ('{"name": "x"}', ConfigError, "does not say name and version"),
        ('{"name": "\\u00e9", "version": "1"}', ConfigError, "printable ASCII"),
    ],
)
def test_a_bundle_that_does_not_say_what_it_is_is_refused(
    predictor: Predictor, tmp_path: Path, content: str | None, error: type[Exception], said: str
) -> None:
    nib.save(nib.Nifti1Image(anatomy(), OBLIQUE), tmp_path / "a.nii")
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    if content is not None:
        (tmp_path / "bundle" / "configs" / "metadata.json").write_text(content, encoding="utf-8")
    assert predictor.origin is not None
    other = replace(predictor, origin=replace(predictor.origin, bundle=tmp_path / "bundle"))
    with pytest.raises(error, match=said):
        predict_volumes(other, [NiftiInput(tmp_path / "a.nii")], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_whole_files_only(predict: Callable[..., Any], tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "series", anatomy(shape=(64, 64, 20)), OBLIQUE, modality="MR")
    finished = predict("series", "-o", "out", largest_file_bytes=10_000)
    assert finished.status == 2
    assert "_seg.dcm: File too large; check the free space" in finished.last_line
    assert "Traceback" not in finished.stderr
    assert entries_of(tmp_path / "out") == set()


# --- repairs, and what may not be told -------------------------------------------------------------------------------


def needing(repair: str, folder: Path) -> None:
    """Write a series with a file that wants a repair and is named by a patient."""
    paths, named = write_dicom_series(folder, anatomy(), OBLIQUE, modality="MR"), folder / "HANSEN^OLE: 1, 2"
    dataset = pydicom.dcmread(paths[4])
    match repair:
        case "duplicate" | "localizer":
            dataset.SOPInstanceUID = generate_uid()
            if repair == "localizer":
                dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.save_as(named)
        case "empty-file":
            named.touch()
        case "slice-spacing":
            for path in paths:
                path.unlink()
            for keyword in ("SliceThickness", "SpacingBetweenSlices"):
                dataset.pop(keyword, None)
            dataset.save_as(named)


@pytest.mark.parametrize(
    ("repair", "recorded"),
    [
        ("duplicate", "duplicate: 1 slice equal to another at its position left out"),
        ("localizer", "localizer: 1 localizer left out"),
        ("empty-file", "empty-file: 1 file of 0 bytes left out"),
        ("slice-spacing", "slice-spacing: 1 mm taken for a single slice"),
    ],
)
def test_an_allowed_repair_is_made_and_recorded_without_names_of_files(
    predict: Callable[..., Any], tmp_path: Path, repair: str, recorded: str
) -> None:
    needing(repair, tmp_path / "series")
    finished = predict("series", "-o", "out")
    assert finished.status == 2
    assert "the repair '" in finished.last_line
    finished = predict("series", "-o", "out", "--allow", repair, "--allow", "gap")
    assert finished.status == 0, finished.stderr
    (record,) = (tmp_path / "out").glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["source"]["repairs"] == [recorded]
    assert f"{record.name.split('_')[0]}: {recorded}\n" in finished.stderr
    assert "HANSEN" not in finished.stderr + finished.stdout + record.read_text(encoding="utf-8")


def test_slices_that_were_made_up_are_recorded_and_go_into_nifti_only(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    folder = spoiled(tmp_path, "gap")
    finished = predict(folder, "-o", tmp_path / "out", "--allow", "gap")
    assert finished.status == 2
    assert "write NIfTI where slices were made up" in finished.last_line
    assert not (tmp_path / "out").exists()
    finished = predict(folder, "-o", tmp_path / "out", "--allow", "gap", "--format", "nifti")
    assert finished.status == 0, finished.stderr
    (record,) = (tmp_path / "out").glob("*.json")
    repairs = json.loads(record.read_text(encoding="utf-8"))["source"]["repairs"]
    # The fifth of the files, which were written against the direction in which slices are counted.
    assert repairs == ["gap: 1 of 11 slices interpolated: 6 (counted from 0)"]
    (mask,) = (tmp_path / "out").glob("*.nii.gz")
    assert nib.load(mask).shape == SHAPE


PLANTED = {
    "PatientName": "Hansen^Ole",
    "PatientID": "CPR-0815-4711",
    "PatientBirthDate": "19431107",
    "OtherPatientIDs": "OTHER-99123",
    "StudyDate": "20190823",
    "SeriesDate": "20190824",
    "AccessionNumber": "ACC5551212",
    "InstitutionName": "St. Elsewhere Hospital",
    "ReferringPhysicianName": "Roe^Richard",
    "SeriesDescription": "Hansen left temporal lobe",
    "StudyDescription": "Seizures",
    "OperatorsName": "Miller^Molly",
}
# Its numbers hold the time of the scan, as those of scanners do.
SCANNER_UID = "1.2.826.0.1.3680043.8.498.20190823101112.4711"


@pytest.fixture
def identified(tmp_path: Path) -> Path:
    """A series with all that identifies a patient, in its headers, its UIDs and its paths."""
    folder = tmp_path / "Hansen^Ole CPR-0815-4711"
    paths = write_dicom_series(folder, anatomy(), OBLIQUE, modality="MR")
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.SeriesInstanceUID = SCANNER_UID
        dataset.save_as(folder / f"Hansen_{number}.dcm")
        path.unlink()
    return folder


@pytest.mark.parametrize("result_format", ["nifti", "dicom-seg"])
def test_nothing_but_the_seg_tells_who_the_patient_is(
    predict: Callable[..., Any], identified: Path, tmp_path: Path, result_format: str
) -> None:
    scan = IdentifierScan([*PLANTED.values(), "Hansen", "Elsewhere", SCANNER_UID, "20190823"])
    assert {finding.term for finding in scan.folder(identified)} == set(scan.patterns)
    out = tmp_path / "out"
    finished = predict(identified, "-o", out, "--probability", "--format", result_format)
    assert finished.status == 0, finished.stderr
    assert scan.text(finished.stdout + finished.stderr) == []
    if result_format == "dicom-seg":
        segs = sorted(out.glob("*.dcm"))
        assert len(segs) == 2
        assert scan.text(" ".join(path.name for path in segs)) == []
        for path in segs:
            seg = pydicom.dcmread(path)
            # To be filed with its source a SEG is of the same patient and study; the rest of the series stays behind.
            assert seg.PatientName == PLANTED["PatientName"]
            assert seg.StudyDate == PLANTED["StudyDate"]
            assert PLANTED["SeriesDescription"].encode() not in path.read_bytes()
            assert PLANTED["OperatorsName"].encode() not in path.read_bytes()
            path.unlink()
    assert entries_of(out)
    assert scan.folder(out) == []


# --- the codes of the bundle -----------------------------------------------------------------------------------------


def test_the_segments_of_the_bundle_are_the_classes_of_its_manifest(predictor: Predictor) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / "msd_hippocampus.json")
    coded = [
        (segment.number, *((code.value, code.meaning) for code in (segment.category, segment.type, segment.modifier)))
        for segment in predictor.segments
        if segment.modifier is not None
    ]
    wanted = [
        (label.index, *((code.value, code.meaning) for code in (label.category, label.code, label.modifier)))
        for label in manifest.classes[1:]
        if label.category is not None and label.code is not None and label.modifier is not None
    ]
    assert coded == wanted
    assert len(coded) == 2


def test_the_modifier_reaches_the_segments(predictor: Predictor, tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "series", anatomy(), OBLIQUE, modality="MR")
    source = SeriesInput(tmp_path / "series", read_dicom_series(tmp_path / "series").series_uid)
    (results,) = predict_volumes(predictor, [source], tmp_path / "out", progress=False)
    types = [item.SegmentedPropertyTypeCodeSequence[0] for item in pydicom.dcmread(results.mask).SegmentSequence]
    assert [item.CodeValue for item in types] == ["5366008", "5366008"]
    assert [item.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for item in types] == [
        "Anterior",
        "Posterior",
    ]


def test_series_without_a_uid_are_told_apart_by_their_files(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("c", 1)):
        write_dicom_series(tmp_path / name, np.full((5, 6, 3), value, np.int16), np.diag([1.0, 1, 2, 1]))
        for path in (tmp_path / name).iterdir():
            header = pydicom.dcmread(path)
            header.SeriesInstanceUID = ""
            header.save_as(path)
    shutil.rmtree(tmp_path / "c")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    names = [volume.name for name in "abc" for volume in find_volumes([tmp_path / name])]
    assert names[0] == names[2] != names[1]
    assert hashlib.sha256(b"").hexdigest()[:12] not in "".join(names)
