"""What becomes of patients and splits on the way to other tools and back, and exports that would be of no use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import (
    Manifest,
    Pseudonyms,
    export_croissant,
    export_msd,
    export_nnunet,
    import_croissant,
    import_msd,
    import_nnunet,
)
from pipeline.errors import ConfigError, ManifestError, OutputError

from .test_exchange import layouts, make, with_folds, without_notes


def patients_of(fields: dict[str, Any]) -> list[str]:
    return [case["patient"] for case in fields["cases"]]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "in").mkdir()
    return make(tmp_path / "in")


@layouts
def test_without_the_note_a_pattern_tells_the_patients(tmp_path: Path, manifest: Manifest, write: Any, read: Any):
    write(manifest, tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    fields, notes = read(tmp_path / "out")
    assert len(set(patients_of(fields))) == 10
    assert [note.split(":")[0] for note in notes] == ["10 without a patient"]
    with pytest.raises(ConfigError, match="finds no patient in imagesTr/c0"):
        read(tmp_path / "out", "(p)")
    assert read(tmp_path / "out", r"/(c\d)")[1] == ()
    with pytest.raises(ManifestError, match=r"patient 'Tr' is in the splits 'training' and 'validation'"):
        read(tmp_path / "out", "images(T[rs])/")


@layouts
def test_subjects_of_bids_are_patients_after_an_import_too(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in")
    fields = json.loads(manifest.path.read_text())
    for number, case in enumerate(fields["cases"]):
        case["id"] = f"sub-{number // 2}_{number}"
    for ids in fields["splits"].values():
        ids[:] = [f"sub-{int(case[1:]) // 2}_{case[1:]}" for case in ids]
    manifest.path.write_text(json.dumps(fields))
    write(Manifest.load(manifest.path), tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    fields, notes = read(tmp_path / "out")
    assert sorted(set(patients_of(fields))) == [f"sub-{number}" for number in range(5)]
    assert notes == ()


@layouts
def test_a_pattern_beside_the_note_is_refused(tmp_path: Path, manifest: Manifest, write: Any, read: Any):
    write(manifest, tmp_path / "in", tmp_path / "out")
    with pytest.raises(ConfigError, match="has a note that tells the patients; leave --patient-pattern out"):
        read(tmp_path / "out", "(.)")


@pytest.mark.parametrize("folds", [False, True], ids=["splits", "folds"])
def test_a_split_that_was_edited_is_not_passed_over(tmp_path: Path, manifest: Manifest, folds: bool):
    manifest = with_folds(manifest) if folds else manifest
    export_nnunet(manifest, tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / "splits_final.json"
    edited = json.loads(path.read_text())
    if folds:
        edited[0], edited[1] = edited[1], edited[0]
    else:
        edited[0]["val"].append(edited[0]["train"].pop())
    path.write_text(json.dumps(edited))
    with pytest.raises(ManifestError, match="other cases validate than in the noted manifest; correct one, or remove"):
        import_nnunet(tmp_path / "out")
    path.unlink()
    assert import_nnunet(tmp_path / "out")[0]["splits"] == json.loads(manifest.path.read_text())["splits"]


def test_a_case_that_was_moved_in_a_decathlon_file_is_not_passed_over(tmp_path: Path, manifest: Manifest):
    export_msd(manifest, tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / "dataset.json"
    edited = json.loads(path.read_text())
    edited["validation"].append(edited["training"].pop())
    path.write_text(json.dumps(edited))
    with pytest.raises(ManifestError, match="other cases validate than in the noted manifest"):
        import_msd(tmp_path / "out")


@layouts
def test_files_that_are_not_those_of_the_note_are_refused(tmp_path: Path, manifest: Manifest, write: Any, read: Any):
    write(manifest, tmp_path / "in", tmp_path / "out")
    image = next((tmp_path / "out" / "imagesTr").iterdir())
    image.write_bytes(image.read_bytes() + b"more")
    with pytest.raises(ManifestError, match=r"image .* has SHA-256"):
        read(tmp_path / "out")


@layouts
def test_an_export_without_anything_to_train_on_is_refused(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in", splits={"all": [f"c{number}" for number in range(10)]})
    with pytest.raises(ManifestError, match=r"no case with a label is in a split named training, validation, develop"):
        write(manifest, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@layouts
def test_an_export_into_the_source_is_refused(tmp_path: Path, manifest: Manifest, write: Any, read: Any):
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for target in (tmp_path / "in" / "out", tmp_path / "link" / "out"):
        with pytest.raises(OutputError, match=r"out lies in .*in, whose files are copied; name a folder beside it"):
            write(manifest, tmp_path / "in", target)
    (tmp_path / "link").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_fold_of_a_croissant_file_that_is_no_number_is_refused(tmp_path: Path, manifest: Manifest):
    export_croissant(with_folds(manifest), tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    folds = next(one for one in content["recordSet"] if one["name"] == "folds")
    folds["data"][0]["folds/fold"] = "zz"
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=r"is not as `data export --to croissant` writes it \(ValueError"):
        import_croissant(tmp_path / "c.json")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_key_that_others_may_read_is_refused(tmp_path: Path):
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=r"key has mode 0640; expected that only its owner may read it; run chmod"):
        Pseudonyms.from_file(key)
    key.chmod(0o600)
    assert Pseudonyms.from_file(key).of("patient", "a") == Pseudonyms(b"k" * 32).of("patient", "a")
