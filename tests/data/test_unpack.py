"""Archives: unpacked as they were packed, and refused where they reach beyond their folder."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.unpack import unpack
from pipeline.errors import ManifestError

CONTENT = random.Random(5).randbytes(3_000_000)


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def zip_of(entries: dict[str, bytes | None]) -> bytes:
    """A zip; None makes a folder."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name if content is not None else f"{name}/", content or b"")
    return target.getvalue()


def tar_of(entries: dict[str, bytes | None], mode: str = "w:gz", **special: Any) -> bytes:
    """A tar; `special` gives the type of the last entry."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for number, (name, content) in enumerate(entries.items()):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            if special and number == len(entries) - 1:
                info.size = 0
                for key, value in special.items():
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content or b""))
    return target.getvalue()


def zip_with_link() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("a/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr("a/first", b"1")
        archive.writestr(link, "/etc/passwd")
    return target.getvalue()


def zip_twice() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    return target.getvalue()


def encrypted_zip() -> bytes:
    content = bytearray(zip_of({"a": b"1"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


GOOD = {"top": None, "top/a.txt": b"a" * 5000, "top/deep/b": b"", "other/c": b"c"}
BAD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip, parent": (lambda: zip_of({"ok": b"", "../evil": b"x"}), r"entry '\.\./evil' would leave the folder"),
    "zip, parent inside": (lambda: zip_of({"a/../../evil": b"x"}), r"entry 'a/\.\./\.\./evil' would leave"),
    "zip, absolute": (lambda: zip_of({"/tmp/evil": b"x"}), r"entry '/tmp/evil' would leave the folder"),
    "zip, drive": (lambda: zip_of({"C:/evil": b"x"}), r"entry 'C:/evil' would leave the folder"),
    "zip, backslash": (lambda: zip_of({"..\\evil": b"x"}), r"would leave the folder"),
    "zip, folder outside": (lambda: zip_of({"../evil": None, "ok": b""}), r"entry '\.\./evil/' would leave"),
    "zip, link": (zip_with_link, r"entry 'a/link' is a link or a device"),
    "zip, encrypted": (encrypted_zip, r"entry 'a' is encrypted"),
    "zip, twice": (zip_twice, r"entry 'a' is there twice"),
    "zip, below a file": (lambda: zip_of({"a": b"1", "a/b": b"2"}), r"entry 'a/b' lies below an entry that is a file"),
    "zip, cut short": (lambda: zip_of(GOOD)[:-40], r"not a zip or tar archive that can be unpacked"),
    "tar, parent": (lambda: tar_of({"ok": b"", "../evil": b"x"}), r"entry '\.\./evil' would leave the folder"),
    "tar, absolute": (lambda: tar_of({"/tmp/evil": b"x"}), r"entry '/tmp/evil' would leave the folder"),
    "tar, symbolic link": (
        lambda: tar_of({"ok": b"", "link": b""}, type=tarfile.SYMTYPE, linkname="/etc"),
        r"entry 'link' is a link or a device",
    ),
    "tar, hard link": (
        lambda: tar_of({"ok": b"", "link": b""}, type=tarfile.LNKTYPE, linkname="ok"),
        r"entry 'link' is a link or a device",
    ),
    "tar, device": (lambda: tar_of({"null": b""}, type=tarfile.CHRTYPE), r"entry 'null' is a link or a device"),
    "tar, pipe": (lambda: tar_of({"pipe": b""}, type=tarfile.FIFOTYPE), r"entry 'pipe' is a link or a device"),
    "tar, cut short": (
        lambda: tar_of({"a": CONTENT}, "w")[:20_000],
        r"cannot be unpacked|is cut short|that can be unp",
    ),
    "tar.gz, cut short": (lambda: tar_of({"a": CONTENT})[:20_000], r"not a zip or tar archive that can be unpacked"),
    "no archive": (lambda: b"<html>Please log in</html>", r"not a zip or tar archive that can be unpacked"),
    "empty file": (lambda: b"", r"not a zip or tar archive that can be unpacked"),
    "nothing in it": (lambda: zip_of({"a": None}), r"has no file in it"),
}


class TestUnpack:
    @pytest.mark.parametrize(
        "content",
        [zip_of(GOOD), *(tar_of(GOOD, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))],
        ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
    )
    def test_every_format_gives_the_files_that_were_packed(self, tmp_path: Path, content: bytes):
        (tmp_path / "archive").write_bytes(content)
        (target := tmp_path / "out").mkdir()
        files = {name: packed for name, packed in GOOD.items() if packed is not None}
        assert set(unpack(tmp_path / "archive", target)) == set(files)
        assert {name: (target / name).read_bytes() for name in names_in(target)} == files

    def test_wanted_folders_go_where_they_are_told_and_others_stay(self, tmp_path: Path):
        (tmp_path / "archive").write_bytes(zip_of(GOOD))
        (target := tmp_path / "out").mkdir()
        unpack(tmp_path / "archive", target, [("top/deep", "images"), ("top", ".")])
        assert names_in(target) == {"images/b", "a.txt"}

    @pytest.mark.parametrize(("content", "match"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
    def test_a_bad_archive_is_refused_in_one_line_and_touches_nothing_outside(
        self, tmp_path: Path, content: Callable[[], bytes], match: str
    ):
        (tmp_path / "archive").write_bytes(content())
        (target := tmp_path / "deep" / "out").mkdir(parents=True)
        with pytest.raises(ManifestError, match=match) as caught:
            unpack(tmp_path / "archive", target)
        assert "\n" not in str(caught.value)
        assert names_in(tmp_path) - {"archive"} <= {"deep/out/a"}  # what was cut short was begun inside
        assert not Path("/tmp/evil").exists()

    def test_rights_and_owners_are_not_taken_over(self, tmp_path: Path):
        (tmp_path / "archive").write_bytes(tar_of({"a": b"x"}, mode="w"))
        content = bytearray((tmp_path / "archive").read_bytes())
        content[100:107] = b"0006777"
        content[148:156] = b"        "
        content[148:154] = b"%06o" % sum(content[:512])
        content[154:156] = b"\0 "
        (tmp_path / "archive").write_bytes(content)
        (target := tmp_path / "out").mkdir()
        unpack(tmp_path / "archive", target)
        assert (target / "a").stat().st_mode & 0o6111 == 0
