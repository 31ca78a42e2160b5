"""Data manifests: what is read, every way a manifest or a file can be wrong, and the two that the project ships."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import GeneratedSource, LabelClass, Manifest, PublishedSource
from pipeline.errors import ManifestError, MissingFileError


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def small_manifest() -> dict[str, Any]:
    """Three patients with a case or two each; the files hold their own names."""
    cases = [("a1", "p1"), ("a2", "p1"), ("b1", "p2"), ("c1", "p3")]
    return {
        "name": "small",
        "version": "1.0.0",
        "description": "Four cases of three patients.",
        "licence": {"name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"},
        "citation": "Nobody, 2015.",
        "source": {"urls": ["https://example.org/small.zip"], "layout": "unpack the archive there"},
        "classes": [
            {"index": 0, "name": "background", "stored_value": 0},
            {"index": 1, "name": "nucleus", "stored_value": 255},
        ],
        "spacing_mm": [0.5, 0.25],
        "slice_spacing_mm": None,
        "split_unit": "patient",
        "cases": [
            {
                "id": case,
                "patient": patient,
                "image": f"image/{case}.png",
                "label": f"label/{case}.png",
                "image_sha256": sha256(f"image/{case}.png".encode()),
                "label_sha256": None,
            }
            for case, patient in cases
        ],
        "splits": {"training": ["a1", "a2"], "validation": ["b1"]},
    }


def write_manifest(folder: Path, fields: Any) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest.load(write_manifest(tmp_path, small_manifest()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the small manifest."""
    for case in small_manifest()["cases"]:
        for path in (case["image"], case["label"]):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(path.encode())
    return tmp_path


def changed(*steps: Any, value: Any) -> dict[str, Any]:
    """The small manifest with one value replaced, or removed where the value is `...`."""
    fields = small_manifest()
    place = fields
    for step in steps[:-1]:
        place = place[step]
    if value is ...:
        del place[steps[-1]]
    else:
        place[steps[-1]] = value
    return fields


def by_block(block_of_b1: str) -> dict[str, Any]:
    """The small manifest as one specimen whose blocks are split."""
    fields = small_manifest() | {"split_unit": "block", "split_unit_reason": "One specimen."}
    for case, block in zip(fields["cases"], ["first", "first", block_of_b1, "last"], strict=True):
        case |= {"patient": "specimen", "block": block}
    return fields


class TestReading:
    def test_every_field_is_read(self, manifest: Manifest):
        assert (manifest.name, manifest.version, manifest.citation) == ("small", "1.0.0", "Nobody, 2015.")
        assert manifest.licence.name == "CC0-1.0"
        assert manifest.licence.terms is None
        assert manifest.source == PublishedSource(("https://example.org/small.zip",), "unpack the archive there")
        assert manifest.classes == (LabelClass(0, "background", 0), LabelClass(1, "nucleus", 255))
        assert manifest.class_values == {0: 0, 255: 1}
        assert manifest.spacing_mm == (0.5, 0.25)
        assert manifest.slice_spacing_mm is None
        assert (manifest.split_unit, manifest.split_unit_reason) == ("patient", None)
        assert [case.patient for case in manifest.cases] == ["p1", "p1", "p2", "p3"]
        assert manifest.splits == {"training": ("a1", "a2"), "validation": ("b1",)}

    def test_digest_is_the_sha256_of_the_file(self, manifest: Manifest):
        assert manifest.digest == sha256(manifest.path.read_bytes())

    def test_a_whole_number_with_a_fraction_of_0_is_an_integer(self, tmp_path: Path):
        source = {"generator": "pipeline.data.generate_phantom_em", "seed": 2015.0}
        loaded = Manifest.load(write_manifest(tmp_path, changed("source", value=source)))
        assert loaded.source == GeneratedSource("pipeline.data.generate_phantom_em", 2015)
        assert isinstance(loaded.source, GeneratedSource)
        assert isinstance(loaded.source.seed, int)

    def test_cases_of_a_split_come_in_the_order_of_the_split(self, tmp_path: Path):
        fields = changed("splits", "training", value=["a2", "a1"])
        assert [case.id for case in Manifest.load(write_manifest(tmp_path, fields)).cases_of("training")] == [
            "a2",
            "a1",
        ]

    def test_records_are_what_monai_takes(self, manifest: Manifest):
        assert manifest.records("folder", "validation") == [
            {
                "image": str(Path("folder/image/b1.png")),
                "label": str(Path("folder/label/b1.png")),
                "case": "b1",
            }
        ]

    def test_a_case_may_belong_to_no_split(self, manifest: Manifest):
        assert "c1" not in {case for ids in manifest.splits.values() for case in ids}

    def test_blocks_of_one_specimen_may_be_split(self, tmp_path: Path):
        assert Manifest.load(write_manifest(tmp_path, by_block("second"))).split_unit == "block"

    def test_an_unknown_split_is_refused_with_the_nearest_name(self, manifest: Manifest):
        with pytest.raises(
            ManifestError, match=r"has no split 'train'; did you mean 'training'\? its splits are \['tr"
        ):
            manifest.cases_of("train")
        with pytest.raises(ManifestError, match=r"has no split 'x'; its splits are \['training', 'validation'\]"):
            manifest.records("folder", "x")


