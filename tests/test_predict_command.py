"""What `unet-pipeline predict` says on the way, and what it leaves when it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.engines import save_whole
from pipeline.formats import write_dicom_series
from pipeline.networks import ValidUNet
from pipeline.output_folder import output_folder

BUNDLES = Path(__file__).parents[1] / "bundles"
VOLUME_BUNDLE = BUNDLES / "hippocampus_mr_segmentation"
IMAGE_BUNDLE = BUNDLES / "em_membrane_segmentation"
CHANNELS = [4, 6, 8]
AFFINE = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2.5, -100], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of the bundle for volumes, with few channels."""
    path = tmp_path_factory.mktemp("run") / "weights.pt"
    save_whole(ValidUNet(3, 3, channels=CHANNELS, dropout=0.0).state_dict(), path)
    return path


@pytest.fixture
def predict(processes: Any, checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    def run(*arguments: Any, bundle: Path = VOLUME_BUNDLE, weights: Path = checkpoint) -> Any:
        given = ["predict", *arguments, "--bundle", bundle, "--checkpoint", weights, "-o", "out"]
        for setting in ("device=cpu", "precision=fp32", f"network_def::channels={json.dumps(CHANNELS)}"):
            given += ["--set", setting]
        return processes.start("pipeline", given, tmp_path).wait()

    return run


def write_series(folder: Path, count: int) -> None:
    """Write several series into one folder that is named by a patient, beside two other files."""
    folder.mkdir()
    for number in range(count):
        for path in write_dicom_series(folder / str(number), np.zeros((20, 24, 2), np.int16), AFFINE, modality="MR"):
            path.rename(folder / f"{number}-{path.name}")
        (folder / str(number)).rmdir()
    for name in ("viewer.exe", "letter.txt"):
        (folder / name).write_text("no image")


class TestPassedOver:
    def test_it_is_said_once_a_folder(self, predict: Callable[..., Any], tmp_path: Path) -> None:
        write_series(tmp_path / "HANSEN", 3)
        write_series(tmp_path / "HANSEN2", 1)
        finished = predict("HANSEN", "HANSEN2", "--all-series", "--format", "nifti")
        assert finished.status == 0, finished.stderr
        said = [line for line in finished.stderr.splitlines() if "passed over" in line]
        assert len(said) == 2
        assert said[0].endswith(" and 2 more of its folder: 2 not DICOM passed over")
        assert said[1].endswith(": 2 not DICOM passed over")
        names = {path.name.split("_")[0] for path in (tmp_path / "out").glob("*.json")}
        assert len(names) == 4
        assert {line.split(":")[0].split()[0] for line in said} < names
        assert "HANSEN" not in finished.stderr
        for record in (tmp_path / "out").glob("*.json"):
            assert json.loads(record.read_text(encoding="utf-8"))["source"]["skipped"] == {"not DICOM": 2}


class TestAnotherNetwork:
    """The message names the checkpoint and what differs, and nothing is left."""

    @pytest.mark.parametrize(
        ("network", "said"),
        [
            (lambda: ValidUNet(3, 3, channels=[4, 6, 10], dropout=0.0), "is (10, 6, 3, 3), expected (8, 6, 3, 3)"),
            (
                lambda: ValidUNet(3, 2, channels=CHANNELS, dropout=0.0),
                "head.weight is (2, 4, 1, 1), expected (3, 4, 1, 1)",
            ),
            (lambda: ValidUNet(1, 3, channels=CHANNELS, dropout=0.0), "is (4, 1, 3, 3), expected (4, 3, 3, 3)"),
            (lambda: ValidUNet(3, 3, channels=[4, 6], dropout=0.0), "it has no contract.1.0.weight"),
            (lambda: torch.nn.Linear(2, 2), "it has no contract.0.0.weight"),
        ],
        ids=["channels", "classes", "images", "depth", "not a U-Net"],
    )
    def test_is_refused_for_volumes(
        self, predict: Callable[..., Any], tmp_path: Path, network: Callable[[], torch.nn.Module], said: str
    ) -> None:
        save_whole(network().state_dict(), tmp_path / "other.pt")
        write_series(tmp_path / "series", 1)
        finished = predict("series", weights=tmp_path / "other.pt")
        assert (finished.status, finished.stdout) == (2, "")
        assert f"checkpoint {tmp_path / 'other.pt'} belongs to another network: " in finished.last_line
        assert said in finished.last_line
        assert "which is not this ValidUNet" in finished.last_line
        assert not (tmp_path / "out").exists()

    def test_is_refused_for_images(self, predict: Callable[..., Any], checkpoint: Path, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "a.png")
        finished = predict("a.png", bundle=IMAGE_BUNDLE)
        assert (finished.status, finished.stdout) == (2, "")
        assert f"checkpoint {checkpoint} belongs to another network: " in finished.last_line
        assert not (tmp_path / "out").exists()


class TestNothingIsLeft:
    """Of errors that come up only while the first volume is segmented or written."""

    def test_of_a_bundle_that_lists_too_few_segments(self, predict: Callable[..., Any], tmp_path: Path) -> None:
        write_series(tmp_path / "series", 1)
        bundle = tmp_path / "bundle"
        shutil.copytree(VOLUME_BUNDLE / "configs", bundle / "configs")
        config = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text(encoding="utf-8"))
        config["segments"] = config["segments"][:1]
        (bundle / "configs" / "inference.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        finished = predict("series", bundle=bundle)
        assert (finished.status, finished.stdout) == (2, "")
        assert "1 segment and its network gives 2 classes" in finished.last_line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("out", ["out", "out/deep/er"])
    def test_of_a_full_disk(self, processes: Any, checkpoint: Path, tmp_path: Path, out: str) -> None:
        random = np.random.default_rng(0).integers(0, 900, (64, 64, 12)).astype(np.int16)
        write_dicom_series(tmp_path / "series", random, AFFINE, modality="MR")
        given = ["predict", "series", "--bundle", VOLUME_BUNDLE, "--checkpoint", checkpoint, "-o", out]
        for setting in ("device=cpu", "precision=fp32", f"network_def::channels={json.dumps(CHANNELS)}"):
            given += ["--set", setting]
        before = sorted(tmp_path.rglob("*"))
        finished = processes.start("pipeline", given, tmp_path, largest_file_bytes=5000).wait()
        assert finished.status == 2
        assert "File too large" in finished.last_line
        assert sorted(tmp_path.rglob("*")) == before


class TestOutputFolder:
    def interrupt_in(self, path: Path, with_file: bool) -> None:
        with output_folder(path) as folder:
            assert folder.is_dir()
            if with_file:
                (folder / "file").touch()
            raise KeyboardInterrupt

    def test_what_was_there_or_holds_something_stays(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        for place, left in (
            ("old", ["old"]),
            ("old/new/er", ["old"]),
            ("kept/er", ["kept", "kept/er", "kept/er/file"]),
        ):
            with pytest.raises(KeyboardInterrupt):
                self.interrupt_in(tmp_path / place, with_file="kept" in place)
            found = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
            assert [name for name in found if name.startswith(left[0])] == left

    def test_without_an_error_it_stays(self, tmp_path: Path) -> None:
        with output_folder(tmp_path / "a" / "b"):
            pass
        assert (tmp_path / "a" / "b").is_dir()
