"""What a run on identified data leaves behind names nobody, but for the manifest's paths: they lead to the files.

Series whose headers, folders and files name made-up patients are indexed, checked and split, and a bundle is trained on
them. Another bundle is one more line in `BUNDLES`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from identifier_scan import IdentifierScan

from pipeline.data import Manifest
from pipeline.formats import (
    SegmentDescription,
    SnomedCode,
    read_dicom_series,
    write_dicom_seg,
    write_dicom_series,
    write_nifti,
)

ROOT = Path(__file__).parents[1]
PATIENTS = ("Quastenflosser", "Zwiebelfisch", "Wolpertinger", "Nasobem")
PLANTED = {
    "PatientBirthDate": "19430817",
    "InstitutionName": "Klinikum Hinterwald",
    "AccessionNumber": "ACC7741903",
    "ReferringPhysicianName": "Sauerbruch^Ottilie",
}
TERMS = (*PATIENTS, *PLANTED.values(), "Sauerbruch", *(f"PID{number}55512" for number in range(len(PATIENTS))))
HIPPOCAMPUS = SnomedCode("5366008", "Hippocampus")
SEGMENTS = [
    SegmentDescription(number, name, SnomedCode("91723000", "Anatomical Structure"), HIPPOCAMPUS)
    for number, name in enumerate(("anterior", "posterior"), 1)
]
SMALL = {
    "network_def::channels": [8, 12, 16],
    "tile_px": 64,
    "max_epochs": 1,
    "val_interval": 1,
    "warmup_steps": 2,
    "device": "cpu",
    "precision": "fp32",
}


def volume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a made-up image and its classes 0 to 2."""
    draw = np.random.default_rng(seed)
    places = np.moveaxis(np.indices((12, 26, 20)), 0, -1) - np.array([6, 13, 10]) - draw.uniform(-1, 1, 3)
    inside = ((places / [4, 9, 5]) ** 2).sum(-1) < 1
    classes = np.where(inside, np.where(places[..., 1] > 1, 1, 2), 0).astype(np.uint8)
    return (classes * 400.0 + draw.integers(0, 60, classes.shape)).astype(np.int16), classes


def plant_series(folder: Path, number: int, patient: str) -> np.ndarray:
    """Write a series whose headers and paths name a patient; return its classes."""
    voxels, classes = volume(number)
    series = folder / f"{patient}_Kasimir" / PLANTED["AccessionNumber"]
    series.parent.mkdir(parents=True)
    paths = write_dicom_series(series, voxels, np.diag([-1.0, -1.1, 1.2, 1.0]), modality="MR")
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{patient}^Kasimir", f"PID{number}55512"
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path.with_name(f"{patient}-{path.name}"))
        path.unlink()
    source = read_dicom_series(series)
    write_dicom_seg(series.parent / f"{patient}-seg.dcm", classes, source, SEGMENTS, algorithm=None)
    return classes


def as_nifti(folder: Path, target: Path, classes: dict[str, np.ndarray]) -> None:
    """Convert as many tools do: volumes named by their patients."""
    for series in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        read = read_dicom_series(series)
        name = series.parent.name
        for kind, voxels in (("imagesTr", read.voxels), ("labelsTr", classes[name.split("_")[0]])):
            (target / kind).mkdir(parents=True, exist_ok=True)
            write_nifti(target / kind / f"{name}.nii.gz", voxels, read.affine)


@dataclass(frozen=True)
class Commands:
    """Processes in a folder, and all that they print."""

    processes: Any
    folder: Path
    said: list[str]

    def run(self, module: str, *arguments: Any) -> str:
        finished = self.processes.start(module, arguments, self.folder).wait()
        self.said.append(finished.stdout + finished.stderr)
        assert finished.status == 0, finished.stderr
        return str(finished.stdout)


def prepare(commands: Commands, data: str, *options: str) -> Path:
    """Index, check and split a folder; return the manifest."""
    index = ("index", data, "-o", f"{data}.all.json", "--identifying-paths", "--classes", *options)
    commands.run("pipeline", "data", *index)
    commands.run("pipeline", "data", "check", f"{data}.all.json", data)
    split = ("split", f"{data}.all.json", "--seed", "3", "--holdout", "0.25", "-o", f"{data}.json")
    commands.run("pipeline", "data", *split)
    commands.run("pipeline", "data", "check", f"{data}.json", data)
    return commands.folder / f"{data}.json"


