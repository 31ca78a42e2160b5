"""Test-time ensemble: the mean over rotated and mirrored copies of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from monai.inferers import Inferer

from ..errors import ConfigError

Members = Literal[1, 2, 4, 7, 8]
Activation = Literal["softmax", "sigmoid"]

# (quarter turns, mirrored) of each ensemble, the untouched image first. The paper averages over "7 rotated versions of
# the input data" and does not say which; a square grid has eight, and 7 leaves out the last of them (our reading).
_EIGHT = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))
_COPIES = {1: _EIGHT[:1], 2: ((0, False), (0, True)), 4: _EIGHT[:4], 7: _EIGHT[:7], 8: _EIGHT}


class DihedralInferer(Inferer):
    """Apply another inferer to copies of the image turned by quarters and mirrored, and average their probabilities.

    Every copy is turned back before the mean is taken, so pixels stay where they are. The result is the logarithm of
    the mean probability (its logit for a sigmoid): postprocessing that applies the activation gives the mean itself.

    Args:
        inferer: What is applied to each copy, such as `OverlapTileInferer`.
        members: Number of copies: 1, 2 (mirrored), 4 (quarter turns), 7 (our reading of the paper) or 8 (all).
        activation: What turns the network's logits into probabilities.

    Raises:
        ConfigError: If an argument is out of range.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 4.
    """

    def __init__(self, inferer: Inferer, members: Members = 8, activation: Activation = "softmax") -> None:
        super().__init__()
        if members not in _COPIES:
            raise ConfigError(f"members must be one of {tuple(_COPIES)}, got {members}")
        if activation not in get_args(Activation):
            raise ConfigError(f"activation must be one of {get_args(Activation)}, got {activation!r}")
        self.inferer = inferer
        self.members = members
        self.activation = activation

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the ensemble's output for every pixel.

        Args:
            inputs: (B, C, H, W) float.
            network: The network.
            args: Passed on to the inferer.
            kwargs: Passed on to the inferer.

        Returns:
            (B, out_channels, H, W) float32: log-probabilities, or logits for a sigmoid.
        """
        total: torch.Tensor | None = None
        for turns, mirrored in _COPIES[self.members]:
            copy = torch.rot90(inputs.flip(3) if mirrored else inputs, turns, (2, 3))
            logits = self.inferer(copy, network, *args, **kwargs)
            probability = torch.softmax(logits, 1) if self.activation == "softmax" else torch.sigmoid(logits)
            back = torch.rot90(probability, -turns, (2, 3))
            back = back.flip(3) if mirrored else back
            total = back if total is None else total + back
        assert total is not None
        mean = total / self.members
        # The smallest normal float keeps a probability of exactly 0 finite.
        tiny = torch.finfo(mean.dtype).tiny
        return torch.log(mean.clamp(min=tiny)) if self.activation == "softmax" else torch.logit(mean, eps=1e-7)
