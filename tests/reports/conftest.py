"""Small real runs of the EM bundle with evaluations of what their networks really predict."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import Manifest
from pipeline.formats import read_image
from pipeline.metrics import ScoreTable, calibration, em_scores_by_case, em_stack_scores, pooled_calibration
from pipeline.predict import Predictor
from pipeline.reports import overlay_picture, save_picture

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


@dataclass(frozen=True)
class Runs:
    """Runs that nobody may change, and the data that they were trained on."""

    first: Path
    second: Path
    bare: Path
    manifest: Path
    data: Path


def evaluate(run: Path, manifest: Manifest, data: Path, flattened: float = 1.0) -> None:
    """Write the evaluation of the validation cases as `unet-pipeline evaluate` does, here without that command.

    Args:
        run: Folder of the run.
        manifest: The data set.
        data: Its files.
        flattened: Power that probabilities are raised to: another network, as it were.
    """
    predictor = Predictor.from_bundle(BUNDLE, run / "models" / "model.pt")
    truths, membranes, parts = {}, {}, []
    (run / "log" / "cases").mkdir()
    for record in manifest.records(data, "validation"):
        pages = read_image(record["image"]).pixels
        case, truth, image = record["case"], read_image(record["label"]).pixels[0, 0] > 0, pages[0, 0]
        probability = predictor.probability(pages)[0] ** flattened
        truths[case], membranes[case] = truth, probability[0].astype(np.float64)
        parts.append(calibration(probability[1], truth))
        picture = overlay_picture(image, truth, probability[1] > probability[0], caption=f"case {case}")
        save_picture(run / "log" / "cases" / f"{case}.png", picture)
    curves = em_scores_by_case(((case, membranes[case], truths[case]) for case in truths), warping=True)
    stack = em_stack_scores(curves.values())
    by_case = {
        name: {case: found.curve(name)[stack.index_of_best(name)] for case, found in curves.items()}
        for name in stack.score_names
    }
    scores = {case: {"membrane": {name: by_case[name][case] for name in by_case}} for case in curves}
    table = ScoreTable.of(scores, {case: f"block {case}" for case in curves}, "validation", manifest.digest)
    table.write_json(run / "table.json", seed=3)
    pooled = pooled_calibration(parts)
    measured = (pooled.counts, pooled.mean_probability, pooled.positive_fraction)
    bins = zip(pooled.edges[:-1], pooled.edges[1:], *measured, strict=True)
    content = {
        "manifest": {"name": manifest.name, "version": manifest.version, "sha256": manifest.digest},
        "split": "validation",
        "split_sha256": hashlib.sha256(b"validation").hexdigest(),
        "split_unit": "block",
        "checkpoint_sha256": hashlib.sha256((run / "models" / "model.pt").read_bytes()).hexdigest(),
        "predictions": None,
        "kind": "membranes",
        "key_score": "v_rand",
        "settings": {"warping": True, "seed": 3},
        "scores": {name: stack.best(name) for name in stack.score_names},
        "scores_by_case": by_case,
        "table": json.loads((run / "table.json").read_text(encoding="utf-8")),
        "skipped": [],
        "calibration": {
            "of": "object classes, each against the rest",
            "bins": [
                {
                    "low": low,
                    "high": high,
                    "count": count,
                    "mean_probability": None if math.isnan(mean) else mean,
                    "positive_fraction": None if math.isnan(fraction) else fraction,
                }
                for low, high, count, mean, fraction in bins
            ],
            "ece": pooled.expected_calibration_error,
            "mce": pooled.maximum_calibration_error,
        },
        "pictures": {case: f"cases/{case}.png" for case in curves},
    }
    (run / "table.json").unlink()
    (run / "log" / "evaluation.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, processes: Any, small_data: Any, small_run: dict[str, Any]) -> Runs:
    """Two evaluated runs of one split, and one that was not evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    manifest = Manifest.load(small_data.manifest)
    for name, seed in (("first", 1), ("second", 2)):
        words = [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in {**small_run, "seed": seed}.items()
        ]
        finished = processes.start("pipeline", ["train", BUNDLE, "-o", folder / name, *words], folder).wait()
        assert finished.status == 0, finished.stderr
    shutil.copytree(folder / "first", folder / "bare")
    evaluate(folder / "first", manifest, small_data.folder)
    evaluate(folder / "second", manifest, small_data.folder, flattened=0.5)
    return Runs(folder / "first", folder / "second", folder / "bare", small_data.manifest, small_data.folder)


@pytest.fixture
def changed(runs: Runs, tmp_path: Path) -> Callable[..., Path]:
    """Copy a run with fields of one of its records replaced, or taken away where they are `...`."""

    def change(record: str, fields: Mapping[str, Any], of: str = "first", name: str = "changed") -> Path:
        copy = tmp_path / name
        shutil.copytree(getattr(runs, of), copy)
        path = copy / "log" / f"{record}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        for field, value in fields.items():
            if value is ...:
                del content[field]
            else:
                content[field] = value
        path.write_text(json.dumps(content), encoding="utf-8")
        return copy

    return change