TWO = [{"index": 0, "name": "a", "stored_value": 0}, {"index": 1, "name": "b", "stored_value": 1}]
BAD_FIELDS = {
    "a list": ([], r"the top level is \[\]; expected a data manifest"),
    "unknown key": (changed("licences", value={}), r"has an unknown key 'licences'; did you mean 'licence'\?"),
    "unknown key of a case": (changed("cases", 1, "x", value=1), r"cases/1 has an unknown key 'x'; the keys there are"),
    "missing key": (changed("citation", value=...), r"the top level lacks 'citation'; add what is missing"),
    "missing key of a case": (changed("cases", 2, "image", value=...), r"cases/2 lacks 'image'; add what is missing"),
    "empty text": (changed("description", value=""), r'description is ""; expected text that is not empty'),
    "version": (changed("version", value="1.0"), r'version is "1\.0"; expected a version such as 1\.0\.0'),
    "licence without terms": (changed("licence", value={"name": "x"}), r"licence lacks both 'url' and 'terms'"),
    "url": (changed("source", "urls", 0, value="ftp://x"), r'source/urls/0 is "ftp://x"; expected an address that'),
    "source": (changed("source", value={"urls": ["https://x"]}), r"source lacks 'layout'; add what is missing"),
    "seed": (
        changed("source", value={"generator": "x", "seed": -1}),
        r"source/seed is -1; expected a seed, at least 0",
    ),
    "seed of a word": (
        changed("source", value={"generator": "x", "seed": "1"}),
        r'source/seed is "1"; expected a seed',
    ),
    "one class": (changed("classes", value=TWO[:1]), r"classes is .*; expected two classes or more"),
    "negative class": (changed("classes", 0, "index", value=-1), r"classes/0/index is -1; expected a class index"),
    "class order": (
        changed("classes", value=TWO[::-1]),
        r"classes have the indices \[1, 0\]; expected \[0, 1\] in order",
    ),
    "class name twice": (changed("classes", 0, "name", value="nucleus"), r"two classes have the name 'nucleus'"),
    "value twice": (changed("classes", 0, "stored_value", value=255), r"two classes have the stored_value 255"),
    "spacing of 0": (changed("spacing_mm", value=[1, 0]), r"spacing_mm/1 is 0; expected a length in mm, above 0"),
    "three spacings": (
        changed("spacing_mm", value=[1, 1, 1]),
        r"spacing_mm is \[1, 1, 1\]; expected the spacing of pi",
    ),
    "slice spacing": (changed("slice_spacing_mm", value=-2), r"slice_spacing_mm is -2; expected the spacing of slices"),
    "split unit": (changed("split_unit", value="slice"), r'split_unit is "slice"; expected \'patient\', or \'block\''),
    "no reason": (changed("split_unit", value="block"), r"lacks 'split_unit_reason'; add what is missing"),
    "no block": (by_block("x") | {"cases": small_manifest()["cases"]}, r"cases/0 lacks 'block'; add what is missing"),
    "no cases": (changed("cases", value=[]), r"cases is \[\]; expected one case or more"),
    "id": (changed("cases", 0, "id", value="a 1"), r'cases/0/id is "a 1"; expected a name made of letters'),
    "id twice": (changed("cases", 1, "id", value="a1"), r"two cases have the id 'a1'; give each case its own"),
    "file twice": (changed("cases", 1, "image", value="label/a1.png"), r"file 'label/a1\.png' is named twice"),
    "short digest": (
        changed("cases", 3, "label_sha256", value="ab"),
        r'cases/3/label_sha256 is "ab"; expected a SHA-2',
    ),
    "upper-case digest": (
        changed("cases", 0, "label_sha256", value="A" * 64),
        r"label_sha256 is .*; expected a SHA-256",
    ),
    "no splits": (changed("splits", value={}), r"splits is \{\}; expected one split or more"),
    "name of a split": (changed("splits", value={"a b": ["a1"]}), r'splits is "a b"; expected a name made of letters'),
    "empty split": (changed("splits", "validation", value=[]), r"splits/validation is \[\]; expected ids of one case"),
    "case twice": (changed("splits", "training", value=["a1", "a1"]), r"splits/training is .*none of them twice"),
    "unknown case": (
        changed("splits", "training", value=["a9"]),
        r"split 'training' names case 'a9', which is not amo",
    ),
    "case in two splits": (
        changed("splits", "validation", value=["a1"]),
        r"case 'a1' is in the splits 'training' and 'validation'; keep it in one",
    ),
    "patient in two splits": (
        changed("splits", value={"training": ["a1"], "validation": ["b1"], "test": ["c1", "a2"]}),
        r"patient 'p1' is in the splits 'training' and 'test'; keep all its cases in one split",
    ),
    "block in two splits": (by_block("first"), r"block 'first' is in the splits 'training' and 'validation'; keep all"),
}


