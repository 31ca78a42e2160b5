"""Finding the DICOM images in a folder: every file's header is read, the rest is counted, nothing is decoded."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage
from tqdm import tqdm

from ..counted import counted
from ..errors import ImageError, MissingFileError
from .quiet_dicom import quiet_dicom

Item = TypeVar("Item")
Result = TypeVar("Result")
PathLike = str | os.PathLike[str]

# What pydicom raises at bytes that are not what the header announced.
UNREADABLE: Final = (
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    BytesLengthException,
)

_PREAMBLE_BYTES: Final = 128
_HEADER_BYTES: Final = 2**17  # holds the header of nearly every classic image
_THREADS: Final = max(2, min(8, os.cpu_count() or 1))
_BATCH: Final = 16  # files that a thread takes at once
# What macOS writes beside a file on other disks, as `._NAME` (RFC 1740).
_APPLE_DOUBLE: Final = bytes.fromhex("00051607")
_NAMED: Final = 5  # files or series that a message names before it counts the others

NOT_DICOM: Final = "not DICOM"
DICOMDIR: Final = "DICOMDIR"
DEIDENTIFICATION_RECORD: Final = "deidentification.json"  # what `data deidentify` lays beside the files that it writes
_NO_CLASS: Final = "object without SOP class"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM file whose header was read.

    Attributes:
        path: The file.
        name: Its path in the folder that was scanned, for messages.
        header: Everything before the pixels.
        pixels_at: Where the pixels begin, in bytes from the start of the file; None where the content is deflated.
    """

    path: Path
    name: str
    header: FileDataset = field(repr=False)
    pixels_at: int | None

    @property
    def frames(self) -> int:
        """Number of frames: 1 for a classic image."""
        return int(self.header.get("NumberOfFrames") or 1)


@dataclass(frozen=True)
class SeriesListing:
    """What a person chooses a series by; no names, no descriptions.

    Attributes:
        uid: Series Instance UID; empty where the files have none.
        modality: Such as CT or MR.
        slices: Number of frames in all files.
        sizes_px: (rows, columns) that occur, in ascending order.
        paths: The files, in the order of their names.
        is_localizer: Whether all files call themselves localizers in Image Type (PS3.3 C.8.2.1.1.1).
    """

    uid: str
    modality: str
    slices: int
    sizes_px: tuple[tuple[int, int], ...]
    paths: tuple[Path, ...]
    is_localizer: bool = False

    def __str__(self) -> str:
        """Return the line of a list."""
        sizes = " and ".join(f"{rows} × {columns}" for rows, columns in self.sizes_px)
        kind = f"{self.modality}{' localizer' if self.is_localizer else ''}"
        return f"{self.uid or '(no UID)'} ({kind}, {counted(self.slices, 'slice')}, {sizes} px)"


@dataclass(frozen=True)
class DicomFolder:
    """What lies in a folder.

    Attributes:
        path: The folder, or the one file.
        series: All image series, in the order of their UIDs.
        files: Files of the series asked for, with their headers; of the only series where none was asked for.
        skipped: How many files are something else, by what they are.
        empty: Files of 0 bytes.
        damaged: Files that are named or begin as DICOM and cannot be read, files of nothing but zeros, and links
            that lead nowhere.
    """

    path: Path
    series: tuple[SeriesListing, ...]
    files: tuple[DicomFile, ...] = field(repr=False)
    skipped: Mapping[str, int]
    empty: tuple[Path, ...]
    damaged: tuple[Path, ...]


