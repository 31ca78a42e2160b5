"""The bundle for membranes in electron microscopy: what its configs declare, what its runs do and leave behind."""

from __future__ import annotations

import io
import itertools
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.data import Manifest
from pipeline.engines import read_checkpoint
from pipeline.formats import read_image

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"
CONFIGS = BUNDLE / "configs"
TRAIN = ConfigParser.load_config_file(str(CONFIGS / "train.yaml"))
INFERENCE = ConfigParser.load_config_file(str(CONFIGS / "inference.yaml"))
METADATA = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- what the configs declare ----------------------------------------------------------------------------------------


def test_training_is_declared_as_in_the_paper() -> None:
    assert TRAIN["network_def"]["channels"] == [64, 128, 256, 512, 1024]
    assert (TRAIN["tile_px"], TRAIN["batch_size"]) == (572, 1)
    assert TRAIN["optimizer"]["_target_"] == "torch.optim.SGD"
    assert TRAIN["optimizer"]["momentum"] == 0.99
    assert (TRAIN["w0"], TRAIN["sigma_px"], TRAIN["elastic_sigma_px"]) == (10, 5, 10)
    transforms = {part["_target_"].split(".")[-1]: part for part in TRAIN["train"]["preprocessing"]["transforms"]}
    assert transforms["RandTiled"]["grid_shape"] == [3, 3]
    assert (transforms["BorderWeightsd"]["w0"], transforms["BorderWeightsd"]["sigma_px"]) == ("@w0", "@sigma_px")
    parser = ConfigParser(TRAIN)
    network = parser.get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_030_658
    assert network.geometry.output_px(TRAIN["tile_px"]) == 388


def test_validation_and_inference_treat_an_image_alike() -> None:
    # Inference has no label; the rest is the same, in the same order.
    def of_image(config: dict[str, Any]) -> list[dict[str, Any]]:
        parts = [part for part in config["preprocessing"]["transforms"] if part["keys"] != "label"]
        return [part | {"keys": "image"} for part in parts]

    assert of_image(INFERENCE) == of_image(TRAIN["validate"])
    assert INFERENCE["postprocessing"] == TRAIN["validate"]["postprocessing"]
    ours, theirs = INFERENCE["inferer"], TRAIN["validate"]["inferer"]
    assert ours["_target_"] == theirs["_target_"]
    # The tile is a matter of speed and memory: results do not depend on it.
    assert INFERENCE["tile_px"] == theirs["tile_px"] == "auto"


def test_training_and_validation_normalise_alike() -> None:
    trained, validated = (
        [part for part in TRAIN[section]["preprocessing"]["transforms"] if "Normalize" in part["_target_"]]
        for section in ("train", "validate")
    )
    assert len(trained) == 1
    assert trained == validated


def test_resampling_modes_are_written_for_each_key() -> None:
    (tile,) = (part for part in TRAIN["train"]["preprocessing"]["transforms"] if "RandTiled" in part["_target_"])
    assert dict(zip(tile["keys"], tile["mode"], strict=True)) == {
        "image": "bilinear",
        "label": "nearest",
        "weight": "bilinear",
    }


@pytest.mark.parametrize("name", ["phantom_em", "isbi2012"])
def test_splits_share_no_case(name: str) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / f"{name}.json")
    assert {"training", "validation"} <= manifest.splits.keys()
    for one, other in itertools.combinations(manifest.splits.values(), 2):
        assert not set(one) & set(other)


@pytest.fixture
def contained(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a run sets for its whole process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("overlays", ["train", "train+demo"])
def test_monai_finds_all_properties_of_training(overlays: str, small_run: dict[str, Any], tmp_path: Path) -> None:
    settings = small_run | {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path)}
    files = [str(CONFIGS / f"{name}.yaml") for name in overlays.split("+")]
    meta_file = str(CONFIGS / "metadata.json")
    workflow = ConfigWorkflow(files, meta_file, logging_file=False, workflow_type="train", **settings)
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.parser.get_parsed_content("summary_writer").close()


