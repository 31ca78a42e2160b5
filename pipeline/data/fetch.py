"""Getting a published data set: downloaded, checked, unpacked beside the folder, and only then moved into it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..errors import ManifestError, OutputError
from .download import check_address, download
from .manifest import Manifest
from .manifest_entries import Archive, Case, PublishedSource
from .unpack import unpack

_DOWNLOADS = ".downloads"


def fetch_data_set(manifest: Manifest, folder: str | Path, progress: bool = False) -> int:
    """Download the files of a data set into a folder. Nothing calls this but a person who asks for it.

    Downloads go to `.downloads` in the folder, and an interrupted one goes on from there. Archives are unpacked into a
    folder of their own; only when all cases are complete and have their digests are the files renamed into place, so
    that the data folder holds nothing half-unpacked. Files that are there already are left alone, and must be the right
    ones.

    Args:
        manifest: The data set; its source must list archives.
        folder: Where the files go; it is made if it is not there.
        progress: Show progress bars.

    Returns:
        The number of files that were put there; 0 where everything was there.

    Raises:
        ManifestError: If the manifest lists no archives, an archive's digest is known neither itself nor through its
            files, a download fails or has another digest, an archive is refused by `unpack`, or the files in it are not
            those of the manifest.
        OutputError: If something cannot be written.
    """
    folder = Path(folder)
    archives = _archives(manifest)
    manifest.check_digests(folder)
    if not manifest.missing_files(folder):
        return 0
    downloads = folder / _DOWNLOADS
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".unpacked-", dir=folder))
    except OSError as error:
        raise OutputError(f"cannot use folder {folder}: {error.strerror}; choose one that you may write to") from error
    try:
        for archive in archives:
            if archive.path is None or not (folder / archive.path).exists():
                _stage(archive, downloads, staging, progress)
        number = _move_into_place(manifest, staging, folder)
    except ManifestError:
        # What no digest vouched for may be what was wrong; the next call must not take it up again.
        for archive in archives:
            if archive.sha256 is None:
                _downloaded(archive, downloads).unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    return number


def _archives(manifest: Manifest) -> tuple[Archive, ...]:
    if not isinstance(manifest.source, PublishedSource) or not manifest.source.archives:
        raise ManifestError(
            f"manifest {manifest.path} lists no archives, so there is nothing to download; "
            f"{manifest.way_to_get_files(Path('FOLDER'))}"
        )
    are_files_known = all(digest is not None for case in manifest.cases for _, _, digest in case.files())
    for archive in manifest.source.archives:
        check_address(archive.url)
        if archive.sha256 is None and not are_files_known:
            raise ManifestError(
                f"manifest {manifest.path}: the SHA-256 of {archive.url} is null and so are those of some files, so "
                "nothing tells whether the download is right; add one or the other"
            )
    return manifest.source.archives


def _stage(archive: Archive, downloads: Path, staging: Path, progress: bool) -> None:
    """Download an archive, and put what it holds where it belongs below `staging`."""
    downloaded = _downloaded(archive, downloads)
    # An earlier call may have come this far.
    if not downloaded.is_file():
        download(archive.url, downloaded, archive.sha256, progress=progress)
    if archive.path is not None:
        target = staging / archive.path
        target.parent.mkdir(parents=True, exist_ok=True)
        downloaded.rename(target)
        return
    with tempfile.TemporaryDirectory(dir=staging, prefix=".archive-") as unpacked:
        names = unpack(downloaded, Path(unpacked), archive.folders, progress=progress)
        for relative in names:
            target = staging / relative
            if target.exists():
                raise ManifestError(
                    f"{relative} comes out of two archives; correct the archives' folders in the manifest"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(unpacked) / relative).rename(target)


def _downloaded(archive: Archive, downloads: Path) -> Path:
    # Two addresses may end in the same name.
    mark = hashlib.sha256(archive.url.encode()).hexdigest()[:8]
    return downloads / f"{mark}-{PurePosixPath(urlsplit(archive.url).path).name or 'download'}"


def _move_into_place(manifest: Manifest, staging: Path, folder: Path) -> int:
    """Rename the staged files into the folder, after all cases were checked: each is staged, or there already."""
    for case in manifest.cases:
        if case.missing_files(folder) and (missing := _missing_in_both(case, staging, folder)):
            raise ManifestError(
                f"case {case.id!r}: {missing} is not in what was downloaded; correct the archives' folders in the "
                "manifest"
            )
    manifest.check_digests(staging)
    number = 0
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = folder / path.relative_to(staging)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        number += 1
    return number


def _missing_in_both(case: Case, staging: Path, folder: Path) -> str | None:
    absent = {path.relative_to(folder) for path in case.missing_files(folder)}
    absent &= {path.relative_to(staging) for path in case.missing_files(staging)}
    return str(min(absent)) if absent else None