class TestRefusals:
    @pytest.mark.parametrize(("fields", "match"), BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
    def test_a_manifest_that_breaks_a_rule_is_refused_in_one_line(self, tmp_path: Path, fields: Any, match: str):
        path = write_manifest(tmp_path, fields)
        with pytest.raises(ManifestError, match=match) as caught:
            Manifest.load(path)
        assert str(caught.value).startswith(f"manifest {path}: ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize(
        "path",
        [
            "/etc/passwd",
            "../a.png",
            "a/../b.png",
            "a/..",
            ".",
            "./a.png",
            "a//b.png",
            "a/",
            "a\\b.png",
            "C:/a.png",
            "~/a",
            "",
            "a\n",
            "a\nb",
        ],
        ids=repr,
    )
    def test_a_path_that_could_leave_the_folder_is_refused(self, tmp_path: Path, path: str):
        fields = changed("cases", 0, "image", value=path)
        with pytest.raises(ManifestError, match=r"cases/0/image is .*; expected a path relative to the data folder"):
            Manifest.load(write_manifest(tmp_path, fields))

    @pytest.mark.parametrize("path", ["a.png", "image/00.tif", "a b/c.d/é.png", "..a/b..png", ".hidden/a", "a/...b"])
    def test_an_ordinary_relative_path_is_taken(self, tmp_path: Path, path: str):
        fields = changed("cases", 0, "image", value=path)
        assert Manifest.load(write_manifest(tmp_path, fields)).cases[0].image == path

    def test_the_first_bad_place_in_the_file_is_named(self, tmp_path: Path):
        fields = small_manifest()
        fields["cases"] = [copy.deepcopy(fields["cases"][0]) | {"id": f"case-{index}"} for index in range(12)]
        fields["cases"][2]["image"] = fields["cases"][10]["image"] = "/"
        with pytest.raises(ManifestError, match="cases/2/image"):
            Manifest.load(write_manifest(tmp_path, fields))

    def test_a_missing_manifest_is_refused(self, tmp_path: Path):
        with pytest.raises(
            MissingFileError, match=r"manifest .*none\.json not found; the project's own are in data_man"
        ):
            Manifest.load(tmp_path / "none.json")

    def test_a_folder_is_refused(self, tmp_path: Path):
        with pytest.raises(ManifestError, match=r"cannot be read: .*; give the path of a JSON file"):
            Manifest.load(tmp_path)

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            pytest.param(b'{"a": 1,\n "b" 2}', r"not JSON at line 2, column 6: .*; correct it there", id="not JSON"),
            pytest.param(b"", r"not JSON at line 1, column 1", id="empty"),
            pytest.param(b'{"name": "\xff"}', r"must be UTF-8 text, but byte 10 is not", id="not UTF-8"),
            pytest.param(b'{"name": 1, "name": 2}', r"key 'name' is given twice in one object", id="key twice"),
            pytest.param(b'{"spacing_mm": NaN}', r"NaN is not a JSON number", id="NaN"),
        ],
    )
    def test_a_file_that_is_not_plain_json_is_refused(self, tmp_path: Path, content: bytes, match: str):
        path = tmp_path / "bad.json"
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=match):
            Manifest.load(path)