@pytest.mark.usefixtures("contained")
def test_monai_finds_all_properties_of_inference(trained_run: Any, tmp_path: Path) -> None:
    settings = {
        "bundle_root": str(trained_run.bundle),
        "output_dir": str(tmp_path),
        "network_def::channels": trained_run.record["network_def"]["channels"],
    }
    files = {"config_file": str(CONFIGS / "inference.yaml"), "meta_file": str(CONFIGS / "metadata.json")}
    workflow = ConfigWorkflow(workflow_type="infer", logging_file=False, **files, **settings)
    workflow.initialize()
    assert workflow.check_properties() == []
    assert entries_of(tmp_path) == set()


# --- training --------------------------------------------------------------------------------------------------------


def test_training_from_the_repository_root_leaves_everything_in_the_bundle(trained_run: Any) -> None:
    assert trained_run.finished.status == 0, trained_run.finished.stderr
    made = {
        path.relative_to(trained_run.root).as_posix()
        for path in trained_run.root.rglob("*")
        if path.is_file() and path.relative_to(trained_run.root).as_posix() not in trained_run.entries_before
    }
    inside = "bundles/em_membrane_segmentation"
    events = [path for path in made if path.startswith(f"{inside}/log/tensorboard/events.out.tfevents.")]
    assert len(events) == 1
    assert made - set(events) == {
        f"{inside}/models/model.pt",
        f"{inside}/models/last.pt",
        f"{inside}/log/run.json",
        f"{inside}/log/overlay.png",
    }


def test_training_says_scores_and_where_everything_is(trained_run: Any) -> None:
    inside = "bundles/em_membrane_segmentation"
    said = trained_run.finished.stdout.splitlines()
    assert re.fullmatch(
        r"validation scores of the best epoch \([12]\): v_rand 0\.\d{4}, v_info 0\.\d{4}, pixel_error 0\.\d{4}, .*",
        said[-4],
    )
    assert said[-3] == f"checkpoint: {inside}/models/model.pt"
    assert said[-2] == f"overlay picture: {inside}/log/overlay.png"
    assert said[-1].startswith(f"record: {inside}/log/run.json (")


