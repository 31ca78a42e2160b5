"""A MONAI reader for DICOM series that refuses what MONAI's own readers misplace in silence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from numpy.typing import NDArray

from ..errors import ImageError
from .dicom_expected import ExpectedSeries
from .dicom_files import PathLike, common_folder
from .dicom_series import DicomSeries, read_dicom_series
from .dicom_stack import check_allowed


class DicomSeriesReader(ImageReader):
    """Read folders of DICOM images inside `monai.transforms.LoadImaged`.

    The volume is (row, column, slice) in modality units, its affine in RAS mm, as `NibabelReader` gives them for NIfTI:
    after `Orientationd` both agree. Several folders given for one image are its channels, in the order given; they must
    lie on one grid. Several files are one series, as a manifest lists them where a folder holds others, too. What
    `read_dicom_series` refuses is refused with the same `ImageError`.

    Args:
        series_uid: Series Instance UID, where a folder holds several image series.
        allow: Names in `pipeline.formats.REPAIRS`.
        modality: Modality that series must have, such as CT; None where any will do.
        units: Units of their values, such as HU; None likewise.

    Raises:
        ConfigError: If `allow` names an unknown repair.

    Examples:
        In a bundle config::

            _target_: monai.transforms.LoadImaged
            keys: [image]
            reader: {_target_: pipeline.formats.DicomSeriesReader, modality: CT, units: HU}
            ensure_channel_first: true
    """

    def __init__(
        self,
        series_uid: str | None = None,
        allow: Collection[str] = (),
        modality: str | None = None,
        units: str | None = None,
    ) -> None:
        super().__init__()
        self.series_uid = series_uid
        self.allow = check_allowed(allow)
        self.expected = ExpectedSeries(modality, units)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether every path is a folder, or a file that has no suffix or the one of DICOM."""
        paths = [Path(name) for name in ensure_tuple(filename)]
        return all(path.is_dir() or path.suffix.lower() in ("", ".dcm") for path in paths)

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Return the paths; the files are opened by `get_data`.

        `LoadImage` takes an exception from `read` as a hint to try its other readers, which would answer a series
        refused here with a wrong volume. What `get_data` raises reaches the user.

        Args:
            data: A folder, or those that are the channels of one image; one file, or those of one series.
            **kwargs: Demanded by the interface of MONAI; there are no options to pass.

        Raises:
            TypeError: If there are options.
        """
        if kwargs:
            raise TypeError(f"DicomSeriesReader.read takes no options, got {sorted(kwargs)}")
        return tuple(Path(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[Path] | Path) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read what `read` named.

        Args:
            img: One path or several.

        Returns:
            The voxels, (row, column, slice) or (channel, row, column, slice), and the metadata MONAI expects:
            `spatial_shape`, `affine` and `original_affine` in RAS mm, `space`, `original_channel_dim`,
            `filename_or_obj`; beside them `source_dtype`, `series_folder`, `series_uid` and `repairs`. Nothing that is
            read from the files tells who the patient is.

        Raises:
            ImageError: If a series cannot be used, or series given together lie on different grids.
            MissingFileError: If a folder does not exist.
        """
        paths = ensure_tuple(img)
        if len(paths) > 1 and all(path.is_file() for path in paths):
            series = [self._read(paths)]
            paths = (common_folder(paths),)
        else:
            series = [self._read(path) for path in paths]
        first = series[0]
        for path, other in zip(paths, series, strict=True):
            _check_grid(path, other, paths[0], first)
        voxels = first.voxels if len(series) == 1 else np.stack([one.voxels for one in series])
        return voxels, {
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.voxels.shape),
            MetaKeys.AFFINE: first.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if len(series) == 1 else 0,
            "filename_or_obj": str(paths[0]),
            "source_dtype": str(first.voxels.dtype),
            # MONAI replaces `filename_or_obj` by the first path it was given, which may be one file of the series.
            "series_folder": str(paths[0]),
            "series_uid": first.series_uid,
            "repairs": "; ".join(repair for one in series for repair in one.repairs),
        }

    def _read(self, paths: PathLike | Sequence[PathLike]) -> DicomSeries:
        return read_dicom_series(paths, self.series_uid, allow=self.allow, **self.expected._asdict())


def _check_grid(path: Path, series: DicomSeries, first_path: Path, first: DicomSeries) -> None:
    """Refuse a series that cannot be a channel beside the first one."""
    is_same = series.voxels.shape == first.voxels.shape and np.allclose(series.affine, first.affine, atol=1e-3)
    if not is_same:
        raise ImageError(
            f"DICOM series in {path} cannot be a channel beside {first_path}: they lie on different grids "
            f"({series.voxels.shape} and {first.voxels.shape} voxels); resample one first"
        )
