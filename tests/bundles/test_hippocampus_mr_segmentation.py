"""The bundle for the hippocampus in MR: what its configs declare, and small runs over volumes in mixed orientations."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from pipeline.data import Manifest
from pipeline.engines import read_checkpoint
from pipeline.formats import expected_series

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "hippocampus_mr_segmentation"
CONFIGS = BUNDLE / "configs"
TRAIN = ConfigParser.load_config_file(str(CONFIGS / "train.yaml"))
INFERENCE = ConfigParser.load_config_file(str(CONFIGS / "inference.yaml"))
METADATA = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
MANIFEST = ROOT / "data_manifests" / "msd_hippocampus.json"

# --- what the configs declare ----------------------------------------------------------------------------------------


def test_validation_and_inference_treat_a_volume_alike() -> None:
    of_image = [part for part in TRAIN["validate"]["preprocessing"]["transforms"] if part["keys"] != "label"]
    assert INFERENCE["preprocessing"]["transforms"] == [part | {"keys": "image"} for part in of_image]
    ours, theirs = INFERENCE["postprocessing"]["transforms"], TRAIN["validate"]["postprocessing"]["transforms"]
    assert [part["_target_"] for part in ours] == [part["_target_"] for part in theirs]
    assert INFERENCE["inferer"]["_target_"] == TRAIN["validate"]["inferer"]["_target_"]
    assert INFERENCE["tile_px"] == TRAIN["validate"]["inferer"]["tile_px"] == "auto"


def test_training_and_validation_see_the_same_slices() -> None:
    def of_image(section: str) -> list[Mapping[str, Any]]:
        names = ("Orientationd", "NormalizeIntensityd", "NeighbourSlicesd")
        parts = TRAIN[section]["preprocessing"]["transforms"]
        return [{**part, "keys": None} for part in parts if part["_target_"].endswith(names)]

    assert len(of_image("train")) == 3
    assert of_image("train") == of_image("validate")


def test_labels_are_scored_as_they_were_drawn() -> None:
    (turned,) = (
        part for part in TRAIN["validate"]["preprocessing"]["transforms"] if part["_target_"].endswith("Orientationd")
    )
    assert turned["keys"] == "image"
    assert TRAIN["validate"]["postprocessing"]["transforms"][-1]["_target_"] == "monai.transforms.Invertd"


def test_resampling_modes_are_written_for_each_key_and_front_and_back_stay() -> None:
    (tile,) = (part for part in TRAIN["train"]["preprocessing"]["transforms"] if "RandTiled" in part["_target_"])
    modes = dict(zip(tile["keys"], tile["mode"], strict=True))
    assert modes == {"image": "bilinear", "label": "nearest", "weight": "bilinear"}
    assert tile["flip_prob"] == 0
    assert TRAIN["angle_deg"] < 90


def test_40_volumes_train_and_20_others_validate() -> None:
    manifest = Manifest.load(MANIFEST)
    assert {name: len(ids) for name, ids in manifest.splits.items()} == {"training": 40, "validation": 20}
    patients = {name: {case.patient for case in manifest.cases_of(name)} for name in manifest.splits}
    for one, other in itertools.combinations(patients.values(), 2):
        assert not one & other
    assert manifest.class_values == {0: 0, 1: 1, 2: 2}


def test_the_real_files_are_those_of_the_manifest(real_data: Callable[[str], Path]) -> None:
    Manifest.load(MANIFEST).check_files(real_data("msd-hippocampus"))


def test_series_must_be_mr_and_of_any_units() -> None:
    (image,) = METADATA["network_data_format"]["inputs"].values()
    assert expected_series(image) == ("MR", None)


# --- small runs ------------------------------------------------------------------------------------------------------

# Orientation, dtype and scale differ from volume to volume, as they do in clinics.
VOLUMES = {
    "t0": ("RAS", np.uint8, 100.0),
    "t1": ("PSR", np.float32, 1e6),
    "t2": ("LPS", np.int16, 1000.0),
    "v0": ("RAS", np.float32, 1e4),
    "v1": ("PIR", np.uint8, 200.0),
}


def reoriented(volume: np.ndarray, affine: np.ndarray, axes: str) -> nib.Nifti1Image:
    """Store a volume in another order of axes; every voxel stays where it is."""
    image = nib.Nifti1Image(volume, affine)
    return image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes))))


def made_up_volume(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two bright ellipsoids in RAS order that touch in a coronal plane: voxels in [0, 1], classes, affine."""
    random = np.random.default_rng(seed)
    shape = (14, 30, 22)
    centre = np.array(shape) / 2 + random.uniform(-1, 1, 3)
    places = np.moveaxis(np.indices(shape), 0, -1) - centre
    inside = ((places / [4, 10, 5]) ** 2).sum(-1) < 1
    classes = np.where(inside, np.where(places[..., 1] > 1, 1, 2), 0)
    voxels = np.choose(classes, [0.1, 0.9, 0.5]) + random.normal(0, 0.02, shape)
    affine = np.diag([1.0, 1.0, 1.2, 1.0])
    affine[:3, 3] = [-20, 5, 7]
    return voxels.clip(0, 1), classes, affine


