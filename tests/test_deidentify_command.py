"""`unet-pipeline data deidentify`: arguments, keys, what it says, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from identifier_scan import IdentifierScan
from pydicom.data import get_testdata_file

from pipeline.cli import command_line_parser
from pipeline.errors import ConfigError, ImageError, MissingFileError, OutputError

# Of pydicom's CT_small.dcm: patient, id, hospital, date, root of its UIDs.
PLANTED = ("CompressedSamples", "1CT1", "JFK IMAGING", "20040119", "1.3.6.1.4.1.5962")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "CompressedSamples 1CT1"
    folder.mkdir()
    (folder / "CompressedSamples^CT1").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    (folder / "DICOMDIR").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    (folder / "MR truncated").write_bytes(Path(str(get_testdata_file("MR_truncated.dcm"))).read_bytes())
    return folder


def _run(*arguments: str | Path) -> None:
    options = command_line_parser().parse_args(["data", "deidentify", *map(str, arguments)])
    options.command(options)


def test_a_run_says_what_it_did_and_nothing_of_the_patient(source: Path, tmp_path: Path) -> None:
    target, listed = tmp_path / "out", tmp_path / "left_out.txt"
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "data", "deidentify", source, target, "--list-left-out", listed],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "1 file of 1 patient de-identified (1 study, 1 series)",
        "2 files not written: 1 DICOMDIR; 1 damaged or cut short",
        "burned-in annotation: 1 file not stated, 0 stated NO; pixels were not looked at: look at the images before "
        "you share them",
        f"written: {target}",
    ]
    assert "de-identifying: " in run.stderr
    scan = IdentifierScan(PLANTED)
    assert {finding.term for finding in scan.folder(source)} == set(PLANTED)
    assert scan.folder(target) == []
    # The name of the test's own folder is in the last line.
    assert scan.text("\n".join(run.stdout.splitlines()[:-1]) + run.stderr) == []
    assert listed.read_text().splitlines() == [
        f"DICOMDIR\t{source / 'DICOMDIR'}",
        f"damaged or cut short\t{source / 'MR truncated'}",
    ]


def test_mistakes_are_one_line_and_status_2(source: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "data", "deidentify", source, source / "out"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("unet-pipeline: error: ")
    assert "lie in one another" in line


def test_a_kept_key_gives_the_same_pseudonyms_again(source: Path, tmp_path: Path) -> None:
    key = tmp_path / "study.key"
    _run(source, tmp_path / "one", "--new-key", key)
    _run(source, tmp_path / "two", "--key", key)
    _run(source, tmp_path / "three")
    assert key.stat().st_mode & 0o777 == 0o600
    one, two, three = (
        sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.dcm"))
        for name in ("one", "two", "three")
    )
    assert one == two != three
    prints = [
        json.loads((tmp_path / name / "deidentification.json").read_text())["key_fingerprint"]
        for name in ("one", "two", "three")
    ]
    assert prints[0] == prints[1] != prints[2]
    assert IdentifierScan([key.read_text().strip()]).folder(tmp_path / "one") == []


def test_options_reach_the_files(source: Path, tmp_path: Path) -> None:
    old = pydicom.dcmread(source / "CompressedSamples^CT1")
    _run(source, tmp_path / "basic")
    _run(source, tmp_path / "kept", "--retain-uids", "--retain-dates", "full", "--clean-descriptors")
    _run(source, tmp_path / "moved", "--retain-dates", "modified")
    basic, kept, moved = (
        pydicom.dcmread(next((tmp_path / name).rglob("*.dcm"))) for name in ("basic", "kept", "moved")
    )
    assert basic.StudyInstanceUID.startswith("2.25.")
    assert basic.StudyDate == ""
    assert "StudyDescription" not in basic
    assert kept.StudyInstanceUID == old.StudyInstanceUID
    assert kept.StudyDate == old.StudyDate == "20040119"
    assert moved.StudyDate[:4] < "2004"
    assert [len(dataset.DeidentificationMethodCodeSequence) for dataset in (basic, kept, moved)] == [1, 4, 2]


def test_refusals_come_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(MissingFileError, match="--new-key"):
        _run(source, target, "--key", tmp_path / "no.key")
    with pytest.raises(OutputError, match="outside of both"):
        _run(source, target, "--new-key", source / "study.key")
    with pytest.raises(OutputError, match="outside of both"):
        _run(source, target, "--list-left-out", target / "names.txt")
    (tmp_path / "weak.key").write_text("secret")
    (tmp_path / "weak.key").chmod(0o600)
    with pytest.raises(ConfigError, match="at least 32"):
        _run(source, target, "--key", tmp_path / "weak.key")
    target.mkdir()
    (target / "mine.txt").touch()
    with pytest.raises(OutputError, match="--force"):
        _run(source, target, "--new-key", tmp_path / "new.key")
    assert not (tmp_path / "new.key").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "out", "weak.key"]
    _run(source, target, "--force")
    assert (target / "mine.txt").exists()
    assert len(list(target.rglob("*.dcm"))) == 1


def test_files_that_exist_are_refused_before_the_work(source: Path, tmp_path: Path) -> None:
    listed, key = tmp_path / "left_out.txt", tmp_path / "study.key"
    listed.write_text("there")
    with pytest.raises(OutputError, match="already exists"):
        _run(source, tmp_path / "out", "--new-key", key, "--list-left-out", listed)
    with pytest.raises(OutputError, match="expected two names"):
        _run(source, tmp_path / "out", "--new-key", key, "--list-left-out", key)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "left_out.txt"]
    assert listed.read_text() == "there"


def test_a_failed_run_leaves_no_new_key_and_the_same_command_works_next(source: Path, tmp_path: Path) -> None:
    image, target, key = source / "CompressedSamples^CT1", tmp_path / "out", tmp_path / "study.key"
    image.rename(tmp_path / "aside")
    with pytest.raises(ImageError, match="no image that may be written"):
        _run(source, target, "--new-key", key)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "aside"]
    (tmp_path / "aside").rename(image)
    _run(source, target, "--new-key", key)
    assert key.exists()
    # A key of its own cannot add to a folder of another one, and is not left behind either.
    with pytest.raises(ConfigError, match="another key"):
        _run(source, target, "--new-key", tmp_path / "second.key", "--force")
    assert not (tmp_path / "second.key").exists()


def test_unknown_choices_are_refused_by_the_parser(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--retain-dates", "some"], ["--key", "a", "--new-key", "b"]):
        with pytest.raises(SystemExit) as exit_status:
            _run(source, tmp_path / "out", *arguments)
        assert exit_status.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
