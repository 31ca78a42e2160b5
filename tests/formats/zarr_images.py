"""OME-Zarr images made for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray


def write_ome_zarr(
    folder: Path, pixels: NDArray[Any], axes: str, version: str = "0.5", chunks: tuple[int, int] = (16, 32), **how: Any
) -> Path:
    """Write a pyramid of two levels as OME-NGFF says: 0.4 on Zarr 2, 0.5 on Zarr 3."""
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "axes": [{"name": letter, "type": kinds.get(letter, "space")} for letter in axes],
        "datasets": [{"path": "full"}, {"path": "half"}],
    }
    if version == "0.4":
        group = zarr.create_group(folder, zarr_format=2, attributes={"multiscales": [{**multiscale, "version": "0.4"}]})
    else:
        ome = {"version": "0.5", "multiscales": [multiscale]}
        group = zarr.create_group(folder, zarr_format=3, attributes={"ome": ome})
    for name, level in (("full", pixels), ("half", pixels[..., ::2, ::2])):
        whole_chunks = (*(1 for _ in axes[:-2]), *chunks)
        array = group.create_array(name, shape=level.shape, chunks=whole_chunks, dtype=level.dtype, **how)
        array[...] = level
    return folder
