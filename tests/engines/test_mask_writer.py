"""Masks of an inference run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from pipeline.engines import MaskWriter
from pipeline.errors import OutputError
from pipeline.formats import read_image


def run(folder: Path, preds: dict[str, torch.Tensor], overwrite: bool = False) -> None:
    """What an evaluator does with a writer: an iteration for each image, decollated."""
    images = list(preds.items())

    def step(engine: Engine, batch: tuple[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        engine.state.batch = [{"source": batch[0]}]
        return [{"pred": batch[1]}]

    engine = Engine(step)
    MaskWriter(folder, [{"source": name} for name in preds], overwrite).attach(engine)
    engine.run(images)


def pred_of(mask: np.ndarray) -> torch.Tensor:
    """Probabilities of two classes of which the second wins where the mask is set."""
    inside = torch.from_numpy(np.where(mask, 0.75, 0.25)).float()
    return torch.stack([1 - inside, inside])


def test_each_mask_lies_on_its_image_and_is_named_after_it(tmp_path: Path) -> None:
    masks = {name: np.random.default_rng(size).random((20 + size, 31)) > 0.5 for size, name in enumerate("ab")}
    preds = {"raw/a.png": pred_of(masks["a"]), "raw/b.ome.tif": pred_of(masks["b"]).to(torch.bfloat16)}
    run(tmp_path / "masks", preds)
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a_mask.png", "b_mask.tif"]
    for name, file in (("a", "a_mask.png"), ("b", "b_mask.tif")):
        found = read_image(tmp_path / "masks" / file).pixels[0, 0]
        assert found.dtype == np.uint8
        assert np.array_equal(found, np.where(masks[name], 255, 0))


def test_several_classes_are_written_as_their_indices(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 4, (9, 7))
    run(tmp_path, {"a.tif": torch.nn.functional.one_hot(torch.from_numpy(classes), 4).permute(2, 0, 1).float()})
    assert np.array_equal(read_image(tmp_path / "a_mask.tif").pixels[0, 0], classes)


def test_a_mask_that_exists_is_kept_and_the_way_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "a_mask.tif").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"a_mask\.tif already exists; pass .*--overwrite True"):
        run(tmp_path, {"0.tif": pred_of(np.ones((5, 5))), "a.tif": pred_of(np.ones((5, 5)))})
    assert not (tmp_path / "0_mask.tif").exists()
    assert (tmp_path / "a_mask.tif").read_bytes() == b"precious"


def test_a_mask_is_replaced_on_request(tmp_path: Path) -> None:
    (tmp_path / "a_mask.tif").write_bytes(b"old")
    run(tmp_path, {"a.tif": pred_of(np.ones((5, 5)))}, overwrite=True)
    assert (read_image(tmp_path / "a_mask.tif").pixels == 255).all()


def test_the_end_says_how_many_masks_are_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="unet_pipeline"):
        run(tmp_path, {"a.png": pred_of(np.ones((5, 5))), "b.png": pred_of(np.zeros((5, 5)))})
    assert f"2 masks: {tmp_path}" in caplog.text


@pytest.mark.parametrize("names", [("a.tif", "a.tiff"), ("a.tif", "a_mask.tif")], ids=["one name", "an input"])
def test_no_mask_overwrites_another_or_an_input(tmp_path: Path, names: tuple[str, str]) -> None:
    preds = {str(tmp_path / name): pred_of(np.ones((5, 5))) for name in names}
    with pytest.raises(OutputError, match=r"would both write|would overwrite the input"):
        run(tmp_path, preds, overwrite=True)
    assert not (tmp_path / "a_mask.tif").exists()
