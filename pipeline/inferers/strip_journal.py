"""A file that remembers which strips of a long run are finished, so that a killed run can go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import OutputError


class StripJournal:
    """The finished strips of one run: a line of JSON that describes the run, then the number of a strip a line.

    What has been added is on the disk before `add` returns. A line that a crash cut short counts as not written.

    Args:
        path: The file; it need not exist.

    Attributes:
        description: What `begin` wrote, None before.
        finished: Numbers of the finished strips.

    Raises:
        OutputError: If the file is no journal, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.description: dict[str, Any] | None = None
        self.finished: set[int] = set()
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise OutputError(f"journal {self.path} cannot be read: {error.strerror}; check its permissions") from error
        self._whole_bytes = text.rfind(b"\n") + 1
        if self._whole_bytes:
            first, *numbers = text[: self._whole_bytes].decode("utf-8", "replace").splitlines()
            try:
                self.description = dict(json.loads(first))
                self.finished = {int(number) for number in numbers}
            except (ValueError, TypeError) as error:
                raise OutputError(
                    f"{self.path} is not the journal of a run; expected one, or no file; remove it to start anew"
                ) from error

    def begin(self, description: dict[str, Any]) -> None:
        """Write the description of a run that starts.

        Raises:
            OutputError: If the file cannot be written.
        """
        self.description = description
        self._append(json.dumps(description, sort_keys=True))

    def add(self, strip: int) -> None:
        """Note that a strip is finished.

        Raises:
            OutputError: If the file cannot be written.
        """
        self._append(str(strip))
        self.finished.add(strip)

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        self.path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        text = f"{line}\n".encode()
        try:
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
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
