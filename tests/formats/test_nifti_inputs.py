"""Which files of a folder are volumes, and what their results are named by."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import MissingFileError
from pipeline.formats import nifti_stem, volume_records


def test_a_folder_gives_its_nifti_files_in_natural_order(tmp_path: Path) -> None:
    for name in ("v10.nii", "v2.nii.gz", "V1.NII.GZ", "._v2.nii", "v3.nii.txt", "image.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    names = {"V1.NII.GZ": "V1", "v2.nii.gz": "v2", "v10.nii": "v10"}
    assert volume_records(tmp_path) == [
        {"image": str(tmp_path / name), "source": str(tmp_path / name), "name": stem} for name, stem in names.items()
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