class TestFiles:
    def test_right_files_pass(self, manifest: Manifest, folder: Path):
        manifest.check_files(folder)
        manifest.check_files(folder, "validation", digests=False)
        assert manifest.missing_files(folder) == []

    def test_a_missing_file_is_named_with_its_case_and_where_to_get_it(self, manifest: Manifest, folder: Path):
        (folder / "label" / "b1.png").unlink()
        (folder / "image" / "c1.png").unlink()
        match = (
            r"case 'b1' of data set 'small': label .*b1\.png and 1 more file not found; get the data from https://exa"
        )
        with pytest.raises(MissingFileError, match=match):
            manifest.check_files(folder)
        assert manifest.missing_files(folder) == [folder / "label" / "b1.png", folder / "image" / "c1.png"]

    def test_only_the_files_of_the_split_are_wanted(self, manifest: Manifest, folder: Path):
        (folder / "image" / "c1.png").unlink()
        (folder / "image" / "b1.png").unlink()
        manifest.check_files(folder, "training")
        with pytest.raises(MissingFileError, match=r"case 'b1' of data set 'small': image .*b1\.png not found"):
            manifest.check_files(folder, "validation")

    def test_a_file_that_differs_is_named_with_both_digests(self, manifest: Manifest, folder: Path):
        (folder / "image" / "a2.png").write_bytes(b"other")
        expected = rf"case 'a2': image .*a2\.png has SHA-256 {sha256(b'other')}, but .*small\.json expects "
        with pytest.raises(ManifestError, match=expected + sha256(b"image/a2.png") + "; move the file away and get"):
            manifest.check_files(folder)
        manifest.check_files(folder, digests=False)
        manifest.check_files(folder, "validation")

    def test_a_file_without_a_known_digest_may_hold_anything(self, manifest: Manifest, folder: Path):
        (folder / "label" / "a2.png").write_bytes(b"other")
        manifest.check_files(folder)

    def test_a_folder_in_place_of_a_file_is_a_missing_file(self, manifest: Manifest, folder: Path):
        (folder / "image" / "a1.png").unlink()
        (folder / "image" / "a1.png").mkdir()
        with pytest.raises(MissingFileError, match=r"case 'a1' of data set 'small': image"):
            manifest.check_files(folder)

    def test_a_file_that_cannot_be_read_is_named(
        self, manifest: Manifest, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def denied(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(
            ManifestError, match=r"case 'a1': image .*a1\.png cannot be read: Permission denied; make it"
        ):
            manifest.check_files(folder)

    def test_an_unknown_split_is_refused(self, manifest: Manifest, folder: Path):
        with pytest.raises(ManifestError, match="has no split 'valid'; did you mean 'validation'"):
            manifest.check_files(folder, "valid")
