"""Loading a DICOM SEG as the label of a series, on the grid of that series."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys, SpaceKeys

from ..errors import ConfigError, LabelError
from ..formats import SegmentDescription, StoredSegment, read_dicom_seg, read_dicom_series

_SNOMED: Final = "SCT"


class LoadDicomSegd(MapTransform):
    """Read DICOM SEG labels of an image that `LoadImaged` has read with `DicomSeriesReader`.

    A SEG says which series it belongs to, and only the series says where slices without a segment lie; a MONAI reader,
    which sees one file, could not put it on the grid of its image. The headers of the series are therefore read again.

    Values are segment numbers. Nobody guarantees that segment 1 of every file is the liver, so each segment that a
    file describes must be the one of that number in `segments`, by its SNOMED CT code. It need not describe all.

    Args:
        keys: Keys of the labels: paths of DICOM SEG files.
        segments: What each segment number stands for.
        image_key: Key of the image: a MetaTensor (1, row, column, slice) on the grid of its series.
        allow: Names in `pipeline.formats.REPAIRS`, those that the reader of the image allows.

    Raises:
        ConfigError: If `segments` is empty or has a number twice, or `allow` names an unknown repair.
        LabelError: When called, if a label refers to another series, or describes another segment than `segments`.
        ImageError: When called, if a label or the series cannot be read.
        MissingFileError: When called, if a label does not exist.
    """

    def __init__(
        self,
        keys: KeysCollection,
        segments: Sequence[SegmentDescription],
        image_key: str = "image",
        allow: Collection[str] = (),
    ) -> None:
        super().__init__(keys)
        self.segments = {segment.number: segment for segment in segments}
        if not segments or len(self.segments) != len(segments):
            raise ConfigError(
                f"segments have the numbers {[segment.number for segment in segments]}; expected each number once, "
                "and one at least"
            )
        self.image_key = image_key
        self.allow = tuple(allow)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with (1, row, column, slice) uint8 or uint16 labels, as MetaTensors."""
        sample = dict(data)
        meta = sample[self.image_key].meta
        folder, series_uid = meta["series_folder"], meta["series_uid"]
        series = read_dicom_series(folder, series_uid or None, allow=self.allow)
        for key in self.keys:
            path = str(sample[key])
            stored = read_dicom_seg(path, series)
            for segment in stored.segments:
                self._check(f"{key} of case '{sample.get('case', 'unnamed')}' ({path})", segment)
            sample[key] = MetaTensor(
                torch.from_numpy(stored.masks.copy())[None],
                affine=torch.from_numpy(stored.affine),
                meta={
                    MetaKeys.ORIGINAL_AFFINE: stored.affine.copy(),
                    MetaKeys.SPATIAL_SHAPE: stored.masks.shape,
                    MetaKeys.SPACE: SpaceKeys.RAS,
                    MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
                    "filename_or_obj": path,
                },
            )
        return sample

    def _check(self, what: str, stored: StoredSegment) -> None:
        wanted = self.segments.get(stored.number)
        if wanted is None:
            raise LabelError(
                f"{what} describes segment {stored.number}; expected {', '.join(map(str, self.segments))} only; "
                "declare it in segments, or take it out of the file"
            )
        code = f"{_SNOMED}:{wanted.type.value}"
        if stored.type_code != code:
            raise LabelError(
                f"{what}: segment {stored.number} shows {stored.type_code or 'nothing that is coded'}; expected {code} "
                f"({wanted.type.meaning}); renumber its segments, or correct segments"
            )
