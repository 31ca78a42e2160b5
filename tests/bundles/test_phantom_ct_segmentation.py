"""The bundle from DICOM series to DICOM SEG: what its configs declare, and small runs over generated patients."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_tools import dciodvfy
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from pipeline.data import Manifest
from pipeline.data.phantom_ct_files import SEGMENTS
from pipeline.errors import ImageError
from pipeline.formats import expected_series

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "phantom_ct_segmentation"
CONFIGS = BUNDLE / "configs"
TRAIN = ConfigParser.load_config_file(str(CONFIGS / "train.yaml"))
INFERENCE = ConfigParser.load_config_file(str(CONFIGS / "inference.yaml"))
METADATA = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
MANIFEST = ROOT / "data_manifests" / "phantom_ct.json"
NAMES = ("dice_liver", "dice_right_kidney", "dice_lesion")
# The record names scores by the classes of the manifest.
RECORDED = ("dice_liver", "dice_right_kidney", "dice_liver_lesion")

# --- what the configs declare ----------------------------------------------------------------------------------------


def test_segments_are_those_of_the_labels_and_named_as_the_channels() -> None:
    parser = ConfigParser(INFERENCE)
    segments = parser.get_parsed_content("segments")
    assert [{**vars(segment), "color_rgb": tuple(segment.color_rgb)} for segment in segments] == [
        vars(segment) for segment in SEGMENTS
    ]
    (pred,) = METADATA["network_data_format"]["outputs"].values()
    labels = ["background", *(segment.label.lower() for segment in segments)]
    assert pred["channel_def"] == {str(index): label for index, label in enumerate(labels)}
    assert [label_class.name for label_class in Manifest.load(MANIFEST).classes] == labels


def test_validation_and_inference_treat_a_series_alike() -> None:
    of_image = [part for part in TRAIN["validate"]["preprocessing"]["transforms"] if part["keys"] != "label"]
    load, *rest = copy.deepcopy(INFERENCE["preprocessing"]["transforms"])
    assert load["reader"].pop("allow") == "@allow"
    assert [load, *rest] == of_image
    ours, theirs = INFERENCE["postprocessing"]["transforms"], TRAIN["validate"]["postprocessing"]["transforms"]
    assert [part["_target_"] for part in ours] == [part["_target_"] for part in theirs]
    assert INFERENCE["inferer"]["_target_"] == TRAIN["validate"]["inferer"]["_target_"]
    assert INFERENCE["tile_px"] == TRAIN["validate"]["inferer"]["tile_px"] == "auto"


def test_the_readers_expect_what_the_metadata_say() -> None:
    (image,) = METADATA["network_data_format"]["inputs"].values()
    expected = expected_series(image)
    assert expected == ("CT", "HU")
    for config, section in ((TRAIN, "train::"), (TRAIN, "validate::"), (INFERENCE, "")):
        reader = ConfigParser(config).get_parsed_content(f"{section}preprocessing::transforms::0::reader")
        assert reader.expected == expected
        with pytest.raises(ImageError, match="the series is MR; expected CT"):
            reader.get_data(reader.read(str(get_testdata_file("MR_small.dcm"))))


def test_training_and_validation_see_the_same_slices() -> None:
    def of_image(section: str) -> list[Mapping[str, Any]]:
        names = ("Orientationd", "Spacingd", "ScaleIntensityRanged", "NeighbourSlicesd")
        parts = TRAIN[section]["preprocessing"]["transforms"]
        return [{**part, "keys": None, "mode": None} for part in parts if part["_target_"].endswith(names)]

    assert len(of_image("train")) == 4
    assert of_image("train") == of_image("validate")


def test_labels_are_scored_as_they_were_drawn() -> None:
    parts = TRAIN["validate"]["preprocessing"]["transforms"]
    of_label = [part["_target_"].rpartition(".")[2] for part in parts if "label" in part["keys"]]
    assert of_label == ["LoadDicomSegd", "SameGridd", "ClassIndicesd"]  # neither turned nor resampled
    assert TRAIN["validate"]["postprocessing"]["transforms"][-1]["_target_"] == "monai.transforms.Invertd"


def test_resampling_modes_are_written_for_each_key_and_right_and_left_stay() -> None:
    parts = TRAIN["train"]["preprocessing"]["transforms"]
    (tile,) = (part for part in parts if "RandTiled" in part["_target_"])
    modes = dict(zip(tile["keys"], tile["mode"], strict=True))
    assert modes == {"image": "bilinear", "label": "nearest", "weight": "bilinear"}
    (spacing,) = (part for part in parts if "Spacingd" in part["_target_"])
    assert dict(zip(spacing["keys"], spacing["mode"], strict=True)) == {"image": "bilinear", "label": "nearest"}
    assert tile["flip_prob"] == 0
    assert TRAIN["angle_deg"] < 90


# --- small runs ------------------------------------------------------------------------------------------------------

# Three patients to train on, one oblique and one with shuffled files; an oblique and a healthy one to validate.
SPLITS = {"training": ["p002-s1-1", "p003-s1-1", "p007-s1-1"], "validation": ["p010-s1-1", "p011-s1-1"]}
SMALL = {
    "network_def::channels": [8, 12, 16, 24],
    "network_def::dropout": 0.0,
    "tile_px": 140,
    "pixel_mm": 6.0,
    "max_epochs": 6,
    "val_interval": 3,
    "warmup_steps": 10,
    "learning_rate": 0.01,
    "average_decay": 0.9,
    "device": "cpu",
    "precision": "fp32",
}


def write_manifest(path: Path, splits: Mapping[str, list[str]], **changes: Any) -> str:
    """Write the manifest with other splits, and only the cases that they name."""
    fields = json.loads(MANIFEST.read_text(encoding="utf-8"))
    named = [case for ids in splits.values() for case in ids]
    fields |= {"splits": splits, "cases": [case for case in fields["cases"] if case["id"] in named], **changes}
    path.write_text(json.dumps(fields), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def begin(processes: Any, as_options: Callable[..., list[str]], phantom_ct: Path) -> Callable[..., Any]:
    """Run `python -m monai.bundle run RUN_ID` on the real bundle and wait for the end."""

    def run(run_id: str, configs: str, output: Path, settings: Mapping[str, Any]) -> Any:
        files = [str(CONFIGS / f"{name}.yaml") for name in configs.split("+")]
        words = as_options({**settings, "output_dir": str(output)})
        arguments = ["run", run_id, "--config_file", str(files), "--bundle_root", str(BUNDLE), *words]
        return processes.start("monai.bundle", arguments, phantom_ct).wait()

    return run


@pytest.fixture(scope="session")
def of_data(phantom_ct: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that name five of the generated series."""
    manifest = write_manifest(tmp_path_factory.mktemp("manifest") / "small.json", SPLITS)
    return {"manifest_file": manifest, "dataset_dir": str(phantom_ct)}


