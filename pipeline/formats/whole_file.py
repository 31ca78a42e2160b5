"""Writing a file whole or not at all: temporary file in the same folder, fsync, rename."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError, PipelineError


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` when the block ends without an error.

    Whatever happens meanwhile (a full disk, an exception, a killed process), `path` holds either what it held before or
    the complete new file. The temporary file is hidden (`.partial-…`), lies in the same folder and keeps the last two
    suffixes, so that writers which go by the suffix (`.nii.gz`) work; only a killed process leaves it behind. A
    symbolic link is written through, as `open` would.

    Args:
        path: The file to write; its folder must exist.
        overwrite: Replace a file that is already there.

    Yields:
        Path of the temporary file, which exists and is empty. Close the file before the block ends, and do only the
        writing inside it: every `OSError` raised there is taken for a failure to write.

    Raises:
        OutputError: If the folder is missing, `path` exists and `overwrite` is not set, `path` is a folder or a device,
            or the operating system cannot write.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder) / "record.json") as partial:
        ...         _ = partial.write_text("{}")
        ...     [entry.name for entry in Path(folder).iterdir()]
        ['record.json']
    """
    target = checked_target(path, overwrite)
    partial = target.with_name(f".partial-{secrets.token_hex(4)}{''.join(target.suffixes[-2:])}")
    try:
        partial.touch(exist_ok=False)
        yield partial
        _flush_to_disk(partial)
        partial.replace(target)
        _flush_folder_to_disk(target.parent)
    except PipelineError:
        raise
    except OSError as error:
        # pydicom wraps what the system said into errors of its own, whose texts are whole tracebacks.
        cause = error
        while not cause.strerror and isinstance(cause.__cause__, OSError):
            cause = cause.__cause__
        reason = " ".join((cause.strerror or str(cause)).split())
        raise OutputError(
            f"cannot write {path}: {reason}; check the free space and the permissions of {target.parent}, "
            "or write elsewhere"
        ) from error
    finally:
        # A failure to clean up must not hide the failure that made it necessary.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def checked_target(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Return the file that `whole_file` would write, through symbolic links; for a check before long work.

    Raises:
        OutputError: If the folder is missing, `path` exists and `overwrite` is not set, or it is a folder or a device.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: folder {target.parent} does not exist; create it first")
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {path}: it is a folder or a device, not a file; choose another name")
    if target.exists() and not overwrite:
        raise OutputError(f"{path} already exists; pass --force (in Python: overwrite=True) to replace it")
    return target


def refuse_sources(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over a file from which the content was made; not even `overwrite` asks for that.

    Raises:
        OutputError: If `path` is one of `sources`, by whatever name or link.
    """
    target = Path(path)
    if target.exists() and any(target.samefile(source) for source in map(Path, sources) if source.exists()):
        raise OutputError(
            f"cannot write {path}: it is a file of the image that this was made from; choose another name, images are "
            "never overwritten"
        )


def _flush_to_disk(path: Path) -> None:
    """Wait until the content of a file has reached the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_folder_to_disk(folder: Path) -> None:
    """Wait until a rename in `folder` has reached the disk, where the file system can tell."""
    # Windows opens no folders and some network file systems sync none; the file itself is safe by then.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
