"""SHA-256 of what a case consists of: a file, or the files of a folder such as a DICOM series."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path) -> tuple[str, ...]:
    """Return the files below a folder, relative to it, with '/' between their parts, in the order of their bytes."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(names, key=str.encode))


def folder_sha256(folder: Path, names: Sequence[str] = ()) -> str:
    r"""Return the SHA-256 of the files of a folder, in hexadecimal digits.

    It is the SHA-256 of one line for each file, sorted by the bytes of the name: its SHA-256, two blanks, its name
    relative to the folder, and a line feed. On the command line, for names without a backslash or a line feed:
    `find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.

    Args:
        folder: The folder.
        names: The files that count, relative to it; all of them by default.

    Raises:
        OSError: If a file cannot be read.
    """
    chosen = sorted(names, key=str.encode) if names else files_of(folder)
    lines = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in chosen)
    return hashlib.sha256(lines.encode()).hexdigest()


def content_sha256(path: Path, names: Sequence[str] = ()) -> str:
    """Return the digest of a file (`file_sha256`) or of a folder (`folder_sha256`).

    Raises:
        OSError: If a file cannot be read.
    """
    return folder_sha256(path, names) if path.is_dir() else file_sha256(path)
