"""Addresses that are none, redirects that go round, parts that are other parts, and archives with odd names."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.data import fetch_data_set
from pipeline.data.download import download
from pipeline.data.unpack import unpack
from pipeline.errors import ManifestError

from .http_files import HttpFiles
from .test_fetch import CONTENT, at_once, server, sha256  # noqa: F401
from .test_manifest_rules import case, manifest_of


@pytest.mark.parametrize("url", ["http://127.0.0.1/\u00fc.zip", "http://[bad/x.zip"])
def test_what_is_no_address_is_refused_before_anything_is_made(tmp_path: Path, url: str):
    archives = [{"url": url, "sha256": "0" * 64}]
    source = {"urls": ["https://example.org"], "layout": "none", "archives": archives}
    manifest = manifest_of(case("a", "p"), case("b", "q"), source=source)
    with pytest.raises(ManifestError, match=r"is no address; expected ASCII, with %-codes"):
        fetch_data_set(manifest, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_redirect_to_no_address_is_refused(server: HttpFiles, tmp_path: Path):  # noqa: F811
    server.redirect = "http://[bad/x.zip"
    with pytest.raises(ManifestError, match=r"/old redirects to what is no address; get the file another way"):
        download(server.url("/old"), tmp_path / "a", None, pause_s=at_once)


def test_redirects_that_go_round_are_refused_in_one_line(server: HttpFiles, tmp_path: Path):  # noqa: F811
    server.redirect = "/round"
    with pytest.raises(ManifestError, match=r"cannot be downloaded: the server answers 302") as caught:
        download(server.url("/round"), tmp_path / "a", None, pause_s=at_once)
    assert "\n" not in str(caught.value)


def test_a_part_that_begins_elsewhere_is_not_appended(server: HttpFiles, tmp_path: Path):  # noqa: F811
    server.cut_after = [1_000_000]
    server.content_range = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-", None]


def packed(tmp_path: Path, *names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


def test_a_zip_whose_names_are_not_what_it_says_is_refused(tmp_path: Path):
    # The flag says UTF-8.
    (tmp_path / "a.zip").write_bytes(packed(tmp_path, "\u00fc.txt").replace("\u00fc".encode(), b"\xff\xfe"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ManifestError, match=r"a\.zip is not a zip or tar archive that can be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_entries_without_a_name_are_refused(tmp_path: Path):
    content = packed(tmp_path, "a")
    # The length of the name in both headers of the entry, and the name in both.
    start = content.index(b"PK\x01\x02")
    local = content[:26] + b"\0\0" + content[28:30] + content[31:start]
    directory = content[start : start + 28] + b"\0\0" + content[start + 30 : start + 46]
    end = content[content.index(b"PK\x05\x06") :]
    end = end[:12] + len(directory).to_bytes(4, "little") + len(local).to_bytes(4, "little") + end[20:]
    (tmp_path / "a.zip").write_bytes(local + directory + end)
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == [""]
    (tmp_path / "out").mkdir()
    with pytest.raises(ManifestError, match=r"entry '' has no name; nothing of the archive was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("."))
    with pytest.raises(ManifestError, match=r"entry '\.' has no name"):
        unpack(tmp_path / "b.tar", tmp_path / "out")
