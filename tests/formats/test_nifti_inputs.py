"""Which files of a folder are volumes, and where their masks go."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import MissingFileError, OutputError
from pipeline.formats import nifti_stem, plan_masks, volume_records


def test_a_folder_gives_its_nifti_files_in_natural_order(tmp_path: Path) -> None:
    for name in ("v10.nii", "v2.nii.gz", "V1.NII.GZ", "._v2.nii", "v3.nii.txt", "image.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    names = ["V1.NII.GZ", "v2.nii.gz", "v10.nii"]
    assert volume_records(tmp_path) == [
        {"image": str(tmp_path / name), "source": str(tmp_path / name)} for name in names
    ]


def test_folders_without_volumes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    with pytest.raises(MissingFileError, match=r"holds no NIfTI file \(1 other entry\)"):
        volume_records(tmp_path)
    with pytest.raises(MissingFileError, match="cannot be listed: No such file"):
        volume_records(tmp_path / "nothing")


@pytest.mark.parametrize(("name", "stem"), [("a.nii", "a"), ("a.b.nii.gz", "a.b"), ("A.NII.GZ", "A")])
def test_the_stem_of_a_nifti_file(name: str, stem: str) -> None:
    assert nifti_stem(f"folder/{name}") == stem


def test_masks_are_planned_beside_nothing_else(tmp_path: Path) -> None:
    volumes = [tmp_path / "a.nii", tmp_path / "b.nii.gz"]
    out = tmp_path / "out"
    assert plan_masks(volumes, out) == {
        volumes[0]: out / "a_mask.nii.gz",
        volumes[1]: out / "b_mask.nii.gz",
    }
    assert not out.exists()


def test_masks_that_would_destroy_something_are_refused(tmp_path: Path) -> None:
    volume = tmp_path / "a.nii"
    with pytest.raises(OutputError, match=r"would both write .*a_mask\.nii\.gz"):
        plan_masks([volume, tmp_path / "a.nii.gz"], tmp_path / "out")
    earlier = tmp_path / "a_mask.nii.gz"
    earlier.touch()
    with pytest.raises(OutputError, match="would overwrite the input"):
        plan_masks([volume, earlier], tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="already exists; pass --force"):
        plan_masks([volume], tmp_path)
    assert plan_masks([volume], tmp_path, overwrite=True) == {volume: earlier}
    with pytest.raises(OutputError, match="is a file; name a folder"):
        plan_masks([volume], earlier)


def test_an_input_behind_a_link_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a_mask.nii.gz").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    volumes = [tmp_path / "a.nii", tmp_path / "real" / "a_mask.nii.gz"]
    with pytest.raises(OutputError, match="would overwrite the input"):
        plan_masks(volumes, tmp_path / "link", overwrite=True)
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["a_mask.nii.gz"]
