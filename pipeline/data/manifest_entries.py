"""What the entries of a data manifest are: licence, classes with their codes, sources, cases and folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DeidentificationStatus = Literal["not_applicable", "deidentified", "pseudonymised", "identified", "unknown"]


@dataclass(frozen=True)
class Licence:
    """Under what terms the data may be used; at least one of `url` and `terms` is there."""

    name: str
    url: str | None = None
    terms: str | None = None


@dataclass(frozen=True)
class Deidentification:
    """Whether the data name people, and by which method they no longer do.

    Attributes:
        status: `"not_applicable"` where no person is shown; `"deidentified"`; `"pseudonymised"` where somebody holds
            the key to the names; `"identified"`; or `"unknown"`.
        method: How it was done, or None where that is not known.
    """

    status: DeidentificationStatus
    method: str | None = None


@dataclass(frozen=True)
class Code:
    """A concept of a coding scheme, as the triplet of DICOM (PS3.3, section 8.8).

    Attributes:
        scheme: Coding Scheme Designator (0008,0102), such as SCT for SNOMED CT.
        value: Code Value (0008,0100).
        meaning: Code Meaning (0008,0104), at most 64 characters.
    """

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class LabelClass:
    """One class: its index in tensors, its name, the value that stands for it in label files, and what it is.

    `category`, `code` and `modifier` are what DICOM calls the Segmented Property Category, Type and Type Modifier
    (PS3.3, section C.8.20.2); None where they are not given, as for background.
    """

    index: int
    name: str
    stored_value: int
    category: Code | None = None
    code: Code | None = None
    modifier: Code | None = None


@dataclass(frozen=True)
class GeneratedSource:
    """Data that a function of this package makes; `prepare_data_set` knows the generators by name."""

    generator: str
    seed: int


@dataclass(frozen=True)
class Archive:
    """A file that `fetch_data_set` downloads.

    Attributes:
        url: Where it is.
        sha256: SHA-256 of the file, or None where only those of the files in it are known.
        path: Where it goes, relative to the data folder, if it is not to be unpacked.
        folders: Folders of the archive whose files are wanted, each with the folder below the data folder (`"."` is the
            data folder itself) that they go to. Empty: everything goes to the data folder.
    """

    url: str
    sha256: str | None
    path: str | None = None
    folders: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PublishedSource:
    """Data that come from elsewhere.

    Attributes:
        urls: Where a person finds them.
        layout: How the data folder must look afterwards.
        archives: What a program can fetch.
    """

    urls: tuple[str, ...]
    layout: str
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        id: Name of the case, unique in the data set.
        patient: Whom or what the image shows: a patient, an animal, a specimen. A pseudonym, never a name.
        image: Path of the image relative to the data folder, with '/' between its parts. A folder for a DICOM series.
        label: Path of the label, likewise; None where the case has none.
        image_sha256: SHA-256 of the image in hexadecimal digits, or None where it is not known; of a folder, the digest
            that `folder_sha256` defines.
        label_sha256: SHA-256 of the label, likewise.
        block: Part of a stack that must stay in one split, where splits go by block.
        study: Pseudonym of the study, or None.
        series: Pseudonym of the series, or None.
        attributes: What else is known of the case, such as the site; `data split --stratify` takes their names.
        image_files: The files of the image folder that belong to the image, relative to it; empty where all do.
    """

    id: str
    patient: str
    image: str
    label: str | None
    image_sha256: str | None
    label_sha256: str | None
    block: str | None = None
    study: str | None = None
    series: str | None = None
    image_files: tuple[str, ...] = ()
    attributes: Mapping[str, str | float] = field(default_factory=dict)

    def files(self) -> tuple[tuple[str, str, str | None], ...]:
        """Return the image and, where there is one, the label: what each is, its path, and its SHA-256 or None."""
        image = ("image", self.image, self.image_sha256)
        return (image,) if self.label is None else (image, ("label", self.label, self.label_sha256))

    def missing_files(self, folder: Path) -> list[Path]:
        """Return what is not there: image and label may be files or folders, but folders hold something."""
        image = folder / self.image
        if self.image_files:
            missing = [image / name for name in self.image_files if not (image / name).is_file()]
        else:
            missing = [] if _has_content(image) else [image]
        if self.label is not None and not _has_content(folder / self.label):
            missing.append(folder / self.label)
        return missing


def _has_content(path: Path) -> bool:
    """Tell whether there is a file, or a folder with at least one file below it."""
    return path.is_file() or (path.is_dir() and any(entry.is_file() for entry in path.rglob("*")))


@dataclass(frozen=True)
class Folds:
    """Cross-validation: fold *k* validates on part *k* of a split and trains on the others.

    Attributes:
        split: The split that the parts divide.
        seed: The seed they were drawn with; None where they come from elsewhere.
        parts: Ids of the cases of each part.
        stratify: What the parts were balanced by, or None.
    """

    split: str
    seed: int | None
    parts: tuple[tuple[str, ...], ...]
    stratify: str | None = None
