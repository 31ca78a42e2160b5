"""The hidden folder in which a long run keeps what it has, so that it can go on after being killed."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import OutputError
from .formats import whole_file

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not kept apart there
    fcntl = None  # type: ignore[assignment]

_DESCRIPTION = "run.json"
_LOCK = "lock"


class ScratchFolder:
    """A folder that belongs to one run, told by its description.

    Args:
        path: The folder; it need not exist.
        description: All that the results depend on, in words, numbers and lists.
        overwrite: Discard the unfinished results of another run.

    Raises:
        OutputError: If the folder is of another run and `overwrite` is not set.
    """

    def __init__(self, path: Path, description: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path = path
        self._description = dict(description)
        self._overwrite = overwrite
        known = self._known()
        differing = sorted(name for name in self._description if known.get(name) != self._description[name])
        if known and differing and not overwrite:
            raise OutputError(
                f"{path} holds unfinished results of another run, with other {', '.join(differing)}; repeat the first "
                "command to finish them, or discard them with --force (in Python: overwrite=True)"
            )
        self._is_foreign = bool(known and differing)

    def __truediv__(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Make the folder, or go on with what it holds.

        Files named `.unfinished` count as worthless alone: when the block fails and there is nothing else, the folder
        is removed. The folder belongs to this process until the block ends.

        Raises:
            OutputError: If it cannot be written, or another process is at it.
        """
        with self._locked():
            if self._is_foreign:
                for entry in self.path.iterdir():
                    if entry.name != _LOCK:
                        entry.unlink()
            try:
                if not self._known():
                    with whole_file(self.path / _DESCRIPTION, overwrite=True) as partial:
                        partial.write_text(json.dumps(self._description, sort_keys=True), encoding="utf-8")
                yield
            except BaseException:
                kept = [entry for entry in self.path.iterdir() if entry.name not in (_DESCRIPTION, _LOCK)]
                if all(entry.suffix == ".unfinished" for entry in kept):
                    with suppress(OutputError):  # which would hide what went wrong
                        self.remove()
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes out of it."""
        try:
            self.path.mkdir(exist_ok=True)
            file = (self.path / _LOCK).open("a")
        except OSError as error:
            raise OutputError(f"folder {self.path} cannot be made: {error.strerror}; write elsewhere") from error
        with file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise OutputError(
                        f"another run is writing to {self.path}; wait for its end, or choose another output folder"
                    ) from error
            yield

    def remove(self) -> None:
        """Delete the folder with everything in it.

        Raises:
            OutputError: If it cannot be deleted.
        """
        # Under another name first: half a folder must not be taken for one to go on with.
        removed = self.path.with_name(f".partial-{secrets.token_hex(4)}")
        try:
            self.path.rename(removed)
            shutil.rmtree(removed)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be removed: {error.strerror}; remove it by hand") from error

    def _known(self) -> dict[str, Any]:
        """Return the description of the run that the folder belongs to; empty where there is none."""
        file = self.path / _DESCRIPTION
        if not file.exists():
            return {}
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise OutputError(f"{file} cannot be read; remove {self.path} to start anew") from error
