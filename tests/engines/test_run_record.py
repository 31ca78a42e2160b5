"""The record of a run: what it holds, what it never holds, and that it tells how the run ended."""

from __future__ import annotations

import getpass
import json
import logging
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from pipeline.data import Manifest
from pipeline.engines import RunRecord, TrainingCheckpoint, run_record
from pipeline.errors import CheckpointError, TrainingError

ROOT = Path(__file__).parents[2]


def record_of(training: Any, folder: Path, manifest: Manifest, resume: bool = False) -> RunRecord:
    """Attach checkpoint and record as a bundle does."""
    checkpoint = TrainingCheckpoint(
        folder / "models",
        training.network,
        training.optimizer,
        training.lr_scheduler,
        training.evaluator,
        resume=resume,
    )
    checkpoint.attach(training.trainer)
    record = RunRecord(folder / "log", training.evaluator, checkpoint, manifest, 2015, folder / "log" / "overlay.png")
    record.attach(training.trainer)
    return record


@pytest.fixture
def manifest(small_data: Any) -> Manifest:
    return Manifest.load(small_data.manifest)


def read(record: RunRecord) -> dict[str, Any]:
    return dict(json.loads(record.path.read_text(encoding="utf-8")))


def test_the_record_says_what_the_run_was_and_what_came_out(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training(scores=(0.25, 0.75, 0.5))
    losses: list[float] = []
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"])
    )
    record = record_of(training, tmp_path, manifest)
    training.run()
    found = read(record)
    assert found["status"] == "completed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["started"])
    assert found["manifest"] == {"name": "small", "version": manifest.version, "sha256": manifest.digest}
    assert re.fullmatch(r"[0-9a-f]{64}", found["config_sha256"])
    assert (found["seed"], found["processes"], found["resumed_at_epoch"]) == (2015, 1, None)
    assert (found["max_epochs"], found["steps_per_epoch"]) == (3, 3)
    assert found["bundle"] is None  # nor is there a config outside a bundle run
    assert found["config"] == {}
    assert found["versions"].keys() == {
        *("unet-pipeline", "python", "monai", "torch", "pytorch-ignite", "numpy", "scipy")
    }
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert "CPU" in found["device"]
    assert [entry["epoch"] for entry in found["epochs"]] == [1, 2, 3]
    assert [entry["scores"] for entry in found["epochs"]] == [{"score": 0.25}, {"score": 0.75}, {"score": 0.5}]
    assert found["epochs"][1]["scores_by_case"] == {"score": {"a": 0.75, "b": 0.75}}
    assert [entry["loss"] for entry in found["epochs"]] == pytest.approx(
        [sum(losses[first : first + 3]) / 3 for first in (0, 3, 6)]
    )
    assert found["best_epoch"] == 2
    assert found["best_metric"] == {"score": 0.75}
    assert 0 <= found["epochs"][0]["wall_time_s"] <= found["wall_time_s"] < 600
    assert 50 < found["peak_memory_mb"]["process"] < 100_000


@pytest.mark.parametrize(
    ("metadata", "bundle"),
    [
        ({"name": "A", "version": "0.1.0", "task": "t"}, {"name": "A", "version": "0.1.0"}),
        ({"name": "A"}, None),
        ({"name": "A", "version": 1}, None),
        ({}, None),
        ([], None),
    ],
    ids=["both", "no version", "no text", "empty", "list"],
)
def test_the_record_names_a_bundle_that_says_what_it_is(metadata: Any, bundle: dict[str, str] | None) -> None:
    assert run_record._bundle(metadata) == bundle


def test_the_record_names_no_folder_and_no_person(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)
    training.run()
    for text in _texts(read(record)):
        assert not text.startswith(("/", "~", "\\")), text
        assert ":\\" not in text
        for name in (str(tmp_path), str(Path.home()), str(ROOT), platform.node(), getpass.getuser()):
            assert text != name
            assert f"/{name}" not in text


def _texts(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [text for pair in content.items() for item in pair for text in _texts(item)]
    if isinstance(content, list):
        return [text for item in content for text in _texts(item)]
    return [content] if isinstance(content, str) else []


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_record_names_the_commit(tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)
    training.run()
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert read(record)["commit"] in (commit, f"{commit}+")


def test_the_end_says_scores_and_where_everything_is(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    training = small_training(scores=(0.25, 0.75, 0.5))
    record_of(training, tmp_path, manifest)
    with caplog.at_level(logging.INFO, logger="unet_pipeline"):
        training.run()
    assert "validation scores of the best epoch (2): score 0.7500" in caplog.text
    for path in ("models/model.pt", "log/overlay.png", "log/run.json"):
        assert str(tmp_path / path) in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "interrupted"), (ValueError("broken"), "failed")],
    ids=["Ctrl-C", "error"],
)
def test_the_record_tells_how_the_run_ended(
    tmp_path: Path,
    small_training: Callable[..., Any],
    manifest: Manifest,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    status: str,
) -> None:
    training = small_training(scores=(0.25, 0.75, 0.5))
    training.fail_in(3, error)
    record = record_of(training, tmp_path, manifest)
    with caplog.at_level(logging.INFO, logger="unet_pipeline"), pytest.raises(type(error)) as caught:
        training.run()
    assert caught.value is error
    found = read(record)
    assert found["status"] == status
    assert [entry["epoch"] for entry in found["epochs"]] == [1, 2]
    assert found["best_epoch"] == 2
    assert ("go on from it with resume set to True" in caplog.text) == (status == "interrupted")


