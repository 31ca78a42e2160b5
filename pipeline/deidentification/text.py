"""Cleaning descriptions (PS3.15 E.3.5): only words that are known to describe a body or an acquisition are kept."""

from __future__ import annotations

import functools
import re
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.sr.codedict import codes

from .terms import IdentifyingTerms

# Context groups of PS3.16 whose words are kept: anatomic regions, regions in CT and MR, laterality, views, and tissues.
_CONTEXT_GROUPS: Final = ("CID4", "CID4009", "CID4030", "CID4031", "CID244", "CID4010", "CID7166")
# Anatomy that is named after people: the words are names first.
_EPONYMS: Final = frozenset({"boyd", "dodd", "hunterian", "fallopian", "willis"})
_ACQUISITION: Final = """
    2d 3d 4d abd abdo abdominal adc angio angiography aniso ap art arterial asl axial ax bb blade body bold bone brain
    breath breathhold bravo bssfp calcium cardiac cbct ce chest cine cisp ciss contrast cor coronal cta ct ctdi cube
    ct dce delayed derived diff diffusion dixon dti dual dwi dyn dynamic echo ecg ed enhanced enh epi es ex exp
    expiration fast fat fatsat fb fgre fid fiesta filtered fl flair flash free fs fse functional gad gado gated gd gr
    gre grase haste head hr hrct iac in inspiration iso isotropic kernel kontrast lateral late lava left liver lt lung
    ls map mbir mediastinum mip mpr mprage mr mra mri mrcp mrv multi native neck non nac noncontrast of opp oblique obl
    opposed out pa pancreatic parallel parenchyma pc pd pdw pelvis perf perfusion pet phase plain plane planning portal
    post pre prone propeller pv reconstruction recon ref reformat resting rest right rt sag sagittal saturation scan
    scout se section segmentation seg sense series sequence short slice slices soft sort spair spgr spect spin spine
    spir spiral stack standard std steady state stir stress supine surview swi t1 t1w t2 t2w t2star te test tfe thick
    thin thorax thoracic time tir tirm tissue to tof topogram tr trans transversal transverse tse tra trufi turbo ufe
    uncorrected vein venous vibe view vol volume w water weighted whole wholebody window with without wo
    cell csf cyst edema gray grey hippocampus label lesion lobe mask mass matter membrane necrosis nodule nucleus tumor
    tumour white window
"""
# What people type, in attributes that the profile does not name: labels, comments. Long texts are always typed.
_TYPED: Final = (
    *("SegmentLabel", "SegmentDescription", "ContentLabel", "ContentDescription", "TrackingID", "LUTExplanation"),
    *("WindowCenterWidthExplanation", "MappingResourceName", "PositionReferenceIndicator"),
)
_TYPED_VRS: Final = ("LT", "ST", "UC", "UT")
# Codes are cleaned as such.
_CODES: Final = ("LongCodeValue",)
_WORD: Final = re.compile(r"[^\s_/\\,;:()\[\]{}<>+^=&|*#\"'-]+")
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_MEASURE: Final = re.compile(r"\d{1,3}(\.\d{1,3})?(mm|cm|s|ms|deg|kv|ma|t|hz)", re.IGNORECASE)


def clean_text(text: str, terms: IdentifyingTerms) -> str:
    """Keep of a description what is known to identify nobody.

    Kept are words of anatomy, laterality and acquisition (English, and the abbreviations of scanners), and measures
    with a unit such as `1.5mm`; not kept is every other word, every bare number, and every word that is also part of a
    name or an id of the same instance.

    Args:
        text: The description.
        terms: What identifies the patient and the people and places of the instance.

    Returns:
        The words that are left, with single spaces between them; may be empty.
    """
    words = (word.strip(".") for word in _WORD.findall(text))
    return " ".join(word for word in words if _is_harmless(word) and not terms.found_in(word))


def is_typed(element: DataElement) -> bool:
    """Tell whether the text of an attribute that the profile does not name is one that people type."""
    return element.keyword in _TYPED or (element.VR in _TYPED_VRS and element.keyword not in _CODES)


def is_known_word(word: str) -> bool:
    """Tell whether a single word is one of those that descriptions may keep."""
    return word.casefold() in _vocabulary()


def _is_harmless(word: str) -> bool:
    return is_known_word(word) or _MEASURE.fullmatch(word) is not None


@functools.cache
def _vocabulary() -> frozenset[str]:
    """Return the words that may be kept, in lower case."""
    words = set(_ACQUISITION.split())
    for group in _CONTEXT_GROUPS:
        for keyword in getattr(codes, group).concepts:
            words.update(word.lower() for word in _CAMEL.findall(keyword) if len(word) > 1)
    return frozenset(words - _EPONYMS)