@pytest.fixture(scope="session")
def trained(begin: Callable[..., Any], of_data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small training run."""
    out = tmp_path_factory.mktemp("trained")
    finished = begin("training", "train", out, {**SMALL, **of_data})
    assert finished.status == 0, finished.stderr
    assert re.search(r"validation scores of the best epoch \(\d+\): dice 0\.\d{4}, dice_liver", finished.stdout)
    return out


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_training_learns_and_leaves_what_it_says(trained: Path) -> None:
    made = {name for name in entries_of(trained) if "tensorboard" not in name}
    assert made == {"models/model.pt", "models/last.pt", "log/run.json", "log/overlay.png"}
    record = json.loads((trained / "log" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "completed"
    assert record["steps_per_epoch"] == -(-(22 + 20 + 24) // 4)  # slices of three series, four a step
    last = record["epochs"][-1]
    assert last["scores"].keys() == {"dice", *NAMES}
    assert last["scores_by_case"]["dice_liver"].keys() == {"p010-s1-1", "p011-s1-1"}
    assert last["scores"]["dice_liver"] > 0.8
    assert last["loss"] < record["epochs"][0]["loss"] / 2


def test_the_record_of_a_run_names_cases_and_no_patient(trained: Path) -> None:
    for name in ("log/run.json", "log/overlay.png", "models/model.pt", "models/last.pt"):
        assert b"MADE UP" not in (trained / name).read_bytes()


# What inference gets: folders as a hospital exports them, with the labels among the images. Results are named by the
# SHA-256 of the Series Instance UIDs, which are drawn once for all.
INFERRED = {"p010-s1-1": "series-0f33e2779d97", "p011-s1-1": "series-496b1249e58d"}


@pytest.fixture(scope="session")
def export(phantom_ct: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two patients."""
    folder = tmp_path_factory.mktemp("export")
    for patient in ("PHANTOM-010", "PHANTOM-011"):
        shutil.copytree(phantom_ct / patient, folder / patient)
    return folder


@pytest.fixture(scope="session")
def inferring(trained: Path, export: Path) -> dict[str, Any]:
    """Settings of inference with the small network."""
    return {
        "dataset_dir": str(export),
        "checkpoint_path": str(trained / "models" / "model.pt"),
        "network_def::channels": SMALL["network_def::channels"],
        "pixel_mm": SMALL["pixel_mm"],
        "precision": "fp32",
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def masks(
    begin: Callable[..., Any], inferring: dict[str, Any], export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of masks that inference writes, of both kinds."""
    out = tmp_path_factory.mktemp("masks")
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    for mask_format in ("dicom-seg", "nifti"):
        finished = begin("inferring", "inference", out, {**inferring, "mask_format": mask_format})
        assert finished.status == 0, finished.stderr
        assert f"2 masks: {out}" in finished.stdout
    assert {path: path.read_bytes() for path in export.rglob("*") if path.is_file()} == before
    return out


def slices_of(folder: Path) -> list[pydicom.Dataset]:
    """Read a series with pydicom alone and sort it along the normal."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    along, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    return sorted(slices, key=lambda one: float(np.cross(along, down) @ np.array(one.ImagePositionPatient, float)))


def labels_of(path: Path, slices: list[pydicom.Dataset]) -> NDArray[np.uint8]:
    """Read a DICOM SEG with highdicom alone, slice by slice of its series: (row, column, slice)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stacked = highdicom.seg.segread(path).get_pixels_by_source_instance(
            [one.SOPInstanceUID for one in slices], combine_segments=True, assert_missing_frames_are_empty=True
        )
    return np.moveaxis(stacked, 0, 2).astype(np.uint8)


def paths_of(case: str) -> tuple[str, str]:
    """Return the folder of the series and its label."""
    (found,) = (entry for entry in Manifest.load(MANIFEST).cases if entry.id == case)
    assert found.label is not None
    return found.image, found.label


def test_masks_of_both_kinds_are_equal_and_lie_on_the_grid_of_the_series(masks: Path, phantom_ct: Path) -> None:
    endings = ("_seg.dcm", "_seg.json", "_mask.nii.gz", "_mask.json")
    assert entries_of(masks) == {f"{name}{ending}" for name in INFERRED.values() for ending in endings}
    for case, name in INFERRED.items():
        slices = slices_of(phantom_ct / paths_of(case)[0])
        image = nib.load(masks / f"{name}_mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), labels_of(masks / f"{name}_seg.dcm", slices))
        along, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
        first, last = (np.array(one.ImagePositionPatient, float) for one in (slices[0], slices[-1]))
        row_mm, column_mm = map(float, slices[0].PixelSpacing)
        lps = np.eye(4)
        lps[:3] = np.stack([down * row_mm, along * column_mm, (last - first) / (len(slices) - 1), first], axis=1)
        np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-4)


def test_a_mask_as_dicom_seg_says_what_it_shows_and_what_made_it(masks: Path, trained: Path, phantom_ct: Path) -> None:
    digest = hashlib.sha256((trained / "models" / "model.pt").read_bytes()).hexdigest()
    for case, name in INFERRED.items():
        found = pydicom.dcmread(masks / f"{name}_seg.dcm")
        assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == (
            slices_of(phantom_ct / paths_of(case)[0])[0].SeriesInstanceUID
        )
        assert [item.SegmentedPropertyTypeCodeSequence[0].CodeValue for item in found.SegmentSequence] == [
            *("10200004", "64033007", "52988006")
        ]
        (made_by,) = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == (METADATA["name"], METADATA["version"])
        assert digest in str(made_by.AlgorithmParameters)


@pytest.fixture(scope="session")
def predict(processes: Any, trained: Path, export: Path) -> Callable[..., Any]:
    """Run `python -m pipeline predict` with the network of the small run."""

    def run(out: Path, *settings: str) -> Any:
        given = ["predict", "--bundle", BUNDLE, "--checkpoint", trained / "models" / "model.pt", export, "-o", out]
        for setting in ("device=cpu", "precision=fp32", *settings):
            given += ["--set", setting]
        return processes.start("pipeline", [*given, "--all-series", "--format", "nifti"], export).wait()

    return run


def test_predict_gives_the_network_what_it_was_trained_with(
    predict: Callable[..., Any], masks: Path, tmp_path: Path
) -> None:
    """Pixels of 6 mm, of which the record of the run tells, and not of 3 mm."""
    finished = predict(tmp_path)
    assert finished.status == 0, finished.stderr
    taken = {name: SMALL[name] for name in ("network_def::channels", "network_def::dropout", "pixel_mm")}
    (line,) = (line for line in finished.stderr.splitlines() if "settings of the training run" in line)
    for name, value in taken.items():
        assert f"{name}={json.dumps(value)}" in line
    for name in INFERRED.values():
        found, wanted = (nib.load(folder / f"{name}_mask.nii.gz") for folder in (tmp_path, masks))
        np.testing.assert_array_equal(np.asanyarray(found.dataobj), np.asanyarray(wanted.dataobj))
        record = json.loads((tmp_path / f"{name}_mask.json").read_text(encoding="utf-8"))
        assert record["run"]["settings"] == {**taken, "device": "cpu", "precision": "fp32"}


def test_another_value_than_the_recorded_one_is_taken_where_it_is_named_and_said(
    predict: Callable[..., Any], masks: Path, tmp_path: Path
) -> None:
    finished = predict(tmp_path, "pixel_mm=3.0")
    assert finished.status == 0, finished.stderr
    assert "\npixel_mm=3.0 is not what the network was trained with: 6.0\n" in f"\n{finished.stderr}"
    different = 0
    for name in INFERRED.values():
        found, wanted = (nib.load(folder / f"{name}_mask.nii.gz") for folder in (tmp_path, masks))
        different += int(np.sum(np.asanyarray(found.dataobj) != np.asanyarray(wanted.dataobj)))
        record = json.loads((tmp_path / f"{name}_mask.json").read_text(encoding="utf-8"))
        assert record["run"]["settings"]["pixel_mm"] == 3.0
    assert different > 100


def test_a_run_of_inference_refuses_other_settings_than_those_of_the_training(
    begin: Callable[..., Any], inferring: dict[str, Any], tmp_path: Path
) -> None:
    settings = {name: value for name, value in inferring.items() if name != "pixel_mm"}
    finished = begin("inferring", "inference", tmp_path / "out", settings)
    assert finished.status == 2
    assert "config id pixel_mm is 3.0, and the network of" in finished.last_line
    assert finished.last_line.endswith("pass --pixel_mm '6.0'")
    assert not (tmp_path / "out").exists()


def test_dciodvfy_finds_nothing_in_a_mask(masks: Path) -> None:
    for name in INFERRED.values():
        assert dciodvfy(masks / f"{name}_seg.dcm") == ["Segmentation"]


def test_masks_of_an_earlier_run_stay(begin: Callable[..., Any], inferring: dict[str, Any], masks: Path) -> None:
    before = {name: (masks / name).stat().st_mtime_ns for name in entries_of(masks)}
    again = begin("inferring", "inference", masks, inferring)
    assert again.status == 2
    assert "_seg.dcm already exists; pass --force" in again.last_line
    assert {name: (masks / name).stat().st_mtime_ns for name in entries_of(masks)} == before


def dice(truth: NDArray[Any], pred: NDArray[Any], index: int) -> float:
    return float(2 * np.sum((truth == index) & (pred == index)) / (np.sum(truth == index) + np.sum(pred == index)))


def test_evaluation_gives_the_dice_that_counting_in_masks_and_labels_gives(
    masks: Path, phantom_ct: Path, trained: Path, begin: Callable[..., Any], of_data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**SMALL, **of_data, "checkpoint_path": str(trained / "models" / "model.pt")}
    finished = begin("evaluating", "train+evaluate", tmp_path, settings)
    assert finished.status == 0, finished.stderr
    evaluation = json.loads((tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8"))
    of_metrics = dict(zip(RECORDED, NAMES, strict=True))
    for index, score in enumerate(RECORDED, 1):
        wanted = {}
        for case, name in INFERRED.items():
            image, label = paths_of(case)
            slices = slices_of(phantom_ct / image)
            truth, pred = (labels_of(path, slices) for path in (phantom_ct / label, masks / f"{name}_seg.dcm"))
            if index in truth or index in pred:
                wanted[case] = dice(truth, pred, index)
        found = evaluation["scores_by_case"][score]
        assert found.keys() == INFERRED.keys()
        assert {case: value for case, value in found.items() if value is not None} == pytest.approx(wanted)
        assert evaluation["scores"][score] == pytest.approx(np.mean(list(wanted.values())))
        assert evaluation["evaluator_scores"][of_metrics[score]] == evaluation["scores"][score]


def test_dicom_seg_of_predict_gets_the_scores_of_the_bundle_to_the_last_digit(
    phantom_ct: Path, trained: Path, begin: Callable[..., Any], of_data: dict[str, Any], processes: Any, tmp_path: Path
) -> None:
    settings = {name: value for name, value in {**SMALL, **of_data}.items() if name != "precision"}
    checkpoint = trained / "models" / "model.pt"
    finished = begin("evaluating", "train+evaluate", tmp_path, {**settings, "checkpoint_path": str(checkpoint)})
    assert finished.status == 0, finished.stderr
    images = [phantom_ct / paths_of(case)[0] for case in INFERRED]
    masks, out = tmp_path / "masks", tmp_path / "scores"
    words = ["--bundle", BUNDLE, "--checkpoint", checkpoint, "-o", masks, "--set", "device=cpu"]
    words += ["--set", f"pixel_mm={SMALL['pixel_mm']}"]
    predicted = processes.start("pipeline", ["predict", *images, *words], tmp_path).wait()
    assert predicted.status == 0, predicted.stderr
    for number, path in enumerate(sorted(masks.glob("*.dcm"))):
        path.rename(masks / f"{number}.dcm")  # what they refer to tells whose they are
    words = ["evaluate", "--predictions", masks, "--manifest", of_data["manifest_file"], "--folder", phantom_ct]
    words += ["--split", "validation", "--tolerance-mm", "3", "-o", out]
    scored = processes.start("pipeline", words, tmp_path).wait()
    assert scored.status == 0, scored.stderr
    ours = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    theirs = json.loads((tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8"))
    # A DICOM SEG of classes carries no probabilities.
    assert (ours["calibration"], theirs["calibration"] is None) == (None, False)
    own = {"checkpoint_sha256", "predictions", "evaluator_scores", "calibration", "bundle"}
    assert theirs["bundle"] == {name: METADATA[name] for name in ("name", "version")}
    assert {name: ours[name] for name in ours.keys() - own} == {name: theirs[name] for name in theirs.keys() - own}
    assert (out / "scores.csv").read_bytes() == (tmp_path / "log" / "scores.csv").read_bytes()


def exchange_labels(fields: dict[str, Any]) -> None:
    """Give the first and the last case each other's label."""
    one, other = fields["cases"][0], fields["cases"][-1]
    one["label"], other["label"] = other["label"], one["label"]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(
            lambda fields: fields["splits"]["validation"].append("p002-s2-1"),
            "patient 'PHANTOM-002' is in the splits 'training' and 'validation'",
            id="a patient in two splits",
        ),
        pytest.param(
            exchange_labels,
            "another frame of reference",
            id="labels of other series",
        ),
    ],
)
def test_data_that_cannot_be_right_stop_the_training_in_one_line(
    spoil: Callable[[dict[str, Any]], None], expected: str, begin: Callable[..., Any], phantom_ct: Path, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    write_manifest(path, {**SPLITS, "rest": ["p002-s2-1"]})
    fields = json.loads(path.read_text(encoding="utf-8"))
    del fields["splits"]["rest"]
    spoil(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")
    settings = {**SMALL, "manifest_file": str(path), "dataset_dir": str(phantom_ct)}
    finished = begin("training", "train", tmp_path / "out", settings)
    assert finished.status == 2, finished.stderr
    assert expected in finished.last_line
    assert not (tmp_path / "out" / "models").exists()


def test_segments_that_show_something_else_stop_the_training(
    begin: Callable[..., Any], of_data: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**SMALL, **of_data, "segments::0::type::value": "78961009", "segments::0::type::meaning": "Spleen"}
    finished = begin("training", "train", tmp_path / "out", settings)
    assert finished.status == 2, finished.stderr
    assert "segment 1 shows SCT:10200004; expected SCT:78961009 (Spleen)" in finished.last_line
