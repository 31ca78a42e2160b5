"""The manifests that come with the project, and the one to copy from its documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from pydicom.sr.codedict import codes

from pipeline.data import MANIFEST_SCHEMA, GeneratedSource, Manifest

MANIFESTS = Path(__file__).parents[2] / "data_manifests"
SHIPPED = sorted(path.stem for path in MANIFESTS.glob("*.json") if path.name != "manifest.schema.json")


class TestShipped:
    def test_the_published_schema_is_the_one_that_is_checked(self):
        assert json.loads((MANIFESTS / "manifest.schema.json").read_text(encoding="utf-8")) == MANIFEST_SCHEMA

    def test_the_schema_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(MANIFEST_SCHEMA)

    @pytest.mark.parametrize("name", SHIPPED)
    def test_a_shipped_manifest_loads_under_its_own_name(self, name: str):
        assert Manifest.load(MANIFESTS / f"{name}.json").name == name

    def test_phantom_em_has_24_training_and_6_validation_slices_of_known_digest(self):
        manifest = Manifest.load(MANIFESTS / "phantom_em.json")
        assert {split: len(ids) for split, ids in manifest.splits.items()} == {"training": 24, "validation": 6}
        assert all(digest for case in manifest.cases for _, _, digest in case.files())
        assert manifest.source == GeneratedSource("pipeline.data.generate_phantom_em", 2015)
        assert manifest.class_values == {0: 0, 255: 1}

    def test_isbi2012_is_split_into_blocks_of_consecutive_slices(self):
        manifest = Manifest.load(MANIFESTS / "isbi2012.json")
        number_of: Callable[[str], int] = lambda path: int(re.fullmatch(r"train/image/(\d+)\.png", path)[1])  # noqa: E731
        numbers = {split: [number_of(case.image) for case in manifest.cases_of(split)] for split in manifest.splits}
        assert numbers == {
            "training": [*range(18)],
            "validation": [*range(18, 24)],
            "held_out": [*range(24, 30)],
        }
        assert manifest.spacing_mm == (4e-6, 4e-6)
        assert manifest.slice_spacing_mm == 5e-5

    def test_the_first_24_slices_of_isbi2012_are_enough_to_train_and_validate(self, real_data: Callable[[str], Path]):
        folder = real_data("isbi2012-em")
        manifest = Manifest.load(MANIFESTS / "isbi2012.json")
        manifest.check_files(folder, "training")
        manifest.check_files(folder, "validation")
        for record in manifest.records(folder, "training") + manifest.records(folder, "validation"):
            assert Path(record["image"]).is_file()
            assert Path(record["label"]).is_file()

    def test_every_shipped_manifest_states_whether_people_are_named(self):
        status = {name: Manifest.load(MANIFESTS / f"{name}.json").deidentification for name in SHIPPED}
        assert {name: stated and stated.status for name, stated in status.items()} == {
            "isbi2012": "not_applicable",
            "msd_hippocampus": "deidentified",
            "phantom_ct": "not_applicable",
            "phantom_em": "not_applicable",
        }

    def test_msd_hippocampus_trains_on_the_first_40_of_60_volumes_and_validates_on_the_rest(self):
        manifest = Manifest.load(MANIFESTS / "msd_hippocampus.json")
        ids = sorted(case.id for case in manifest.cases)
        assert len(ids) == 60
        assert dict(manifest.splits) == {"training": tuple(ids[:40]), "validation": tuple(ids[40:])}
        assert all(digest for case in manifest.cases for _, _, digest in case.files())
        assert {case.patient for case in manifest.cases} == set(ids)

    def test_the_codes_of_msd_hippocampus_are_those_that_pydicom_knows(self):
        classes = Manifest.load(MANIFESTS / "msd_hippocampus.json").classes
        known = (codes.CID7150.AnatomicalStructure, codes.SCT.Hippocampus)
        sides = {"anterior": codes.SCT.Anterior, "posterior": codes.SCT.Posterior}
        assert (classes[0].name, classes[0].code) == ("background", None)
        for label_class, side in zip(classes[1:], sides, strict=True):
            assert label_class.name == side
            for code, concept in zip(
                (label_class.category, label_class.code, label_class.modifier), (*known, sides[side]), strict=True
            ):
                assert code is not None
                assert (code.scheme, code.value, code.meaning) == (
                    concept.scheme_designator,
                    concept.value,
                    concept.meaning,
                )

    def test_the_files_of_msd_hippocampus_are_those_that_the_manifest_means(self, real_data: Callable[[str], Path]):
        manifest = Manifest.load(MANIFESTS / "msd_hippocampus.json")
        manifest.check_files(real_data("msd-hippocampus"))


def test_the_manifest_to_copy_from_the_documentation_is_one(tmp_path: Path) -> None:
    documentation = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
    (tmp_path / "mine.json").write_text(documentation.partition("```json\n")[2].partition("```")[0], encoding="utf-8")
    manifest = Manifest.load(tmp_path / "mine.json")
    assert [len(manifest.cases_of(split)) for split in ("training", "validation")] == [2, 1]
