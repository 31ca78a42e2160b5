"""The MONAI reader beside NibabelReader on the same volume, and what `LoadImaged` lets through."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import itk
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd
from monai.utils import MetaKeys

from pipeline.errors import ConfigError, ImageError
from pipeline.formats import DicomSeriesReader, read_dicom_series, write_dicom_series

AFFINE = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2, -100], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 9, 6), dtype=np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dicom_series(tmp_path / "series", VOXELS, AFFINE)
    return tmp_path / "series"


def nifti_by_itk(folder: Path, path: Path) -> Path:
    """Convert a series with ITK, which knows nothing of our reader."""
    names = itk.GDCMSeriesFileNames.New(Directory=str(folder))
    image = itk.imread(list(names.GetFileNames(names.GetSeriesUIDs()[0])), itk.F)
    itk.imwrite(image, str(path))
    return path


def loaded(path: Path, reader: object, *, axcodes: str = "RAS") -> torch.Tensor:
    load = LoadImaged("image", reader=reader, ensure_channel_first=True)
    # Labels of None take the space from the metadata; the default means the same and warns.
    return Compose([load, Orientationd("image", axcodes, labels=None)])({"image": str(path)})["image"]


@pytest.mark.parametrize("axcodes", ["RAS", "LPI", "SAR"])
def test_after_orientation_both_readers_agree_on_a_written_series(folder: Path, tmp_path: Path, axcodes: str) -> None:
    ours = loaded(folder, DicomSeriesReader(), axcodes=axcodes)
    theirs = loaded(nifti_by_itk(folder, tmp_path / "same.nii"), "NibabelReader", axcodes=axcodes)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert ours.shape[0] == 1


@pytest.mark.parametrize("name", ["totalseg-ct-dicom/example_ct_dicom", "dcmqi-ct-seg/ct-3slice"])
def test_after_orientation_both_readers_agree_on_real_series(
    real_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    dataset, _, inner = name.partition("/")
    folder = real_data(dataset) / inner
    ours = loaded(folder, DicomSeriesReader())
    theirs = loaded(nifti_by_itk(folder, tmp_path / "same.nii"), "NibabelReader")
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)


def test_label_map_of_the_siemens_series_loads_onto_the_same_grid(real_data: Callable[[str], Path]) -> None:
    folder = real_data("totalseg-ct-dicom")
    image = loaded(folder / "example_ct_dicom", DicomSeriesReader())
    label = loaded(folder / "example_seg_dicom.nii.gz", "NibabelReader")
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-3)
    assert float(image[label == 5].mean()) == pytest.approx(89, abs=2)


def test_metadata_place_the_volume_and_name_no_patient(folder: Path) -> None:
    voxels, meta = DicomSeriesReader().get_data(DicomSeriesReader().read(str(folder)))
    np.testing.assert_array_equal(voxels, VOXELS)
    np.testing.assert_allclose(meta[MetaKeys.AFFINE], AFFINE, atol=1e-9)
    assert tuple(meta[MetaKeys.SPATIAL_SHAPE]) == (7, 9, 6)
    assert meta["source_dtype"] == "int16"
    assert meta["series_uid"] == read_dicom_series(folder).series_uid
    assert not any("PHANTOM" in str(value) for value in meta.values())


def test_resampling_uses_the_spacing_of_the_series(folder: Path) -> None:
    image = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)({"image": str(folder)})["image"]
    assert image.pixdim.tolist() == pytest.approx([0.7, 0.8, 2])
    spaced = Spacingd("image", pixdim=(0.7, 0.8, 1), mode="nearest")({"image": image})["image"]
    assert spaced.shape[1:] == (7, 9, 11)


def test_refusal_reaches_the_user_and_no_other_reader_answers(folder: Path) -> None:
    (folder / "00003.dcm").unlink()
    load = LoadImaged("image", reader=DicomSeriesReader())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ImageError, RuntimeError)) as caught:
            load({"image": str(folder)})
    chain = [caught.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert any(isinstance(error, ImageError) and "1 missing on a grid of 2 mm" in str(error) for error in chain)


def test_allowed_repairs_are_recorded_in_the_metadata(folder: Path) -> None:
    (folder / "00003.dcm").unlink()
    image = LoadImaged("image", reader=DicomSeriesReader(allow=["gap"]))({"image": str(folder)})["image"]
    assert image.shape == (7, 9, 6)
    assert image.meta["repairs"] == "gap: 1 of 6 slices interpolated: 2 (counted from 0)"


def test_several_files_are_one_series_whatever_else_lies_beside_them(folder: Path) -> None:
    files = sorted(folder.iterdir())
    write_dicom_series(folder / "more", VOXELS + 1, AFFINE)
    (folder / "notes.txt").write_text("not listed")
    listed = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)({"image": [*map(str, files)]})
    np.testing.assert_array_equal(listed["image"][0], VOXELS)
    assert listed["image"].meta["series_folder"] == str(folder)
    with pytest.raises(ImageError, match="2 image series"):
        DicomSeriesReader().get_data((folder,))


def test_several_series_are_channels_where_they_lie_on_one_grid(folder: Path, tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "second", VOXELS + 1, AFFINE)
    reader = DicomSeriesReader()
    voxels, meta = reader.get_data(reader.read([folder, tmp_path / "second"]))
    np.testing.assert_array_equal(voxels, np.stack([VOXELS, VOXELS + 1]))
    assert meta[MetaKeys.ORIGINAL_CHANNEL_DIM] == 0
    moved = AFFINE.copy()
    moved[2, 3] += 1
    write_dicom_series(tmp_path / "moved", VOXELS, moved)
    with pytest.raises(ImageError, match="lie on different grids"):
        reader.get_data(reader.read([folder, tmp_path / "moved"]))


def test_batches_are_collated_in_worker_processes(folder: Path) -> None:
    load = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)
    batches = DataLoader(Dataset([{"image": str(folder)}] * 2, load), batch_size=2, num_workers=1)
    (batch,) = [batch["image"] for batch in batches]
    np.testing.assert_array_equal(batch, np.stack([VOXELS, VOXELS])[:, None])


def test_options_and_unknown_repairs_are_refused_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no repair is named 'all'"):
        DicomSeriesReader(allow=["all"])
    with pytest.raises(TypeError, match=r"takes no options, got \['force'\]"):
        DicomSeriesReader().read(str(folder), force=True)


def test_suffixes_of_dicom_are_told_from_others(folder: Path) -> None:
    reader = DicomSeriesReader()
    assert reader.verify_suffix(folder)
    assert reader.verify_suffix([folder / "00001.dcm", folder / "IM1"])
    assert not reader.verify_suffix([folder, folder / "label.nii.gz"])
