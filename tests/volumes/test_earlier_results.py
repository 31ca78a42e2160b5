"""Results of an earlier run: what is replaced, what goes, and what a killed run leaves for the next one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from untrained_networks import BUNDLES, MR, checkpoint_of, settings_of, write_untrained

from pipeline.errors import OutputError
from pipeline.formats import write_dicom_series
from pipeline.volumes import NiftiInput, VolumeResults

AFFINE = np.diag([-1.0, -1.0, 1.5, 1.0])


def anatomy(shape: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(np.random.default_rng(0).integers(0, 1000, shape), np.int16)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(MR, tmp_path_factory.mktemp("weights"))


@pytest.fixture
def start(processes: Any, checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    """Start `python -m pipeline predict` into the folder `out`."""

    def run(*arguments: Any) -> Any:
        given = ["predict", "--bundle", BUNDLES / MR, "--checkpoint", checkpoint, "-o", "out", *arguments]
        for name, value in settings_of(MR).items():
            given += ["--set", f"{name}={value}"]
        return processes.start("pipeline", given, tmp_path)

    return run


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Of noise, RLE makes about as many bytes as there were, at which pydicom wonders.
@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data matches")
@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_no_probabilities_of_an_earlier_run_lie_beside_a_new_mask(
    start: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    source, out = tmp_path / "vol.nii", tmp_path / "out"
    if kind == "dicom":
        source = tmp_path / "series"
        write_dicom_series(source, anatomy((24, 26, 5)), AFFINE, modality="MR")
    else:
        nib.save(nib.Nifti1Image(anatomy((24, 26, 5)), AFFINE), source)
    assert start(source, "--probability").wait().status == 0
    first = contents_of(out)
    assert len(first) == (3 if kind == "dicom" else 4)
    beside = {"other_probability_1.nii.gz": b"another volume", "vol_probability.txt": b"a note"}
    for name, content in beside.items():
        (out / name).write_bytes(content)
    assert start(source, "--force").wait().status == 0
    second = contents_of(out)
    assert second.keys() == {name for name in first if "probability" not in name} | beside.keys()
    assert second.items() >= beside.items()
    (record,) = out.glob("*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["results"] == [
        name for name in first if name.endswith(("mask.nii.gz", "seg.dcm"))
    ]
    # And the other way round: nothing is missing afterwards.
    assert start(source, "--force", "--probability").wait().status == 0
    assert contents_of(out).keys() == first.keys() | beside.keys()


def test_a_refused_run_removes_nothing(start: Callable[..., Any], tmp_path: Path) -> None:
    good, bad = tmp_path / "a.nii", tmp_path / "b.nii"
    nib.save(nib.Nifti1Image(anatomy((24, 26, 5)), AFFINE), good)
    assert start(good, "--probability").wait().status == 0
    before = contents_of(tmp_path / "out")
    nib.save(nib.Nifti1Image(anatomy((24, 26, 5)), None), bad)
    assert start(good, bad, "--force").wait().status == 2
    assert contents_of(tmp_path / "out") == before


def test_what_a_killed_run_left_is_not_taken_for_whole(start: Callable[..., Any], tmp_path: Path) -> None:
    """The run is killed while it writes probabilities, which of so many voxels takes a while."""
    source, out = tmp_path / "vol.nii", tmp_path / "out"
    nib.save(nib.Nifti1Image(anatomy((110, 110, 50)), AFFINE), source)
    assert start(source, "--probability").wait().status == 0
    record, whole = out / "vol_mask.json", contents_of(out)
    running = start(source, "--force", "--probability")
    running.wait_for(lambda: not record.exists())
    running.kill()
    running.wait()
    left = contents_of(out)
    assert record.name not in left
    assert "vol_mask.nii.gz" in left
    finished = start(source, "--skip-existing").wait()
    assert finished.stdout == f"1 volume segmented on cpu in float32: {Path('out')}\n"
    finished = start(source, "--skip-existing").wait()
    assert finished.stdout == f"0 volumes segmented on cpu in float32, 1 with results skipped: {Path('out')}\n"
    finished = start(source, "--skip-existing", "--probability").wait()
    assert finished.stdout == f"1 volume segmented on cpu in float32: {Path('out')}\n"
    after = contents_of(out)
    assert {name for name in after if not name.startswith(".partial")} == whole.keys()
    assert after["vol_mask.nii.gz"] == whole["vol_mask.nii.gz"]


def refused(finished: Any) -> str:
    """Return the one line of a refusal that left everything as it was."""
    assert (finished.status, finished.stdout) == (2, "")
    return str(finished.last_line)


def test_masks_of_a_series_that_has_grown_are_not_taken_for_finished(start: Callable[..., Any], tmp_path: Path) -> None:
    """As when a run begins while slices are still on their way."""
    paths = write_dicom_series(tmp_path / "export", anatomy((24, 26, 8)), AFFINE, modality="MR")
    late = {path: path.read_bytes() for path in sorted(paths, key=lambda path: series_position(path))[4:]}
    for path in late:
        path.unlink()
    assert start("export").wait().status == 0
    assert start("export", "--skip-existing").wait().status == 0
    before = contents_of(tmp_path / "out")
    for path, content in late.items():
        path.write_bytes(content)
    message = refused(start("export", "--skip-existing").wait())
    assert "was made of another state of the source (then files 4; now files 8); pass --force" in message
    assert contents_of(tmp_path / "out") == before
    assert start("export", "--force").wait().status == 0
    assert start("export", "--skip-existing").wait().stdout.startswith("0 volumes segmented")


def series_position(path: Path) -> float:
    return float(pydicom.dcmread(path).ImagePositionPatient[2])


@pytest.mark.parametrize("other", ["volume", "network", "settings", "record"])
def test_masks_of_another_run_are_not_taken_for_finished(
    start: Callable[..., Any], checkpoint: Path, tmp_path: Path, other: str
) -> None:
    source = tmp_path / "vol.nii"
    nib.save(nib.Nifti1Image(anatomy((24, 26, 5)), AFFINE), source)
    assert start(source).wait().status == 0
    more: list[Any] = []
    if other == "volume":
        nib.save(nib.Nifti1Image(anatomy((24, 26, 5)) + 1, AFFINE), source)
    elif other == "network":
        more = ["--checkpoint", write_untrained(tmp_path / "other.pt", 3, [4, 6, 8], seed=4)]
    elif other == "settings":
        more = ["--set", "tile_px=92"]
    else:
        (tmp_path / "out" / "vol_mask.json").write_text("[]", encoding="utf-8")
    before = contents_of(tmp_path / "out")
    message = refused(start(source, "--skip-existing", *more).wait())
    assert "pass --force to replace" in message
    assert "or choose another output folder" in message
    assert contents_of(tmp_path / "out") == before


def test_the_record_goes_first_and_what_is_written_anew_stays(tmp_path: Path) -> None:
    results = VolumeResults(NiftiInput(tmp_path / "a.nii"), tmp_path, "nifti")
    for path in (results.mask, results.record, *map(results.probability, (1, 2, 3))):
        path.touch()
    results.remove_earlier([results.probability(1)])
    assert results.existing == [results.mask, results.probability(1)]
    assert not results.is_finished(with_probability=False)
    results.record.mkdir()
    with pytest.raises(OutputError, match=r"a_mask\.json, the result of an earlier run, cannot be removed"):
        results.remove_earlier([])
    assert results.existing == [results.mask, results.probability(1), results.record]
