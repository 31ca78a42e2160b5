"""Splits by patient: laws over random data sets, balance, and what is refused."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from pipeline.data import Manifest, split_data_set
from pipeline.errors import ConfigError, ManifestError


def manifest_of(folder: Path, patients: dict[str, int], **changes: Any) -> Manifest:
    """A manifest with so many cases of each patient."""
    cases = [
        {
            "id": f"{patient}-{number}",
            "patient": patient,
            "image": f"images/{patient}-{number}.nii",
            "label": f"labels/{patient}-{number}.nii",
            "image_sha256": None,
            "label_sha256": None,
        }
        for patient, count in patients.items()
        for number in range(count)
    ]
    fields = {
        "name": "drawn",
        "version": "1.0.0",
        "description": "Drawn.",
        "licence": {"name": "none", "terms": "none"},
        "citation": "none",
        "source": {"urls": [], "layout": "none"},
        "classes": [
            {"index": 0, "name": "background", "stored_value": 0},
            {"index": 1, "name": "lesion", "stored_value": 1},
        ],
        "spacing_mm": None,
        "slice_spacing_mm": None,
        "split_unit": "patient",
        "cases": cases,
        "splits": {"all": [case["id"] for case in cases]},
    } | changes
    path = folder / "drawn.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return Manifest.load(path)


def with_splits(manifest: Manifest, drawn: dict[str, Any]) -> Manifest:
    """The manifest with what was drawn, checked by its own rules."""
    fields = json.loads(manifest.path.read_text(encoding="utf-8")) | drawn
    return Manifest.from_fields(fields, manifest.path)


@pytest.mark.parametrize("seed", range(12))
def test_no_patient_is_in_two_parts_and_every_case_is_in_one(tmp_path: Path, seed: int):
    draw = random.Random(seed)
    patients = {f"p{number}": draw.randint(1, 5) for number in range(draw.randint(6, 30))}
    manifest = manifest_of(tmp_path, patients)
    holdout = draw.choice([None, 0.1, 0.3])
    folds = draw.randint(2, 4)
    drawn = split_data_set(manifest, seed=seed, folds=folds, holdout=holdout)
    parts = [*drawn["folds"]["parts"], drawn["splits"].get("test", [])]
    everything = [case for part in parts for case in part]
    assert sorted(everything) == sorted(case.id for case in manifest.cases)
    patients_of = [{case.rsplit("-", 1)[0] for case in part} for part in parts]
    assert sum(map(len, patients_of)) == len(set().union(*patients_of)) == len(patients)
    assert all(drawn["folds"]["parts"])
    assert len(patients_of[-1]) == (0 if holdout is None else max(1, round(holdout * len(patients))))

    split = with_splits(manifest, drawn)
    for number in range(folds):
        fold = split.fold(number)
        training, validation = ({case.id for case in fold.cases_of(name)} for name in ("training", "validation"))
        assert validation == set(parts[number])
        assert training | validation == set(drawn["splits"]["development"])
        assert not training & validation
        assert ("test" in fold.splits) == (holdout is not None)


def test_the_same_seed_draws_the_same_and_another_seed_another(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number}": 2 for number in range(20)})
    first = split_data_set(manifest, seed=7, folds=4)
    assert split_data_set(manifest, seed=7, folds=4) == first
    assert split_data_set(manifest, seed=8, folds=4)["folds"]["parts"] != first["folds"]["parts"]


@pytest.mark.parametrize("arguments", [{"folds": 3}, {"holdout": 0.25}, {"folds": 3, "holdout": 0.2}], ids=str)
@pytest.mark.parametrize("stratify", [None, "site"])
def test_the_order_of_the_cases_in_the_manifest_changes_nothing(
    tmp_path: Path, arguments: dict[str, Any], stratify: str | None
):
    manifest = manifest_of(tmp_path, {f"p{number}": 1 + number % 3 for number in range(15)})
    fields = json.loads(manifest.path.read_text())
    for number, case in enumerate(fields["cases"]):
        case["attributes"] = {"site": "ab"[number % 2]}
    drawn = []
    for order in (1, -1):
        manifest.path.write_text(json.dumps(fields | {"cases": fields["cases"][::order]}))
        result = split_data_set(Manifest.load(manifest.path), seed=1, stratify=stratify, **arguments)
        parts = result.get("folds", {}).get("parts", [])
        drawn.append(({name: set(ids) for name, ids in result["splits"].items()}, [set(part) for part in parts]))
    assert drawn[0] == drawn[1]


def test_a_held_out_part_without_folds_is_for_validation(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number}": 2 for number in range(10)})
    drawn = split_data_set(manifest, seed=0, holdout=0.2)
    assert {split: len(ids) for split, ids in drawn["splits"].items()} == {"training": 16, "validation": 4}
    assert "folds" not in drawn
    assert with_splits(manifest, drawn).cases_of("validation")


def test_an_attribute_is_balanced_over_the_folds(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number:02}": 1 for number in range(40)})
    fields = json.loads(manifest.path.read_text())
    for number, case in enumerate(fields["cases"]):
        case["attributes"] = {"site": "rare" if number < 8 else "common"}
    manifest.path.write_text(json.dumps(fields))
    manifest = Manifest.load(manifest.path)
    drawn = split_data_set(manifest, seed=3, folds=4, stratify="site")
    site = {case.id: case.attributes["site"] for case in manifest.cases}
    counts = [Counter(site[case] for case in part) for part in drawn["folds"]["parts"]]
    assert counts == [Counter(rare=2, common=8)] * 4
    assert drawn["folds"]["stratify"] == "site"


@pytest.mark.parametrize("seed", range(8))
def test_patients_whose_cases_differ_stay_whole_in_stratified_parts(tmp_path: Path, seed: int):
    manifest = manifest_of(tmp_path, {f"p{number}": 4 for number in range(12)})
    fields = json.loads(manifest.path.read_text())
    for number, case in enumerate(fields["cases"]):
        case["attributes"] = {"site": "abc"[number % 3]}
    manifest.path.write_text(json.dumps(fields))
    manifest = Manifest.load(manifest.path)
    drawn = split_data_set(manifest, seed=seed, folds=3, holdout=0.25, stratify="site")
    parts = [*drawn["folds"]["parts"], drawn["splits"]["test"]]
    patients = [{case.rsplit("-", 1)[0] for case in part} for part in parts]
    assert sum(map(len, patients)) == 12
    with_splits(manifest, drawn)


def test_a_stratum_with_fewer_cases_than_folds_is_spread_without_a_warning(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number}": 1 for number in range(12)})
    fields = json.loads(manifest.path.read_text())
    for number, case in enumerate(fields["cases"]):
        case["attributes"] = {"site": "rare" if number < 2 else "common"}
    manifest.path.write_text(json.dumps(fields))
    drawn = split_data_set(Manifest.load(manifest.path), seed=0, folds=4, stratify="site")
    assert [len(part) for part in drawn["folds"]["parts"]] == [3, 3, 3, 3]
    assert max(sum(case in ("p0-0", "p1-0") for case in part) for part in drawn["folds"]["parts"]) == 1


def test_classes_in_the_labels_are_balanced_over_the_folds_and_the_held_out_part(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number:02}": 1 for number in range(20)})
    (tmp_path / "labels").mkdir()
    for number, case in enumerate(manifest.cases):
        voxels = np.zeros((3, 4, 5), np.uint8)
        voxels[0, 0, 0] = number < 10
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / str(case.label))
    drawn = split_data_set(manifest, seed=0, folds=4, holdout=0.2, stratify="class", folder=tmp_path)
    parts = [*drawn["folds"]["parts"], drawn["splits"]["test"]]
    assert [sum(int(case[1:3]) < 10 for case in part) for part in parts] == [2, 2, 2, 2, 2]
    assert [len(part) for part in parts] == [4, 4, 4, 4, 4]


def test_blocks_are_split_where_the_manifest_splits_by_block(tmp_path: Path):
    manifest = manifest_of(tmp_path, {"larva": 12}, split_unit="patient")
    fields = json.loads(manifest.path.read_text()) | {"split_unit": "block", "split_unit_reason": "One animal."}
    for number, case in enumerate(fields["cases"]):
        case["block"] = f"b{number // 3}"
    manifest.path.write_text(json.dumps(fields))
    drawn = split_data_set(Manifest.load(manifest.path), seed=0, folds=4)
    assert {frozenset(int(case.split("-")[1]) // 3 for case in part) for part in drawn["folds"]["parts"]} == {
        frozenset({block}) for block in range(4)
    }


def test_a_case_without_a_label_is_in_no_split(tmp_path: Path):
    manifest = manifest_of(tmp_path, {f"p{number}": 1 for number in range(6)})
    fields = json.loads(manifest.path.read_text())
    fields["cases"][2]["label"] = None
    manifest.path.write_text(json.dumps(fields))
    drawn = split_data_set(Manifest.load(manifest.path), seed=0, folds=2)
    assert sorted(drawn["splits"]["development"]) == [f"p{number}-0" for number in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ConfigError, r"nothing to split into: ask for folds \(--folds 5\)"),
        ({"folds": 1}, ConfigError, r"number of folds is 1; expected at least 2"),
        ({"holdout": 0.0}, ConfigError, r"held-out part is 0\.0; expected a number above 0 and at most 0\.5"),
        ({"holdout": 0.6}, ConfigError, r"held-out part is 0\.6"),
        ({"holdout": float("nan")}, ConfigError, r"held-out part is nan"),
        ({"folds": 2, "seed": -1}, ConfigError, r"seed -1 is out of range"),
        ({"folds": 5}, ManifestError, r"4 patients cannot be split into 5 parts; no patient may be in two"),
        ({"folds": 4, "holdout": 0.25}, ManifestError, r"3 patients cannot be split into 4 parts"),
        ({"folds": 2, "stratify": "site"}, ManifestError, r"case 'p0-0' has no attribute 'site' to stratify by"),
        ({"folds": 2, "stratify": "class"}, ConfigError, r"stratifying by class reads the labels; say where"),
    ],
    ids=str,
)
def test_what_cannot_be_split_is_refused(tmp_path: Path, arguments: dict[str, Any], error: type[Exception], match: str):
    manifest = manifest_of(tmp_path, {f"p{number}": 2 for number in range(4)})
    with pytest.raises(error, match=match):
        split_data_set(manifest, **{"seed": 0} | arguments)


def test_one_patient_cannot_be_split(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"1 patient cannot be split into 2 parts"):
        split_data_set(manifest_of(tmp_path, {"p": 5}), seed=0, holdout=0.2)


class TestFolds:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Manifest:
        drawn = manifest_of(tmp_path, {f"p{number}": 2 for number in range(6)})
        return with_splits(drawn, split_data_set(drawn, seed=0, folds=3))

    def test_training_without_a_chosen_fold_is_refused_and_says_so(self, manifest: Manifest):
        with pytest.raises(
            ManifestError, match=r"has no split 'training'; choose one of its 3 folds .*\['development'\]"
        ):
            manifest.cases_of("training")

    @pytest.mark.parametrize("number", [-1, 3])
    def test_a_fold_that_is_not_there_is_refused(self, manifest: Manifest, number: int):
        with pytest.raises(ManifestError, match=rf"has no fold {number}; its folds are 0 to 2"):
            manifest.fold(number)

    def test_a_manifest_without_folds_is_told_so(self, manifest: Manifest):
        with pytest.raises(ManifestError, match=r"has no folds; make some with `unet-pipeline data split`"):
            manifest.fold(0).fold(0)

    def test_a_fold_is_loaded_with_the_digest_of_the_file(self, manifest: Manifest, tmp_path: Path):
        fields = json.loads(manifest.path.read_text())
        fields |= {"splits": {"development": [*manifest.splits["development"]]}}
        fields["folds"] = {"split": "development", "seed": 0, "parts": [list(part) for part in manifest.folds.parts]}
        path = tmp_path / "folds.json"
        path.write_text(json.dumps(fields))
        whole, fold = Manifest.load(path), Manifest.load(path, fold=1)
        assert fold.digest == whole.digest
        assert fold.splits["validation"] == whole.folds.parts[1]

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda fields: fields["folds"].update(split="none"), r"divide the split 'none', which is not among"),
            (
                lambda fields: fields["folds"]["parts"][0].append(fields["folds"]["parts"][1].pop()),
                r"patient 'p\d' is in the folds '0' and '1'; keep all its cases in one fold",
            ),
            (lambda fields: fields["folds"]["parts"].pop(), r"case 'p\d-\d' is in the split but in no fold"),
            (lambda fields: fields["splits"]["development"].pop(), r"is in a fold but not in the split"),
            (
                lambda fields: fields["splits"].update(validation=fields["splits"]["development"][:1]),
                r"is in the splits|there are folds and a split 'validation'",
            ),
        ],
        ids=["unknown split", "patient in two folds", "case in no fold", "case in no split", "validation beside folds"],
    )
    def test_folds_that_break_a_rule_are_refused(self, manifest: Manifest, change: Any, match: str):
        fields = json.loads(manifest.path.read_text())
        fields["splits"] = {"development": [*manifest.splits["development"]]}
        fields["folds"] = {"split": "development", "seed": 0, "parts": [list(part) for part in manifest.folds.parts]}
        change(fields)
        with pytest.raises(ManifestError, match=match):
            Manifest.from_fields(fields, manifest.path)