def test_the_record_of_training_is_complete(trained_run: Any) -> None:
    record = trained_run.record
    assert record["status"] == "completed"
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2]
    metadata = json.loads((trained_run.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert record["bundle"] == {"name": "EM membrane segmentation", "version": metadata["version"]}
    assert record["network_def"]["_target_"] == "pipeline.networks.ValidUNet"
    assert record["network_def"]["out_channels"] == 2  # a reference in the config
    for entry in record["epochs"]:
        assert entry["scores"].keys() == {"v_rand", "v_info", "pixel_error", "threshold"}
        assert entry["scores_by_case"]["v_rand"].keys() == {"v0", "v1", "v2"}
        mean = np.mean(list(entry["scores_by_case"]["v_rand"].values()))
        assert entry["scores"]["v_rand"] == pytest.approx(mean)
    assert str(trained_run.root) not in json.dumps(record)
    assert record["steps_per_epoch"] == 4


def test_tensorboard_holds_scalars_and_pictures(trained_run: Any) -> None:
    events = EventAccumulator(str(trained_run.bundle / "log" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 9))
    for name in ("v_rand", "v_info", "pixel_error"):
        wanted = [entry["scores"][name] for entry in trained_run.record["epochs"]]
        assert [event.step for event in events.Scalars(name)] == [1, 2]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(wanted, rel=1e-6)
    for tag in ("training tile", "validation case"):
        pictures = [np.asarray(Image.open(io.BytesIO(event.encoded_image_string))) for event in events.Images(tag)]
        assert len(pictures) == 2
        assert all(picture.std() > 0 for picture in pictures)


def test_one_step_of_training_moves_every_weight(trained_run: Any) -> None:
    last = read_checkpoint(trained_run.bundle / "models" / "last.pt")
    momentum = [state["momentum_buffer"] for state in last["optimizer"]["state"].values()]
    assert len(momentum) == len(last["network"])
    assert all(torch.isfinite(buffer).all() and buffer.abs().sum() > 0 for buffer in momentum)


def test_training_from_another_folder_gives_the_same_network(
    trained_run: Any, bundle_run: Callable[..., Any], tmp_path: Path
) -> None:
    before = entries_of(CONFIGS.parent)
    finished = bundle_run("training", "train", tmp_path / "out").wait()
    assert finished.status == 0, finished.stderr
    assert entries_of(tmp_path / "elsewhere") == set()
    assert {path for path in entries_of(CONFIGS.parent) - before if "__pycache__" not in path} == set()
    torch.testing.assert_close(
        read_checkpoint(tmp_path / "out" / "models" / "model.pt"),
        read_checkpoint(trained_run.checkpoint),
        rtol=0,
        atol=0,
    )
    record = json.loads((tmp_path / "out" / "log" / "run.json").read_text(encoding="utf-8"))
    assert record["epochs"][0]["scores"] == trained_run.record["epochs"][0]["scores"]


# --- Ctrl-C and resume -----------------------------------------------------------------------------------------------

LONG = {"max_epochs": 3, "tiles_per_case": 2}


@pytest.fixture(scope="module", params=["train", "train+demo"])
def whole_run(
    request: pytest.FixtureRequest,
    processes: Any,
    small_run: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    as_options: Callable[..., list[str]],
) -> tuple[str, Path]:
    """A run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    files = [str(CONFIGS / f"{name}.yaml") for name in request.param.split("+")]
    words = as_options({**small_run, **LONG, "output_dir": str(out)})
    arguments = ["run", "training", "--config_file", str(files), "--bundle_root", str(BUNDLE), *words]
    finished = processes.start("monai.bundle", arguments, out).wait()
    assert finished.status == 0, finished.stderr
    return request.param, out


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on_to_the_last_bit(
    whole_run: tuple[str, Path], bundle_run: Callable[..., Any], tmp_path: Path, workers: int
) -> None:
    configs, whole = whole_run
    out = tmp_path / "out"
    settings = {**LONG, "num_workers": workers}
    run = bundle_run("training", configs, out, settings)
    run.wait_for((out / "models" / "last.pt").exists)
    run.interrupt()
    interrupted = run.wait()
    assert interrupted.status == 130
    assert interrupted.last_line == "interrupted; what was complete is kept"
    assert "Traceback" not in interrupted.stderr
    last_path = out / "models" / "last.pt"
    assert f"last checkpoint: {last_path}; go on from it with resume set to True" in interrupted.stdout
    assert not [path for path in entries_of(out) if ".partial-" in path]
    last = read_checkpoint(last_path)
    assert last["epoch"] < 3
    record = json.loads((out / "log" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "interrupted"

    resumed = bundle_run("training", configs, out, {**settings, "resume": True}).wait()
    assert resumed.status == 0, resumed.stderr
    for name in ("model.pt", "last.pt"):
        torch.testing.assert_close(
            read_checkpoint(out / "models" / name), read_checkpoint(whole / "models" / name), rtol=0, atol=0
        )
    record, wanted = (json.loads((folder / "log" / "run.json").read_text(encoding="utf-8")) for folder in (out, whole))
    assert record["resumed_at_epoch"] == last["epoch"]
    assert [entry["scores"] for entry in record["epochs"]] == [entry["scores"] for entry in wanted["epochs"]]
    assert [entry["loss"] for entry in record["epochs"]] == [entry["loss"] for entry in wanted["epochs"]]


# --- inference and evaluation ----------------------------------------------------------------------------------------


def test_inference_writes_a_mask_for_each_image_and_nothing_else(
    trained_run: Any, bundle_run: Callable[..., Any], small_data: Any, tmp_path: Path
) -> None:
    settings = {
        "checkpoint_path": str(trained_run.checkpoint),
        "network_def::channels": trained_run.record["network_def"]["channels"],
    }
    finished = bundle_run("inferring", "inference", tmp_path / "masks", settings).wait()
    assert finished.status == 0, finished.stderr
    assert f"7 masks: {tmp_path / 'masks'}" in finished.stdout
    assert entries_of(tmp_path / "elsewhere") == set()
    images = sorted((small_data.folder / "image").iterdir())
    assert entries_of(tmp_path / "masks") == {f"{image.stem}_mask.tif" for image in images}
    for image in images:
        mask = read_image(tmp_path / "masks" / f"{image.stem}_mask.tif")
        assert mask.size_px == read_image(image).size_px
        assert set(np.unique(mask.pixels)) <= {0, 255}

    again = bundle_run("inferring", "inference", tmp_path / "masks", settings).wait()
    assert again.status == 2
    assert again.last_line.startswith(
        f"error: {tmp_path / 'masks' / 't0_mask.tif'} already exists; pass --force (in a "
    )
    assert "--overwrite True" in again.last_line
    replaced = bundle_run("inferring", "inference", tmp_path / "masks", settings | {"overwrite": True}).wait()
    assert replaced.status == 0, replaced.stderr


EVALUATION_FILES = {"log/evaluation.json", "log/scores.csv", *(f"log/cases/v{number}.png" for number in range(3))}


def evaluation_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "log" / "evaluation.json").read_text(encoding="utf-8")))


@pytest.fixture
def evaluation(trained_run: Any, bundle_run: Callable[..., Any], tmp_path: Path) -> dict[str, Any]:
    """What one process makes of the trained network."""
    out = tmp_path / "one process"
    settings = {"checkpoint_path": str(trained_run.checkpoint), "precision": "fp32"}
    finished = bundle_run("evaluating", "train+evaluate", out, settings).wait()
    assert finished.status == 0, finished.stderr
    assert entries_of(out) == EVALUATION_FILES
    assert re.search(r"scores on validation of small: v_rand 0\.\d{4}, v_info", finished.stdout)
    return evaluation_in(out)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_evaluation_repeats_the_scores_of_training_on_any_number_of_processes(
    evaluation: dict[str, Any], trained_run: Any, bundle_run: Callable[..., Any], tmp_path: Path
) -> None:
    record = trained_run.record
    best = next(entry for entry in record["epochs"] if entry["epoch"] == record["best_epoch"])
    # What training has no time for comes on top; what both have is the same to the last digit.
    of_evaluator = evaluation["evaluator_scores"]
    assert of_evaluator.keys() - best["scores"].keys() == {"rand_error", "warping_error"}
    assert {name: of_evaluator[name] for name in best["scores"]} == best["scores"]
    for name in ("v_rand", "v_info", "pixel_error"):
        assert evaluation["scores"][name] == best["scores"][name]
        assert evaluation["scores_by_case"][name] == best["scores_by_case"][name]
    for name in ("rand_error", "warping_error"):
        assert evaluation["scores"][name] == of_evaluator[name]
        assert np.mean(list(evaluation["scores_by_case"][name].values())) == pytest.approx(of_evaluator[name])

    settings = {"checkpoint_path": str(trained_run.checkpoint), "precision": "fp32", "backend": "gloo"}
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    ranks = [
        bundle_run(
            "evaluating",
            "train+evaluate+multi_gpu_evaluate",
            tmp_path / "two processes",
            settings,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for finished in [rank.wait() for rank in ranks]:
        assert finished.status == 0, finished.stderr
    assert entries_of(tmp_path / "two processes") == EVALUATION_FILES
    assert evaluation_in(tmp_path / "two processes") == evaluation
    for name in EVALUATION_FILES:
        assert (tmp_path / "two processes" / name).read_bytes() == (tmp_path / "one process" / name).read_bytes()


def test_the_warping_error_can_be_left_out(trained_run: Any, bundle_run: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"checkpoint_path": str(trained_run.checkpoint), "warping": "False"}
    finished = bundle_run("evaluating", "train+evaluate", tmp_path / "bundle", settings).wait()
    assert finished.status == 0, finished.stderr
    record = evaluation_in(tmp_path / "bundle")
    assert {"warping_error", "rand_error"} & record["scores"].keys() == {"rand_error"}
    assert {"warping_error", "rand_error"} & record["evaluator_scores"].keys() == {"rand_error"}
    assert record["settings"]["warping"] is False


def test_files_of_predict_get_the_scores_of_the_bundle_to_the_last_digit(
    trained_run: Any, bundle_run: Callable[..., Any], processes: Any, small_data: Any, tmp_path: Path
) -> None:
    settings = {"checkpoint_path": str(trained_run.checkpoint)}
    finished = bundle_run("evaluating", "train+evaluate", tmp_path / "bundle", settings).wait()
    assert finished.status == 0, finished.stderr
    images = [small_data.folder / "image" / f"{case}.tif" for case in ("v0", "v1", "v2")]
    masks, out = tmp_path / "masks", tmp_path / "scores"
    words = ["predict", *images, "--bundle", trained_run.bundle, "-o", masks, "--probability", "--set", "device=cpu"]
    predicted = processes.start("pipeline", words, tmp_path).wait()
    assert predicted.status == 0, predicted.stderr
    words = ["evaluate", "--predictions", masks, "--manifest", small_data.manifest, "--split", "validation", "-o", out]
    scored = processes.start("pipeline", words, tmp_path).wait()
    assert scored.status == 0, scored.stderr
    assert entries_of(out) == {name.removeprefix("log/") for name in EVALUATION_FILES}
    ours = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    theirs = evaluation_in(tmp_path / "bundle")
    own = {"checkpoint_sha256", "predictions", "evaluator_scores", "bundle"}
    assert theirs["bundle"] == {name: METADATA[name] for name in ("name", "version")}
    assert ours["kind"] == "membranes"
    assert ours["predictions"]["scored"] == "probability"
    assert ours["calibration"]["ece"] > 0
    assert {"v_rand", "warping_error", "rand_error"} <= ours["scores"].keys()
    assert {name: ours[name] for name in ours.keys() - own} == {name: theirs[name] for name in theirs.keys() - own}
    assert (out / "scores.csv").read_bytes() == (tmp_path / "bundle" / "log" / "scores.csv").read_bytes()
    assert scored.stdout.startswith("scores of membranes of 3 cases of the split 'validation' of small")


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    bundle_run: Callable[..., Any],
    small_run: dict[str, Any],
    tmp_path: Path,
    as_options: Callable[..., list[str]],
) -> None:
    # Without dropout, which differs from rank to rank.
    settings = {"network_def::dropout": 0, "max_epochs": 1, "learning_rate": 1e-4}
    one = bundle_run("training", "train", tmp_path / "one", {**settings, "batch_size": 2})
    files = [str(CONFIGS / f"{name}.yaml") for name in ("train", "multi_gpu_train")]
    words = as_options({**small_run, **settings, "backend": "gloo", "output_dir": str(tmp_path / "two")})
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"]
    two = subprocess.run(
        [sys.executable, *command, "training", "--config_file", str(files), "--bundle_root", str(BUNDLE), *words],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=False,
    )
    assert two.returncode == 0, two.stderr
    finished = one.wait()
    assert finished.status == 0, finished.stderr
    assert entries_of(tmp_path / "elsewhere") == set()

    # Rank 0 alone writes.
    made = entries_of(tmp_path / "two")
    events = {path for path in made if "tfevents" in path}
    assert len(events) == 1
    assert made - events == {"models/model.pt", "models/last.pt", "log/run.json", "log/overlay.png"}
    assert two.stdout.count("validation scores of the best epoch") == 1

    records = {name: json.loads((tmp_path / name / "log" / "run.json").read_text()) for name in ("one", "two")}
    assert (records["one"]["processes"], records["two"]["processes"]) == (1, 2)
    assert records["one"]["steps_per_epoch"] == records["two"]["steps_per_epoch"] == 2
    networks = {name: read_checkpoint(tmp_path / name / "models" / "last.pt")["network"] for name in ("one", "two")}
    assert networks["one"].keys() == networks["two"].keys()
    for name, weight in networks["one"].items():
        torch.testing.assert_close(networks["two"][name], weight, rtol=1e-4, atol=1e-6)
    assert records["two"]["epochs"][0]["scores"] == pytest.approx(records["one"]["epochs"][0]["scores"], abs=1e-3)
    # Each saw the same three cases.
    assert records["two"]["epochs"][0]["scores_by_case"]["v_rand"].keys() == {"v0", "v1", "v2"}


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_id", "configs", "settings", "line"),
    [
        (
            *("inferring", "inference", {"checkpoint_path": "nowhere/model.pt"}),
            r"error: checkpoint nowhere/model\.pt not found; train first, or .*--checkpoint.*",
        ),
        (
            *("inferring", "inference", {"dataset_dir": "no such folder"}),
            r"error: input no such folder not found or not a file; check the path",
        ),
        (
            *("evaluating", "train+evaluate", {"split": "validaton"}),
            r"error: data set 'small' has no split 'validaton'; did you mean 'validation'\?.*",
        ),
        (
            *("training", "train", {"max_epohcs": 3}),
            r"error: config id 'max_epohcs' is used by nothing in this run; did you mean 'max_epochs'\?",
        ),
        (
            *("training", "train", {"num_classes": 3}),
            r"error: the labels have the classes \[0, 1\], the network has 3; set num_classes to .*",
        ),
        (
            *("training", "train", {"learning_rate": "fast"}),
            r"error: config id 'learning_rate' is 'fast'; expected a number of at least 0; write for example 0\.001",
        ),
        (
            *("training", "train", {"optimizer::momentum": -1}),
            r"error: torch\.optim\.SGD refuses a value of the config: Invalid momentum value: -1; correct it",
        ),
        ("trainin", "train", {}, r"error: run id 'trainin' is not in the config; did you mean 'training'\?"),
        (
            *("training", "train", {"manifest_file": "nowhere.json"}),
            r"error: manifest nowhere\.json not found; the project's own are in data_manifests/",
        ),
        (
            *("training", "train", {"resume": True}),
            r"error: checkpoint .*models/last\.pt not found; train first.*",
        ),
        (
            *("training", "train", {"learning_rate": 1e9}),
            r"error: (loss is (nan|inf) at step \d+, on t\d|training diverged in epoch 1: .*); lower learning_rate.*",
        ),
    ],
    ids=[
        *("checkpoint", "folder", "split", "config id", "classes", "kind", "range"),
        *("run id", "manifest", "nothing to resume", "diverged"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    bundle_run: Callable[..., Any],
    tmp_path: Path,
    run_id: str,
    configs: str,
    settings: dict[str, Any],
    line: str,
) -> None:
    finished = bundle_run(run_id, configs, tmp_path / "out", settings).wait()
    assert finished.status == 2, finished.stderr
    assert re.fullmatch(line, finished.last_line), finished.last_line
    assert "Traceback" not in finished.stderr + finished.stdout
    # A run that began keeps its record; nothing else is there.
    assert {path for path in entries_of(tmp_path / "out") if "tfevents" not in path} <= {"log/run.json"}
    assert entries_of(tmp_path / "elsewhere") == set()