def test_a_run_that_is_still_going_says_so(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)
    seen: list[dict[str, Any]] = []
    training.trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: seen.append(read(record)))
    training.run()
    assert [found["status"] for found in seen] == ["running", "running"]
    assert [len(found["epochs"]) for found in seen] == [0, 1]


def test_a_record_that_cannot_be_written_does_not_hide_what_stopped_the_run(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)

    def break_everything(_: Any) -> None:
        record.path.unlink()
        record.path.mkdir()
        raise ValueError("what stopped the run")

    training.trainer.add_event_handler(Events.ITERATION_COMPLETED, break_everything)
    with pytest.raises(ValueError, match="what stopped the run"):
        training.run()


def test_a_resumed_run_keeps_the_epochs_before_and_drops_those_it_repeats(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    scores = (0.25, 0.75, 0.5, 0.6)
    broken = small_training(scores=scores)
    record_of(broken, tmp_path, manifest)
    broken.fail_in(3, RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        broken.run()
    before = json.loads((tmp_path / "log" / "run.json").read_text(encoding="utf-8"))
    before["epochs"].append({"epoch": 3, "scores": {"score": 9.0}, "wall_time_s": 1e6})
    (tmp_path / "log" / "run.json").write_text(json.dumps(before), encoding="utf-8")

    resumed = small_training(scores=scores)
    record = record_of(resumed, tmp_path, manifest, resume=True)
    resumed.run()
    found = read(record)
    assert found["status"] == "completed"
    assert found["resumed_at_epoch"] == 2
    assert found["epochs"][:2] == before["epochs"][:2]
    assert [entry["scores"]["score"] for entry in found["epochs"]] == list(scores)
    assert before["epochs"][1]["wall_time_s"] <= found["wall_time_s"] < 1e6


def test_a_new_run_forgets_the_epochs_of_an_old_one(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    for scores in ((0.1, 0.2, 0.3), (0.5,)):
        training = small_training(scores=scores)
        record = record_of(training, tmp_path, manifest)
        training.run()
    assert [entry["scores"]["score"] for entry in read(record)["epochs"]] == [0.5]


def test_a_new_run_that_fails_at_once_leaves_network_and_record_of_the_old_one(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)
    training.run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {"model.pt", "last.pt", "run.json"}

    training = small_training(learning_rate=1e30)
    record_of(training, tmp_path, manifest)
    with pytest.raises(TrainingError):
        training.run()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert read(record)["status"] == "completed"


def test_a_damaged_record_is_named_when_its_run_is_resumed(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training()
    record = record_of(training, tmp_path, manifest)
    training.run()
    record.path.write_text(record.path.read_text(encoding="utf-8")[:-50], encoding="utf-8")
    training = small_training()
    record_of(training, tmp_path, manifest, resume=True)
    with pytest.raises(CheckpointError, match=r"record .*run\.json is damaged; .*; remove it to go on without it"):
        training.run()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not there")
def test_the_commit_of_a_repository_around_an_installed_package_is_not_taken(tmp_path: Path) -> None:
    site = tmp_path / "somebody" / ".venv"
    shutil.copytree(ROOT / "pipeline", site / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(site.parent), *words], check=True)
    code = "from pipeline.engines import run_record; print(run_record.__file__, run_record._commit())"
    found = subprocess.run([sys.executable, "-c", code], cwd=site, capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(site / "pipeline" / "engines" / "run_record.py"), "None"]


def test_other_ranks_write_nothing(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    training = small_training()
    record_of(training, tmp_path, manifest)
    training.run()
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_is_recorded_before_a_checkpoint_of_it_can_be_there(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest
) -> None:
    training = small_training(scores=(0.5, 0.25))
    record = record_of(training, tmp_path, manifest)
    seen: list[list[set[str]]] = []
    training.evaluator.add_event_handler(
        Events.STARTED, lambda _: seen.append([set(entry) for entry in read(record)["epochs"]])
    )
    training.run()
    bare = {"epoch", "loss", "wall_time_s"}
    assert seen == [[bare], [bare | {"scores", "scores_by_case"}, bare]]


def test_a_resumed_run_without_its_earlier_record_still_says_what_was_best(
    tmp_path: Path, small_training: Callable[..., Any], manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    scores = (0.75, 0.25)
    broken = small_training(scores=scores)
    record = record_of(broken, tmp_path, manifest)
    broken.fail_in(2, RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        broken.run()
    record.path.unlink()
    resumed = small_training(scores=scores)
    record = record_of(resumed, tmp_path, manifest, resume=True)
    with caplog.at_level(logging.INFO, logger="unet_pipeline"):
        resumed.run()
    assert "validation scores of the best epoch (1): score 0.7500" in caplog.text
    assert [entry["epoch"] for entry in read(record)["epochs"]] == [2]
