"""CT slices in which identifiers stand wherever they can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline.deidentification.profile import confidentiality_profile

# PACS number, accession, names in three alphabets, dates as they stand in attributes and as people write them.
PLANTED = (
    *("Wolpertinger", "Alois-Maria", "山田太郎", "やまだたろう", "Hatschi-4711", "ACC-2207", "Klinikum Hinterwald"),
    *(
        "19610312",
        "20190412",
        "12.03.1961",
        "2019-04-12",
        "Dr. Seltsam",
        "1.3.12.2.1107.5.8",
        "Waldgasse 7",
        "VISIT-88",
    ),
)
ENCAPSULATED_DOCUMENT = 0x00420011


def identified(number: int, patient: str = "Hatschi-4711") -> Dataset:
    """Return a CT slice in which identifiers stand in every attribute of the profile that can hold them, and others."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    texts = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
    for tag in (int(tag, 16) for tag in confidentiality_profile().rows):
        if tag >> 16 <= 4 or not dictionary_has_tag(tag) or tag == ENCAPSULATED_DOCUMENT:
            continue
        vr = dictionary_VR(tag)
        if vr in texts:
            dataset.add_new(tag, vr, "Wolpertinger" if vr in ("AE", "SH") else "head of Wolpertinger, Dr. Seltsam")
        elif vr in ("DA", "DT"):
            dataset.add_new(tag, vr, "20190412" if vr == "DA" else "20190412101112")
        elif vr == "UI":
            dataset.add_new(tag, vr, f"1.3.12.2.1107.5.8.{tag}")
        elif vr in ("OB", "UN"):
            dataset.add_new(tag, vr, b"Wolpertinger")
    dataset.PatientName = "Wolpertinger^Alois-Maria=山田太郎=やまだたろう"
    dataset.PatientID, dataset.AccessionNumber, dataset.StudyID = patient, "ACC-2207", "VISIT-88"
    dataset.PatientBirthDate, dataset.InstitutionName = "19610312", "Klinikum Hinterwald"
    dataset.InstitutionAddress = "Waldgasse 7\r\nHinterwald"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.3.12.2.1107.5.8.1", "1.3.12.2.1107.5.8.2"
    dataset.FrameOfReferenceUID = "1.3.12.2.1107.5.8.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.3.12.2.1107.5.8.{10 + number}"
    # Beyond the table: attributes that it leaves alone, private ones, unknown ones, overlays.
    dataset.Manufacturer, dataset.SoftwareVersions = "scanner of Klinikum Hinterwald", "born 12.03.1961"
    dataset.ConvolutionKernel, dataset.ModalityLUTType = "Wolpertinger", "HU 2019-04-12"
    dataset.private_block(0x0029, "SIEMENS", create=True).add_new(1, "LO", "Wolpertinger")
    dataset.add_new(0x00080007, "LO", "Wolpertinger")
    dataset.add_new(0x60003000, "OW", b"Wolpertinger")
    dataset.add_new(0x60000022, "LO", "Wolpertinger")
    inner, outer, coded = Dataset(), Dataset(), Dataset()
    inner.PatientName, inner.OperatorsName, inner.StudyDate = "Wolpertinger", "Dr. Seltsam", "20190412"
    inner.private_block(0x0009, "GEMS", create=True).add_new(1, "PN", "Wolpertinger")
    inner.ReferencedSOPInstanceUID = "1.3.12.2.1107.5.8.10"
    outer.RelatedSeriesSequence = Sequence([inner])
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = "T-1", "SRT", "head of Wolpertinger"
    dataset.SharedFunctionalGroupsSequence = Sequence([outer])
    dataset.AnatomicRegionSequence = Sequence([coded])
    dataset.Modality, dataset.ImageType, dataset.KVP = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "120"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.InstanceNumber = ["0.7", "0.7"], number
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 6, 4, 16, 16, 15
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(-1000, 1000, (6, 4), dtype=np.int16)
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.SourceApplicationEntityTitle = "Wolpertinger"
    dataset.file_meta.PrivateInformationCreatorUID = "1.3.12.2.1107.5.8"
    dataset.file_meta.PrivateInformation = b"Wolpertinger"
    dataset.preamble = b"Wolpertinger".ljust(128, b"\0")
    return dataset


def save(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
