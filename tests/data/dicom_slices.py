"""DICOM files of a person with planted identifiers: slices of CT, and segmentations that refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

PLANTED = ("Mustermann", "Erika", "MRN-4711", "19610203", "Städtisches Klinikum", "ACC90210")
SERIES, STUDY = "1.2.826.0.1.3680043.8.498.111", "1.2.826.0.1.3680043.8.498.222"


def write_slice(path: Path, number: int = 0, series: str = SERIES, **elements: Any) -> None:
    """One CT slice of a person with planted identifiers."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{series}.{number}",
        "SeriesInstanceUID": series,
        "StudyInstanceUID": STUDY,
        "PatientName": "Mustermann^Erika",
        "PatientID": "MRN-4711",
        "PatientBirthDate": "19610203",
        "InstitutionName": "Städtisches Klinikum",
        "AccessionNumber": "ACC90210",
        "Modality": "CT",
        "Rows": 2,
        "Columns": 3,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": bytes(12),
    } | elements
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    dataset.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def write_segmentation(
    path: Path,
    *series: str,
    segments: Sequence[Dataset] = (item(SegmentNumber=1, SegmentLabel="liver"),),
    **elements: Any,
) -> None:
    """What an index reads of a SEG: the series that it refers to, and its segments."""
    references = Items([item(SeriesInstanceUID=uid) if uid else Dataset() for uid in series])
    values = {"SOPClassUID": SegmentationStorage, "Modality": "SEG", "ReferencedSeriesSequence": references}
    write_slice(path, 900, f"{SERIES}.900", **(values | {"SegmentSequence": Items(segments)} | elements))
