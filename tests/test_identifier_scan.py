"""The scan finds what is planted in every kind of file that a run leaves behind, and nothing where nothing is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pydicom
import pytest
import torch
from identifier_scan import IdentifierScan
from pydicom.uid import DeflatedExplicitVRLittleEndian
from torch.utils.tensorboard import SummaryWriter

NAME = "Quastenflosser"
ALPHABETS = ("Müllerström", "山田太郎", "Люкceмбypг", "홍길동전", "Διονυσιος", "שרון דבורה")


def _png(path: Path, compressed: bool) -> None:
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_text("Comment", f"{NAME} " * 20, zip=compressed)
    texts.add_itxt("Description", f"{NAME} " * 20, zip=compressed)
    PIL.Image.fromarray(np.zeros((4, 5), np.uint8)).save(path, pnginfo=texts)


def _zip(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", NAME * 50)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.zip", gzip.compress(inner.getvalue()))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(NAME)
        archive.addfile(entry, io.BytesIO(NAME.encode()))


def _events(path: Path) -> None:
    with SummaryWriter(path) as writer:
        writer.add_text("case", NAME)


def _deflated(path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.PatientName = NAME
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


PLANTED: dict[str, Callable[[Path], object]] = {
    "name of a file": lambda path: (path.mkdir(), (path / f"{NAME.lower()}.nii").touch()),
    "name of a folder": lambda path: (path / NAME.upper()).mkdir(parents=True),
    "target of a link": lambda path: path.symlink_to(f"/{NAME}"),
    "text": lambda path: path.write_text(f"case {NAME.upper()}"),
    "utf-16": lambda path: path.write_bytes(NAME.encode("utf-16")),
    "gzip": lambda path: path.write_bytes(gzip.compress(NAME.encode() * 20)),
    "bzip2": lambda path: path.write_bytes(bz2.compress(NAME.encode() * 20)),
    "xz": lambda path: path.write_bytes(lzma.compress(NAME.encode() * 20)),
    "zip in gzip in zip": _zip,
    "tar": _tar,
    "npz": lambda path: np.savez_compressed(path, case=np.array([NAME] * 20)),
    "checkpoint": lambda path: torch.save({"case": NAME}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps({NAME: 1})),
    "plain text in PNG": lambda path: _png(path.with_suffix(".png"), compressed=False),
    "compressed text in PNG": lambda path: _png(path.with_suffix(".png"), compressed=True),
    "event file of TensorBoard": _events,
    "deflated DICOM": _deflated,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
def test_what_is_planted_is_found(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    plant(tmp_path / "planted")
    assert NAME in {finding.term for finding in IdentifierScan([NAME]).folder(tmp_path)}
    assert IdentifierScan(["Blauwal"]).folder(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *((name, encoding) for name in ALPHABETS for encoding in ("utf-8", "utf-16-be", "gb18030")),
        *(("Müllerström", "iso8859-1"), ("山田太郎", "iso2022_jp"), ("山田太郎", "shift_jis"), ("홍길동전", "euc_kr")),
        *(("Люкceмбypг", "iso8859-5"), ("Διονυσιος", "iso8859-7"), ("שרון דבורה", "iso8859-8")),
    ],
)
def test_other_alphabets_are_found_in_the_encodings_that_have_them(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / "planted").write_bytes(b"\x13" + name.encode(encoding) + b"\x17")
    assert {finding.term for finding in IdentifierScan([name, "Blauwal"]).folder(tmp_path)} == {name}


def test_names_are_found_in_json_of_ascii(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"case": "Müllerström"}))
    assert [finding.where for finding in IdentifierScan(["Müllerström"]).folder(tmp_path)] == ["content"]