def scan_dicom(
    folder: PathLike | Sequence[PathLike], series_uid: str | None = None, *, progress: bool = False
) -> DicomFolder:
    """Read the headers of all files below a folder, in parallel, and group the images by series.

    A file is told by its content, not by its name. `DICOMDIR` and objects without pixels of their own kind (reports,
    structures, segmentations, doses) are counted in `skipped`, and so are files that are not DICOM, but for the record
    of a de-identification. Files without the 128 bytes before "DICM" (PS3.10 7.1) count as DICOM where they begin with
    group 0002 or 0008. Links are followed.

    Args:
        folder: A folder, searched with all folders in it, one file, or a list of files.
        series_uid: Keep the headers of this series. None keeps them as long as there is only one.
        progress: Show a bar on standard error.

    Returns:
        What was found. Nothing is refused here but a folder that cannot be listed.

    Raises:
        MissingFileError: If there is no such folder or file.
        ImageError: If a folder or a file may not be read.
    """
    if isinstance(folder, (str, os.PathLike)):
        folder = Path(folder)
        paths = list_files(folder)
    else:
        paths = [path for name in folder for path in list_files(Path(name))]
        folder = common_folder(paths)
    skipped: Counter[str] = Counter()
    empty: list[Path] = []
    damaged: list[Path] = []
    seen: dict[str, _Found] = {}
    kept: list[DicomFile] = []
    kept_uid = series_uid = None if series_uid is None else plain_uid(series_uid)
    with quiet_dicom():
        for path, found in zip(
            paths, in_parallel(partial(_read_header, folder), paths, "headers", progress), strict=True
        ):
            if isinstance(found, _Empty):
                empty.append(path)
            elif isinstance(found, _Damaged):
                damaged.append(path)
            elif isinstance(found, str):
                if found != NOT_DICOM or path.name != DEIDENTIFICATION_RECORD or path == folder:
                    skipped[found] += 1
            else:
                uid = plain_uid(found.header.get("SeriesInstanceUID"))
                seen.setdefault(uid, _Found()).add(found)
                # Headers take memory, and only one series is ever read: the first one here, until there is another.
                kept_uid = uid if kept_uid is None else kept_uid
                if uid == kept_uid:
                    kept.append(found)
    listings = tuple(found.listing(uid) for uid, found in sorted(seen.items()))
    if series_uid is None and len(listings) != 1:
        kept = []
    return DicomFolder(folder, listings, tuple(kept), dict(sorted(skipped.items())), tuple(empty), tuple(damaged))


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder in the order of their names; a file gives itself.

    Links are followed, to each folder once. Those that lead nowhere are listed, too: a slice may have been there.

    Raises:
        MissingFileError: If there is no such file or folder.
        ImageError: If a folder may not be listed.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MissingFileError(f"DICOM folder {folder} not found; check the path")

    def refuse(error: OSError) -> None:
        raise ImageError(f"folder {error.filename} cannot be listed: {error.strerror}; check its permissions")

    entered = {os.path.realpath(folder)}

    def is_new(place: str) -> bool:
        """Tell whether a folder was not entered before: links may lead back up, or two of them to one place."""
        before = len(entered)
        entered.add(place)
        return len(entered) > before

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        found += [path for path in map(Path(root).joinpath, names) if path.is_file() or not path.exists()]
        folders[:] = [name for name in sorted(folders) if is_new(os.path.realpath(Path(root, name)))]
    return sorted(found)


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], title: str, progress: bool) -> Iterator[Result]:
    """Yield what `work` gives for each item, in order, from several threads: reading and decoding wait side by side."""
    # Handing over takes as long as a small header, so that several go at once; yet every thread gets several turns.
    size = max(1, min(_BATCH, len(items) // (4 * _THREADS)))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="dicom") as threads,
        tqdm(desc=title, total=len(items), leave=False, disable=not progress, file=sys.stderr) as bar,
    ):
        try:
            for results in threads.map(lambda batch: [work(item) for item in batch], batches):
                bar.update(len(results))
                yield from results
        finally:
            # After an error the rest need not be done.
            threads.shutdown(cancel_futures=True)


def common_folder(paths: Iterable[Path]) -> Path:
    """Return the folder that all files lie in, at whatever depth."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def plain_uid(value: object) -> str:
    """Return a UID without its padding, or nothing where there is none (PS3.5 9.1)."""
    return str(value or "").strip(" \0")


def name_in(folder: Path, path: Path) -> str:
    """Return the path of a file in a folder; the file alone gives its name."""
    return path.name if path == folder else path.relative_to(folder).as_posix()


def name_files(paths: Iterable[Path], folder: Path) -> str:
    """Return the first files relative to their folder, and how many more there are, for a message."""
    names = [name_in(folder, path) for path in paths]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def list_series(series: Sequence[SeriesListing]) -> str:
    """Return the first series as a person chooses one, and how many more there are, for a message."""
    more = len(series) - _NAMED
    named = "; ".join(map(str, series[:_NAMED]))
    return f"{named}; and {more} more (unet-pipeline predict --list shows all)" if more > 0 else named


class _Empty:
    """A file of 0 bytes."""


class _Damaged:
    """A file that begins as DICOM does and goes on otherwise."""


@dataclass
class _Found:
    """What is known of a series while files come in."""

    modality: str = ""
    slices: int = 0
    sizes_px: set[tuple[int, int]] = field(default_factory=set)
    paths: list[Path] = field(default_factory=list)
    localizers: int = 0

    def add(self, file: DicomFile) -> None:
        self.modality = self.modality or str(file.header.get("Modality") or "")
        self.slices += file.frames
        self.sizes_px.add((int(file.header.get("Rows") or 0), int(file.header.get("Columns") or 0)))
        self.paths.append(file.path)
        self.localizers += _is_localizer(file.header)

    def listing(self, uid: str) -> SeriesListing:
        modality = self.modality or "no modality"
        is_localizer = self.localizers == len(self.paths)
        return SeriesListing(uid, modality, self.slices, tuple(sorted(self.sizes_px)), tuple(self.paths), is_localizer)


def _is_localizer(header: Dataset) -> bool:
    """Look for the word in the raw value: most headers are only listed, and may be damaged."""
    element = header.get_item("ImageType")
    value = None if element is None else element.value
    return b"LOCALIZER" in value if isinstance(value, bytes) else "LOCALIZER" in (value or ())


def _read_header(folder: Path, path: Path) -> DicomFile | _Empty | _Damaged | str:
    """Read a file up to its pixels, or say what else it is."""
    try:
        # One long read: after each short one another thread may hold the interpreter for milliseconds.
        with path.open("rb", buffering=0) as file:
            content = file.read(_HEADER_BYTES)
            if not content:
                return _Empty()
            if not content.strip(b"\x00"):
                return _Damaged()  # the zeros before "DICM", or room for a file whose content never came
            if not _begins_as_dicom(content):
                return _Damaged() if is_named_dicom(path) and not content.startswith(_APPLE_DOUBLE) else NOT_DICOM
            header, pixels_at = _parsed(content)
            if len(content) == _HEADER_BYTES and (header is None or pixels_at == len(content)):
                content += file.read()
                header, pixels_at = _parsed(content)
    except FileNotFoundError:
        return _Damaged()  # a link that leads nowhere
    except OSError as error:
        raise ImageError(f"file {path} cannot be read: {error.strerror}; check its permissions") from error
    seems_dicom = _has_prefix(content) or is_named_dicom(path)
    if header is None:
        return _Damaged() if seems_dicom else NOT_DICOM
    other = _other_object(header)
    if other in (None, _NO_CLASS) and "SeriesInstanceUID" not in header and "Rows" not in header:
        # Cut so short that it does not even say what it is.
        return _Damaged() if seems_dicom else NOT_DICOM
    if other is not None:
        return other if seems_dicom or "SOPClassUID" in header else NOT_DICOM
    header.filename = str(path)
    is_deflated = header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    return DicomFile(path, name_in(folder, path), header, None if is_deflated else pixels_at)


def _parsed(content: bytes) -> tuple[FileDataset | None, int]:
    """Parse the header of a file; None where it is damaged. Return also where it ends."""
    stream = io.BytesIO(content)
    try:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        if _other_object(header) is None:
            _check_listed(header)
    except (InvalidDicomError, OSError, *UNREADABLE):
        return None, 0
    # pydicom would keep the content for as long as the header.
    header.buffer = None
    return header, stream.tell()


def _check_listed(header: FileDataset) -> None:
    """Convert what every file is listed by, which pydicom would do, and fail to do, where nobody waits for it.

    Raises:
        ValueError: As all of `UNREADABLE`, if one is no such value.
    """
    for name in ("Rows", "Columns", "NumberOfFrames"):
        if int(header.get(name) or 1) < 1:
            raise ValueError(name)
    for name in ("SeriesInstanceUID", "SOPInstanceUID", "Modality"):
        value = header.get(name) or ""
        if not isinstance(value, str) or not plain_uid(value).isprintable():
            raise ValueError(name)


def is_named_dicom(path: Path) -> bool:
    """Tell whether the suffix of a file says that it is DICOM."""
    return path.suffix.lower() in (".dcm", ".dicom")


def _has_prefix(start: bytes) -> bool:
    return start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM"


def _begins_as_dicom(start: bytes) -> bool:
    """Tell whether a file has the DICOM prefix, or begins with the group that files without it begin with."""
    if _has_prefix(start):
        return True
    # Groups in little endian, and 0008 in big endian; what else begins so has no SOP class and is told by that.
    return start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def _other_object(header: FileDataset) -> str | None:
    """Return what an object is that is not an image, and None for images."""
    stored = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
    sop_class = UID(str(stored))
    if sop_class == MediaStorageDirectoryStorage or "DirectoryRecordSequence" in header:
        return DICOMDIR
    if sop_class.type == "SOP Class":
        return None if "Image Storage" in sop_class.name else sop_class.name
    # An empty or a maker's own class: an image has a size, and names another modality than these.
    modality = str(header.get("Modality") or "")
    if "Rows" in header and modality not in ("SEG", "RTDOSE", "PR", "KO", "SR"):
        return None
    return f"{_NO_CLASS} ({modality})" if modality else _NO_CLASS
