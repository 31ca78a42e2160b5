"""The secret of a de-identification: what turns UIDs and patient ids into pseudonyms that nobody can turn back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ..counted import counted
from ..errors import ConfigError, MissingFileError
from ..formats.whole_file import whole_file

SHORTEST_KEY_BYTES = 32
_LONGEST_KEY_BYTES = 4096
# Of 64 random hexadecimal digits or 32 random bytes, fewer than one set in a billion has so few different ones.
_FEWEST_DIFFERENT_BYTES = 8
# Dates go back by one to eleven years, so that no shifted date lies in the future or in the year of the original.
_SMALLEST_SHIFT_DAYS = 366
_SHIFTS = 3652


@dataclass(frozen=True)
class DeidentificationKey:
    """A secret for HMAC-SHA256: the same key gives the same pseudonyms, another key gives unrelated ones.

    Who holds the key can check a guess (does this patient id give that pseudonym?), so it is guarded like the patients'
    names.

    Attributes:
        secret: At least 32 bytes; never shown.
    """

    secret: bytes = field(repr=False)

    @classmethod
    def one_time(cls) -> DeidentificationKey:
        """Draw a key that is kept nowhere: another run gives other pseudonyms."""
        return cls(secrets.token_bytes(SHORTEST_KEY_BYTES))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> DeidentificationKey:
        """Read a key file: any random content of 32 bytes or more; white space at its ends does not count.

        Raises:
            MissingFileError: If there is no such file.
            ConfigError: If the file is too short, too long, a few bytes again and again, no file, cannot be read, or
                can be read by other users.
        """
        path = Path(path)
        try:
            if not path.is_file():
                if not path.exists():
                    raise MissingFileError(f"key {path} not found; check the path, or make one with --new-key {path}")
                raise ConfigError(f"key {path} is not a file; expected a file that holds the secret; name the file")
            mode = path.stat().st_mode
            with path.open("rb") as file:
                secret = file.read(_LONGEST_KEY_BYTES + 1)
        except OSError as error:
            if isinstance(error, MissingFileError):
                raise
            raise ConfigError(f"key {path} cannot be read: {error.strerror}; check its permissions") from error
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"key {path} has mode {stat.S_IMODE(mode):04o}; expected that only its owner may read it; "
                f"run chmod 600 {path}"
            )
        if len(secret) > _LONGEST_KEY_BYTES:
            raise ConfigError(f"key {path} is longer than {_LONGEST_KEY_BYTES} bytes; name a file that holds a key")
        secret = secret.strip()
        if len(secret) < SHORTEST_KEY_BYTES:
            raise ConfigError(
                f"key {path} holds {counted(len(secret), 'byte')}; expected at least {SHORTEST_KEY_BYTES}, drawn at "
                "random; make one with --new-key FILE"
            )
        if len(set(secret)) < _FEWEST_DIFFERENT_BYTES:
            raise ConfigError(
                f"key {path} holds {counted(len(set(secret)), 'different byte')}; expected at least "
                f"{_FEWEST_DIFFERENT_BYTES}, drawn at random; make one with --new-key FILE"
            )
        return cls(secret)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> DeidentificationKey:
        """Draw a key and keep it as 64 hexadecimal digits in a new file that only its owner may read (mode 0600).

        Raises:
            OutputError: If the file exists, its folder does not, or it cannot be written.
        """
        digits = secrets.token_hex(SHORTEST_KEY_BYTES)
        with whole_file(path) as partial:
            partial.chmod(stat.S_IRUSR | stat.S_IWUSR)
            partial.write_text(digits + "\n", encoding="ascii")
        return cls(digits.encode("ascii"))

    def uid(self, uid: str) -> str:
        """Return the UID that stands for `uid`: `2.25.` and a UUID in decimal (PS3.5 B.2), version 8 of RFC 9562."""
        number = int.from_bytes(self._digest("uid", uid)[:16], "big")
        number = number & ~(0xF << 76) | (8 << 76)
        number = number & ~(0b11 << 62) | (0b10 << 62)
        return f"2.25.{number}"

    def patient(self, identity: str) -> str:
        """Return the pseudonym of a patient: `P` and 16 letters and digits, for Patient ID and Patient's Name."""
        return "P" + self._letters("patient", identity)

    def days_back(self, identity: str) -> int:
        """Return by how many days the dates of a patient are moved into the past: 366 to 4017."""
        number = int.from_bytes(self._digest("dates", identity)[:16], "big")
        return _SMALLEST_SHIFT_DAYS + number % _SHIFTS

    def file_name(self, kind: str, uid: str) -> str:
        """Return what a file or folder of a study, series or instance is named after: 16 letters and digits."""
        return self._letters(kind, uid)

    @property
    def fingerprint(self) -> str:
        """Tell keys apart without giving them away: 16 hexadecimal digits."""
        return self._digest("fingerprint", "")[:8].hex()

    def _letters(self, kind: str, text: str) -> str:
        return base64.b32encode(self._digest(kind, text)[:10]).decode("ascii")

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self.secret, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
