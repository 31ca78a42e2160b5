"""The commands `unet-pipeline data ...` as real processes: what they print, write, refuse, and exit with."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from pipeline.data import Manifest

from .data.http_files import HttpFiles, http_files

Run = Callable[..., Any]


@pytest.fixture
def run(processes: Any, tmp_path: Path) -> Run:
    """Run `unet-pipeline data ...` in an empty folder."""
    return lambda *arguments: processes.start("pipeline", ["data", *arguments], tmp_path).wait()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Six volumes of three subjects."""
    folder = tmp_path / "scans"
    draw = np.random.default_rng(1)
    for subject in range(3):
        for session in range(2):
            for kind in ("images", "labels"):
                path = folder / kind / f"sub-{subject}_ses-{session}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = draw.integers(0, 3, (3, 4, 5)).astype(np.uint8)
                nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return folder


def said(finished: Any) -> str:
    """The one line of an error, after the progress bars."""
    assert finished.status == 2, finished.stderr
    line = finished.stderr.replace("\r", "\n").rstrip("\n").splitlines()[-1].strip()
    assert "Traceback" not in finished.stderr
    return re.sub(r"^.*?unet-pipeline: error: ", "", line)


@pytest.mark.slow  # eleven commands
def test_a_folder_is_indexed_split_checked_exported_and_imported(run: Run, scans: Path, tmp_path: Path):
    finished = run("index", "scans", "-o", "all.json")
    assert finished.status == 0, finished.stderr
    assert finished.stdout.startswith("6 cases of 3 patients, 3 classes: all.json; fill in licence and citation")

    finished = run("split", "all.json", "--folds", "3", "--seed", "5", "--stratify", "class", "--folder", "scans",
                   "-o", "folds.json")  # fmt: skip
    assert finished.status == 0, finished.stderr
    assert finished.stdout == "development 6 cases; folds of 2, 2, 2: folds.json\n"
    manifest = Manifest.load(tmp_path / "folds.json", fold=2)
    assert len({case.patient for case in manifest.cases_of("validation")}) == 1
    assert manifest.folds is None

    finished = run("check", "folds.json", "scans")
    assert (finished.status, finished.stdout) == (
        0,
        f"6 cases of 3 patients are as folds.json says; its SHA-256 is {manifest.digest}\n",
    )

    for layout in ("nnunet", "msd"):
        assert run("export", "folds.json", "scans", "--to", layout, "-o", layout).status == 0
        finished = run("import", layout, "--from", layout, "-o", f"{layout}.json")
        assert finished.status == 0, finished.stderr
        assert finished.stdout == f"6 cases (development 6): {layout}.json\n"
        assert Manifest.load(tmp_path / f"{layout}.json").folds == Manifest.load(tmp_path / "folds.json").folds
        assert run("check", f"{layout}.json", layout).status == 0

    assert run("export", "folds.json", "scans", "--to", "croissant", "-o", "scans/croissant.json").status == 0
    assert run("import", "scans/croissant.json", "--from", "croissant", "-o", "again.json").status == 0
    again, folds = (json.loads((tmp_path / name).read_text()) for name in ("again.json", "folds.json"))
    assert again == folds


def test_check_lists_every_problem_and_ends_with_2(run: Run, scans: Path, tmp_path: Path):
    assert run("index", "scans", "-o", "all.json").status == 0
    (scans / "images/sub-0_ses-0.nii.gz").unlink()
    path = scans / "labels/sub-2_ses-1.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 6), 9, np.uint8), np.eye(4)), path)
    fields = json.loads((tmp_path / "all.json").read_text())
    fields["splits"] = {"training": ["sub-1_ses-0"], "validation": ["sub-1_ses-1"]}
    (tmp_path / "all.json").write_text(json.dumps(fields))
    finished = run("check", "all.json", "scans")
    lines = finished.stdout.splitlines()
    starts = ["manifest: patient 'sub-1' is in the splits", "case 'sub-0_ses-0': scans/images/sub-0_ses-0.nii.gz not"]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=False)] == starts
    assert len(lines) == 5
    assert all(line.startswith("case 'sub-2_ses-1': ") for line in lines[2:])
    assert said(finished) == "5 problems in all.json and scans, in 2 of 6 cases; they are listed above"


