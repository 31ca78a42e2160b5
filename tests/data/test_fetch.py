"""Downloading over a real web server on the loopback, and unpacking archives, good ones and bad ones."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import Manifest, fetch_data_set
from pipeline.data.download import download
from pipeline.errors import ManifestError, OutputError

from .http_files import HttpFiles, http_files

ROOT = Path(__file__).parents[2]
CONTENT = random.Random(5).randbytes(3_000_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def at_once(attempt: int) -> float:
    return 0.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpFiles]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http_files() as state:
        state.files["/a.bin"] = CONTENT
        yield state


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestDownload:
    def test_a_file_arrives_whole(self, server: HttpFiles, tmp_path: Path):
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT))
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert names_in(tmp_path) == {"a"}

    @pytest.mark.parametrize("says_length", [True, False], ids=["length said", "length not said"])
    def test_an_empty_file_arrives(self, server: HttpFiles, tmp_path: Path, says_length: bool):
        server.files["/a.bin"], server.says_length = b"", says_length
        download(server.url("/a.bin"), tmp_path / "a", sha256(b""))
        assert (tmp_path / "a").read_bytes() == b""

    def test_a_connection_that_is_cut_twice_is_taken_up_where_it_broke(self, server: HttpFiles, tmp_path: Path):
        server.cut_after = [1_000_000, 500_000]
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]

    def test_a_server_without_ranges_sends_everything_again(self, server: HttpFiles, tmp_path: Path):
        server.cut_after, server.takes_ranges = [1_000_000], False
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_what_was_downloaded_before_is_kept_when_nothing_more_comes_and_used_by_the_next_call(
        self, server: HttpFiles, tmp_path: Path
    ):
        server.cut_after = [1_234_567, 0, 0, 0, 0, 0]
        with pytest.raises(ManifestError, match=r"broke off after 1234567 bytes: .*; run the command again to go on"):
            download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert names_in(tmp_path) == {"a.part"}
        server.asked.clear()
        server.cut_after.clear()
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert server.asked == [("/a.bin", "bytes=1234567-")]
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_a_part_that_is_complete_already_is_taken_as_it_is(self, server: HttpFiles, tmp_path: Path):
        (tmp_path / "a.part").write_bytes(CONTENT)
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_a_part_that_is_longer_than_the_file_is_dropped(self, server: HttpFiles, tmp_path: Path):
        (tmp_path / "a.part").write_bytes(CONTENT + b"more")
        download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_another_digest_is_refused_and_nothing_is_kept(self, server: HttpFiles, tmp_path: Path):
        (tmp_path / "a.part").write_bytes(b"of another file")
        match = rf"a\.bin has SHA-256 [0-9a-f]{{64}}, but the manifest expects {sha256(CONTENT)}; what was downloaded"
        with pytest.raises(ManifestError, match=match):
            download(server.url("/a.bin"), tmp_path / "a", sha256(CONTENT), pause_s=at_once)
        assert names_in(tmp_path) == set()

    def test_a_file_that_is_not_there_is_refused_at_once(self, server: HttpFiles, tmp_path: Path):
        with pytest.raises(
            ManifestError, match=r"none\.bin cannot be downloaded: the server answers 404 .*; check the"
        ):
            download(server.url("/none.bin"), tmp_path / "a", None, pause_s=at_once)
        assert len(server.asked) == 1
        assert names_in(tmp_path) == set()

    def test_a_server_that_is_overloaded_is_asked_again(self, server: HttpFiles, tmp_path: Path):
        server.status = 503
        with pytest.raises(ManifestError, match=r"broke off after 0 bytes: the server answers 503"):
            download(server.url("/a.bin"), tmp_path / "a", None, pause_s=at_once)
        assert len(server.asked) == 4

    def test_a_redirect_is_followed_but_not_to_another_protocol(self, server: HttpFiles, tmp_path: Path):
        server.redirect = server.url("/a.bin")
        download(server.url("/old"), tmp_path / "a", sha256(CONTENT))
        server.redirect = "ftp://127.0.0.1/a"
        with pytest.raises(ManifestError, match=r"redirects to ftp://127.*; expected http:// or https://"):
            download(server.url("/old"), tmp_path / "b", None, pause_s=at_once)
        assert names_in(tmp_path) == {"a"}

    def test_nobody_listening_is_an_error_of_one_line(self, server: HttpFiles, tmp_path: Path):
        with pytest.raises(ManifestError, match=r"broke off after 0 bytes: .*refused") as caught:
            download("http://127.0.0.1:1/a", tmp_path / "a", None, pause_s=at_once)
        assert "\n" not in str(caught.value)

    def test_a_folder_that_cannot_be_written_is_refused(self, server: HttpFiles, tmp_path: Path):
        (tmp_path / "a.part").mkdir()
        with pytest.raises(OutputError, match=r"cannot write .*a\.part"):
            download(server.url("/a.bin"), tmp_path / "a", None, pause_s=at_once)


def zip_of(entries: dict[str, bytes | None]) -> bytes:
    """A zip; None makes a folder."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name if content is not None else f"{name}/", content or b"")
    return target.getvalue()


