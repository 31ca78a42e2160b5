"""Look for planted identifiers in everything below a folder: names of files, their bytes, and what they wrap.

Looked into are gzip, bzip2, xz, zip (`.npz`, `.pt`, bundles), tar, the texts of PNG (also of PNG inside other files,
such as the event files of TensorBoard), and deflated DICOM. Blosc and Zstandard are not unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Those that DICOM's character sets and common programs write.
_ENCODINGS = (
    *(
        "utf-8",
        "utf-16-le",
        "utf-16-be",
        "utf-32-le",
        "utf-32-be",
        "latin-1",
        "iso8859-2",
        "iso8859-5",
        "iso8859-6",
        "iso8859-7",
        "iso8859-8",
    ),
    *("iso8859-9", "shift_jis", "euc_jp", "iso2022_jp", "iso2022_jp_2", "euc_kr", "gb18030", "tis_620"),
)
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_WRAPPED = 6


@dataclass(frozen=True)
class Finding:
    """A planted identifier that was found: in which file, and how it was wrapped there."""

    path: str
    term: str
    where: str


class IdentifierScan:
    """A search for identifiers, whatever their case and encoding."""

    def __init__(self, terms: Iterable[str]) -> None:
        self.patterns = {term: _patterns(term) for term in terms}
        assert all(len(term) > 3 for term in self.patterns), "shorter terms are found by chance"

    def folder(self, folder: Path) -> list[Finding]:
        """Return what is found in the names and the contents of all files below a folder."""
        findings = []
        for root, folders, names in os.walk(folder):
            for name in (*folders, *names):
                path = Path(root, name)
                relative = str(path.relative_to(folder))
                findings += [Finding(relative, term, "name") for term in self.text(relative)]
                if path.is_symlink():
                    findings += [Finding(relative, term, "link") for term in self.text(str(path.readlink()))]
                elif path.is_file():
                    findings += [Finding(relative, term, where) for term, where in self.content(path.read_bytes())]
        return findings

    def text(self, text: str) -> list[str]:
        """Return the terms that stand in a text: an output of a program, a name of a file."""
        return [term for term, _ in self.content(text.encode("utf-8", "surrogateescape"))]

    def content(self, content: bytes, where: str = "content") -> list[tuple[str, str]]:
        """Return the terms that stand in bytes or in what they wrap, and how they were reached."""
        lower = content.lower()
        found = [(term, where) for term, patterns in self.patterns.items() if any(part in lower for part in patterns)]
        if where.count("/") < _MOST_WRAPPED:
            for kind, inner in _unwrapped(content):
                found += self.content(inner, f"{where}/{kind}")
        return found


def _patterns(term: str) -> frozenset[bytes]:
    patterns = set()
    for form in {term, unicodedata.normalize("NFC", term), unicodedata.normalize("NFD", term)}:
        # JSON writes other alphabets as \uXXXX unless it is told not to.
        patterns.add(json.dumps(form)[1:-1].encode("ascii").lower())
        for encoding in _ENCODINGS:
            try:
                patterns.add(form.encode(encoding).lower())
            except UnicodeEncodeError:
                continue
    return frozenset(patterns)


def _unwrapped(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give what a container holds; nothing for bytes that are none, or a broken one."""
    try:
        if content.startswith(b"\x1f\x8b"):
            yield "gzip", gzip.decompress(content)
        elif content.startswith(b"BZh"):
            yield "bzip2", bz2.decompress(content)
        elif content.startswith(b"\xfd7zXZ\0"):
            yield "xz", lzma.decompress(content)
        elif content.startswith(b"PK\x03\x04"):
            yield from _unzipped(content)
        elif content[257:262] == b"ustar":
            yield from _untarred(content)
        elif content[128:132] == b"DICM" and b"1.2.840.10008.1.2.1.99" in content[:512]:
            yield "deflated", _inflated(content)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError):
        return
    start = content.find(_PNG)
    while start >= 0:
        yield from _png_texts(content, start)
        start = content.find(_PNG, start + 1)


def _unzipped(content: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield "zip comment", archive.comment
        for entry in archive.infolist():
            yield "zip name", entry.filename.encode()
            yield "zip", archive.read(entry)


def _untarred(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            if file is not None:
                yield "tar", file.read()


def _inflated(content: bytes) -> bytes:
    """Inflate the dataset of a DICOM file, after its file meta information (PS3.10 7.1, PS3.5 A.5)."""
    (length,) = struct.unpack_from("<L", content, 140)
    return zlib.decompress(content[144 + length :], -zlib.MAX_WBITS)


def _png_texts(content: bytes, start: int) -> Iterator[tuple[str, bytes]]:
    """Give the compressed texts of a PNG; those that are not compressed are found as they are."""
    at = start + len(_PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, at)
        chunk = content[at + 8 : at + 8 + length]
        try:
            if kind == b"zTXt":
                yield "png text", zlib.decompress(chunk.partition(b"\0")[2][1:])
            elif kind == b"iTXt":
                rest = chunk.partition(b"\0")[2]
                if rest[:1] == b"\1":
                    yield "png text", zlib.decompress(rest[2:].split(b"\0", 2)[2])
        except zlib.error:
            return
        if kind == b"IEND":
            return
        at += 12 + length