@pytest.fixture(scope="session")
def hippocampi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up volumes, their labels and a manifest; nobody may change it."""
    folder = tmp_path_factory.mktemp("hippocampi")
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir()
    cases = []
    for seed, (case, (axes, dtype, scale)) in enumerate(VOLUMES.items()):
        voxels, classes, affine = made_up_volume(seed)
        nib.save(reoriented((voxels * scale).astype(dtype), affine, axes), folder / "imagesTr" / f"{case}.nii.gz")
        nib.save(reoriented(classes.astype(np.uint8), affine, axes), folder / "labelsTr" / f"{case}.nii.gz")
        entry: dict[str, Any] = {"id": case, "patient": case}
        for key, kind in (("image", "imagesTr"), ("label", "labelsTr")):
            entry[key] = f"{kind}/{case}.nii.gz"
            entry[f"{key}_sha256"] = hashlib.sha256((folder / entry[key]).read_bytes()).hexdigest()
        cases.append(entry)
    fields = json.loads(MANIFEST.read_text(encoding="utf-8"))
    fields |= {
        "name": "made_up",
        "cases": cases,
        "splits": {"training": ["t0", "t1", "t2"], "validation": ["v0", "v1"]},
    }
    (folder / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


SMALL = {
    "network_def::channels": [8, 12, 16],
    "network_def::dropout": 0.0,
    "tile_px": 64,
    "max_epochs": 20,
    "val_interval": 10,
    "warmup_steps": 5,
    "learning_rate": 0.02,
    "average_decay": 0.9,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def begin(processes: Any, as_options: Callable[..., list[str]], hippocampi: Path) -> Callable[..., Any]:
    """Begin `python -m monai.bundle run RUN_ID` on the real bundle."""

    def run(run_id: str, configs: str, output: Path, settings: Mapping[str, Any], **options: Any) -> Any:
        files = [str(CONFIGS / f"{name}.yaml") for name in configs.split("+")]
        words = as_options({**settings, "output_dir": str(output)})
        arguments = ["run", run_id, "--config_file", str(files), "--bundle_root", str(BUNDLE), *words]
        return processes.start("monai.bundle", arguments, hippocampi, **options)

    return run


@pytest.fixture(scope="session")
def start(begin: Callable[..., Any]) -> Callable[..., Any]:
    """Do the same and wait for the end."""
    return lambda *arguments: begin(*arguments).wait()


@pytest.fixture(scope="session")
def of_data(hippocampi: Path) -> dict[str, Any]:
    """Settings that name the made-up data."""
    return {"manifest_file": str(hippocampi / "manifest.json"), "dataset_dir": str(hippocampi)}


@pytest.fixture(scope="session")
def trained(start: Callable[..., Any], of_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small training run."""
    out = tmp_path_factory.mktemp("trained")
    finished = start("training", "train", out, {**SMALL, **of_data})
    assert finished.status == 0, finished.stderr
    assert re.search(r"validation scores of the best epoch \(\d+\): dice 0\.\d{4}, dice_anterior", finished.stdout)
    return out


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_training_learns_and_leaves_what_it_says(trained: Path) -> None:
    made = {name for name in entries_of(trained) if "tensorboard" not in name}
    assert made == {"models/model.pt", "models/last.pt", "log/run.json", "log/overlay.png"}
    record = json.loads((trained / "log" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "completed"
    assert record["steps_per_epoch"] == -(-3 * 14 // 8)  # slices of three volumes, eight a step
    last = record["epochs"][-1]
    assert last["scores"].keys() == {"dice", "dice_anterior", "dice_posterior"}
    assert last["scores_by_case"]["dice_anterior"].keys() == {"v0", "v1"}
    assert min(last["scores"].values()) > 0.8
    assert last["loss"] < record["epochs"][0]["loss"] / 2
    assert record["network_def"]["in_channels"] == 3


def ras(path: Path) -> np.ndarray:
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def dice(truth: np.ndarray, pred: np.ndarray, index: int) -> float:
    return float(2 * np.sum((truth == index) & (pred == index)) / (np.sum(truth == index) + np.sum(pred == index)))


@pytest.fixture(scope="session")
def masks(start: Callable[..., Any], trained: Path, hippocampi: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of masks that inference writes for the made-up volumes."""
    out = tmp_path_factory.mktemp("masks")
    settings = {
        "dataset_dir": str(hippocampi / "imagesTr"),
        "checkpoint_path": str(trained / "models" / "model.pt"),
        "network_def::channels": SMALL["network_def::channels"],
        "precision": "fp32",
        "device": "cpu",
    }
    finished = start("inferring", "inference", out, settings)
    assert finished.status == 0, finished.stderr
    assert f"5 masks: {out}" in finished.stdout
    again = start("inferring", "inference", out, settings)
    assert again.status == 2
    assert "t0_mask.nii.gz already exists; pass --force" in again.last_line
    return out


def test_masks_lie_on_the_grids_of_their_volumes(masks: Path, hippocampi: Path) -> None:
    assert entries_of(masks) == {f"{case}_{ending}" for case in VOLUMES for ending in ("mask.nii.gz", "mask.json")}
    for case, (axes, _, _) in VOLUMES.items():
        mask, volume = nib.load(masks / f"{case}_mask.nii.gz"), nib.load(hippocampi / "imagesTr" / f"{case}.nii.gz")
        assert mask.shape == volume.shape
        assert mask.get_data_dtype() == np.uint8
        assert nib.aff2axcodes(mask.affine) == tuple(axes)
        np.testing.assert_array_equal(mask.affine, volume.affine)


def test_evaluation_gives_the_dice_that_counting_in_the_masks_gives(
    masks: Path, hippocampi: Path, trained: Path, start: Callable[..., Any], of_data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**SMALL, **of_data, "checkpoint_path": str(trained / "models" / "model.pt")}
    finished = start("evaluating", "train+evaluate", tmp_path, settings)
    assert finished.status == 0, finished.stderr
    evaluation = json.loads((tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8"))
    for index, name in ((1, "dice_anterior"), (2, "dice_posterior")):
        wanted = {
            case: dice(ras(hippocampi / "labelsTr" / f"{case}.nii.gz"), ras(masks / f"{case}_mask.nii.gz"), index)
            for case in ("v0", "v1")
        }
        assert evaluation["scores_by_case"][name] == pytest.approx(wanted)
        assert evaluation["scores"][name] == pytest.approx(np.mean(list(wanted.values())))
    record = json.loads((trained / "log" / "run.json").read_text(encoding="utf-8"))
    best = next(entry for entry in record["epochs"] if entry["epoch"] == record["best_epoch"])
    assert evaluation["evaluator_scores"] == pytest.approx(best["scores"])
    for name, value in evaluation["evaluator_scores"].items():
        assert evaluation["scores"][name] == value  # to the last digit


def test_files_of_predict_get_the_scores_of_the_bundle_to_the_last_digit(
    hippocampi: Path, trained: Path, start: Callable[..., Any], of_data: dict[str, Any], processes: Any, tmp_path: Path
) -> None:
    settings = {name: value for name, value in {**SMALL, **of_data}.items() if name != "precision"}
    checkpoint = trained / "models" / "model.pt"
    finished = start("evaluating", "train+evaluate", tmp_path, {**settings, "checkpoint_path": str(checkpoint)})
    assert finished.status == 0, finished.stderr
    images = [hippocampi / "imagesTr" / f"{case}.nii.gz" for case in ("v0", "v1")]
    masks, out = tmp_path / "masks", tmp_path / "scores"
    words = ["--bundle", BUNDLE, "--checkpoint", checkpoint, "-o", masks, "--probability", "--set", "device=cpu"]
    predicted = processes.start("pipeline", ["predict", *images, *words], tmp_path).wait()
    assert predicted.status == 0, predicted.stderr
    words = ["evaluate", "--predictions", masks, "--manifest", hippocampi / "manifest.json", "--split", "validation"]
    scored = processes.start("pipeline", [*words, "-o", out], tmp_path).wait()
    assert scored.status == 0, scored.stderr
    ours = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    theirs = json.loads((tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8"))
    own = {"checkpoint_sha256", "predictions", "evaluator_scores", "bundle"}
    assert theirs["bundle"] == {name: METADATA[name] for name in ("name", "version")}
    assert ours["scores"]["dice"] > 0.8
    assert ours["calibration"]["ece"] > 0
    assert {name: ours[name] for name in ours.keys() - own} == {name: theirs[name] for name in theirs.keys() - own}
    assert entries_of(out) == {"evaluation.json", "scores.csv", "cases/v0.png", "cases/v1.png"}
    assert (out / "scores.csv").read_bytes() == (tmp_path / "log" / "scores.csv").read_bytes()


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_two_processes_evaluate_as_one(
    trained: Path, begin: Callable[..., Any], of_data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**SMALL, **of_data, "checkpoint_path": str(trained / "models" / "model.pt")}
    one = begin("evaluating", "train+evaluate", tmp_path / "one", settings).wait()
    assert one.status == 0, one.stderr
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    configs, out = "train+evaluate+multi_gpu_evaluate", tmp_path / "two"
    ranks = [
        begin(
            "evaluating",
            configs,
            out,
            {**settings, "backend": "gloo"},
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for finished in [rank.wait() for rank in ranks]:
        assert finished.status == 0, finished.stderr
    evaluations = [(tmp_path / name / "log" / "evaluation.json").read_text(encoding="utf-8") for name in ("one", "two")]
    assert evaluations[0] == evaluations[1]


def test_a_volume_is_segmented_alike_in_every_orientation(
    start: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    voxels, _, affine = made_up_volume(9)
    volumes, out = tmp_path / "volumes", tmp_path / "masks"
    volumes.mkdir()
    for axes in ("RAS", "LPI", "PSR", "SAL"):
        nib.save(reoriented(voxels.astype(np.float32), affine, axes), volumes / f"{axes}.nii")
    settings = {
        "dataset_dir": str(volumes),
        "checkpoint_path": str(trained / "models" / "model.pt"),
        "network_def::channels": SMALL["network_def::channels"],
        "precision": "fp32",
        "device": "cpu",
    }
    finished = start("inferring", "inference", out, settings)
    assert finished.status == 0, finished.stderr
    first = ras(out / "RAS_mask.nii.gz")
    assert set(np.unique(first)) == {0, 1, 2}
    for axes in ("LPI", "PSR", "SAL"):
        np.testing.assert_array_equal(ras(out / f"{axes}_mask.nii.gz"), first)


def spoiled(kind: str, volume: nib.Nifti1Image) -> nib.Nifti1Image:
    voxels, affine = np.asanyarray(volume.dataobj), volume.affine.copy()
    match kind:
        case "label elsewhere":
            affine[0, 3] += 0.5
        case "label of another size":
            voxels = voxels[:-1]
        case "stray label":
            voxels = np.where(voxels == 2, 3, voxels)
        case "NaN":
            voxels = np.where(voxels > 0, np.nan, voxels).astype(np.float32)
    return nib.Nifti1Image(voxels, affine)


@pytest.mark.parametrize(
    ("kind", "folder", "expected"),
    [
        ("label elsewhere", "labelsTr", "label of case 't1' lies up to 0.5 voxels from the grid of its image"),
        ("label of another size", "labelsTr", "a mask must lie on the grid of its image"),
        ("stray label", "labelsTr", "label of case 't1' holds values [0, 1, 3]"),
        ("NaN", "imagesTr", "voxels that are NaN or infinite"),
    ],
)
def test_data_that_cannot_be_right_stop_the_training_in_one_line(
    kind: str, folder: str, expected: str, start: Callable[..., Any], hippocampi: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
        for path in (hippocampi / name).iterdir():
            (data / name / path.name).write_bytes(path.read_bytes())
    nib.save(spoiled(kind, nib.load(hippocampi / folder / "t1.nii.gz")), data / folder / "t1.nii.gz")
    fields = json.loads((hippocampi / "manifest.json").read_text(encoding="utf-8"))
    for entry in fields["cases"]:
        entry |= {"image_sha256": None, "label_sha256": None}
    (data / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")
    settings = {**SMALL, "manifest_file": str(data / "manifest.json"), "dataset_dir": str(data)}
    finished = start("training", "train", tmp_path / "out", settings)
    assert finished.status == 2, finished.stderr
    assert expected in finished.last_line
    assert not (tmp_path / "out" / "models").exists()


def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on_to_the_last_bit(
    trained: Path, begin: Callable[..., Any], of_data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**SMALL, **of_data}
    run = begin("training", "train", tmp_path, settings)
    run.wait_for((tmp_path / "models" / "last.pt").exists)
    run.interrupt()
    assert run.wait().status == 130
    assert read_checkpoint(tmp_path / "models" / "last.pt")["epoch"] < SMALL["max_epochs"]
    resumed = begin("training", "train", tmp_path, {**settings, "resume": True}).wait()
    assert resumed.status == 0, resumed.stderr
    for name in ("model.pt", "last.pt"):
        torch.testing.assert_close(
            read_checkpoint(tmp_path / "models" / name), read_checkpoint(trained / "models" / name), rtol=0, atol=0
        )
