"""Pictures of a run: what the network is given and what it makes of it, in TensorBoard and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch.utils.tensorboard import SummaryWriter

from ..reports import overlay_picture, save_picture


class TilePictures:
    """Handler that shows the first tile of a step in TensorBoard: image, label, weight map and prediction.

    Args:
        summary_writer: Where the pictures go.
        every_epochs: Show the last step of every so many epochs.
    """

    def __init__(self, summary_writer: SummaryWriter, every_epochs: int = 1) -> None:
        self.summary_writer = summary_writer
        self.every_epochs = every_epochs

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer."""
        if idist.get_rank() == 0:
            trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.every_epochs), self)
            trainer.add_event_handler(Events.COMPLETED, self._flush)

    def __call__(self, trainer: Engine) -> None:
        """Write the picture."""
        image, label, weight, pred = (
            trainer.state.output[key][0].float().cpu() for key in ("image", "label", "weight", "pred")
        )
        margins = [(outer - inner) // 2 for outer, inner in zip(image.shape[1:], label.shape[1:], strict=True)]
        inside = image[:, margins[0] : margins[0] + label.shape[1], margins[1] : margins[1] + label.shape[2]]
        middle = len(inside) // 2
        picture = overlay_picture(
            inside[middle : middle + 1].numpy(), label.numpy().astype(np.int64), _classes(pred), weight.numpy()
        )
        self.summary_writer.add_image("training tile", picture, trainer.state.epoch, dataformats="HWC")

    def _flush(self, trainer: Engine) -> None:
        # What TensorBoard has not written yet when the process ends is lost, and so is the error if it cannot.
        self.summary_writer.flush()


class BestPicture:
    """Handler that draws the first validation case: in TensorBoard each time, as a file when the score is the best yet.

    Args:
        path: The PNG file to write.
        evaluator: The evaluator; its predictions must be class probabilities.
        summary_writer: The TensorBoard writer.
    """

    def __init__(self, path: str | Path, evaluator: Evaluator, summary_writer: SummaryWriter) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.summary_writer = summary_writer
        self._latest: Any = None

    def attach(self, trainer: Engine) -> None:
        """Attach to the evaluator of a trainer."""
        if idist.get_rank() == 0:
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._keep_first)
            self.evaluator.add_event_handler(Events.COMPLETED, self._draw)

    def _keep_first(self, evaluator: Engine) -> None:
        if evaluator.state.iteration != 1:
            return
        case, output = evaluator.state.batch[0]["case"], evaluator.state.output[0]
        image, label, pred = (torch.as_tensor(output[key]).float().cpu() for key in ("image", "label", "pred"))
        caption = f"case {case}"
        if label.ndim == 4:
            # Of a volume, the slice that shows most of the objects; of several such the first.
            number = int((label > 0).sum((0, 1, 2)).argmax())
            image, label, pred = (volume[..., number] for volume in (image, label, pred))
            caption += f", slice {number}"
        middle = len(image) // 2  # of the slices that are channels of one, the one that the label belongs to
        self._latest = overlay_picture(
            image[middle : middle + 1].numpy(), label.numpy().astype(np.int64), _classes(pred), caption=caption
        )

    def _draw(self, evaluator: Engine) -> None:
        self.summary_writer.add_image("validation case", self._latest, evaluator.state.epoch, dataformats="HWC")
        if evaluator.state.best_metric_epoch == evaluator.state.epoch:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_picture(self.path, self._latest)


def _classes(scores: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the class of each pixel, (1, H, W), from logits or probabilities of at least two classes, (C, H, W)."""
    return np.asarray(scores.argmax(0, keepdim=True))
