"""Rules that keep one patient, one file and one folder in one split; manifests made of bare entries."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.data import Manifest
from pipeline.errors import ManifestError


def case(name: str, patient: str, **fields: Any) -> dict[str, Any]:
    paths = {"image": f"i/{name}.png", "label": f"l/{name}.png"}
    return {"id": name, "patient": patient, **paths, "image_sha256": None, "label_sha256": None} | fields


def manifest_of(*cases: dict[str, Any], **fields: Any) -> Manifest:
    base: dict[str, Any] = {
        "name": "m",
        "version": "1.0.0",
        "description": "made up",
        "licence": {"name": "none", "terms": "none"},
        "citation": "none",
        "source": {"urls": [], "layout": "none"},
        "classes": [{"index": index, "name": f"c{index}", "stored_value": index} for index in range(2)],
        "spacing_mm": None,
        "slice_spacing_mm": None,
        "split_unit": "patient",
        "cases": list(cases),
        "splits": {"training": [cases[0]["id"]], "validation": [cases[1]["id"]]},
    }
    return Manifest.from_fields(base | fields, "m.json")


BLOCKS = {"split_unit": "block", "split_unit_reason": "One specimen."}


def test_splits_by_block_show_one_patient():
    assert manifest_of(case("a", "p", block="x"), case("b", "p", block="y"), **BLOCKS).split_unit == "block"
    with pytest.raises(ManifestError, match=r"split_unit is 'block', but the cases show 2 patients; expected one"):
        manifest_of(case("a", "p", block="x"), case("b", "q", block="y"), **BLOCKS)


def test_one_patient_is_written_in_one_way():
    with pytest.raises(ManifestError, match=r"patients 'P1' and 'p1' differ in case only"):
        manifest_of(case("a", "P1"), case("b", "p1"))


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ({"image": "s"}, {"image": "s/sub"}, r"case 'a' has the folder 's' as a whole, in which 's/sub' of case 'b'"),
        (
            {"image": "s"},
            {"image": "s", "image_files": ["1"]},
            r"the folder 's' as a whole, in which 's/1' of case 'b'",
        ),
        ({"image": "s"}, {"label": "s/x.png"}, r"the folder 's' as a whole, in which 's/x\.png' of case 'b' lies"),
        ({"image": ".", "image_files": ["x"]}, {"image": "x"}, r"file 'x' is named twice"),
        (
            {"image": "s", "image_files": ["x/1"]},
            {"image": "s/x", "image_files": ["1"]},
            r"file 's/x/1' is named twice",
        ),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_no_file_belongs_to_two_cases(first: dict[str, Any], second: dict[str, Any], match: str, is_turned: bool):
    cases = case("a", "p", **first), case("b", "q", **second)
    with pytest.raises(ManifestError, match=match):
        manifest_of(*(reversed(cases) if is_turned else cases))


def test_neighbouring_folders_and_files_are_taken():
    cases = case("a", "p", image="s/1"), case("b", "q", image="s/10"), case("c", "r", image="s", image_files=["f"])
    assert len(manifest_of(*cases).cases) == 3


def test_thousands_of_cases_are_checked_in_seconds():
    cases = [case(f"c{number}", f"p{number}") for number in range(4000)]
    start = time.process_time()
    manifest_of(*cases)
    assert time.process_time() - start < 30  # comparing each with each took 70
