"""`monai.bundle run inferring` over volumes: as careful as `predict`, with the same masks and the same records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from untrained_networks import BUNDLES, CT, MR, checkpoint_of, settings_of

from pipeline.formats import MadeUpPatient, read_dicom_seg, read_dicom_series, series_records, write_dicom_series

AFFINE = np.diag([-3.0, -3.0, 4.0, 1.0])


def anatomy(seed: int, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return smooth shapes in the range of HU that the bundle for CT looks at."""
    random = np.random.default_rng(seed)
    waves = random.normal(size=shape)
    for axis in range(3):
        waves = sum(np.roll(waves, step, axis) for step in range(-2, 3))
    return np.asarray((waves / waves.std() * 80 + 40).clip(-200, 300), np.int16)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {bundle: checkpoint_of(bundle, folder) for bundle in (CT, MR)}


@pytest.fixture
def inferring(
    processes: Any, as_options: Callable[..., list[str]], checkpoints: dict[str, Path], tmp_path: Path
) -> Callable[..., Any]:
    """Run `python -m monai.bundle run inferring` with one of the bundles."""

    def run(bundle: str, source: Path, out: Path, **settings: Any) -> Any:
        folder = BUNDLES / bundle
        places = {"bundle_root": str(folder), "dataset_dir": str(source), "output_dir": str(out)}
        checkpoint = {"checkpoint_path": str(checkpoints[bundle])}
        words = as_options({**settings_of(bundle), **places, **checkpoint, **settings})
        config = str(folder / "configs" / "inference.yaml")
        arguments = ["run", "inferring", "--config_file", config, *words]
        return processes.start("monai.bundle", arguments, tmp_path).wait()

    return run


@pytest.fixture
def predict(processes: Any, checkpoints: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Run `python -m pipeline predict` with one of the bundles."""

    def run(bundle: str, source: Path, out: Path, *arguments: str) -> Any:
        given = ["predict", "--bundle", BUNDLES / bundle, "--checkpoint", checkpoints[bundle], source, "-o", out]
        for name, value in settings_of(bundle).items():
            given += ["--set", f"{name}={value}"]
        return processes.start("pipeline", [*given, *arguments], tmp_path).wait()

    return run


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with two CT series of one patient, in one folder, and another object."""
    folder = tmp_path / "export"
    folder.mkdir()
    for number, shape in enumerate([(40, 44, 5), (36, 48, 4)], 1):
        patient = MadeUpPatient("PHANTOM-01", series=number)
        paths = write_dicom_series(tmp_path / "one", anatomy(number, shape), AFFINE, patient=patient)
        for path in paths:
            path.rename(folder / f"IM{number}{path.stem}")
        (tmp_path / "one").rmdir()
    (folder / "report").write_bytes(Path(str(get_testdata_file("reportsi.dcm"))).read_bytes())
    return folder


def files_of(export: Path) -> list[list[Path]]:
    """Return the files of each series, in the order in which a run segments them."""
    return [[Path(path) for path in record["image"]] for record in series_records(export)]


def record_of(path: Path) -> dict[str, Any]:
    """Return a record without what differs between two runs."""
    record = dict(json.loads(path.read_text(encoding="utf-8")))
    assert record["run"].pop("seconds") >= 0
    assert record.pop("written")
    return record


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nifti_masks_and_records_are_those_of_predict(
    inferring: Callable[..., Any], predict: Callable[..., Any], tmp_path: Path
) -> None:
    volumes, one, two = (tmp_path / name for name in ("volumes", "one", "two"))
    volumes.mkdir()
    for seed in range(2):
        nib.save(nib.Nifti1Image(anatomy(seed, (20, 24 + seed, 11)), AFFINE), volumes / f"case{seed}.nii.gz")
    for finished in (predict(MR, volumes, one), inferring(MR, volumes, two)):
        assert finished.status == 0, finished.stderr
    assert (
        names_in(one) == names_in(two) == [f"case{seed}_mask.{end}" for seed in range(2) for end in ("json", "nii.gz")]
    )
    for seed in range(2):
        ours, theirs = (nib.load(folder / f"case{seed}_mask.nii.gz") for folder in (one, two))
        assert len(np.unique(ours.dataobj)) == 3
        np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        records = [record_of(folder / f"case{seed}_mask.json") for folder in (one, two)]
        assert records[0] == records[1]
        assert records[1]["run"]["settings"] == settings_of(MR)


@pytest.mark.parametrize("mask_format", ["dicom-seg", "nifti"])
def test_masks_of_series_and_their_records_are_those_of_predict(
    inferring: Callable[..., Any], predict: Callable[..., Any], export: Path, tmp_path: Path, mask_format: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    finished = predict(CT, export, one, "--all-series", "--format", mask_format)
    assert finished.status == 0, finished.stderr
    finished = inferring(CT, export, two, mask_format=mask_format)
    assert finished.status == 0, finished.stderr
    assert names_in(one) == names_in(two)
    assert len(names_in(one)) == 4
    for files in files_of(export):
        series = read_dicom_series(files)
        name = name_of(series.series_uid)
        if mask_format == "nifti":
            masks = [np.asanyarray(nib.load(folder / f"{name}_mask.nii.gz").dataobj) for folder in (one, two)]
        else:
            masks = [read_dicom_seg(folder / f"{name}_seg.dcm", series).masks for folder in (one, two)]
        assert masks[0].any()
        np.testing.assert_array_equal(masks[0], masks[1])
        records = [record_of(next(folder.glob(f"{name}_*.json"))) for folder in (one, two)]
        assert records[0] == records[1]
        assert records[1]["source"]["skipped"] == {"Basic Text SR Storage": 1}


def name_of(series_uid: str) -> str:
    return "series-" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]


def spoil(files: list[Path], fault: str) -> None:
    """Spoil the last series of a run."""
    match fault:
        case "gap":
            _by_position(files)[1].unlink()
        case "cut short":
            files[-1].write_bytes(files[-1].read_bytes()[:-100])
        case "damaged":
            # A slice at the end, so that nothing is missing in between; only the folder tells of it.
            last = _by_position(files)[-1]
            last.write_bytes(last.read_bytes()[:300])
        case "MR":
            for path in files:
                dataset = pydicom.dcmread(path)
                dataset.Modality = "MR"
                dataset.save_as(path)


def _by_position(files: list[Path]) -> list[Path]:
    return sorted(files, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("gap", "1 missing on a grid of 4 mm"),
        ("cut short", "has truncated or damaged pixels"),
        ("damaged", "cut short or lost"),
        ("MR", "the series is MR; expected CT"),
    ],
)
def test_a_later_series_that_is_refused_leaves_no_results_of_earlier_ones(
    inferring: Callable[..., Any], export: Path, tmp_path: Path, fault: str, said: str
) -> None:
    spoil(files_of(export)[-1], fault)
    finished = inferring(CT, export, tmp_path / "out")
    assert finished.status == 2
    assert said in finished.last_line
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()


