"""A file that remembers which strips of a long run are finished, so that a killed run can go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..formats import whole_file


class StripJournal:
    """The finished strips of one run: a line of JSON that describes it, then number and checksum of a strip a line.

    What has been added is on the disk before `add` returns. A line that a crash cut short counts as not written.

    Args:
        path: The file; it need not exist.

    Attributes:
        description: What `begin` wrote, None before.
        finished: Numbers of the finished strips, and the CRC-32 of each.

    Raises:
        OutputError: If the file is no journal, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.description: dict[str, Any] | None = None
        self.finished: dict[int, int] = {}
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise OutputError(f"journal {self.path} cannot be read: {error.strerror}; check its permissions") from error
        self._whole_bytes = text.rfind(b"\n") + 1
        if text:
            try:
                # The first line is written whole or not at all, so that a file without one is something else.
                first, *strips = text[: self._whole_bytes].decode("utf-8").splitlines()
                self.description = dict(json.loads(first))
                pairs = (line.split() for line in strips)
                self.finished = {int(number): int(checksum, 16) for number, checksum in pairs}
            except (ValueError, TypeError) as error:
                raise OutputError(
                    f"{self.path} is not the journal of a run; expected one, or no file; name another file, or remove "
                    "it to start anew"
                ) from error

    def begin(self, description: dict[str, Any]) -> None:
        """Write the description of a run that starts.

        Raises:
            OutputError: If the file cannot be written.
        """
        self.description = description
        line = f"{json.dumps(description, sort_keys=True)}\n".encode()
        with whole_file(self.path, overwrite=True) as partial:
            partial.write_bytes(line)
        self._whole_bytes = len(line)

    def add(self, strip: int, checksum: int) -> None:
        """Note that a strip is finished.

        Raises:
            OutputError: If the file cannot be written.
        """
        self._append(f"{strip} {checksum:08x}")
        self.finished[strip] = checksum

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        self.path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        text = f"{line}\n".encode()
        try:
            with self.path.open("r+b") as file:
                # What a crash left behind the last whole line is written over.
                file.truncate(self._whole_bytes)
                file.seek(self._whole_bytes)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"journal {self.path} cannot be written: {error.strerror}; check folder and disk"
            ) from error
        self._whole_bytes += len(text)
