"""Finding the full-resolution array of an OME-Zarr folder: OME-NGFF 0.4 on Zarr 2, and 0.5 on Zarr 3."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ..counted import counted
from ..errors import ImageError, MissingFileError
from .samples import decoding

ZARR_SUFFIX = ".zarr"

_WAY_OUT = "name the folder of one image, as bioformats2raw or ome-zarr-py write it"


@dataclass(frozen=True, eq=False)
class OmeArray:
    """The full resolution of an OME-Zarr image.

    Attributes:
        folder: Where the array is.
        array: (row, column) behind leading axes, in the order of `places`.
        places: For each page, the position on the leading axes.
    """

    folder: Path
    array: zarr.Array[Any] = field(repr=False)
    places: tuple[tuple[int, ...], ...]


def is_zarr_name(path: Path) -> bool:
    """Return whether a path is a folder named as Zarr."""
    return path.suffix.lower() == ZARR_SUFFIX and path.is_dir()


def open_ome_zarr(path: Path) -> OmeArray:
    """Open the image of a folder for reading; no pixel is read yet.

    Accepted axes beside `y` and `x`, which come last: `t`, `c`, `z`, of which at most one of `t` and `z` is longer
    than 1 (the pages), and `c` is of length 1. Of a pyramid the full resolution is taken. A chunk that is not stored
    counts as its fill value, as Zarr defines it.

    Raises:
        MissingFileError: If there is no such folder.
        ImageError: If it is no OME-Zarr image, or its axes or pixels cannot be placed.
    """
    if not path.is_dir():
        raise MissingFileError(f"image {path} not found; check the path")
    with decoding(path, "Zarr"):
        try:
            group = zarr.open_group(path, mode="r", use_consolidated=False)
        except FileNotFoundError as error:
            raise ImageError(f"image {path} is no Zarr group: it has no .zgroup or zarr.json; {_WAY_OUT}") from error
        group, prefix = _only_image(path, group)
        multiscale = _first_multiscale(path, group.attrs.asdict())
        letters = _axes(path, multiscale)
        level = _full_resolution(path, multiscale)
        array = group.get(level)
        if not isinstance(array, zarr.Array):
            raise ImageError(f"image {path} lacks the array '{level}' that its OME metadata promise; copy it again")
        sizes = [int(size) for size in array.shape]
    if len(sizes) != len(letters):
        raise ImageError(
            f"image {path} has {counted(len(sizes), 'axis', 'axes')}, its OME metadata name {len(letters)}: "
            f"{', '.join(letters)}; write it anew"
        )
    stored = dict(zip(letters, sizes, strict=True))
    found = " × ".join(f"{size} {letter}" for letter, size in stored.items())
    if 0 in sizes:
        raise ImageError(f"image {path} is {found}; expected at least one pixel; save it anew")
    if stored.get("c", 1) > 1:
        raise ImageError(f"image {path} has {stored['c']} channels; expected one; save the wanted channel as its own")
    if stored.get("t", 1) > 1 and stored.get("z", 1) > 1:
        raise ImageError(
            f"image {path} has the axes {found}; expected at most one axis of pages, t or z; split it first"
        )
    if np.dtype(array.dtype).kind not in "buif":
        raise ImageError(
            f"image {path} holds {array.dtype} pixels; expected integers or real numbers; convert it first"
        )
    places = np.ndindex(*sizes[:-2])
    return OmeArray(path / prefix / level, array, tuple(places))


def folder_state(path: Path) -> str:
    """Return a text that changes when a file below a folder is added, removed or written to."""
    files, size_bytes, latest_ns = 0, 0, 0
    for entry in _files_below(path):
        status = entry.stat()
        files += 1
        size_bytes += status.st_size
        latest_ns = max(latest_ns, status.st_mtime_ns)
    return f"{files} files of {size_bytes} bytes, {latest_ns}"


def _files_below(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files_below(entry.path)
            else:
                yield entry


def _only_image(path: Path, group: zarr.Group) -> tuple[zarr.Group, str]:
    """Return the group of the image and its name in the folder: bioformats2raw puts images into groups `0`, `1`, ..."""
    attributes = group.attrs.asdict()
    metadata = attributes.get("ome", attributes)
    if not isinstance(metadata, Mapping) or "bioformats2raw.layout" not in metadata or "multiscales" in metadata:
        return group, ""
    inner = group.get("0")
    if not isinstance(inner, zarr.Group) or group.get("1") is not None:
        raise ImageError(
            f"image {path} holds several images, or none, in the layout of bioformats2raw; expected one; copy the "
            "folder of the wanted image (0, 1, ...) under a name that ends in .zarr"
        )
    return inner, "0"


def _first_multiscale(path: Path, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `multiscales[0]`, which 0.5 keeps below the key `ome`."""
    metadata = attributes.get("ome", attributes)
    multiscales = metadata.get("multiscales") if isinstance(metadata, Mapping) else None
    if not isinstance(multiscales, list) or not multiscales or not isinstance(multiscales[0], Mapping):
        raise ImageError(
            f"image {path} is a Zarr folder without the metadata of an OME image; expected `multiscales` of OME-NGFF "
            f"0.4 or 0.5; {_WAY_OUT}"
        )
    return multiscales[0]


def _axes(path: Path, multiscale: Mapping[str, Any]) -> list[str]:
    """Return the letters of the axes in the order of the array."""
    axes = multiscale.get("axes")
    named = axes if isinstance(axes, list) else []
    letters = [str(axis.get("name")) for axis in named if isinstance(axis, Mapping)]
    is_placed = letters[-2:] == ["y", "x"] and len(set(letters)) == len(letters) and set(letters) <= set("tczyx")
    if not letters or len(letters) != len(named) or not is_placed:
        raise ImageError(
            f"image {path} names the axes {axes}; expected some of t, c, z, then y and x, as OME-NGFF 0.4 and 0.5 "
            "write them; write it anew"
        )
    return letters


def _full_resolution(path: Path, multiscale: Mapping[str, Any]) -> str:
    datasets = multiscale.get("datasets")
    first = datasets[0] if isinstance(datasets, list) and datasets else None
    level = first.get("path") if isinstance(first, Mapping) else None
    if not isinstance(level, str):
        raise ImageError(f"image {path} names no array in its OME metadata (multiscales[0].datasets[0]); write it anew")
    return level
