"""What one pass of a network costs: operations and memory, found from the shapes of its feature maps alone."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ConfigError, PipelineError
from ..geometry import TileGeometry

_PROBED_OUTPUTS = (1, 3)  # sides of the probes' outputs, in strides


@dataclass(frozen=True)
class NetworkCost:
    """Cost of one tile as a function of its sides, exact for convolutional networks.

    Each side of each feature map is linear in a side of the tile. The operations of a pass, and the memory in use after
    each of its steps, are therefore bilinear in the two sides of the tile: four probes fix them.

    Attributes:
        out_channels: Channels of the output.
        flops: (4,) coefficients of rows x columns, rows, columns and 1; a multiplication and its addition count 2.
        used_bytes: (steps, 4) coefficients of the memory in use after each step, in float32, without the weights.
    """

    out_channels: int
    flops: npt.NDArray[np.float64]
    used_bytes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, network: nn.Module, geometry: TileGeometry, in_channels: int) -> NetworkCost:
        """Probe a network with tensors that have shapes and no content: nothing is computed.

        What was found is remembered as long as the network lives and keeps its weights' shapes.

        Args:
            network: The network, without wrappers.
            geometry: Its geometry.
            in_channels: Channels of the image.

        Raises:
            PipelineError: What the network itself refuses, such as a wrong number of channels.
            ConfigError: If the cost cannot be found in this way.
        """
        if not isinstance(network, nn.Module):
            raise ConfigError(
                f"what a tile costs {type(network).__name__} cannot be foreseen, as it is no torch.nn.Module; give "
                "tile_px as a number"
            )
        shapes = tuple(tuple(tensor.shape) for tensor in network.parameters())
        key = (repr(geometry), in_channels, shapes)
        known = _KNOWN.setdefault(network, {})
        if key not in known:
            known[key] = cls._probed(network, geometry, in_channels)
        return known[key]

    @classmethod
    def _probed(cls, network: nn.Module, geometry: TileGeometry, in_channels: int) -> NetworkCost:
        sides = [geometry.input_px(strides * geometry.stride_px) for strides in _PROBED_OUTPUTS]
        tiles = list(product(sides, sides))
        probes = [_probe(network, (1, in_channels, rows, columns)) for rows, columns in tiles]
        if len({len(probe.used_bytes) for probe in probes}) > 1:
            raise ConfigError(
                f"{type(network).__name__} takes other steps for other tiles, so their cost cannot be foreseen; give "
                "tile_px as a number"
            )
        terms = np.array([_terms(rows, columns) for rows, columns in tiles])
        return cls(
            probes[0].out_channels,
            np.linalg.solve(terms, np.array([probe.flops for probe in probes], np.float64)),
            np.linalg.solve(terms, np.array([probe.used_bytes for probe in probes], np.float64)).T,
        )

    def tile_flops(self, rows_px: npt.ArrayLike, columns_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the operations of input tiles of these sides."""
        return np.asarray(np.tensordot(self.flops, _terms(rows_px, columns_px), axes=1))

    def tile_bytes(self, rows_px: npt.ArrayLike, columns_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the most memory in use at once while input tiles of these sides pass, in float32."""
        return np.asarray(np.tensordot(self.used_bytes, _terms(rows_px, columns_px), axes=1).max(axis=0))


_KNOWN: weakref.WeakKeyDictionary[nn.Module, dict[Hashable, NetworkCost]] = weakref.WeakKeyDictionary()


def _terms(rows_px: npt.ArrayLike, columns_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
    rows, columns = np.broadcast_arrays(np.asarray(rows_px, np.float64), np.asarray(columns_px, np.float64))
    return np.stack([rows * columns, rows, columns, np.ones_like(rows)])


@dataclass(frozen=True)
class _Probe:
    out_channels: int
    flops: int
    used_bytes: list[int]


def _probe(network: nn.Module, shape: Sequence[int]) -> _Probe:
    state = {
        name: torch.empty_like(tensor, device="meta", dtype=torch.float32 if tensor.is_floating_point() else None)
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]
    }
    operations, memory = FlopCounterMode(display=False), _MemoryInUse()
    try:
        with torch.no_grad(), operations, memory:
            output = functional_call(network, state, (torch.empty(*shape, device="meta"),))
    except PipelineError:
        raise
    except Exception as error:
        # Whatever a stranger's network does with a tensor that has no content.
        raise ConfigError(
            f"what a tile of {tuple(shape)} costs {type(network).__name__} cannot be foreseen ({error}); give tile_px "
            "as a number"
        ) from error
    return _Probe(int(output.shape[1]), int(operations.get_total_flops()), memory.used_bytes)


class _MemoryInUse(TorchDispatchMode):
    """Notes after every operation how many bytes belong to tensors that are still in use."""

    def __init__(self) -> None:
        super().__init__()
        self.used_bytes: list[int] = []
        self._users: dict[int, int] = {}
        self._used = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._enter(tensor)
        self.used_bytes.append(self._used)
        return result

    def _enter(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        # Views share their storage; it is in use until the last of them is gone.
        key, size_bytes = storage._cdata, storage.nbytes()
        if self._users.setdefault(key, 0) == 0:
            self._used += size_bytes
        self._users[key] += 1
        weakref.finalize(tensor, self._leave, key, size_bytes)

    def _leave(self, key: int, size_bytes: int) -> None:
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self._used -= size_bytes
