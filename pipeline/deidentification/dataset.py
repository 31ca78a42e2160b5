"""One DICOM instance de-identified by the Basic Application Level Confidentiality Profile (PS3.15 Annex E)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Final

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import RE_VALID_UID, UID

from ..formats.quiet_dicom import quiet_dicom
from .coded import clean_code, is_public
from .dates import is_written_as, shifted
from .elements import NUMBER_VRS, PIXELS, STANDARD_UID, TEXT_VRS, all_elements, has_vr_of_dictionary, readable, text_of
from .identity import PatientHeader
from .key import DeidentificationKey
from .options import DeidentificationOptions
from .profile import Action, ConfidentialityProfile, confidentiality_profile, is_graphics_group
from .terms import IdentifyingTerms
from .text import clean_text, is_known_word, is_typed
from .values import REMOVED, dummy_element, empty_element, without_numbers

# Registered once for this program, as PS3.5 B.2 allows: a UUID, version 4.
IMPLEMENTATION_CLASS_UID: Final = "2.25.329121618613028973944328334199474585067"
IMPLEMENTATION_VERSION_NAME: Final = "UNET_PIPELINE"
METHOD: Final = "unet-pipeline; DICOM PS3.15 Annex E Basic Profile"

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_PATIENT: Final = (0x00100010, 0x00100020)
# What was cleaned before stays cleaned (CID 7050): pixel data, recognizable visual features.
_LASTING_CODES: Final = {
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
}
_PATIENT_GROUP: Final = 0x0010


@dataclass(frozen=True)
class DeidentifiedInstance:
    """A de-identified instance, and what its file and folders are to be called.

    Attributes:
        dataset: The instance, with file meta information.
        patient: Pseudonym of the patient.
        study: Name for the folder of the study.
        series: Name for the folder of the series.
        instance: Name for the file.
        had_patient_id: Whether the source says a Patient ID.
        repeated_identifiers: How many values that the profile leaves alone were cleared because they repeat a name, an
            id, an institution, a date or a UID.
    """

    dataset: Dataset = field(repr=False)
    patient: str
    study: str
    series: str
    instance: str
    had_patient_id: bool
    repeated_identifiers: int


def deidentify_dataset(
    source: FileDataset, key: DeidentificationKey, options: DeidentificationOptions, *, identity: str | None = None
) -> DeidentifiedInstance:
    """De-identify one instance; the source stays as it is, and so does every byte of the pixel data.

    All elements are treated, also those within sequences. Besides what Table E.1-1 asks for: private elements, elements
    that the data dictionary does not know, group lengths, curves and overlays are removed; names, dates and times that
    the table does not list are treated as those that it lists; values that are left alone are cleared where they repeat
    an identifier of the same instance. Patient ID and Patient's Name become the pseudonym.

    Args:
        source: The instance, with SOP Class UID and SOP Instance UID in the dataset or in its file meta information.
        key: What pseudonyms, UIDs and the shift of dates are derived from.
        options: The options of the profile.
        identity: Who the patient is, from `Identities`; None to go by this instance alone.

    Returns:
        The instance without the identity of the patient.

    Source:
        DICOM PS3.15, E.1.1 (what a de-identifier shall do), E.2 (the profile), E.3.5, E.3.6 and E.3.9 (the options).
    """
    with quiet_dicom():
        return _Run(source, key, options, identity).instance()


class _Run:
    """The de-identification of one instance."""

    def __init__(
        self, source: FileDataset, key: DeidentificationKey, options: DeidentificationOptions, identity: str | None
    ) -> None:
        self.source, self.key, self.options = source, key, options
        self.profile: ConfidentialityProfile = confidentiality_profile()
        self.sop_class: str = text_of(source, "SOPClassUID") or text_of(source.file_meta, "MediaStorageSOPClassUID")
        self.sop_instance = text_of(source, "SOPInstanceUID") or text_of(source.file_meta, "MediaStorageSOPInstanceUID")
        self.patient = PatientHeader.of(source)
        self.identity = self.patient.identity if identity is None else identity
        self.repeated = 0
        elements = list(all_elements(source))
        self.terms = IdentifyingTerms.of(
            elements, self.profile, uids=not options.retain_uids, dates=options.dates != "full"
        )
        # UIDs are made of days of studies and of serial numbers; the option keeps those, and not who the patient is.
        of_patient = [element for element in elements if element.tag.group == _PATIENT_GROUP]
        self.patient_terms = IdentifyingTerms.of(of_patient, self.profile, dates=False)

    def instance(self) -> DeidentifiedInstance:
        new = self._dataset(self.source, self.sop_class)
        patient = self.key.patient(self.identity)
        new.SOPClassUID = UID(self.sop_class)
        new.SOPInstanceUID = UID((self._retained_uid if self.options.retain_uids else self._uid)(self.sop_instance))
        new.PatientID = patient
        new.PatientName = patient
        self._declare(new)
        new.file_meta = FileMetaDataset()
        new.file_meta.MediaStorageSOPClassUID = new.SOPClassUID
        new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
        new.file_meta.TransferSyntaxUID = self.source.file_meta.TransferSyntaxUID
        new.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        new.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
        study, series = (text_of(self.source, name) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
        return DeidentifiedInstance(
            new,
            patient,
            self.key.file_name("study", study),
            self.key.file_name("series", series),
            self.key.file_name("instance", self.sop_instance),
            bool(self.patient.patient_id),
            self.repeated,
        )

    def _declare(self, new: Dataset) -> None:
        """Say what was done (E.1.1, and (0028,0303) in E.2 and E.3.6)."""
        stated = {
            text_of(item, "CodeValue")
            for item in self.source.get("DeidentificationMethodCodeSequence") or ()
            if text_of(item, "CodingSchemeDesignator") == "DCM"
        }
        earlier = [code for code in _LASTING_CODES.items() if code[0] in stated]
        new.PatientIdentityRemoved = "YES"
        new.DeidentificationMethod = METHOD
        new.DeidentificationMethodCodeSequence = Sequence(map(_code_item, (*self.options.codes, *earlier)))
        new.LongitudinalTemporalInformationModified = self.options.longitudinal

    def _dataset(self, old: Dataset, sop_class: str | None) -> Dataset:
        """Treat the elements of a dataset, or of an item of a sequence (then `sop_class` is None)."""
        new = Dataset()
        for tag in sorted(old.keys()):
            if tag.is_private or tag.element == 0 or is_graphics_group(tag) or not dictionary_has_tag(tag):
                continue
            element = readable(old, tag)
            if element is None:
                self._replace_unreadable(new, tag, sop_class)
                continue
            kept = self._element(element, old, sop_class)
            if kept is not None:
                # What is set in the new dataset must not be set in the element of the source.
                new.add(copy.copy(kept))
        if sop_class is None:
            clean_code(new, self.terms, self.key)
        return new

    def _element(self, element: DataElement, old: Dataset, sop_class: str | None) -> DataElement | None:
        """Return what becomes of an element; None where it is removed."""
        if element.tag in PIXELS and sop_class is not None:
            return element
        if element.tag in _PATIENT and not element.is_empty:
            own = PatientHeader.of(old)
            same = own.patient_id in ("", self.patient.patient_id) and own.issuer in ("", self.patient.issuer)
            return DataElement(element.tag, element.VR, self.key.patient(self.identity if same else own.identity))
        action = self.profile.action(element.tag, element.VR, self.options.columns, sop_class)
        try:
            return self._applied(action, element)
        except _NothingToKeepError:
            basic = self.profile.action(element.tag, element.VR, (), sop_class, basic=True)
            return self._applied(basic, element)

    def _applied(self, action: Action | None, element: DataElement) -> DataElement | None:
        """Apply an action; `_NothingToKeepError` where an option keeps nothing of this value."""
        if action == "X":
            return None
        if element.is_empty:
            # An empty value identifies nobody, and a dummy in its place would pretend that there was one.
            return element
        if action == "Z":
            return empty_element(element)
        if action == "D":
            return dummy_element(element, self.key)
        if element.VR == "SQ":
            return self._sequence(element, action)
        if element.VR == "UI":
            return self._uid_element(element, action)
        if action == "C":
            return self._cleaned(element)
        if action == "K":
            return self._kept_by_option(element)
        return self._unlisted(element)

    def _sequence(self, element: DataElement, action: Action | None) -> DataElement | None:
        items = [item for item in element.value if action != "C" or is_public(item)]
        if element.value and not items:
            raise _NothingToKeepError
        return DataElement(element.tag, "SQ", Sequence([self._dataset(item, None) for item in items]))

    def _uid_element(self, element: DataElement, action: Action | None) -> DataElement:
        values = _texts(element)
        if action == "U":
            values = [self._uid(value) for value in values]
        elif self.options.retain_uids:
            values = [self._retained_uid(value) for value in values]
        elif action is None:
            values = [value if STANDARD_UID.fullmatch(value) else self.key.uid(value) for value in values]
        return DataElement(element.tag, "UI", values)

    def _retained_uid(self, uid: str) -> str:
        """Keep what is written as a UID and does not hold the patient's own numbers."""
        numbers = uid.split(".")
        held = any(self.patient_terms.found_in_number(number, shortest=4) for number in numbers)
        return uid if RE_VALID_UID.fullmatch(uid) and not held else self.key.uid(uid)

    def _uid(self, uid: str) -> str:
        """Return the UID that stands for another; those of the data dictionary (PS3.6 Annex A) stand for themselves."""
        return uid if not uid or UID(uid).type else self.key.uid(uid)

    def _cleaned(self, element: DataElement) -> DataElement | None:
        """Clean a value: dates are shifted, of texts the known words are kept."""
        values = _texts(element)
        is_zone = element.tag == 0x00080201
        if element.VR in ("DA", "DT", "TM") or is_zone:
            days = self.key.days_back(self.identity)
            moved = [shifted(value, element.VR, days) for value in values]
            if None not in moved:
                return DataElement(element.tag, element.VR, moved)
        if element.VR in TEXT_VRS and element.VR not in ("AE", "CS", "UR"):
            cleaned = clean_text(" ".join(values), self.terms)
            if cleaned:
                return DataElement(element.tag, element.VR, cleaned)
        raise _NothingToKeepError

    def _kept_by_option(self, element: DataElement) -> DataElement | None:
        """Keep a date or a time that is one, with nothing else in its value."""
        if element.VR in ("DA", "DT", "TM", "SH"):
            values = element.value if element.VM > 1 else [element.value]
            if all(is_written_as(str(value), element.VR) for value in values):
                return element
        # A binary time stamp is no date that could be looked at; it must only not repeat an identifier.
        elif isinstance(element.value, bytes) and not self.terms.found_in_bytes(element.value):
            return element
        raise _NothingToKeepError

    def _unlisted(self, element: DataElement) -> DataElement | None:
        """Keep what the profile does not name, unless it repeats an identifier or cannot be looked into."""
        if element.VR == "UN" or not has_vr_of_dictionary(element):
            return None
        if element.tag == _SPECIFIC_CHARACTER_SET:
            values = element.value if element.VM > 1 else [element.value]
            return element if all(value in python_encoding for value in values) else None
        if self._repeats(element):
            self.repeated += 1
            return without_numbers(element, self.terms) if element.VR in NUMBER_VRS else self._cleared(element)
        if element.VR == "AT":
            # Anything can be written in the bytes of a tag.
            tags = element.value if element.VM > 1 else [element.value]
            return element if all(map(dictionary_has_tag, tags)) else None
        return self._cleared(element) if is_typed(element) else element

    def _cleared(self, element: DataElement) -> DataElement:
        """Return what may be kept of a text that people type, and a dummy for anything else."""
        if not is_typed(element):
            return dummy_element(element, self.key)
        cleaned = [clean_text(text, self.terms) or REMOVED for text in _texts(element)]
        if element.VR == "CS":
            cleaned = [text.upper() for text in cleaned]
        return DataElement(element.tag, element.VR, cleaned)

    def _repeats(self, element: DataElement) -> bool:
        if isinstance(element.value, bytes):
            return self.terms.found_in_bytes(element.value)
        if element.VR in NUMBER_VRS:
            return without_numbers(element, self.terms) is not element
        values = _texts(element) if element.VR in TEXT_VRS else []
        if element.VR == "CS":
            # A patient may be called Head, and the body part is still HEAD.
            values = [value for value in values if len(value) > 3 and not is_known_word(value)]
        return any(self.terms.found_in(value) for value in values)

    def _replace_unreadable(self, new: Dataset, tag: BaseTag, sop_class: str | None) -> None:
        """Leave out a value that cannot be read; where the table wants the attribute to stay, it stays empty."""
        vr = dictionary_VR(tag).split(" or ")[0]
        if self.profile.action(tag, vr, (), sop_class, basic=True) in ("Z", "D"):
            new.add(empty_element(DataElement(tag, vr, None)))


class _NothingToKeepError(Exception):
    """Nothing of a value can be kept as an option of the profile would have it; the basic profile applies."""


def _texts(element: DataElement) -> list[str]:
    return [str(value) for value in (element.value if element.VM > 1 else [element.value])]


def _code_item(code: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code
    item.CodingSchemeDesignator = "DCM"
    return item