def test_a_later_nifti_that_is_refused_leaves_no_results_of_earlier_ones(
    inferring: Callable[..., Any], tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(anatomy(0, (20, 24, 11)), AFFINE), tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(anatomy(0, (20, 24, 11)), None), tmp_path / "b.nii")
    finished = inferring(MR, tmp_path, tmp_path / "out")
    assert finished.status == 2
    assert "b.nii does not say where its axes point" in finished.last_line
    assert not (tmp_path / "out").exists()


def test_repairs_are_allowed_by_a_knob_and_recorded(
    inferring: Callable[..., Any], predict: Callable[..., Any], export: Path, tmp_path: Path
) -> None:
    spoil(files_of(export)[-1], "gap")
    finished = inferring(CT, export, tmp_path / "out", allow=["gap"])
    assert finished.status == 2
    assert "write NIfTI where slices were made up" in finished.last_line
    assert not (tmp_path / "out").exists()
    finished = inferring(CT, export, tmp_path / "out", allow=["gap"], mask_format="nifti")
    assert finished.status == 0, finished.stderr
    finished = predict(CT, export, tmp_path / "two", "--all-series", "--allow", "gap", "--format", "nifti")
    assert finished.status == 0, finished.stderr
    records = [record_of(path) for path in sorted((tmp_path / "out").glob("*.json"))]
    assert records == [record_of(path) for path in sorted((tmp_path / "two").glob("*.json"))]
    assert [len(record["source"]["repairs"]) for record in records] == [0, 1]
    assert records[1]["source"]["repairs"][0].startswith("gap: 1 of ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"allow": ["gpa"]}, "no repair is named 'gpa'; there are duplicate, "),
        ({"mask_format": "seg"}, "mask format 'seg' is unknown"),
        ({"overwrite": "perhaps"}, "config id 'overwrite' is 'perhaps'; expected True or False"),
        ({"tile_px": 93}, "tile side 93 px does not fit"),
        ({"segments": []}, "the bundle does not say what its classes are"),
    ],
    ids=["repair", "format", "switch", "tile", "segments"],
)
def test_wrong_settings_are_one_line_and_leave_nothing(
    inferring: Callable[..., Any], export: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    finished = inferring(CT, export, tmp_path / "out", **settings)
    assert finished.status == 2
    assert said in finished.last_line
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_its_config_cannot_say_what_a_run_changes(
    inferring: Callable[..., Any], export: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").mkdir()
    finished = inferring(CT, export, tmp_path / "out", bundle_root=str(tmp_path / "bundle"))
    assert finished.status == 2
    assert "inference.yaml not found; records say what a run changes of it; name the bundle_root" in finished.last_line
    assert not (tmp_path / "out").exists()
