"""A MONAI reader for PNG and TIFF that keeps (row, column), as MONAI's own readers for these formats do not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from ..errors import ImageError
from .raster import RASTER_SUFFIXES, RasterImage, read_image

PathLike = str | os.PathLike[str]


class RasterReader(ImageReader):
    """Read single-page PNG and TIFF files inside `monai.transforms.LoadImaged`.

    The image keeps its axis order (row, column) and its dtype (which `LoadImaged` then converts to its own, float32 by
    default); the affine is the identity: one pixel is one unit. Several files given for one image are its channels, in
    the order given.

    A stack of pages is refused: its pages are cases of their own, and neither channels nor a third dimension, so it
    must be split before it becomes training data. What `read_image` refuses is refused with the same `ImageError`.

    Args:
        channels: As in `read_image`. `"gray"` gives (row, column), which `LoadImaged(ensure_channel_first=True)` makes
            (1, row, column); `"all"` gives (channel, row, column).

    Examples:
        In a bundle config::

            _target_: monai.transforms.LoadImaged
            keys: [image, label]
            reader: {_target_: pipeline.formats.RasterReader}
            ensure_channel_first: true
    """

    def __init__(self, channels: Literal["gray", "all"] = "gray") -> None:
        super().__init__()
        self.channels = channels

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether every file is named as PNG or TIFF."""
        return all(Path(name).suffix.lower() in RASTER_SUFFIXES for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Return the paths; the files are opened by `get_data`.

        `LoadImage` takes an exception from `read` as a hint to try its other readers, which would answer a file refused
        here with another image: transposed, of colour mixed to gray, or with its missing end filled. What `get_data`
        raises reaches the user.

        Args:
            data: A file, or the files that are the channels of one image.
            **kwargs: Demanded by the interface of MONAI; there are no options to pass.

        Raises:
            TypeError: If there are options.
        """
        if kwargs:
            raise TypeError(f"RasterReader.read takes no options, got {sorted(kwargs)}")
        return tuple(Path(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[Path] | Path) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read what `read` named.

        Args:
            img: One path or several.

        Returns:
            The pixels, (row, column) or (channel, row, column), and the metadata MONAI expects: `spatial_shape`
            (row, column), `affine` and `original_affine` (identity), `original_channel_dim`, `filename_or_obj`; beside
            them `source_dtype`, the dtype of the file.

        Raises:
            ImageError: If a file cannot be used, has several pages, or files given together differ in size or dtype.
            MissingFileError: If a file does not exist.
        """
        images = [read_image(path, channels=self.channels) for path in ensure_tuple(img)]
        for image in images:
            _check_belongs(image, images[0])
        first = images[0]
        has_channel_axis = self.channels == "all" or len(images) > 1
        pixels = np.concatenate([image.pixels[0] for image in images]) if has_channel_axis else first.pixels[0, 0]
        return pixels, {
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.size_px),
            MetaKeys.AFFINE: np.eye(4),
            MetaKeys.ORIGINAL_AFFINE: np.eye(4),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if has_channel_axis else float("nan"),
            "filename_or_obj": str(first.path),
            "source_dtype": str(first.pixels.dtype),
        }


def _check_belongs(image: RasterImage, first: RasterImage) -> None:
    """Refuse a stack, and a file that cannot be a channel beside the first one."""
    if image.pages > 1:
        raise ImageError(
            f"image {image.path} is a stack of {image.pages} pages; expected one page a file; save its pages as single "
            "files (in Fiji: File > Save As > Image Sequence) and list each as a case"
        )
    if image.size_px != first.size_px or image.pixels.dtype != first.pixels.dtype:
        raise ImageError(
            f"image {image.path} ({_described(image)}) cannot be a channel beside {first.path} ({_described(first)}); "
            "expected equal sizes and dtypes; list them as separate images"
        )


def _described(image: RasterImage) -> str:
    rows, columns = image.size_px
    return f"{rows} × {columns} px, {image.pixels.dtype}"
