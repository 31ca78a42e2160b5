"""Pseudonyms of patients, studies and series: the same for the same identifier and key, and no way back without it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from ..counted import counted
from ..errors import ConfigError, MissingFileError

_LEAST_KEY_BYTES: Final = 16


class Pseudonyms:
    """Make pseudonyms by a keyed hash (HMAC-SHA256, RFC 2104), cut to 64 bits.

    An unkeyed hash would be no protection: who knows how a hospital numbers its patients can hash all numbers.

    Args:
        key: A secret of at least 16 bytes, with which the same identifier has the same pseudonym in another data set.
            By default a random one that is kept nowhere, so that nobody can tell which identifier it was.

    Raises:
        ConfigError: If the key is too short.
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < _LEAST_KEY_BYTES:
            raise ConfigError(
                f"the key for pseudonyms has {counted(len(key), 'byte')}; expected at least {_LEAST_KEY_BYTES}; make "
                "one with `(umask 077; head -c 32 /dev/urandom > pseudonym.key)`, and keep it as safe as the "
                "patients' names"
            )
        self._key = secrets.token_bytes(32) if key is None else key

    @classmethod
    def from_file(cls, path: str | Path) -> Pseudonyms:
        """Take the content of a file as the key.

        Raises:
            MissingFileError: If it is not there or cannot be read.
            ConfigError: If it is too short, or others than its owner may read it.
        """
        path = Path(path)
        try:
            mode = path.stat().st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"key file {path} has mode {stat.S_IMODE(mode):04o}; expected that only its owner may read it; run "
                    f"chmod 600 {path}"
                )
            return cls(path.read_bytes())
        except OSError as error:
            raise MissingFileError(f"key file {path} cannot be read: {error.strerror}; check the path") from error

    def of(self, kind: str, *identifier: str) -> str:
        """Return the pseudonym of an identifier, such as `patient-0123456789abcdef`.

        Args:
            kind: What it identifies; the same identifier of another kind has another pseudonym.
            identifier: The identifier, in one or more parts.
        """
        message = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in (kind, *identifier))
        return f"{kind}-{hmac.new(self._key, message, hashlib.sha256).hexdigest()[:16]}"
