"""A bundle and a series that do not go together: refused by `predict` and by runs of the bundle, unless allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from untrained_networks import BUNDLES, CT, MR, checkpoint_of, settings_of

from pipeline.formats import write_dicom_series


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {bundle: checkpoint_of(bundle, folder) for bundle in (CT, MR)}


@pytest.fixture
def real_mr(tmp_path: Path) -> Path:
    """A folder with a slice of a real MR, which pydicom ships beside others of the same series."""
    (tmp_path / "mr").mkdir()
    return Path(shutil.copy(str(get_testdata_file("MR_small.dcm")), tmp_path / "mr")).parent


@pytest.fixture
def predict(processes: Any, checkpoints: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Run `python -m pipeline predict` with one of the bundles, into the folder `out`."""

    def run(bundle: str, source: Path, *allow: str) -> Any:
        given = ["predict", "--bundle", BUNDLES / bundle, "--checkpoint", checkpoints[bundle], source, "-o", "out"]
        for name, value in settings_of(bundle).items():
            given += ["--set", f"{name}={value}"]
        for repair in allow:
            given += ["--allow", repair]
        return processes.start("pipeline", given, tmp_path).wait()

    return run


def assert_refused(finished: Any, said: str, tmp_path: Path) -> None:
    assert (finished.status, finished.stdout) == (2, "")
    assert said in finished.last_line
    assert [line for line in finished.stderr.splitlines() if "error" in line] == [finished.last_line]
    assert not (tmp_path / "out").exists()


def test_a_real_mr_series_is_refused_by_the_ct_bundle_unless_modality_and_units_are_allowed(
    predict: Callable[..., Any], real_mr: Path, tmp_path: Path
) -> None:
    finished = predict(CT, real_mr)
    assert_refused(finished, "the series is MR; expected CT, which the bundle was made for", tmp_path)
    finished = predict(CT, real_mr, "modality")
    assert_refused(finished, "expected HU, which the bundle was made for", tmp_path)
    finished = predict(CT, real_mr, "modality", "units")
    assert finished.status == 0, finished.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    source = json.loads(path.read_text(encoding="utf-8"))["source"]
    assert source["modality"] == "MR"
    assert source["repairs"] == [
        "modality: MR taken where CT is expected",
        "units: values in unknown units taken for HU",
    ]
    for repair in source["repairs"]:
        assert f"{path.name.split('_')[0]}: {repair}\n" in finished.stderr


def test_a_real_ct_series_is_refused_by_the_mr_bundle(
    predict: Callable[..., Any], real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("totalseg-ct-dicom/example_ct_dicom", "dcmqi-ct-seg/ct-3slice"):
        data_set, _, folder = name.partition("/")
        finished = predict(MR, real_data(data_set) / folder)
        assert_refused(finished, "the series is CT; expected MR, which the bundle was made for", tmp_path)


def test_a_real_ct_without_rescale_is_refused_for_its_units(
    predict: Callable[..., Any], real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for path in sorted((real_data("dcmqi-ct-seg") / "ct-3slice").iterdir()):
        dataset = pydicom.dcmread(path)
        for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            dataset.pop(name, None)
        dataset.save_as(folder / path.name)
    assert_refused(predict(CT, folder), "allow the repair 'rescale'", tmp_path)
    assert_refused(predict(CT, folder, "rescale"), "allow the repair 'units'", tmp_path)
    finished = predict(CT, folder, "rescale", "units")
    assert finished.status == 0, finished.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    repairs = json.loads(path.read_text(encoding="utf-8"))["source"]["repairs"]
    assert [repair.partition(":")[0] for repair in repairs] == ["rescale", "units"]


def test_a_run_of_the_ct_bundle_refuses_mr(
    processes: Any, as_options: Any, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    write_dicom_series(tmp_path / "series", np.full((40, 44, 3), 100, np.int16), affine, modality="MR")
    settings = settings_of(CT) | {
        "dataset_dir": str(tmp_path / "series"),
        "output_dir": str(tmp_path / "out"),
        "checkpoint_path": str(checkpoints[CT]),
    }
    config = str(BUNDLES / CT / "configs" / "inference.yaml")
    words = ["run", "inferring", "--config_file", config, "--bundle_root", str(BUNDLES / CT), *as_options(settings)]
    finished = processes.start("monai.bundle", words, tmp_path).wait()
    assert finished.status == 2
    assert "the series is MR; expected CT" in finished.last_line
    assert not (tmp_path / "out").exists()
