"""Training tiles of a report: those of the preview, from the numbers of the record, and never from code in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.preview import bundle_tiles, preview_picture
from pipeline.report_samples import training_samples
from pipeline.reports import arranged_pictures

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


def record_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "log" / "run.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("which", ["first", "second"])
def test_tiles_are_those_that_the_preview_draws_with_the_settings_of_the_run(
    runs: Any, small_run: dict[str, Any], which: str
) -> None:
    record = record_of(getattr(runs, which))
    found = training_samples(record, BUNDLE, 2, runs.manifest, runs.data)
    assert found.reason is None
    seed = {"first": 1, "second": 2}[which]
    assert record["seed"] == seed
    tiles = bundle_tiles(BUNDLE, overrides={**small_run, "seed": seed})
    np.testing.assert_array_equal(arranged_pictures([[rgb] for _, rgb in found.tiles]), preview_picture(tiles, 2))
    assert found.weights is not None
    assert found.weights[0] == found.tiles[0][0]


def test_without_the_files_or_with_others_there_are_no_tiles(runs: Any, tmp_path: Path) -> None:
    record = record_of(runs.first)
    found = training_samples(record, BUNDLE, 2, runs.manifest, tmp_path)
    assert found.reason == "the files of the data set were not found; pass their folder with --data"
    assert list(tmp_path.iterdir()) == []
    found = training_samples(record, BUNDLE, 2, ROOT / "data_manifests" / "phantom_em.json", runs.data)
    assert found.reason == "the manifest is not the one of the run; pass that with --manifest"
    shutil.copytree(runs.data, tmp_path / "data")
    (tmp_path / "data" / "image" / "t2.tif").write_bytes(b"not what it was")
    found = training_samples(record, BUNDLE, 2, runs.manifest, tmp_path / "data")
    assert found.reason is not None
    assert str(tmp_path) not in found.reason


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config, mark: config["train"]["preprocessing"]["transforms"].insert(0, f"$open({mark!r}, 'w')"),
        lambda config, mark: config["train"]["dataset"].update(seed=f"$open({mark!r}, 'w')"),
        lambda config, mark: config["train"]["dataset"].update(_target_="pathlib.Path"),
        lambda config, mark: config["network_def"].update(_target_="pathlib.Path"),
        lambda config, mark: config.update(tile_px=f"$open({mark!r}, 'w')"),
        lambda config, mark: config["train"].update(dataset=["another"]),
    ],
    ids=["transform", "argument", "target", "target it refers to", "knob", "kind"],
)
def test_nothing_in_a_record_is_run(runs: Any, tmp_path: Path, spoil: Callable[..., None]) -> None:
    record = record_of(runs.first)
    spoil(record["config"], str(tmp_path / "ran"))
    found = training_samples(record, BUNDLE, 1, runs.manifest, runs.data)
    assert found.tiles == ()
    assert found.reason is not None
    assert "set up otherwise" in found.reason
    assert list(tmp_path.iterdir()) == []


def test_what_tiles_do_not_depend_on_may_differ(runs: Any) -> None:
    record = record_of(runs.first)
    record["config"]["optimizer"] = {"_target_": "torch.optim.AdamW"}
    record["config"]["average_decay"] = 0.5
    assert training_samples(record, BUNDLE, 1, runs.manifest, runs.data).reason is None
