"""Pictures of a run, read back out of TensorBoard's files and the PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from pipeline.engines import BestPicture, TilePictures


def images_in(folder: Path, tag: str) -> dict[int, np.ndarray]:
    """The pictures of a tag, by step."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    if tag not in events.Tags()["images"]:
        return {}
    return {event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string))) for event in events.Images(tag)}


def test_tensorboard_shows_a_tile_at_the_interval(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training(scores=(0.1,) * 4)
    TilePictures(SummaryWriter(tmp_path), every_epochs=2).attach(training.trainer)
    training.run()
    # Read while the writer is still open: the end of a run flushes it.
    shown = images_in(tmp_path, "training tile")
    assert sorted(shown) == [2, 4]
    assert all(picture.ndim == 3 and picture.shape[2] == 3 and picture.std() > 0 for picture in shown.values())


def test_the_image_of_a_tile_is_cropped_to_where_label_and_prediction_are(
    tmp_path: Path, small_training: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[tuple[int, ...]]] = []
    inside: list[np.ndarray] = []

    def draw(image: np.ndarray, label: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
        drawn.append([array.shape for array in (image, label, pred, weight)])
        inside.append(image)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("pipeline.engines.pictures.overlay_picture", draw)
    training = small_training(scores=(0.1,), steps_per_epoch=1)
    pictures = TilePictures(SummaryWriter(tmp_path))
    batch = training.batch(0)
    label = batch["label"][:, :, 1:-1, 2:-2]
    training.trainer.state.output = {
        "image": batch["image"],
        "label": label,
        "weight": label.float(),
        "pred": batch["image"][:, [0, 0], 1:-1, 2:-2],
    }
    training.trainer.state.epoch = 1
    pictures(training.trainer)
    assert drawn == [[(1, 4, 4)] * 4]
    assert np.array_equal(inside[0], batch["image"][0, :, 1:-1, 2:-2].numpy())


def test_the_best_picture_is_that_of_the_best_epoch(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training(scores=(0.1, 0.9, 0.5))
    BestPicture(tmp_path / "log" / "overlay.png", training.evaluator, SummaryWriter(tmp_path / "tb")).attach(
        training.trainer
    )
    TilePictures(SummaryWriter(tmp_path / "tiles")).attach(training.trainer)
    training.run()
    shown = images_in(tmp_path / "tb", "validation case")
    assert sorted(shown) == [1, 2, 3]
    saved = np.asarray(Image.open(tmp_path / "log" / "overlay.png"))
    assert np.array_equal(saved, shown[2])
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["overlay.png"]


def test_of_a_volume_the_slice_with_most_of_the_objects_is_drawn(
    tmp_path: Path, small_training: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def draw(image: np.ndarray, label: np.ndarray, pred: np.ndarray, caption: str) -> np.ndarray:
        drawn.update(image=image, label=label, pred=pred, caption=caption)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("pipeline.engines.pictures.overlay_picture", draw)
    training = small_training(scores=(0.1,))
    pictures = BestPicture(tmp_path / "overlay.png", training.evaluator, SummaryWriter(tmp_path))
    image, pred = torch.rand(3, 4, 5, 6), torch.rand(2, 4, 5, 6)
    label = torch.zeros(1, 4, 5, 6, dtype=torch.int64)
    label[0, 0, 0, 1] = label[0, 1:3, 2, 4] = 1
    training.evaluator.state.iteration = 1
    training.evaluator.state.batch = [{"case": "a"}]
    training.evaluator.state.output = [{"image": image, "label": label, "pred": pred}]
    pictures._keep_first(training.evaluator)
    # The channels are neighbouring slices, of which the middle one is the slice itself.
    np.testing.assert_array_equal(drawn["image"], image[1:2, ..., 4])
    np.testing.assert_array_equal(drawn["label"], label[..., 4])
    np.testing.assert_array_equal(drawn["pred"], pred[..., 4].argmax(0, keepdim=True))
    assert drawn["caption"] == "case a, slice 4"


def test_only_the_first_validation_case_is_drawn(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training(scores=(0.1,))
    training.evaluator.data_loader = [training.batch(100), training.batch(101)]
    training.evaluator.state.epoch_length = 2
    seen: list[str] = []

    def draw(*_: Any, caption: str) -> np.ndarray:
        seen.append(caption)
        return np.zeros((4, 4, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.engines.pictures.overlay_picture", draw)
        BestPicture(tmp_path / "overlay.png", training.evaluator, SummaryWriter(tmp_path / "tb")).attach(
            training.trainer
        )
        training.run()
    assert seen == ["case case-100"]


def test_other_ranks_draw_nothing(
    tmp_path: Path, small_training: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    training = small_training()
    # The bundle disables the writer there, which makes it None.
    TilePictures(None).attach(training.trainer)  # type: ignore[arg-type]
    BestPicture(tmp_path / "overlay.png", training.evaluator, None).attach(training.trainer)  # type: ignore[arg-type]
    training.run()
    assert list(tmp_path.iterdir()) == []
