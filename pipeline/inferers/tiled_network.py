"""A network as tiles see it: its geometry, its device, and output tiles of the size that the geometry promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from ..geometry import TileGeometry


class TiledNetwork:
    """A network with its geometry.

    Args:
        network: The network, also inside `DistributedDataParallel` or `torch.compile`.
        geometry: The geometry of a network that tells none itself.

    Attributes:
        network: As given.
        inner: The network without wrappers.
        geometry: Its geometry.

    Raises:
        ConfigError: If there is no geometry.
    """

    def __init__(self, network: Callable[..., torch.Tensor], geometry: TileGeometry | None = None) -> None:
        self.network = network
        self.inner: Any = network
        while not _has_geometry(self.inner) and _wrapped(self.inner) is not None:
            self.inner = _wrapped(self.inner)
        if geometry is None and not _has_geometry(self.inner):
            raise ConfigError(
                f"{type(self.inner).__name__} has no geometry, which overlap tiles need; use a network with a "
                "`geometry` such as ValidUNet, or give its margin: geometry=PaddedGeometry(margin_px, stride_px)"
            )
        self.geometry: TileGeometry = self.inner.geometry if geometry is None else geometry

    def __call__(self, tiles: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return output tiles (B, out_channels, h, w) in at least float32, cut to what the geometry promises.

        Raises:
            ConfigError: If the network gives another size than the geometry says.
        """
        outputs = self.network(tiles, *args, **kwargs)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        sides = tuple(self.geometry.output_px(side) for side in tiles.shape[2:])
        if tuple(outputs.shape[2:]) == sides:
            return outputs
        if outputs.shape[2:] == tiles.shape[2:]:
            margin_px = self.geometry.margin_px
            return outputs[:, :, margin_px : margin_px + sides[0], margin_px : margin_px + sides[1]]
        raise ConfigError(
            f"{type(self.inner).__name__} gives {tuple(outputs.shape[2:])} px for a tile of {tuple(tiles.shape[2:])} "
            f"px; expected {sides} by its geometry, or the tile's own size; give the geometry that it has"
        )

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU for a network without any."""
        weights = self.inner.parameters() if isinstance(self.inner, nn.Module) else iter(())
        return next((weight.device for weight in weights), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What the network takes: float64 if its weights are, float32 otherwise (autocast makes the rest)."""
        weights = self.inner.parameters() if isinstance(self.inner, nn.Module) else iter(())
        return torch.float64 if any(weight.dtype == torch.float64 for weight in weights) else torch.float32

    def digest(self) -> str:
        """Return a SHA-256 of all weights, or of nothing for a network that is no module."""
        digest = hashlib.sha256()
        if isinstance(self.inner, nn.Module):
            for name, tensor in sorted(self.inner.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def _has_geometry(network: Any) -> bool:
    return isinstance(getattr(network, "geometry", None), TileGeometry)


def _wrapped(network: Any) -> Any:
    """Return the module inside `DistributedDataParallel` or `torch.compile`, None for anything else."""
    if not isinstance(network, nn.Module):
        return None
    return network._modules.get("module", network._modules.get("_orig_mod"))
