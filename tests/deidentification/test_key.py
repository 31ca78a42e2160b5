"""Pseudonyms: consistent under one key, unrelated under two, and valid in DICOM; key files that others can read."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from pipeline.deidentification import DeidentificationKey
from pipeline.errors import ConfigError, MissingFileError, OutputError

KEY, OTHER = DeidentificationKey(b"k" * 32), DeidentificationKey(b"o" * 32)


@given(st.text(), st.text())
def test_uids_are_valid_consistent_and_as_many_as_there_were(one: str, two: str) -> None:
    new = UID(KEY.uid(one))
    assert new.is_valid
    assert len(new) <= 64
    assert uuid.UUID(int=int(new.removeprefix("2.25."))).variant == uuid.RFC_4122
    assert (KEY.uid(one) == KEY.uid(two)) == (one == two)
    assert KEY.uid(one) != OTHER.uid(one)


def test_uids_are_the_hmac_of_the_old_ones() -> None:
    digest = bytearray(hmac.digest(b"k" * 32, b"uid\x001.2.3", hashlib.sha256)[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    assert KEY.uid("1.2.3") == f"2.25.{int.from_bytes(digest, 'big')}"


@given(st.text(), st.text())
def test_pseudonyms_tell_patients_apart_and_nothing_else(one: str, two: str) -> None:
    assert re.fullmatch("P[A-Z2-7]{16}", KEY.patient(one))
    assert (KEY.patient(one) == KEY.patient(two)) == (one == two)
    assert KEY.patient(one) != OTHER.patient(one)
    assert KEY.patient(one)[1:] not in (KEY.file_name("study", one), KEY.file_name("series", one))


def test_shifts_differ_between_patients_and_are_one_to_eleven_years() -> None:
    shifts = [KEY.days_back(str(patient)) for patient in range(2000)]
    assert min(shifts) >= 366
    assert max(shifts) <= 11 * 366
    assert len(set(shifts)) > 1400


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "study.key"
    key = DeidentificationKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert DeidentificationKey.read(path) == key
    assert DeidentificationKey.create(tmp_path / "other.key").uid("1.2") != key.uid("1.2")
    with pytest.raises(OutputError, match="already exists"):
        DeidentificationKey.create(path)
    assert DeidentificationKey.read(path) == key


def test_neither_the_secret_nor_a_hash_of_it_alone_is_shown() -> None:
    assert "kkkk" not in repr(KEY)
    assert KEY.fingerprint != OTHER.fingerprint
    assert KEY.fingerprint not in (hashlib.sha256(KEY.secret).hexdigest()[:16], KEY.secret.hex())


@pytest.mark.parametrize(
    ("content", "mode", "match"),
    [
        (b"a" * 31, 0o600, "31 bytes"),
        (b"\n" * 64, 0o600, "0 bytes"),
        (bytes(64), 0o600, "1 different byte;"),
        (b"abcdefg" * 9, 0o600, "7 different bytes"),
        (b"a" * 4097, 0o600, "longer than 4096"),
        (b"a" * 64, 0o640, "chmod 600"),
        (b"a" * 64, 0o604, "chmod 600"),
    ],
)
def test_weak_and_open_keys_are_refused(tmp_path: Path, content: bytes, mode: int, match: str) -> None:
    path = tmp_path / "study.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=match) as caught:
        DeidentificationKey.read(path)
    assert "aaa" not in str(caught.value)


def test_missing_keys_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="--new-key"):
        DeidentificationKey.read(tmp_path / "study.key")
    with pytest.raises(ConfigError, match="not a file"):
        DeidentificationKey.read(tmp_path)
