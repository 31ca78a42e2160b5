"""What is read of a run's folder, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, ImageError, MissingFileError
from pipeline.reports.evaluation import Evaluation
from pipeline.reports.run_folder import RunFolder


def test_a_real_run_is_read_as_its_files_have_it(runs: Any) -> None:
    run = RunFolder.read(runs.first, "B")
    record = json.loads((runs.first / "log" / "run.json").read_text(encoding="utf-8"))
    assert run.letter == "B"
    assert run.name == "first"
    assert [epoch.loss for epoch in run.epochs] == [entry["loss"] for entry in record["epochs"]]
    assert run.best_epoch is not None
    assert run.best_epoch.number == record["best_epoch"]
    assert run.best_epoch.scores["v_rand"] == record["best_metric"]["v_rand"]
    assert run.checkpoint_sha256 == hashlib.sha256((runs.first / "models" / "model.pt").read_bytes()).hexdigest()
    assert run.evaluation is not None
    assert run.evaluation.checkpoint_sha256 == run.checkpoint_sha256
    assert run.evaluation.cases == ("v0", "v1", "v2")
    assert run.picture_of("v1") == (runs.first / "log" / "cases" / "v1.png").resolve()


def test_intervals_that_are_read_are_those_that_the_table_makes_again(runs: Any) -> None:
    evaluation = Evaluation.read(runs.first / "log" / "evaluation.json")
    assert evaluation.table is not None
    assert evaluation.intervals == evaluation.table.by_class(seed=3)


def test_nan_and_null_are_the_same(changed: Callable[..., Path]) -> None:
    run = changed("evaluation", {"table": ..., "scores_by_case": {"v_rand": {"a": math.nan, "b": None, "c": 0.5}}})
    assert "NaN" in (run / "log" / "evaluation.json").read_text(encoding="utf-8")
    by_case = Evaluation.read(run / "log" / "evaluation.json").by_case(("", "v_rand"))
    assert math.isnan(by_case["a"])
    assert math.isnan(by_case["b"])
    assert by_case["c"] == 0.5


def test_a_folder_of_records_alone_is_a_run_too(runs: Any, tmp_path: Path) -> None:
    shutil.copytree(runs.first / "log", tmp_path / "records")
    (tmp_path / "records" / "run.json").unlink()
    run = RunFolder.read(tmp_path / "records")
    assert run.record is None
    assert run.data.name == "small"
    assert run.epochs == []
    assert run.best_epoch is None


@pytest.mark.parametrize("content", ["", "{", "[]", "[[" * 100_000, "{}", '{"status": "running", "epochs": 3}'])
@pytest.mark.parametrize("record", ["run", "evaluation"])
def test_a_damaged_record_is_refused_by_name(runs: Any, tmp_path: Path, record: str, content: str) -> None:
    shutil.copytree(runs.first / "log", tmp_path / "run" / "log")
    (tmp_path / "run" / "log" / f"{record}.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{record}\.json is damaged.*restore it") as caught:
        RunFolder.read(tmp_path / "run")
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_wrong_value_is_refused_with_its_place(changed: Callable[..., Path]) -> None:
    run = changed("evaluation", {"scores": {"v_rand": "good"}})
    with pytest.raises(ConfigError, match=r"evaluation\.json is damaged at scores/v_rand"):
        RunFolder.read(run)


def test_a_folder_that_is_not_there_or_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"run .*nowhere not found"):
        RunFolder.read(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"neither log/run\.json nor log/evaluation\.json"):
        RunFolder.read(tmp_path)


def test_infinities_written_as_numbers_are_no_scores(changed: Callable[..., Path]) -> None:
    run = changed("evaluation", {"table": ..., "scores_by_case": {"v_rand": {"a": 0.25, "b": 0.5}}})
    path = run / "log" / "evaluation.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.25", "1e999"), encoding="utf-8")
    by_case = Evaluation.read(path).by_case(("", "v_rand"))
    assert math.isnan(by_case["a"])
    assert by_case["b"] == 0.5


def test_a_run_that_was_killed_is_told_by_the_epoch_that_was_validated_last(changed: Callable[..., Path]) -> None:
    epochs = [{"epoch": 1, "scores": {"dice": 0.9}}, {"epoch": 2, "scores": {"dice": 0.5}}, {"epoch": 3, "loss": 0.1}]
    best = RunFolder.read(changed("run", {"epochs": epochs, "best_epoch": ...})).best_epoch
    assert best is not None
    assert best.number == 2


def test_a_case_of_two_patients_is_refused(runs: Any, changed: Callable[..., Path]) -> None:
    table = json.loads((runs.first / "log" / "evaluation.json").read_text(encoding="utf-8"))["table"]
    table["cases"][0]["patient"] = "another"
    with pytest.raises(ConfigError, match="damaged at table/cases: a case has two patients"):
        RunFolder.read(changed("evaluation", {"table": table}))


@pytest.mark.parametrize("name", ["overlay.png", "cases/v0.png"])
def test_a_picture_that_is_a_link_out_of_the_run_is_refused(
    changed: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """What lies elsewhere on this machine may be of a patient, and the page may be passed on."""
    run = RunFolder.read(changed("evaluation", {}))
    path = run.log / name
    path.rename(tmp_path / "elsewhere.png")
    path.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(ImageError, match=f"picture {name} of run .* lies outside .*: evaluate again, or copy it"):
        _ = run.training_picture if name == "overlay.png" else run.picture_of("v0")
    path.unlink()
    (run.log / "inside.png").write_bytes(b"")
    path.symlink_to(run.log / "inside.png")
    assert (run.training_picture if name == "overlay.png" else run.picture_of("v0")) == run.log.resolve() / "inside.png"


def test_a_picture_outside_the_folder_is_refused(changed: Callable[..., Path]) -> None:
    run = RunFolder.read(changed("evaluation", {"pictures": {"v0": "../../secret.png", "v1": "cases/gone.png"}}))
    (run.folder.parent / "secret.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"secret\.png"):
        run.picture_of("v0")
    assert run.picture_of("v1") is None
    assert run.picture_of("v2") is None
