"""Folders of identified files: nothing of the patients is left anywhere, pixels are as they were, what is left out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from identifier_scan import IdentifierScan
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from pipeline.deidentification import (
    DeidentificationCounts,
    DeidentificationKey,
    DeidentificationOptions,
    DeidentificationPlan,
    deidentify_folder,
    write_left_out,
)
from pipeline.deidentification.admission import BURNED_IN, RECOGNIZABLE
from pipeline.errors import ConfigError, ImageError, MissingFileError, OutputError

from .identified_files import PLANTED, identified, save

KEY = DeidentificationKey(b"k" * 32)
ALL_OPTIONS = [DeidentificationOptions(), DeidentificationOptions(dates="modified", clean_descriptors=True)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Klinikum Hinterwald"
    for number in range(3):
        save(identified(number), folder / "Wolpertinger_Alois-Maria 12.03.1961" / f"Hatschi-4711.{number}")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "anonymous"


def _run(source: Path, target: Path, options: DeidentificationOptions | None = None) -> DeidentificationCounts:
    return deidentify_folder(DeidentificationPlan.checked(source, target), KEY, options)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _read(folder: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=["basic", "modified dates, clean descriptors"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_nothing_that_was_planted_is_left(
    source: Path,
    target: Path,
    options: DeidentificationOptions,
    syntax: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for path in source.rglob("Hatschi*"):
        dataset = pydicom.dcmread(path)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    scan = IdentifierScan(PLANTED)
    assert {finding.term for finding in scan.folder(source)} == set(PLANTED)
    before = _digests(source)
    counts = _run(source, target, options)
    assert counts.files_written == 3
    assert scan.folder(target) == []
    captured = capfd.readouterr()
    assert scan.text(captured.out + captured.err + caplog.text + "\n".join(counts.lines())) == []
    assert _digests(source) == before
    assert {path.name for path in target.parent.iterdir()} == {source.name, target.name}


def test_full_dates_and_uids_are_all_that_their_options_retain(source: Path, target: Path) -> None:
    _run(source, target, DeidentificationOptions(dates="full", retain_uids=True))
    assert {finding.term for finding in IdentifierScan(PLANTED).folder(target)} == {"20190412", "1.3.12.2.1107.5.8"}
    assert {finding.where for finding in IdentifierScan(PLANTED).folder(target)} == {"content"}


def test_pixels_and_geometry_stay_and_ids_agree_with_the_file_meta_information(source: Path, target: Path) -> None:
    _run(source, target)
    new = sorted(_read(target), key=lambda dataset: int(dataset.InstanceNumber))
    for number, dataset in enumerate(new):
        old = identified(number)
        for keyword in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "KVP"):
            assert getattr(dataset, keyword) == getattr(old, keyword)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID == KEY.uid(old.SOPInstanceUID)
        assert dataset.preamble == bytes(128)
        assert {element.keyword for element in dataset.file_meta} == {
            *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID"),
            *("MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName"),
        }
    assert len({dataset.SeriesInstanceUID for dataset in new}) == 1
    # The nested reference of every slice is to the first one.
    nested = new[2].SharedFunctionalGroupsSequence[0].RelatedSeriesSequence[0]
    assert nested.ReferencedSOPInstanceUID == new[0].SOPInstanceUID


def test_the_record_says_options_numbers_and_version(source: Path, target: Path) -> None:
    (source / "notes.txt").write_text("Wolpertinger")
    _run(source, target, DeidentificationOptions(dates="modified"))
    record = json.loads((target / "deidentification.json").read_text())
    assert record["options"] == {"retain_uids": False, "dates": "modified", "clean_descriptors": False}
    assert [code["code"] for code in record["profile"]["method_codes"]] == ["113100", "113107"]
    assert record["files"] == {"read": 4, "written": 3, "left_out": {"no DICOM file (no DICM at byte 128)": 1}}
    assert (record["patients"], record["studies"], record["series"]) == (1, 1, 1)
    assert record["burned_in_annotation"] == {"NO": 0, "not_stated": {"CT Image Storage": 3}}
    assert record["made_by"]["version"]
    assert KEY.secret.decode() not in json.dumps(record)


def test_the_same_key_gives_the_same_files_and_another_key_no_common_name(source: Path, tmp_path: Path) -> None:
    plans = [DeidentificationPlan.checked(source, tmp_path / name) for name in ("one", "two", "three")]
    for plan, key in zip(plans, (KEY, KEY, DeidentificationKey(b"o" * 32)), strict=True):
        deidentify_folder(plan, key)
    one, two, three = (_digests(plan.target) for plan in plans)
    assert one == two
    assert set(one) & set(three) == {"deidentification.json"}


def _secondary_capture(dataset: Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"


def _report(dataset: Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    del dataset.PixelData


def _presentation(dataset: Dataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    del dataset.PixelData


def _overlay_in_pixels(dataset: Dataset) -> None:
    del dataset[0x60003000]
    dataset.add_new(0x60000010, "US", 6)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)


LEFT_OUT: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "burned in": (lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"), BURNED_IN),
    **{
        f"burned in {value}": (lambda dataset, value=value: setattr(dataset, "BurnedInAnnotation", value), BURNED_IN)
        for value in ("Y", "JA", "1")
    },
    "face": (lambda dataset: setattr(dataset, "RecognizableVisualFeatures", "YES"), RECOGNIZABLE),
    "photograph": (lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.77.1.4"), "photograph"),
    "text behind the pixels": (
        lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + b"Wolpertinger"),
        "more pixel data than the header says",
    ),
    "number in the class": (
        lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.47114711"), "private SOP class"
    ),
    "secondary capture": (_secondary_capture, "secondary capture"),
    "report": (_report, "without pixels: Comprehensive SR Storage"),
    "presentation state": (_presentation, "without pixels: Grayscale Softcopy Presentation State Storage"),
    "document": (
        lambda dataset: setattr(dataset, "EncapsulatedDocument", b"%PDF"),
        "without pixels: CT Image Storage",
    ),
    "private class": (lambda dataset: setattr(dataset, "SOPClassUID", "1.3.12.2.1107.5.9.1"), "private SOP class"),
    "dose report": (
        lambda dataset: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"]),
        "picture of a screen or of a report (0008,0008)",
    ),
    "label of a slide": (
        lambda dataset: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]),
        "label of a slide (0008,0008), (0048,0010)",
    ),
    "overlay in the pixels": (_overlay_in_pixels, "overlay within the pixel data (60xx,0102)"),
    "too few pixels": (lambda dataset: setattr(dataset, "PixelData", bytes(46)), "damaged or cut short"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_objects_that_the_profile_does_not_cover_are_left_out(
    source: Path, target: Path, change: Callable[[Dataset], object], reason: str
) -> None:
    dataset = identified(7)
    change(dataset)
    save(dataset, source / "odd")
    left_out: list[tuple[str, Path]] = []
    counts = deidentify_folder(DeidentificationPlan.checked(source, target), KEY, left_out=left_out)
    assert counts.left_out == {reason: 1}
    assert left_out == [(reason, source / "odd")]
    assert len(_read(target)) == counts.files_written == 3


def test_what_says_no_and_what_ends_in_zeros_is_written(source: Path, target: Path) -> None:
    dataset = identified(7)
    dataset.BurnedInAnnotation, dataset.RecognizableVisualFeatures = "NO", "NO"
    dataset.PixelData += bytes(10)
    save(dataset, source / "fine")
    odd = identified(8)
    odd.Rows, odd.Columns, odd.BitsAllocated, odd.BitsStored, odd.HighBit = 3, 3, 8, 8, 7
    odd.PixelData = bytes(range(9)) + b" "
    save(odd, source / "odd")
    counts = _run(source, target)
    assert (counts.files_written, counts.left_out.total(), counts.burned_in_no) == (5, 0, 1)


def test_copies_are_written_once_and_other_content_of_the_same_uid_is_not(source: Path, target: Path) -> None:
    shutil.copy(next(source.rglob("*.1")), source / "z copy")
    changed = identified(1)
    changed.KVP = "140"
    save(changed, source / "z other")
    assert _run(source, target).left_out == {
        "copy of a file that was written": 1,
        "another file of the same SOP Instance UID with other content": 1,
    }
    assert [dataset.KVP for dataset in _read(target)] == [120, 120, 120]


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_files_cut_short_are_left_out(source: Path, target: Path, part: float) -> None:
    whole = next(source.rglob("*.1")).read_bytes()
    (source / "cut").write_bytes(whole[: int(len(whole) * part)])
    (source / "empty").touch()
    counts = _run(source, target)
    assert counts.files_written == 3
    assert counts.left_out.total() == 2


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "693_J2KI.dcm", "MR_small_jpeg_ls_lossless.dcm", "liver_1frame.dcm"]
)
def test_whatever_is_cut_off_pixels_are_whole_or_left_out(name: str, tmp_path: Path) -> None:
    whole = Path(str(get_testdata_file(name))).read_bytes()
    pixels = pydicom.dcmread(str(get_testdata_file(name))).PixelData
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for part in range(2, 100, 7):
        (folder / "cut").write_bytes(whole[: len(whole) * part // 100])
        with pytest.raises(ImageError):
            _run(folder, target)
    (folder / "cut").write_bytes(whole)
    _run(folder, target)
    assert _read(target)[0].PixelData == pixels


def test_files_that_cannot_be_opened_and_pipes_are_left_out(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "gone").symlink_to(source / "nothing")
    assert _run(source, target).left_out == {"no DICOM file (no DICM at byte 128)": 2}


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_never_end_a_run_or_let_a_name_through(source: Path, target: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    whole = next(source.rglob("*.1")).read_bytes()
    for number in range(25):
        content = bytearray(whole)
        for at in generator.integers(132, len(content), generator.integers(1, 20)):
            content[at] = generator.integers(256)
        (source / f"damaged{number}").write_bytes(content)
    assert _run(source, target).files_written >= 3
    # Names and ids that were damaged themselves are no longer known as such; the hospital stands in several places.
    assert {finding.term for finding in IdentifierScan(PLANTED).folder(target)} <= {"Klinikum Hinterwald"}


def test_dicomdir_and_folders_without_images(source: Path, target: Path, tmp_path: Path) -> None:
    shutil.copy(str(get_testdata_file("DICOMDIR")), source / "DICOMDIR")
    assert _run(source, target).left_out == {"DICOMDIR": 1}
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(source / "DICOMDIR", only)
    with pytest.raises(ImageError, match="holds no image that may be written \\(1 DICOMDIR\\)"):
        _run(only, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_folders_that_would_mix_with_one_another_are_refused(source: Path, target: Path, tmp_path: Path) -> None:
    for inside in (source / "out", source, tmp_path):
        with pytest.raises(OutputError, match="lie in one another"):
            DeidentificationPlan.checked(source, inside)
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(OutputError, match="lie in one another"):
        DeidentificationPlan.checked(source, link / "out")
    for path in (source / "study.key", target / "study.key"):
        with pytest.raises(OutputError, match="outside of both"):
            DeidentificationPlan.checked(source, target, kept_outside=[path])
    with pytest.raises(MissingFileError, match="not found"):
        DeidentificationPlan.checked(tmp_path / "nothing", target)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ImageError, match="no files"):
        DeidentificationPlan.checked(tmp_path / "bare", target)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        DeidentificationPlan.checked(source, tmp_path / "file")
    with pytest.raises(OutputError, match="create it first"):
        DeidentificationPlan.checked(source, tmp_path / "a" / "b")


def test_a_target_with_files_is_added_to_only_where_it_is_asked_for(source: Path, target: Path) -> None:
    target.mkdir()
    _run(source, target)
    files = _digests(target)
    first = (target / "deidentification.json").read_text()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        _run(source, target)
    for path in source.rglob("Hatschi*"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "Hatschi-4712"
        dataset.save_as(path)
    deidentify_folder(DeidentificationPlan.checked(source, target, overwrite=True), KEY)
    assert (target / "mine.txt").read_text() == "mine"
    assert len(_read(target)) == 6
    record = json.loads((target / "deidentification.json").read_text())
    before = json.loads(first) | {"key_fingerprint": record["key_fingerprint"], "options": record["options"]}
    assert json.loads(first) == before
    (earlier,) = record["earlier_runs"]
    assert earlier.items() <= before.items()
    assert before.keys() - earlier.keys() == {"key_fingerprint", "options"}
    deidentify_folder(DeidentificationPlan.checked(source, target, overwrite=True), KEY)
    assert len(json.loads((target / "deidentification.json").read_text())["earlier_runs"]) == 2
    assert files.items() - _digests(target).items() <= {("deidentification.json", files["deidentification.json"])}


def test_nothing_is_added_under_another_key_or_with_other_options(source: Path, target: Path) -> None:
    _run(source, target)
    files = _digests(target)
    plan = DeidentificationPlan.checked(source, target, overwrite=True)
    with pytest.raises(ConfigError, match="another key"):
        deidentify_folder(plan, DeidentificationKey(b"o" * 32))
    with pytest.raises(ConfigError, match="other options"):
        deidentify_folder(plan, KEY, DeidentificationOptions(dates="modified"))
    for content in ("{}", "[]", "no json", '{"key_fingerprint": 1, "options": 2, "earlier_runs": 3}'):
        (target / "deidentification.json").write_text(content)
        with pytest.raises(ConfigError, match="choose an empty folder"):
            deidentify_folder(plan, KEY)
        (target / "deidentification.json").write_text(content)
    assert files.keys() == _digests(target).keys()


def test_folders_that_are_not_searched_are_counted(source: Path, target: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "elsewhere")
    (source / "link").symlink_to(tmp_path / "elsewhere")
    # No path may be longer than 4096 characters, so not even root can open the folder at the end of this one.
    folder = os.open(source, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        folder, outer = os.open("d" * 250, os.O_RDONLY, dir_fd=folder), folder
        os.close(outer)
    os.close(folder)
    left_out: list[tuple[str, Path]] = []
    counts = deidentify_folder(DeidentificationPlan.checked(source, target), KEY, left_out=left_out)
    assert counts.files_written == 3
    assert counts.not_searched == {"folder that cannot be opened": 1, "link to a folder": 1}
    assert ("link to a folder", source / "link") in left_out
    assert "not searched: 1 folder that cannot be opened; 1 link to a folder" in counts.lines()
    record = json.loads((target / "deidentification.json").read_text())
    assert record["folders_not_searched"] == counts.not_searched


def test_an_interrupted_run_leaves_nothing(source: Path, target: Path) -> None:
    counted = iter(range(10))

    class Interrupting(DeidentificationKey):
        def patient(self, identity: str) -> str:
            if next(counted) > 1:
                raise KeyboardInterrupt
            return super().patient(identity)

    with pytest.raises(KeyboardInterrupt):
        deidentify_folder(DeidentificationPlan.checked(source, target), Interrupting(KEY.secret))
    assert [path.name for path in target.parent.iterdir()] == [source.name]


def test_the_list_of_what_was_left_out_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "left_out.txt"
    write_left_out(path, [("DICOMDIR", Path("a/DICOMDIR"))])
    assert path.read_text() == "DICOMDIR\ta/DICOMDIR\n"
    assert path.stat().st_mode & 0o777 == 0o600