def test_a_manifest_that_is_there_is_replaced_only_with_force(run: Run, scans: Path, tmp_path: Path):
    (tmp_path / "all.json").write_text("mine")
    assert said(run("index", "scans", "-o", "all.json")) == "all.json already exists; pass --force to replace it"
    assert (tmp_path / "all.json").read_text() == "mine"
    assert run("index", "scans", "-o", "all.json", "--force").status == 0
    before = (tmp_path / "all.json").read_bytes()
    assert "already exists" in said(run("split", "all.json", "--holdout", "0.3", "--seed", "1", "-o", "all.json"))
    assert (tmp_path / "all.json").read_bytes() == before
    assert run("split", "all.json", "--holdout", "0.3", "--seed", "1", "-o", "all.json", "--force").status == 0
    assert set(Manifest.load(tmp_path / "all.json").splits) == {"training", "validation"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["index", "none", "-o", "x.json"], r"folder .*none not found; give the folder of the images"),
        (["index", "empty", "-o", "x.json"], r"folder .*empty holds no image: of its 0 files none"),
        (["index", "scans", "--classes", "liver", "-o", "x.json"], r"class 'liver' is not NAME=VALUE"),
        (["index", "scans", "--classes", "a=0", "a=1", "-o", "x.json"], r"class 'a' is given twice"),
        (["index", "scans", "--key-file", "none", "-o", "x.json"], r"key file none cannot be read: No such file"),
        (["index", "scans", "-o", "none/x.json"], r"cannot write none/x\.json: folder .*none does not exist"),
        (["check", "none.json", "scans"], r"manifest none\.json not found"),
        (["split", "none.json", "--seed", "1", "--folds", "2", "-o", "x.json"], r"manifest none\.json not found"),
        (["fetch", "none.json", "x"], r"manifest none\.json not found"),
        (["import", "scans", "--from", "msd", "-o", "x.json"], r"dataset\.json cannot be read: No such file"),
        (["import", "scans", "--from", "nnunet", "-o", "x.json"], r"dataset\.json cannot be read: No such file"),
        (["import", "none", "--from", "croissant", "-o", "x.json"], r"none not found; give the Croissant file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_person_gets_wrong_is_one_line_and_nothing_is_written(
    run: Run, scans: Path, tmp_path: Path, arguments: list[str], match: str
):
    (tmp_path / "empty").mkdir()
    assert re.search(match, said(run(*arguments)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "scans"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["index"], ["index", "scans"], ["export", "a", "b", "--to", "bids", "-o", "c"], ["split", "a", "-o", "b"]],
    ids=" ".join,
)
def test_wrong_arguments_end_with_2_and_the_usage(run: Run, arguments: list[str]):
    finished = run(*arguments)
    assert finished.status == 2
    assert finished.stderr.startswith("usage: unet-pipeline data")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpFiles]:
    with http_files() as state:
        yield state


def test_fetch_says_the_licence_goes_on_after_a_broken_download_and_checks_what_came(
    run: Run, processes: Any, scans: Path, tmp_path: Path, server: HttpFiles
):
    assert run("index", "scans", "-o", "all.json").status == 0
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(scans.rglob("*.gz")):
            archive.write(path, f"top/{path.relative_to(scans).as_posix()}")
    server.files["/scans.zip"] = packed.getvalue()
    fields = json.loads((tmp_path / "all.json").read_text())
    fields["licence"] = {"name": "CC0-1.0", "terms": "None at all."}
    fields["source"] |= {
        "archives": [
            {
                "url": server.url("/scans.zip"),
                "sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
                "folders": {"top": "."},
            }
        ]
    }
    (tmp_path / "all.json").write_text(json.dumps(fields))

    def fetch() -> Any:
        return processes.start("pipeline", ["data", "fetch", "all.json", "new"], tmp_path, {"no_proxy": "*"}).wait()

    server.status = 404
    assert re.search(r"scans\.zip cannot be downloaded: the server answers 404", said(fetch()))
    server.status = None
    server.cut_after = [500, None]
    finished = fetch()
    assert finished.status == 0, finished.stderr
    assert "licence: CC0-1.0; None at all." in finished.stderr
    assert finished.stdout == "12 files fetched; all files are as the manifest says: new\n"
    assert server.asked[-1] == ("/scans.zip", "bytes=500-")
    assert run("check", "all.json", "new").status == 0
    assert fetch().stdout.startswith("everything was there")


def test_the_shipped_manifest_and_the_real_volumes_go_together(
    run: Run, real_data: Callable[[str], Path], tmp_path: Path
):
    manifest = Path(__file__).parents[1] / "data_manifests" / "msd_hippocampus.json"
    finished = run("check", manifest, real_data("msd-hippocampus"))
    assert finished.status == 0, finished.stdout
    assert finished.stdout.startswith("60 cases of 60 patients are as ")


def test_the_input_of_an_index_is_not_changed(run: Run, scans: Path, tmp_path: Path):
    def state() -> dict[str, tuple[int, bytes]]:
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in scans.rglob("*") if path.is_file()}

    before = state()
    assert run("index", "scans", "-o", "all.json").status == 0
    assert run("split", "all.json", "--holdout", "0.3", "--seed", "1", "-o", "split.json").status == 0
    assert run("export", "split.json", "scans", "--to", "nnunet", "-o", "out").status == 0
    assert state() == before
    shutil.rmtree(tmp_path / "out")
