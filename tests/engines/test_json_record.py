"""Records are JSON for every reader, whatever the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.data import Manifest
from pipeline.engines import RunRecord, TrainingCheckpoint


def strictly(path: Path) -> Any:
    """Read JSON as RFC 8259 has it: Python alone takes NaN."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_score_that_does_not_exist_is_null_in_run_json(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any
) -> None:
    training = small_training(scores=(0.5, math.nan))
    parts = (training.network, training.optimizer, training.lr_scheduler, training.evaluator)
    checkpoint = TrainingCheckpoint(tmp_path / "models", *parts)
    checkpoint.attach(training.trainer)
    manifest = Manifest.load(small_data.manifest)
    RunRecord(tmp_path, training.evaluator, checkpoint, manifest, 1, tmp_path / "x.png").attach(training.trainer)
    training.run()
    assert [epoch["scores"] for epoch in strictly(tmp_path / "run.json")["epochs"]] == [{"score": 0.5}, {"score": None}]
