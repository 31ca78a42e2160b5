"""A MONAI reader for NIfTI that refuses what `read_nifti` refuses.

On good files it gives what `monai.data.NibabelReader` gives; that one takes time series for channels, and NaN, a
damaged checksum, units other than mm and axes that point nobody knows where as they come.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from numpy.typing import NDArray

from ..errors import ImageError
from .nifti import check_orientation, is_nifti_name, read_nifti

PathLike = str | os.PathLike[str]


class NiftiReader(ImageReader):
    """Read NIfTI files inside `monai.transforms.LoadImaged`: one volume, no channels, RAS affine in mm.

    Examples:
        In a bundle config::

            _target_: monai.transforms.LoadImaged
            keys: [image, label]
            reader: {_target_: pipeline.formats.NiftiReader}
            ensure_channel_first: true
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether every file is named as NIfTI."""
        return all(is_nifti_name(name) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Return the paths; the files are opened by `get_data`.

        `LoadImage` takes an exception from `read` as a hint to try its other readers; what `get_data` raises reaches
        the user.

        Args:
            data: One file.
            **kwargs: Demanded by the interface of MONAI; there are no options to pass.

        Raises:
            TypeError: If there are options.
        """
        if kwargs:
            raise TypeError(f"NiftiReader.read takes no options, got {sorted(kwargs)}")
        return tuple(Path(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[Path] | Path) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read what `read` named.

        Args:
            img: One path.

        Returns:
            The voxels, (i, j) or (i, j, k), and the metadata MONAI expects: `spatial_shape`, `affine` and
            `original_affine` (RAS, mm), `space`, `original_channel_dim`, `filename_or_obj`; beside them `source_dtype`.

        Raises:
            ImageError: If the file cannot be used, its header does not say where its axes point, or there are several.
            MissingFileError: If it does not exist.
        """
        paths = ensure_tuple(img)
        if len(paths) != 1:
            raise ImageError(
                f"{len(paths)} NIfTI files were given for one image, the first {paths[0]}; expected one file; list "
                "each as a case"
            )
        image = read_nifti(paths[0])
        check_orientation(image)
        return image.voxels, {
            MetaKeys.SPATIAL_SHAPE: np.asarray(image.voxels.shape),
            MetaKeys.AFFINE: image.affine,
            MetaKeys.ORIGINAL_AFFINE: image.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
            "filename_or_obj": str(image.path),
            "source_dtype": str(image.voxels.dtype),
        }
