"""The record of an evaluation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import Manifest
from pipeline.engines import EvaluationRecord


def test_the_record_holds_scores_and_what_was_scored(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    evaluator = small_training(scores=(0.625,)).evaluator
    manifest = Manifest.load(small_data.manifest)
    EvaluationRecord(tmp_path / "log", tmp_path / "model.pt", manifest, "validation").attach(evaluator)
    with caplog.at_level(logging.INFO, logger="unet_pipeline"):
        evaluator.run()
    text = (tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "manifest": {"name": "small", "version": manifest.version, "sha256": manifest.digest},
        "split": "validation",
        "checkpoint_sha256": hashlib.sha256(b"weights").hexdigest(),
        "scores": {"score": 0.625},
        "scores_by_case": {"score": {"a": 0.625, "b": 0.625}},
    }
    assert str(tmp_path) not in text
    assert "scores on validation of small: score 0.6250" in caplog.text
    assert f"scores of every case: {tmp_path / 'log' / 'evaluation.json'}" in caplog.text


def test_other_ranks_write_nothing(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    evaluator = small_training().evaluator
    EvaluationRecord(tmp_path, tmp_path / "model.pt", Manifest.load(small_data.manifest), "test").attach(evaluator)
    evaluator.run()
    assert list(tmp_path.iterdir()) == []
