"""Unpacking zip and tar archives that nobody vouches for: regular files only, and never outside the folder."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from tqdm.auto import tqdm

from ..errors import ManifestError, OutputError

# What the libraries raise for what is damaged, or packed in a way that they do not know.
_DAMAGED: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile),
    *(zlib.error, lzma.LZMAError, EOFError, NotImplementedError, UnicodeError),
)


@dataclass(frozen=True)
class _Entry:
    """A file in an archive: its name, its size, and how to open it."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, folder: Path, folders: Sequence[tuple[str, str]] = (), *, progress: bool = False
) -> tuple[str, ...]:
    """Unpack a zip or tar archive (plain, gzip, bzip2, xz) into an empty folder.

    All entries are looked at before the first is written. Owners, rights and times are not taken over.

    Args:
        archive: The archive; its content tells its format.
        folder: Where to unpack; it exists and is empty.
        folders: Folders of the archive whose files are wanted, and the folder below `folder` each goes to (`"."` is
            `folder` itself). Everything by default.
        progress: Show a progress bar.

    Returns:
        The files, relative to `folder`.

    Raises:
        ManifestError: If it is no archive, is damaged or encrypted, or holds an entry that would leave the folder
            (absolute, or with `..`), is neither file nor folder (a link, a device), or is there twice; or if nothing in
            it is wanted.
        OutputError: If there is not enough space, or a file cannot be written.
    """
    with _entries(archive) as entries:
        wanted = [(target, entry) for entry in entries if (target := _target(entry.name, folders)) is not None]
        _check(archive, folder, wanted, folders)
        bar = tqdm(wanted, desc=f"unpacking {archive.name}", unit="file", disable=not progress, leave=False)
        for target, entry in bar:
            _write(archive, entry, folder / target)
    return tuple(str(target) for target, _ in wanted)


@contextmanager
def _entries(archive: Path) -> Iterator[list[_Entry]]:
    """Give the files of an archive; refuse it for any entry that is no plain file or folder inside of it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield [entry for info in zipped.infolist() if (entry := _zip_entry(archive, zipped, info))]
        else:
            with tarfile.open(archive) as tar:
                yield [entry for member in tar if (entry := _tar_entry(archive, tar, member))]
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ManifestError(
            f"{archive.name} is not a zip or tar archive that can be unpacked: {reason}; check the address in the "
            "manifest"
        ) from error


def _zip_entry(archive: Path, zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry | None:
    name = _checked_name(archive, info.filename)
    if info.filename and info.is_dir():
        return None
    if not name:
        raise ManifestError(_refusal(archive, info.filename, "has no name"))
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ManifestError(_refusal(archive, info.filename, "is a link or a device"))
    if info.flag_bits & 0x1:
        raise ManifestError(_refusal(archive, info.filename, "is encrypted"))
    return _Entry(name, info.file_size, lambda: zipped.open(info))


def _tar_entry(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> _Entry | None:
    name = _checked_name(archive, member.name)
    if member.isdir():
        return None
    if not member.isreg():
        raise ManifestError(_refusal(archive, member.name, "is a link or a device"))
    if not name:
        raise ManifestError(_refusal(archive, member.name, "has no name"))

    def opened() -> IO[bytes]:
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        return content

    return _Entry(name, member.size, opened)


def _checked_name(archive: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    escapes = name.startswith("/") or ".." in parts or "\\" in name or any(":" in part for part in parts)
    if escapes or any(ord(character) < 32 for character in name):
        raise ManifestError(_refusal(archive, name, "would leave the folder"))
    return "/".join(parts)


def _target(name: str, folders: Sequence[tuple[str, str]]) -> PurePosixPath | None:
    """Return where an entry goes, or None where it is not wanted."""
    path = PurePosixPath(name)
    if not folders:
        return path
    for inside, goes_to in folders:
        if path.is_relative_to(inside):
            return PurePosixPath(goes_to) / path.relative_to(inside)
    return None


def _check(
    archive: Path, folder: Path, wanted: Sequence[tuple[PurePosixPath, _Entry]], folders: Sequence[tuple[str, str]]
) -> None:
    if not wanted:
        looked_for = f"in {', '.join(inside for inside, _ in folders)}" if folders else "in it"
        raise ManifestError(f"{archive.name} has no file {looked_for}; check the archive's folders in the manifest")
    files: set[PurePosixPath] = set()
    for target, entry in wanted:
        if target in files:
            raise ManifestError(
                _refusal(archive, entry.name, "is there twice, or another entry goes to the same place")
            )
        files.add(target)
    for target, entry in wanted:
        if any(parent in files for parent in target.parents):
            raise ManifestError(_refusal(archive, entry.name, "lies below an entry that is a file"))
    needed, free = sum(entry.size_bytes for _, entry in wanted), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{archive.name} needs {needed / 1e9:.1f} GB unpacked, but {folder} has {free / 1e9:.1f} GB free; make "
            "room, or unpack elsewhere"
        )


def _write(archive: Path, entry: _Entry, path: Path) -> None:
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with entry.open() as content, path.open("xb") as file:
            # No more than the archive says: the space was checked for that.
            while block := content.read(1 << 20):
                written += len(block)
                if written > entry.size_bytes:
                    raise ManifestError(_refusal(archive, entry.name, "is larger than the archive says"))
                file.write(block)
    except gzip.BadGzipFile:
        raise  # an OSError, but not of the disk
    except OSError as error:
        raise OutputError(f"cannot unpack {path}: {error.strerror or error}; check the free space") from error
    if written != entry.size_bytes:
        raise ManifestError(_refusal(archive, entry.name, "is cut short"))


def _refusal(archive: Path, name: str, problem: str) -> str:
    shown: Any = name if len(name) <= 120 else f"{name[:120]}..."
    return (
        f"{archive.name}: entry {shown!r} {problem}; nothing of the archive was unpacked: do not trust where it is from"
    )
