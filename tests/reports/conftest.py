"""Small real runs of the EM bundle with evaluations of what their networks really predict."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import Manifest
from pipeline.evaluation import CaseArrays, Evaluation, ScoreSettings, score_case
from pipeline.formats import read_image
from pipeline.predict import Predictor

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
    """Write the evaluation of the validation cases as `evaluate` and the evaluator of the bundle do.

    Args:
        run: Folder of the run.
        manifest: The data set.
        data: Its files.
        flattened: Power that probabilities are raised to: another network, as it were.
    """
    checkpoint = run / "models" / "model.pt"
    predictor = Predictor.from_bundle(BUNDLE, checkpoint)
    settings = ScoreSettings(seed=3)
    cases = {}
    for record in manifest.records(data, "validation"):
        pages = read_image(record["image"]).pixels
        truth = read_image(record["label"]).pixels[0, 0] > 0
        interior = predictor.probability(pages)[0, 1] ** flattened
        arrays = CaseArrays(truth, None, np.stack([1 - interior, interior]), None, pages[0, 0])
        cases[record["case"]] = score_case(record["case"], arrays, "membranes", manifest, settings)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    Evaluation(manifest, "validation", "membranes", settings, cases, checkpoint_sha256=digest).write(run / "log")


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
