"""The record of an evaluation inside an evaluator."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events

from pipeline.data import Manifest
from pipeline.engines import EvaluationRecord
from pipeline.errors import ConfigError, ImageError
from pipeline.evaluation import ScoreSettings
from pipeline.metrics import EMScores, EMSlices, em_scores, em_stack_scores


def items_of(cases: tuple[str, ...]) -> list[dict[str, Any]]:
    """Batches of one slice of 32 by 40 px: cells parted by membranes."""
    random = np.random.default_rng(0)
    items = []
    for case in cases:
        label = np.ones((32, 40), np.int64)
        label[:, 9::10], label[15] = 0, 0
        image = (0.2 + 0.6 * label + 0.1 * random.random(label.shape)).astype(np.float32)
        batch = {"image": image, "label": label}
        items.append({name: torch.from_numpy(array)[None, None] for name, array in batch.items()} | {"case": [case]})
    return items


def evaluator_of(small_training: Callable[..., Any], cases: tuple[str, ...] = ("v0", "v1", "v2")) -> Any:
    evaluator = small_training(scores=(0.625,)).evaluator
    evaluator.data_loader = items_of(cases)
    evaluator.state.epoch_length = len(cases)
    return evaluator


def test_the_record_holds_scores_and_what_was_scored(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    evaluator = evaluator_of(small_training)
    manifest = Manifest.load(small_data.manifest)
    EvaluationRecord(tmp_path / "log", tmp_path / "model.pt", manifest, "validation").attach(evaluator)
    kept: dict[str, Any] = {}
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: kept.update({engine.state.batch[0]["case"]: engine.state.output[0]["pred"].numpy()}),
    )
    with caplog.at_level(logging.INFO, logger="unet_pipeline"):
        evaluator.run()
    text = (tmp_path / "log" / "evaluation.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["manifest"] == {"name": "small", "version": manifest.version, "sha256": manifest.digest}
    assert (record["split"], record["kind"], record["predictions"]) == ("validation", "membranes", None)
    assert record["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert record["evaluator_scores"] == {"score": 0.625}
    assert record["bundle"] is None  # there is none around
    label = items_of(("v0",))[0]["label"][0, 0].numpy()
    stack = em_stack_scores([em_scores(kept[case][0], label, warping=True) for case in ("v0", "v1", "v2")])
    for name in ("v_rand", "v_info", "rand_error", "pixel_error", "warping_error"):
        assert record["scores"][name] == stack.best(name)
    assert record["pictures"].keys() == {"v0", "v1", "v2"}
    assert (tmp_path / "log" / "cases" / "v0.png").is_file()
    # Calibration by a plain loop over the bins of the interior.
    probability = np.concatenate([kept[case][1].ravel() for case in ("v0", "v1", "v2")]).astype(np.float64)
    truth = np.tile(label.ravel(), 3)
    gaps = 0.0
    for low in range(10):
        inside = (probability > low / 10) & (probability <= (low + 1) / 10)
        gaps += abs(probability[inside].sum() - truth[inside].sum())
    assert record["calibration"]["ece"] == pytest.approx(gaps / truth.size)
    assert str(tmp_path) not in text
    assert "scores on validation of small: score 0.6250" in caplog.text
    assert f"scores of every case: {tmp_path / 'log' / 'evaluation.json'}" in caplog.text


def test_slices_that_a_metric_has_scored_are_not_scored_again(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        "pipeline.evaluation.membrane_kind.em_scores", lambda *arguments, **options: calls.append(arguments)
    )
    (tmp_path / "model.pt").write_bytes(b"weights")
    evaluator = evaluator_of(small_training)
    slices = EMSlices(warping=True)
    EMScores(slices, "v_rand").attach(evaluator, "v_rand")
    manifest = Manifest.load(small_data.manifest)
    EvaluationRecord(
        tmp_path, tmp_path / "model.pt", manifest, "validation", settings=ScoreSettings(), em_slices=slices
    ).attach(evaluator)
    evaluator.run()
    assert calls == []
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert record["scores"]["warping_error"] == slices.compute().warping_error


def test_a_network_that_gives_no_number_is_refused_by_case(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any
) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    evaluator = evaluator_of(small_training)
    evaluator.data_loader[1]["image"][0, 0, 3, 3] = float("nan")
    EvaluationRecord(tmp_path / "log", tmp_path / "model.pt", Manifest.load(small_data.manifest), "validation").attach(
        evaluator
    )
    with pytest.raises(ImageError, match="case 'v1': probability holds NaN; expected 0 to 1"):
        evaluator.run()
    assert not (tmp_path / "log").exists()


def test_other_ranks_write_nothing(
    tmp_path: Path, small_training: Callable[..., Any], small_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    evaluator = evaluator_of(small_training)
    manifest = Manifest.load(small_data.manifest)
    EvaluationRecord(tmp_path, tmp_path / "model.pt", manifest, "validation").attach(evaluator)
    evaluator.run()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_scored_is_refused_when_it_is_made(tmp_path: Path, small_data: Any) -> None:
    manifest = Manifest.load(small_data.manifest)
    with pytest.raises(ConfigError, match="an evaluator gives classes and no instances"):
        EvaluationRecord(tmp_path, tmp_path / "model.pt", manifest, "validation", kind="instances")
    with pytest.raises(ConfigError, match="em_slices and settings differ in warping or thresholds"):
        EvaluationRecord(tmp_path, tmp_path / "model.pt", manifest, "validation", em_slices=EMSlices(warping=False))
