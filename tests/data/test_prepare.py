"""Preparing a data set: generated when it can be, refused when it cannot, safe when several processes start at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data import Manifest, prepare_data_set
from pipeline.errors import ManifestError, MissingFileError, OutputError

MANIFESTS = Path(__file__).parents[2] / "data_manifests"
SLICES = 2  # a phantom of two slices shows all there is to show, in a tenth of the time

# What one rank does: it says when it is ready, and starts together with the others.
RANK = """
import sys
import pipeline.data.phantom_em
from pipeline.data import Manifest, prepare_data_set

pipeline.data.phantom_em.PHANTOM_EM_SLICES = int(sys.argv[3])
manifest = Manifest.load(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
prepare_data_set(manifest, sys.argv[2])
"""


def write_small_phantom(path: Path, generator: str = "pipeline.data.generate_phantom_em", seed: int = 2015) -> Path:
    """A manifest of the first slices of phantom_em."""
    fields = json.loads((MANIFESTS / "phantom_em.json").read_text(encoding="utf-8"))
    fields["source"] = {"generator": generator, "seed": seed}
    fields["cases"] = fields["cases"][:SLICES]
    fields["splits"] = {"training": ["slice-00"], "validation": ["slice-01"]}
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr("pipeline.data.phantom_em.PHANTOM_EM_SLICES", SLICES)
    return Manifest.load(write_small_phantom(tmp_path / "manifest.json"))


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """The files under a folder, each with what changes when it is replaced."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


NAMES = {"image/00.tif", "image/01.tif", "label/00.tif", "label/01.tif"}


def test_missing_files_are_generated(manifest: Manifest, tmp_path: Path):
    prepare_data_set(manifest, tmp_path / "made" / "phantom_em")
    assert files_in(tmp_path / "made" / "phantom_em").keys() == NAMES
    manifest.check_files(tmp_path / "made" / "phantom_em")


def test_right_files_are_left_alone_and_nothing_is_generated(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    prepare_data_set(manifest, tmp_path / "phantom_em")
    before = files_in(tmp_path / "phantom_em")
    monkeypatch.setattr("pipeline.data.prepare._GENERATORS", {})
    prepare_data_set(manifest, tmp_path / "phantom_em")
    assert files_in(tmp_path / "phantom_em") == before


def test_one_lost_file_is_made_again_and_the_others_stay(manifest: Manifest, tmp_path: Path):
    prepare_data_set(manifest, tmp_path)
    before = files_in(tmp_path)
    (tmp_path / "label" / "01.tif").unlink()
    prepare_data_set(manifest, tmp_path)
    after = files_in(tmp_path)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"label/01.tif"}


def test_a_file_that_differs_is_refused_and_stays(manifest: Manifest, tmp_path: Path):
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "01.tif").write_bytes(b"a user's own image")
    with pytest.raises(
        ManifestError, match=r"case 'slice-01': image .*01\.tif has SHA-256 .* expects .*; move the file"
    ):
        prepare_data_set(manifest, tmp_path)
    assert (tmp_path / "image" / "01.tif").read_bytes() == b"a user's own image"
    assert list((tmp_path / "image").iterdir()) == [tmp_path / "image" / "01.tif"]


def test_a_complete_set_with_a_wrong_file_is_refused(manifest: Manifest, tmp_path: Path):
    prepare_data_set(manifest, tmp_path)
    (tmp_path / "label" / "00.tif").write_bytes(b"cut off")
    with pytest.raises(ManifestError, match=r"case 'slice-00': label .*00\.tif has SHA-256"):
        prepare_data_set(manifest, tmp_path)


def test_another_seed_than_the_digests_were_made_from_is_refused(manifest: Manifest, tmp_path: Path):
    other = Manifest.load(write_small_phantom(tmp_path / "other.json", seed=1))
    with pytest.raises(ManifestError, match=r"case 'slice-00': image .* has SHA-256 .*, but .*other\.json expects"):
        prepare_data_set(other, tmp_path / "phantom_em")


@pytest.mark.parametrize("generator", ["os.system", "generate_phantom_em"])
def test_a_generator_that_is_not_in_the_table_is_refused(manifest: Manifest, tmp_path: Path, generator: str):
    other = Manifest.load(write_small_phantom(tmp_path / "other.json", generator=generator))
    match = (
        rf"other\.json: generator '{generator}' is not known; the generators are \['pipeline\.data\.generate_phantom"
    )
    with pytest.raises(ManifestError, match=match):
        prepare_data_set(other, tmp_path / "phantom_em")
    assert not (tmp_path / "phantom_em").exists()


def test_a_folder_that_cannot_be_made_is_refused(manifest: Manifest, tmp_path: Path):
    (tmp_path / "phantom_em").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot make folder .*image: .*; choose one that you may write to"):
        prepare_data_set(manifest, tmp_path / "phantom_em")


def test_published_data_that_are_missing_are_refused_with_where_to_get_them(tmp_path: Path):
    manifest = Manifest.load(MANIFESTS / "isbi2012.json")
    match = (
        r"case 'slice-00' of data set 'isbi2012': image .*0\.png and 59 more files not found; "
        rf"get the data from https://github\.com/zhixuhao/unet and put them in {tmp_path}: the folder must hold"
    )
    with pytest.raises(MissingFileError, match=match):
        prepare_data_set(manifest, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_split_is_refused(manifest: Manifest, tmp_path: Path):
    with pytest.raises(ManifestError, match=r"has no split 'train'; did you mean 'training'"):
        prepare_data_set(manifest, tmp_path, splits=["train"])


def test_the_first_24_slices_of_isbi2012_are_enough_for_two_splits_and_not_for_all(real_data: Callable[[str], Path]):
    manifest = Manifest.load(MANIFESTS / "isbi2012.json")
    folder = real_data("isbi2012-em")
    prepare_data_set(manifest, folder, splits=["training", "validation"])
    with pytest.raises(MissingFileError, match=r"case 'slice-24' of data set 'isbi2012': image .*24\.png and 11 more"):
        prepare_data_set(manifest, folder)


@pytest.mark.slow  # each process imports the whole package
def test_three_processes_that_start_at_once_leave_one_right_set(manifest: Manifest, tmp_path: Path):
    folder = tmp_path / "phantom_em"
    command = [sys.executable, "-c", RANK, str(manifest.path), str(folder), str(SLICES)]
    pipe = subprocess.PIPE
    ranks = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n"
    for rank in ranks:
        assert rank.stdin is not None
        rank.stdin.write("go\n")
        rank.stdin.flush()
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors
    assert files_in(folder).keys() == NAMES
    manifest.check_files(folder)
