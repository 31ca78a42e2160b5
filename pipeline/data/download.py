"""Downloading a file over HTTP: with progress, going on where an earlier attempt stopped, checked by its digest."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from ..errors import ManifestError, OutputError
from .digests import file_sha256

_ATTEMPTS: Final = 4  # in a row that bring nothing new
_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 30.0
# What a connection that breaks raises: in time it may come back.
_BROKEN: Final = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)


def download(
    url: str,
    target: Path,
    sha256: str | None,
    *,
    progress: bool = False,
    pause_s: Callable[[int], float] = lambda attempt: 2.0**attempt,
) -> None:
    """Download a file to `target`, or go on with what an earlier call left in `<target>.part`.

    A connection that breaks is taken up again where it broke (RFC 9110, section 14: Range), several times; a server
    that does not do ranges sends everything once more. What is not complete stays in `<target>.part` for the next call;
    `target` is only ever the complete file with the right digest.

    Args:
        url: An address that starts with http:// or https://.
        target: Where the file goes; its folder exists.
        sha256: The digest that it must have; None where it is not known.
        progress: Show a progress bar.
        pause_s: Seconds to wait before another attempt, by its number from 0.

    Raises:
        ManifestError: If the server refuses, the connection keeps breaking, or the digest is another one: then what was
            downloaded is removed.
        OutputError: If the file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    failures = 0
    while True:
        size_before = _size_of(part)
        try:
            complete = _receive(url, part, progress)
        except _StaleError:
            part.unlink(missing_ok=True)
            complete, reason = False, "the server sends another part than it was asked for"
        except _BROKEN as error:
            complete, reason = False, _reason(error)
        else:
            reason = "the connection ended before the file did"
        if complete:
            break
        failures = 0 if _size_of(part) > size_before else failures + 1
        if failures >= _ATTEMPTS:
            raise ManifestError(
                f"download of {url} broke off after {_size_of(part)} bytes: {reason}; run the command again to go on "
                "from there"
            )
        time.sleep(pause_s(failures))
    if sha256 is not None and (found := file_sha256(part)) != sha256:
        part.unlink()
        raise ManifestError(
            f"{url} has SHA-256 {found}, but the manifest expects {sha256}; what was downloaded is removed: get the "
            "version that the manifest means, or correct the manifest"
        )
    part.replace(target)


def check_address(url: str) -> None:
    """Refuse what is no address of a file.

    Raises:
        ManifestError: If it is not ASCII, or a browser could not take it apart either.
    """
    try:
        url.encode("ascii")
        urlsplit(url)
    except ValueError as error:
        raise ManifestError(
            f"{url!a} is no address; expected ASCII, with %-codes for other letters, such as %C3%BC; correct it in the "
            "manifest"
        ) from error


class _StaleError(Exception):
    """What an earlier attempt left is no beginning of the file."""


class _OnlyHttpRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, *arguments: Any) -> urllib.request.Request | None:
        address = str(arguments[-1])
        if not address.startswith(("http://", "https://")):
            raise ManifestError(f"{request.full_url} redirects to {address}; expected http:// or https://")
        return super().redirect_request(request, *arguments)


def _receive(url: str, part: Path, progress: bool) -> bool:
    """Append to `part` what it lacks; tell whether it is then complete."""
    have = _size_of(part)
    # Packed on the way, a file would have another length than the server says.
    headers = {"Accept-Encoding": "identity", "User-Agent": "unet-pipeline"}
    if have:
        headers["Range"] = f"bytes={have}-"
    opener = urllib.request.build_opener(_OnlyHttpRedirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        reason = " ".join(str(error.reason).split())  # of a redirect that goes round it is several lines
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    return True
                raise _StaleError from error
            if error.code >= 500 or error.code == 429:
                raise ConnectionError(f"the server answers {error.code} {reason}") from error
            raise ManifestError(
                f"{url} cannot be downloaded: the server answers {error.code} {reason}; check the address in the "
                "manifest"
            ) from error
    except ManifestError:
        raise
    except ValueError as error:
        raise ManifestError(f"{url} redirects to what is no address; get the file another way") from error
    with response:
        start = have if response.status == 206 else 0
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _StaleError
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None and length.isdigit() else None
        _append(response, part, start, total, progress)
    return total is None or _size_of(part) == total


def _append(response: Any, part: Path, start: int, total: int | None, progress: bool) -> None:
    bar = tqdm(desc=part.name.removesuffix(".part"), total=total, initial=start, unit="B", unit_scale=True,
               disable=not progress, leave=False)  # fmt: skip
    with bar, _opened(part, "ab" if start else "wb") as file:
        while True:
            try:
                block = response.read1(_BLOCK_BYTES)
            except OSError as error:
                # Of the connection and not of the disk.
                raise ConnectionError(_reason(error)) from error
            if not block:
                return
            try:
                file.write(block)
            except OSError as error:
                raise OutputError(f"cannot write {part}: {error.strerror}; check the free space") from error
            bar.update(len(block))


def _opened(part: Path, mode: str) -> Any:
    try:
        return part.open(mode, buffering=0)
    except OSError as error:
        raise OutputError(f"cannot write {part}: {error.strerror}; choose a folder that you may write to") from error


def _size_of(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(text).split())
