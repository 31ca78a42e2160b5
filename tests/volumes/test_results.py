"""Where the results of volumes go, and that none of them destroys anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, OutputError
from pipeline.formats import series_name
from pipeline.volumes import NiftiInput, SeriesInput, VolumeFormat, VolumeResults, input_of, plan_volume_results


def masks_of(paths: list[Path], folder: Path, overwrite: bool = False) -> list[Path]:
    """Return where the masks of NIfTI files go."""
    inputs = [NiftiInput(path) for path in paths]
    return [results.mask for results in plan_volume_results(inputs, folder, "nifti", overwrite=overwrite)]


def test_masks_are_planned_beside_nothing_else(tmp_path: Path) -> None:
    volumes = [tmp_path / "a.nii", tmp_path / "b.nii.gz"]
    out = tmp_path / "out"
    assert masks_of(volumes, out) == [out / "a_mask.nii.gz", out / "b_mask.nii.gz"]
    assert not out.exists()


@pytest.mark.parametrize(("result_format", "ending"), [("nifti", "_mask.nii.gz"), ("dicom-seg", "_seg.dcm")])
def test_results_of_series_are_named_by_no_folder_and_by_no_uid(
    tmp_path: Path, result_format: VolumeFormat, ending: str
) -> None:
    (tmp_path / "series").mkdir()
    source = SeriesInput(tmp_path / "series", "1.2.3")
    (results,) = plan_volume_results([source], tmp_path / "out", result_format)
    assert results.mask == tmp_path / "out" / f"{series_name(source.digest)}{ending}"
    with pytest.raises(OutputError, match="lies in the DICOM folder"):
        plan_volume_results([source], tmp_path / "series" / "out", result_format)
    results.mask.parent.mkdir()
    results.mask.touch()
    with pytest.raises(OutputError, match=r"already exists; pass --force \(in a bundle run --overwrite True"):
        plan_volume_results([source], tmp_path / "out", result_format)
    assert plan_volume_results([source], tmp_path / "out", result_format, overwrite=True) == [results]


def test_results_that_would_destroy_something_are_refused(tmp_path: Path) -> None:
    volume = tmp_path / "a.nii"
    with pytest.raises(OutputError, match=r"would both write .*a_mask\.nii\.gz"):
        masks_of([volume, tmp_path / "a.nii.gz"], tmp_path / "out")
    earlier = tmp_path / "a_mask.nii.gz"
    earlier.touch()
    with pytest.raises(OutputError, match="would overwrite the input"):
        masks_of([volume, earlier], tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="already exists; pass --force"):
        masks_of([volume], tmp_path)
    assert masks_of([volume], tmp_path, overwrite=True) == [earlier]
    with pytest.raises(OutputError, match="is a file; name a folder"):
        masks_of([volume], earlier)


def test_an_input_behind_a_link_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a_mask.nii.gz").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    volumes = [tmp_path / "a.nii", tmp_path / "real" / "a_mask.nii.gz"]
    with pytest.raises(OutputError, match="would overwrite the input"):
        masks_of(volumes, tmp_path / "link", overwrite=True)
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["a_mask.nii.gz"]


def test_records_of_monai_name_the_volumes_that_a_person_would(tmp_path: Path) -> None:
    nifti = {"image": "x/a.nii", "source": "x/a.nii", "name": "a"}
    assert input_of(nifti) == NiftiInput(Path("x/a.nii"))
    series = {"image": ["x/1", "x/2"], "name": "series-0", "folder": "x", "uid": "1.2"}
    assert input_of(series, ["gap"]) == SeriesInput(Path("x"), "1.2", frozenset(["gap"]))
    with pytest.raises(ConfigError, match="no repair is named 'gpa'"):
        input_of(series, ["gpa"])
    without = input_of({**series, "uid": ""})
    assert isinstance(without, SeriesInput)
    assert without.files == (Path("x/1"), Path("x/2"))
    assert VolumeResults(input_of(nifti), tmp_path, "nifti").mask == tmp_path / "a_mask.nii.gz"
