"""The energy of the paper: cross-entropy of a pixel-wise softmax (or sigmoid), each pixel times its weight."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ConfigError, LabelError

Activation = Literal["softmax", "sigmoid"]
Reduction = Literal["mean", "sum"]


class PixelWeightedLoss(nn.Module):
    """Cross-entropy between logits and class indices, weighted pixel by pixel.

    The paper sums over the pixels of a tile. The mean, which is the default here, differs by a constant factor and
    keeps the learning rate independent of the tile side. It divides by the number of pixels, not by the sum of the
    weights, so that a pixel of weight 0 (not annotated) adds nothing and a heavy border counts for more.

    Args:
        activation: `"softmax"` over as many channels as classes, or `"sigmoid"` over one channel for class 1.
        reduction: `"mean"` over pixels, or the paper's `"sum"`.

    Shape:
        pred: (B, C, H, W) float logits; C is 1 for a sigmoid.
        label: (B, 1, H, W) integer class indices, 0 is background.
        weight: (B, 1, H, W) float, or None for a weight of 1 everywhere.
        loss: scalar, float32 also under autocast.

    Raises:
        ConfigError: If an argument is out of range.
        LabelError: If the shapes do not belong together, or a label is no class of the logits.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), equation 1.
    """

    def __init__(self, activation: Activation = "softmax", reduction: Reduction = "mean") -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise ConfigError(f"activation must be one of {get_args(Activation)}, got {activation!r}")
        if reduction not in get_args(Reduction):
            raise ConfigError(f"reduction must be one of {get_args(Reduction)}, got {reduction!r}")
        self.activation = activation
        self.reduction = reduction

    def forward(self, pred: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of a batch of tiles."""
        self._check_shapes(pred, label, weight)
        classes = max(pred.shape[1], 2)
        lowest, highest = (int(value) for value in torch.aminmax(label))
        if lowest < 0 or highest >= classes:
            raise LabelError(
                f"label holds classes {lowest} to {highest}; expected 0 to {classes - 1} for logits of {pred.shape[1]} "
                "channels; map label values to class indices first (see ClassIndicesd)"
            )
        with torch.autocast(pred.device.type, enabled=False):
            logits = pred.float()
            if self.activation == "softmax":
                per_pixel = F.cross_entropy(logits, label[:, 0].long(), reduction="none")
            else:
                per_pixel = F.binary_cross_entropy_with_logits(logits[:, 0], label[:, 0].float(), reduction="none")
            if weight is not None:
                per_pixel = per_pixel * weight[:, 0].float()
            return per_pixel.mean() if self.reduction == "mean" else per_pixel.sum()

    def _check_shapes(self, pred: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None) -> None:
        if self.activation == "sigmoid" and pred.shape[1] != 1:
            raise LabelError(f"a sigmoid loss takes logits of 1 channel, got {pred.shape[1]}; use activation='softmax'")
        if self.activation == "softmax" and pred.shape[1] < 2:
            raise LabelError("a softmax loss takes logits of at least 2 channels, got 1; use activation='sigmoid'")
        wanted = (pred.shape[0], 1, *pred.shape[2:])
        for name, tensor in (("label", label), ("weight", weight)):
            if tensor is not None and tuple(tensor.shape) != wanted:
                raise LabelError(
                    f"{name} must be {wanted} to fit logits of {tuple(pred.shape)}, got {tuple(tensor.shape)}; "
                    "a valid network needs labels cropped to its output tile (see RandTiled)"
                )
