"""The U-Net of Ronneberger, Fischer and Brox: valid convolutions, cropped skips, no normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from ..errors import ConfigError, ImageError
from ..geometry import ValidGeometry

Variant = Literal["paper", "release"]


class ValidUNet(nn.Module):
    """U-Net whose output is smaller than its input by `geometry.margin_px` at each side (572 px in, 388 px out).

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits: the number of classes for a softmax, 1 for a sigmoid (metrics and pictures
            of this package take two classes or more).
        channels: Feature channels from the finest to the coarsest resolution; one pooling between neighbours.
        convs_per_block: 3 by 3 convolutions in each block.
        dropout: Probability of dropout at the end of the contracting path, in [0, 1).
        variant: `"paper"` is figure 1. `"release"` is the network that the authors published on 2015-10-02: ReLU after
            each up-convolution, as many channels in the last up-convolution as come in, concatenation in the order
            (up, skip), and dropout after the last two contracting stages, the first of them before its skip is taken.

    Shape:
        image: (B, in_channels, H, W) float; H and W legal sides of `geometry`, they may differ.
        logits: (B, out_channels, H - 184, W - 184) at the default depth and two convolutions a block.

    Raises:
        ConfigError: If an argument is out of range.
        TileSizeError: In `forward`, if H or W is not a legal side.
        ImageError: In `forward`, if the image has another number of axes or channels.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), figure 1 and section 3. Weights are drawn from N(0, sqrt(2/N)),
        N the incoming nodes of one neuron; biases start at 0.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        convs_per_block: int = 2,
        dropout: float = 0.5,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        if in_channels < 1 or out_channels < 1:
            raise ConfigError(f"in_channels and out_channels must be at least 1, got {in_channels} and {out_channels}")
        if not isinstance(channels, Sequence) or len(channels) < 2 or not all(_is_width(width) for width in channels):
            raise ConfigError(f"channels must be at least two positive whole numbers, finest first, got {channels!r}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        if variant not in get_args(Variant):
            raise ConfigError(f"variant must be one of {get_args(Variant)}, got {variant!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.channels = tuple(channels)
        self.variant = variant
        self.geometry = ValidGeometry(depth=len(channels) - 1, convs_per_block=convs_per_block)

        self.contract = nn.ModuleList()
        incoming = in_channels
        for width in self.channels[:-1]:
            self.contract.append(_block(incoming, width, convs_per_block))
            incoming = width
        self.bottom = _block(incoming, self.channels[-1], convs_per_block)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList()
        self.expand = nn.ModuleList()
        incoming = self.channels[-1]
        for level in reversed(range(self.geometry.depth)):
            width = self.channels[level]
            raised = incoming if variant == "release" and level == 0 else width
            self.up.append(_up_convolution(incoming, raised, variant))
            self.expand.append(_block(raised + width, width, convs_per_block))
            incoming = width
        self.head = nn.Conv2d(incoming, out_channels, kernel_size=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew as the paper's section 3 says, from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                # Each pixel that comes out of a 2 by 2 up-convolution of stride 2 sees one tap of every channel.
                taps = 1 if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of the part of `image` that lies `geometry.margin_px` inside its border."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ImageError(
                f"image must be (batch, {self.in_channels}, height, width) for this network, got {tuple(image.shape)}"
            )
        for side in image.shape[2:]:
            self.geometry.output_px(int(side))
        features = image
        skips = []
        for level, block in enumerate(self.contract):
            features = block(features)
            if self.variant == "release" and level == self.geometry.depth - 1:
                features = self.dropout(features)
            skips.append(features)
            features = self.pool(features)
        features = self.dropout(self.bottom(features))
        for up, block in zip(self.up, self.expand, strict=True):
            # Nothing else refers to a skip once it is joined: in inference its memory is free from here on.
            features = block(self._joined(up(features), skips.pop()))
        logits: torch.Tensor = self._classified(features)
        return logits

    def _classified(self, features: torch.Tensor) -> Any:
        if features.dtype == self.head.weight.dtype:
            return self.head(features)
        # Under autocast. Rounding the logits themselves would change the class of one pixel in 600.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.to(self.head.weight.dtype))

    def _joined(self, raised: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        cropped = _centre_crop(skip, raised)
        return torch.cat([raised, cropped] if self.variant == "release" else [cropped, raised], dim=1)


def _is_width(width: object) -> bool:
    return isinstance(width, int) and width >= 1


def _block(incoming: int, width: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [nn.Conv2d(incoming, width, kernel_size=3), nn.ReLU(inplace=True)]
        incoming = width
    return nn.Sequential(*layers)


def _up_convolution(incoming: int, width: int, variant: Variant) -> nn.Module:
    up = nn.ConvTranspose2d(incoming, width, kernel_size=2, stride=2)
    return nn.Sequential(up, nn.ReLU(inplace=True)) if variant == "release" else up


def _centre_crop(skip: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    rows = (skip.shape[2] - like.shape[2]) // 2
    columns = (skip.shape[3] - like.shape[3]) // 2
    return skip[:, :, rows : rows + like.shape[2], columns : columns + like.shape[3]]