@pytest.fixture
def commands(processes: Any, tmp_path: Path) -> Commands:
    """Processes in a folder `work`."""
    (tmp_path / "work").mkdir()
    return Commands(processes, tmp_path / "work", [])


@pytest.fixture
def identified(commands: Commands) -> dict[str, np.ndarray]:
    """A folder `export` of identified series; the classes of each patient."""
    return {
        patient: plant_series(commands.folder / "export", number, patient) for number, patient in enumerate(PATIENTS)
    }


CLASSES = ("background=0", "anterior=1", "posterior=2")


def check_manifest(path: Path, scan: IdentifierScan) -> None:
    """The paths of files may name patients, as the status says, and nothing else does."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    assert fields["deidentification"]["status"] == "identified"
    for case in fields["cases"]:
        assert scan.text(case.pop("image"))
        case.pop("image_files", None)
        case.pop("label")
    assert scan.text(json.dumps(fields)) == []


def test_the_scan_finds_what_was_planted(commands: Commands, identified: dict[str, np.ndarray]) -> None:
    findings = IdentifierScan(TERMS).folder(commands.folder)
    assert {finding.term for finding in findings} >= set(PATIENTS) | set(PLANTED.values())
    assert {"name", "content"} <= {finding.where for finding in findings}


def test_a_path_that_names_a_patient_is_refused_without_the_option(
    commands: Commands, identified: dict[str, np.ndarray]
) -> None:
    finished = commands.processes.start(
        "pipeline", ["data", "index", "export", "-o", "x.json", "--classes", *CLASSES], commands.folder
    ).wait()
    assert finished.status == 2
    assert "the path of a file contains its Patient" in finished.last_line
    assert IdentifierScan(TERMS).text(finished.stdout + finished.stderr) == []
    assert not (commands.folder / "x.json").exists()


def test_manifests_of_series_name_patients_in_paths_alone(
    commands: Commands, identified: dict[str, np.ndarray]
) -> None:
    scan = IdentifierScan(TERMS)
    path = prepare(commands, "export", *CLASSES)
    check_manifest(path, scan)
    manifest = Manifest.load(path)
    assert all(re.fullmatch(r"patient-[0-9a-f]{16}", case.patient) for case in manifest.cases)
    assert scan.text("\n".join(commands.said)) == []


BUNDLES: dict[str, Callable[[Path, Path, dict[str, np.ndarray]], None]] = {
    # The folder of the bundle, and what makes the data that it takes of identified series.
    "hippocampus_mr_segmentation": as_nifti,
}


@pytest.mark.slow
@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_training_run_names_nobody(commands: Commands, identified: dict[str, np.ndarray], bundle: str) -> None:
    scan = IdentifierScan(TERMS)
    BUNDLES[bundle](commands.folder / "export", commands.folder / "scans", identified)
    shutil.rmtree(commands.folder / "export")
    manifest = prepare(commands, "scans", *CLASSES)
    check_manifest(manifest, scan)
    settings = {**SMALL, "manifest_file": str(manifest), "dataset_dir": str(commands.folder / "scans")}
    out = commands.folder / "out"
    options = [
        word
        for name, value in {**settings, "output_dir": str(out)}.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    folder = ROOT / "bundles" / bundle
    train = ("--config_file", folder / "configs" / "train.yaml", "--bundle_root", folder)
    commands.run("monai.bundle", "run", "training", *train, *options)
    record = json.loads((out / "log" / "run.json").read_text(encoding="utf-8"))
    (validated,) = Manifest.load(manifest).cases_of("validation")
    assert {tuple(scores) for scores in record["epochs"][-1]["scores_by_case"].values()} == {(validated.id,)}
    kinds = {path.name.split(".")[0] if "tfevents" in path.name else path.name for path in out.rglob("*")}
    assert {"run.json", "overlay.png", "model.pt", "last.pt", "events"} <= kinds
    assert scan.folder(out) == []
    assert scan.text("\n".join(commands.said)) == []
    left = {path.name for path in commands.folder.iterdir()}
    assert left == {"scans", "scans.all.json", "scans.json", "out"}
