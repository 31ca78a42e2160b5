"""Writing one series of `phantom_ct` with its label: real DICOM whose bytes follow from the seed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..errors import OutputError
from ..formats import (
    AlgorithmIdentification,
    MadeUpPatient,
    SegmentDescription,
    SnomedCode,
    lps_to_ras,
    read_dicom_series,
    whole_file,
    write_dicom_seg,
    write_dicom_series,
)
from ..formats.quiet_dicom import quiet_dicom
from .digests import files_of
from .integer_fields import RawStream
from .phantom_ct_plan import PhantomSeries
from .phantom_ct_scan import LESION, LIVER, RIGHT_KIDNEY

_ANATOMY: Final = SnomedCode("91723000", "Anatomical Structure")
_ABNORMALITY: Final = SnomedCode("49755003", "Morphologically Abnormal Structure")
SEGMENTS: Final = (
    SegmentDescription(LIVER, "Liver", _ANATOMY, SnomedCode("10200004", "Liver"), color_rgb=(221, 130, 101)),
    SegmentDescription(
        RIGHT_KIDNEY, "Right kidney", _ANATOMY, SnomedCode("64033007", "Kidney"), "right", color_rgb=(185, 102, 83)
    ),
    SegmentDescription(
        LESION, "Liver lesion", _ABNORMALITY, SnomedCode("52988006", "Lesion"), color_rgb=(90, 120, 220)
    ),
)
"""What the segments of the labels show, as the manifest says it too."""

_MAKER: Final = AlgorithmIdentification("phantom_ct", "1.0.0")
# Instead of what names the library that wrote a file, and its version.
_IMPLEMENTATION: Final = UID("2.25.288893318911426871127462108911384106341")
_IMPLEMENTATION_NAME: Final = "UNET_PIPELINE"
_DATE, _TIME = "20000101", "120000"


def write_phantom_series(
    folder: Path,
    series: PhantomSeries,
    voxels: npt.NDArray[np.int16],
    labels: npt.NDArray[np.uint8],
    seed: int,
    order: RawStream,
) -> None:
    """Write the series and its label, each whole or not at all; leave alone what is there with these very bytes.

    Args:
        folder: Folder of the data set.
        series: Which series it is.
        voxels: (row, column, slice) HU.
        labels: Segment numbers on the same grid, 0 elsewhere.
        seed: Seed of the set, from which all UIDs are made.
        order: Where the order of the files comes from.

    Raises:
        OutputError: If something else is there, or nothing can be written.
    """
    patient = MadeUpPatient(series.patient_id, series.study, series.series, f"phantom_ct {seed}")
    image, label = folder / series.image, folder / series.label
    with _writing(folder):
        image.parent.mkdir(parents=True, exist_ok=True)
        # Beside the place where they belong, so that renaming is enough.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=image.parent) as scratch:
            made = Path(scratch) / image.name
            made.mkdir()  # at a depth of its own: the writer makes its temporary folder beside this one
            slices = write_dicom_series(made, voxels, lps_to_ras(series.grid.affine_lps()), patient=patient)
            _disorder(slices, order, is_shuffled=series.is_shuffled)
            segmentation = Path(scratch) / label.name
            described = SEGMENTS if series.describes_lesion else SEGMENTS[:-1]
            write_dicom_seg(segmentation, labels, read_dicom_series(made), described, algorithm=_MAKER)
            _freeze_segmentation(segmentation, patient)
            _place_folder(made, image)
            _place_file(segmentation, label)


def _disorder(slices: tuple[Path, ...], order: RawStream, *, is_shuffled: bool) -> None:
    """Give the files of a series names in no order, and nothing of the library that wrote them."""
    count = len(slices)
    drawn = order.integers(0, 1 << 30, 2 * count)
    ranks = np.argsort(np.argsort(drawn[:count], kind="stable"), kind="stable").tolist()
    numbers = np.argsort(drawn[count:], kind="stable").tolist()
    for index, path in enumerate(slices):
        instance = pydicom.dcmread(path)
        if is_shuffled:
            instance.InstanceNumber = str(numbers[index] + 1)
        _name_maker(instance)
        name = f"I{1000 + 7 * ranks[index]}" if is_shuffled else f"CT.{ranks[index] + 1:03d}.dcm"
        instance.save_as(path.with_name(f"{name}.new"), enforce_file_format=True)
    for path in slices:
        path.unlink()
    for path in slices[0].parent.glob("*.new"):
        path.rename(path.with_suffix(""))


def _freeze_segmentation(path: Path, patient: MadeUpPatient) -> None:
    """Put UIDs that follow from the seed, one fixed moment and no versions in place of what highdicom draws."""
    segmentation = pydicom.dcmread(path)
    _name_maker(segmentation)
    segmentation.SeriesInstanceUID = patient.uid("label", patient.series)
    segmentation.SOPInstanceUID = patient.uid("label", patient.series, "instance")
    segmentation.file_meta.MediaStorageSOPInstanceUID = segmentation.SOPInstanceUID
    segmentation.SeriesNumber = str(900 + patient.series)
    organization = patient.uid("label", patient.series, "dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    segmentation.ContentDate = segmentation.InstanceCreationDate = _DATE
    segmentation.ContentTime = segmentation.InstanceCreationTime = _TIME
    segmentation.SoftwareVersions = _MAKER.version
    del segmentation.ContributingEquipmentSequence  # the version of highdicom, and when it was called
    with quiet_dicom():
        segmentation.save_as(path, enforce_file_format=True)


def _name_maker(instance: Dataset) -> None:
    instance.file_meta.ImplementationClassUID = _IMPLEMENTATION
    instance.file_meta.ImplementationVersionName = _IMPLEMENTATION_NAME


def _place_folder(made: Path, image: Path) -> None:
    """Rename a folder into its place; where one is already, it must hold the same."""
    try:
        made.rename(image)
    except OSError as error:
        if not (image.is_dir() and _is_same(made, image)):
            raise OutputError(
                f"cannot write the series {image}: it exists and differs ({error.strerror}); move it away"
            ) from error


def _is_same(made: Path, image: Path) -> bool:
    names = files_of(made)
    return names == files_of(image) and all((made / name).read_bytes() == (image / name).read_bytes() for name in names)


def _place_file(made: Path, label: Path) -> None:
    content = made.read_bytes()
    if label.is_file() and label.read_bytes() == content:
        return
    with whole_file(label, overwrite=True) as partial:
        partial.write_bytes(content)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say in one line why nothing can be written."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write phantom_ct to {folder}: {error.strerror}; choose a folder that you may write to"
        ) from error