def data_set(server: HttpFiles, folder: Path, **archive: Any) -> Path:
    """A manifest of two cases whose files come as `/set.zip`."""
    files = {f"{kind}s/{case}.bin": f"{kind} {case}".encode() for case in "ab" for kind in ("image", "label")}
    content = zip_of({f"Task/{name}": packed for name, packed in files.items()} | {"Task/README": b"read me"})
    server.files["/set.zip"] = content
    fields = {
        "name": "served",
        "version": "1.0.0",
        "description": "Served for a test.",
        "licence": {"name": "CC0-1.0", "terms": "None."},
        "citation": "none",
        "source": {
            "urls": ["https://example.org"],
            "layout": "as it is",
            "archives": [
                {"url": server.url("/set.zip"), "sha256": sha256(content), "folders": {"Task": "."}} | archive,
            ],
        },
        "classes": [
            {"index": 0, "name": "background", "stored_value": 0},
            {"index": 1, "name": "nucleus", "stored_value": 1},
        ],
        "spacing_mm": None,
        "slice_spacing_mm": None,
        "split_unit": "patient",
        "cases": [
            {"id": case, "patient": case}
            | {kind: f"{kind}s/{case}.bin" for kind in ("image", "label")}
            | {f"{kind}_sha256": sha256(files[f"{kind}s/{case}.bin"]) for kind in ("image", "label")}
            for case in "ab"
        ],
        "splits": {"training": ["a"], "validation": ["b"]},
    }
    path = folder / "served.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


EXPECTED = {"images/a.bin", "images/b.bin", "labels/a.bin", "labels/b.bin", "README"}


class TestFetch:
    def test_an_archive_is_downloaded_checked_and_unpacked(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path))
        assert fetch_data_set(manifest, tmp_path / "data") == 5
        assert names_in(tmp_path / "data") == EXPECTED
        manifest.check_files(tmp_path / "data")
        assert [path.name for path in (tmp_path / "data").iterdir() if path.name.startswith(".")] == []

    def test_a_second_call_asks_the_server_for_nothing(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path))
        fetch_data_set(manifest, tmp_path / "data")
        server.asked.clear()
        assert fetch_data_set(manifest, tmp_path / "data") == 0
        assert server.asked == []

    def test_files_that_are_there_are_left_alone_and_the_missing_ones_added(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path))
        fetch_data_set(manifest, tmp_path / "data")
        before = (tmp_path / "data/images/a.bin").stat()
        (tmp_path / "data/labels/b.bin").unlink()
        (tmp_path / "data/README").write_text("my own notes")
        assert fetch_data_set(manifest, tmp_path / "data") == 1
        after = (tmp_path / "data/images/a.bin").stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        assert (tmp_path / "data/README").read_text() == "my own notes"

    def test_a_file_that_is_another_one_stops_the_download_before_it_begins(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path))
        (tmp_path / "data/images").mkdir(parents=True)
        (tmp_path / "data/images/a.bin").write_text("mine")
        with pytest.raises(
            ManifestError, match=r"case 'a': image .* has SHA-256 .*; move the file away and fetch them:"
        ):
            fetch_data_set(manifest, tmp_path / "data")
        assert (tmp_path / "data/images/a.bin").read_text() == "mine"
        assert server.asked == []

    def test_a_single_file_goes_to_its_path(self, server: HttpFiles, tmp_path: Path):
        path = data_set(server, tmp_path)
        fields = json.loads(path.read_text())
        fields["source"]["archives"] = []
        for case in fields["cases"]:
            for kind in ("image", "label"):
                server.files[f"/{case[kind]}"] = f"{kind} {case['id']}".encode()
                entry = {"url": server.url(f"/{case[kind]}"), "sha256": case[f"{kind}_sha256"], "path": case[kind]}
                fields["source"]["archives"].append(entry)
        path.write_text(json.dumps(fields))
        assert fetch_data_set(Manifest.load(path), tmp_path / "data") == 4
        assert names_in(tmp_path / "data") == EXPECTED - {"README"}

    def test_an_archive_that_is_refused_leaves_no_file_behind(self, server: HttpFiles, tmp_path: Path):
        path = data_set(server, tmp_path)
        fields = json.loads(path.read_text())
        server.files["/set.zip"] = zip_of({"Task/images/a.bin": b"image a", "Task/../../../evil": b"x"})
        fields["source"]["archives"][0]["sha256"] = sha256(server.files["/set.zip"])
        path.write_text(json.dumps(fields))
        with pytest.raises(ManifestError, match=r"would leave the folder; nothing of the archive was unpacked"):
            fetch_data_set(Manifest.load(path), tmp_path / "data")
        assert {name for name in names_in(tmp_path / "data") if not name.startswith(".downloads/")} == set()
        assert not (tmp_path / "evil").exists()

    def test_an_archive_without_a_digest_is_told_by_its_files(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path, sha256=None))
        fetch_data_set(manifest, tmp_path / "data")
        server.files["/set.zip"] = server.files["/set.zip"].replace(b"image a", b"image A")
        other = {f"Task/{name}": b"something else" for name in EXPECTED}
        server.files["/set.zip"] = zip_of(other)
        with pytest.raises(ManifestError, match=r"case 'a': image .* has SHA-256"):
            fetch_data_set(manifest, tmp_path / "fresh")
        assert names_in(tmp_path / "fresh") == set()

    def test_neither_digest_known_is_refused(self, server: HttpFiles, tmp_path: Path):
        path = data_set(server, tmp_path, sha256=None)
        fields = json.loads(path.read_text())
        fields["cases"][1]["label_sha256"] = None
        path.write_text(json.dumps(fields))
        with pytest.raises(ManifestError, match=r"SHA-256 of http.*set\.zip is null and so are those of some files"):
            fetch_data_set(Manifest.load(path), tmp_path / "data")
        assert server.asked == []

    def test_an_archive_that_lacks_a_file_is_refused(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path, folders={"Task/images": "images"}))
        with pytest.raises(ManifestError, match=r"case 'a': labels/a\.bin is not in what was downloaded; correct the"):
            fetch_data_set(manifest, tmp_path / "data")

    def test_a_manifest_without_archives_says_where_to_get_the_files(self, tmp_path: Path):
        manifest = Manifest.load(Path(__file__).parents[2] / "data_manifests" / "isbi2012.json")
        with pytest.raises(
            ManifestError, match=r"lists no archives, so there is nothing to download; get the data from"
        ):
            fetch_data_set(manifest, tmp_path / "data")
        assert not (tmp_path / "data").exists()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written_is_refused(self, server: HttpFiles, tmp_path: Path):
        manifest = Manifest.load(data_set(server, tmp_path))
        (tmp_path / "data").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="choose one that you may write to"):
            fetch_data_set(manifest, tmp_path / "data")

    def test_a_full_disk_leaves_no_file_that_is_not_whole(
        self, server: HttpFiles, small_disk: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
    ):
        manifest, disk = data_set(server, tmp_path), tmp_path / "disk"
        disk.mkdir()
        fields = json.loads(manifest.read_text())
        (archive,) = fields["source"]["archives"]
        noise = random.Random(1).randbytes(2**18)
        server.files["/set.zip"] = zip_of({"Task/images/a.bin": noise})
        archive["sha256"] = sha256(server.files["/set.zip"])
        manifest.write_text(json.dumps(fields))
        fetch = f"PYTHONPATH='{ROOT}' '{sys.executable}' -m pipeline data fetch '{manifest}' '{disk}/data'"
        # The first disk cannot hold the archive, the second one not what is in it beside the archive, which stays for
        # the next call.
        for size, text in (("128k", "No space left on device; check the free space"), ("384k", "make room")):
            run = small_disk(disk, size, f"{fetch} 2>&1 || echo rc $?; find '{disk}' -type f ! -path '*/.downloads/*'")
            *_, message, status = run.stdout.replace("\r", "\n").splitlines()
            assert status == "rc 2"
            assert text in message
