"""Data sets for other tools and back: round trips, and readers that did not write them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import mlcroissant
import nibabel
import numpy as np
import pytest
from monai.data import load_decathlon_datalist, load_decathlon_properties

from pipeline.data import (
    Manifest,
    check_data_set,
    export_croissant,
    export_msd,
    export_nnunet,
    import_croissant,
    import_msd,
    import_nnunet,
    split_data_set,
)
from pipeline.data.exchange_layout import NOTES
from pipeline.errors import ImageError, LabelError, ManifestError, MissingFileError, OutputError

LIVER = {
    "category": {"scheme": "SCT", "value": "91723000", "meaning": "Anatomical Structure"},
    "code": {"scheme": "SCT", "value": "10200004", "meaning": "Liver"},
}


def make(folder: Path, ending: str = ".nii.gz", stored: tuple[int, int, int] = (0, 1, 2), **changes: Any) -> Manifest:
    """Eight labelled cases of four patients, two without a label, in splits or folds."""
    draw = np.random.default_rng(7)
    cases = []
    for number in range(10):
        case: dict[str, Any] = {"id": f"c{number}", "patient": f"p{number // 2}"}
        for kind in ("image", "label"):
            case[kind] = f"{kind}s/scan {number}{ending}"
            path = folder / case[kind]
            path.parent.mkdir(exist_ok=True)
            voxels = np.array(stored)[draw.integers(0, 3, (4, 5, 6))].astype(np.uint8 if kind == "label" else np.int16)
            if ending == ".png":
                path.write_bytes(imagecodecs.png_encode(voxels[..., 0].astype(np.uint8)))
            else:
                image = nibabel.Nifti1Image(voxels, np.diag([0.5, 0.75, 2, 1]))
                image.header.set_xyzt_units("mm")
                nibabel.save(image, path)
            case[f"{kind}_sha256"] = None
        if number >= 8:
            case["label"] = None
        cases.append(case)
    cases[0]["attributes"] = {"site": "north", "age": 61}
    cases[1]["study"] = "study-1"
    fields = {
        "name": "livers",
        "version": "1.2.0",
        "description": "Livers with “lesions”.",
        "licence": {"name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"},
        "citation": "Nobody, 2015.",
        "source": {"urls": ["https://example.org/a", "https://example.org/b"], "layout": "as it is"},
        "deidentification": {"status": "deidentified", "method": "By hand."},
        "modality": "CT",
        "classes": [
            {"index": 0, "name": "background", "stored_value": stored[0]},
            {"index": 1, "name": "liver", "stored_value": stored[1], **LIVER},
            {"index": 2, "name": "lesion", "stored_value": stored[2]},
        ],
        "spacing_mm": [0.5, 0.75],
        "slice_spacing_mm": 2.0,
        "split_unit": "patient",
        "cases": cases,
        "splits": {"training": ["c0", "c1", "c2", "c3"], "validation": ["c4", "c5"], "test": ["c6", "c7"]},
    } | changes
    path = folder / "livers.json"
    path.write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
    return Manifest.load(path)


def with_folds(manifest: Manifest) -> Manifest:
    fields = json.loads(manifest.path.read_text(encoding="utf-8"))
    fields |= split_data_set(manifest, seed=4, folds=3, holdout=0.25)
    manifest.path.write_text(json.dumps(fields), encoding="utf-8")
    return Manifest.load(manifest.path)


def without_notes(folder: Path) -> None:
    """What a tool that knows nothing of this project would have written."""
    fields = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    del fields[NOTES]
    (folder / "dataset.json").write_text(json.dumps(fields), encoding="utf-8")


def back(fields: dict[str, Any], folder: Path) -> Manifest:
    """The imported manifest, whose folder has no problem."""
    path = folder / "imported.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert check_data_set(path, folder) == []
    return Manifest.load(path)


LAYOUTS = {"msd": (export_msd, import_msd), "nnunet": (export_nnunet, import_nnunet)}
layouts = pytest.mark.parametrize(("write", "read"), LAYOUTS.values(), ids=LAYOUTS.keys())


@layouts
@pytest.mark.parametrize("stored", [(0, 1, 2), (0, 255, 7)], ids=["values are indices", "values are not"])
@pytest.mark.parametrize("folds", [False, True], ids=["splits", "folds"])
def test_a_round_trip_keeps_everything_but_paths_and_stored_values(
    tmp_path: Path, write: Any, read: Any, stored: tuple[int, int, int], folds: bool
):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in", stored=stored)
    manifest = with_folds(manifest) if folds else manifest
    write(manifest, tmp_path / "in", tmp_path / "out")
    read_back = back(read(tmp_path / "out")[0], tmp_path / "out")
    for name in (
        *("name", "version", "description", "licence", "citation", "source", "deidentification", "modality"),
        *("spacing_mm", "slice_spacing_mm", "split_unit", "splits", "folds"),
    ):
        assert getattr(read_back, name) == getattr(manifest, name), name
    kept = ("id", "patient", "study", "series", "block", "attributes")
    assert [[getattr(case, name) for name in kept] for case in read_back.cases] == [
        [getattr(case, name) for name in kept] for case in manifest.cases
    ]
    assert [(entry.name, entry.code, entry.stored_value) for entry in read_back.classes] == [
        (entry.name, entry.code, entry.index) for entry in manifest.classes
    ]
    for old, new in zip(manifest.cases, read_back.cases, strict=True):
        assert (tmp_path / "in" / old.image).read_bytes() == (tmp_path / "out" / new.image).read_bytes()
        assert (old.label is None) == (new.label is None)
        if old.label is not None:
            before, after = nibabel.load(tmp_path / "in" / old.label), nibabel.load(tmp_path / "out" / str(new.label))
            np.testing.assert_array_equal(np.asarray(before.dataobj), np.array(stored)[np.asarray(after.dataobj)])
            np.testing.assert_array_equal(before.affine, after.affine)
            assert after.header.get_xyzt_units()[0] == "mm"


@layouts
def test_without_the_note_cases_classes_and_splits_are_still_kept(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in", stored=(0, 255, 7))
    write(manifest, tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    read_back = back(read(tmp_path / "out")[0], tmp_path / "out")
    assert {case.id for case in read_back.cases} == {case.id for case in manifest.cases}
    assert [(entry.index, entry.name) for entry in read_back.classes] == [
        (entry.index, entry.name) for entry in manifest.classes
    ]
    assert {split: set(ids) for split, ids in read_back.splits.items()} == {
        "training": {"c0", "c1", "c2", "c3"},
        "validation": {"c4", "c5"},
        "test": {"c6", "c7", "c8", "c9"},  # what is in no split is not trained on either
    }
    assert {case.id for case in read_back.cases if case.label is None} == {"c8", "c9"}
    assert read_back.modality == "CT"
    assert read_back.spacing_mm == (0.5, 0.75)


def test_folds_are_what_nnunet_calls_splits_and_are_kept_without_the_note(tmp_path: Path):
    (tmp_path / "in").mkdir()
    manifest = with_folds(make(tmp_path / "in"))
    assert manifest.folds is not None
    export_nnunet(manifest, tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    splits = json.loads((tmp_path / "out/splits_final.json").read_text())
    assert [set(fold["val"]) for fold in splits] == [set(part) for part in manifest.folds.parts]
    assert all(set(fold["train"]) == set(manifest.splits["development"]) - set(fold["val"]) for fold in splits)
    read_back = back(import_nnunet(tmp_path / "out")[0], tmp_path / "out")
    assert read_back.folds is not None
    assert [set(part) for part in read_back.folds.parts] == [set(part) for part in manifest.folds.parts]
    assert set(read_back.splits["development"]) == set(manifest.splits["development"])


def test_the_layout_of_nnunet_is_as_its_documentation_asks(tmp_path: Path):
    (tmp_path / "in").mkdir()
    export_nnunet(make(tmp_path / "in", stored=(0, 255, 7)), tmp_path / "in", tmp_path / "Dataset001_Livers")
    folder = tmp_path / "Dataset001_Livers"
    dataset = json.loads((folder / "dataset.json").read_text())
    assert dataset["channel_names"] == {"0": "CT"}
    assert dataset["labels"] == {"background": 0, "liver": 1, "lesion": 2}
    assert (dataset["numTraining"], dataset["file_ending"]) == (6, ".nii.gz")
    assert {path.name for path in (folder / "imagesTr").iterdir()} == {f"c{number}_0000.nii.gz" for number in range(6)}
    assert {path.name for path in (folder / "labelsTr").iterdir()} == {f"c{number}.nii.gz" for number in range(6)}
    assert {path.name for path in (folder / "imagesTs").iterdir()} == {
        f"c{number}_0000.nii.gz" for number in range(6, 10)
    }
    values = {int(value) for path in (folder / "labelsTr").iterdir() for value in np.unique(nibabel.load(path).dataobj)}
    assert values == {0, 1, 2}


def test_monai_reads_the_decathlon_layout(tmp_path: Path):
    (tmp_path / "in").mkdir()
    export_msd(make(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    json_file = tmp_path / "out/dataset.json"
    for section, cases in (("training", ["c0", "c1", "c2", "c3"]), ("validation", ["c4", "c5"])):
        listed = load_decathlon_datalist(json_file, data_list_key=section)
        assert [Path(item["image"]).name for item in listed] == [f"{case}.nii.gz" for case in cases]
        assert all(Path(item[kind]).is_file() for item in listed for kind in ("image", "label"))
    tested = load_decathlon_datalist(json_file, is_segmentation=True, data_list_key="test")
    assert [Path(item["image"]).name for item in tested] == [f"c{number}.nii.gz" for number in range(6, 10)]
    properties = load_decathlon_properties(json_file, ["labels", "modality", "numTraining", "numTest"])
    assert properties == {
        "labels": {"0": "background", "1": "liver", "2": "lesion"},
        "modality": {"0": "CT"},
        "numTraining": 4,
        "numTest": 4,
    }


def test_png_goes_to_nnunet_and_back(tmp_path: Path):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in", ending=".png", stored=(0, 255, 7))
    export_nnunet(manifest, tmp_path / "in", tmp_path / "out")
    read_back = back(import_nnunet(tmp_path / "out")[0], tmp_path / "out")
    before = imagecodecs.imread(str(tmp_path / "in" / str(manifest.cases[0].label)))
    after = imagecodecs.imread(str(tmp_path / "out" / str(read_back.cases[0].label)))
    np.testing.assert_array_equal(before, np.array([0, 255, 7])[after])


@layouts
def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in")
    path = tmp_path / "in" / str(manifest.cases[5].label)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), 9, np.uint8), np.eye(4)), path)
    with pytest.raises(
        LabelError, match=r"scan 5\.nii\.gz holds 9, which stands for no class; the classes have \[0, 1"
    ):
        write(manifest, tmp_path / "in", tmp_path / "out")
    path.unlink()
    with pytest.raises(MissingFileError, match=r"case 'c5' of data set 'livers': label .* not found"):
        write(manifest, tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


@layouts
def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    manifest = make(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    with pytest.raises(OutputError, match=r"out already exists; name a folder that does not, or remove it first"):
        write(manifest, tmp_path / "in", tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]


def test_formats_that_a_tool_does_not_take_are_refused(tmp_path: Path):
    manifest = make(tmp_path, ending=".png")
    with pytest.raises(
        ManifestError, match=r"case 'c0': image .*\.png is not one of \.nii\.gz, \.nii, which the Medical"
    ):
        export_msd(manifest, tmp_path, tmp_path / "out")
    fields = json.loads(manifest.path.read_text())
    fields["cases"][0] |= {"image": "series", "image_files": ["1", "2"]}
    manifest.path.write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=r"series and .*\.png would end differently \(\.nii\.gz, \.png\)"):
        export_nnunet(Manifest.load(manifest.path), tmp_path, tmp_path / "out")


BAD_MSD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "labels missing": (lambda fields: fields.pop("labels"), r"is not as the Medical Segmentation Decathlon writes it"),
    "labels turned round": (lambda fields: fields.update(labels={"liver": 1}), r"expected 'labels' as \{\"0\": name\}"),
    "a case of text": (lambda fields: fields.update(training=["x"]), r"'training' as a list of"),
    "two modalities": (lambda fields: fields.update(modality={"0": "T1", "1": "T2"}), r"has 2 modalities; expected"),
    "path outside": (
        lambda fields: fields["training"][0].update(image="../in/x.nii.gz"),
        r"case 'x': \.\./in/x\.nii\.gz leaves the folder",
    ),
    "case twice": (
        lambda fields: fields["training"].append(fields["training"][0]),
        r"splits/training is .*expected ids of one case or more, none of them twice",
    ),
    "no case": (lambda fields: fields.update(training=[], validation=[], test=[]), r"cases is \[\]; expected one case"),
}


@pytest.mark.parametrize(("change", "match"), BAD_MSD.values(), ids=BAD_MSD.keys())
def test_a_decathlon_file_that_is_wrong_is_refused(tmp_path: Path, change: Any, match: str):
    (tmp_path / "in").mkdir()
    export_msd(make(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    fields = json.loads((tmp_path / "out/dataset.json").read_text())
    change(fields)
    (tmp_path / "out/dataset.json").write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=match) as caught:
        import_msd(tmp_path / "out")
    assert "\n" not in str(caught.value)


@layouts
def test_a_note_that_does_not_agree_with_the_rest_is_refused(tmp_path: Path, write: Any, read: Any):
    (tmp_path / "in").mkdir()
    write(make(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out/dataset.json"
    fields = json.loads(path.read_text())
    fields[NOTES]["classes"][1]["name"] = "spleen"
    path.write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=r"the classes are .*'liver'.* but .*'spleen'.* in the noted manifest"):
        read(tmp_path / "out")
    fields[NOTES]["classes"][1]["name"] = "liver"
    del fields[NOTES]["cases"][9]
    path.write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=r"case 'c9' stands otherwise in the noted manifest than in the rest"):
        read(tmp_path / "out")


@layouts
def test_a_folder_that_is_no_data_set_and_a_damaged_image_are_refused(tmp_path: Path, write: Any, read: Any):
    with pytest.raises(ManifestError, match=r"dataset\.json cannot be read: .*; give the folder that holds it"):
        read(tmp_path)
    (tmp_path / "in").mkdir()
    write(make(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    without_notes(tmp_path / "out")
    image = sorted((tmp_path / "out/imagesTr").iterdir())[0]
    image.write_bytes(b"")
    with pytest.raises(ImageError, match=r"is not NIfTI, or damaged"):
        read(tmp_path / "out")


@pytest.mark.parametrize(
    ("splits", "match"),
    [
        ([{"train": ["c0"], "val": ["x"]}], r"names case 'x', which is not in imagesTr"),
        ([{"train": ["c0"]}], r"is no list of"),
        (
            [{"train": ["c0"], "val": ["c1"]}, {"train": ["c0", "c1"], "val": ["c2"]}],
            r"fold 0 does not divide all 3 cas",
        ),
    ],
    ids=["unknown case", "no val", "not the same cases"],
)
def test_splits_of_nnunet_that_do_not_fit_are_refused(tmp_path: Path, splits: Any, match: str):
    (tmp_path / "in").mkdir()
    export_nnunet(make(tmp_path / "in"), tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/splits_final.json").write_text(json.dumps(splits))
    with pytest.raises(ManifestError, match=match):
        import_nnunet(tmp_path / "out")


class TestCroissant:
    @pytest.mark.parametrize("folds", [False, True], ids=["splits", "folds"])
    def test_a_round_trip_keeps_all_fields(self, tmp_path: Path, folds: bool):
        manifest = make(tmp_path, stored=(0, 255, 7))
        manifest = with_folds(manifest) if folds else manifest
        export_croissant(manifest, tmp_path / "croissant.json")
        assert import_croissant(tmp_path / "croissant.json") == json.loads(manifest.path.read_text(encoding="utf-8"))

    @pytest.mark.parametrize("name", ["isbi2012", "phantom_em", "msd_hippocampus"])
    def test_shipped_manifests_round_trip(self, tmp_path: Path, name: str):
        manifest = Manifest.load(Path(__file__).parents[2] / "data_manifests" / f"{name}.json")
        export_croissant(manifest, tmp_path / "croissant.json")
        fields = json.loads(manifest.path.read_text(encoding="utf-8"))
        del fields["$schema"]
        assert import_croissant(tmp_path / "croissant.json") == fields

    @pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")  # mlcroissant uses what rdflib will drop
    def test_mlcroissant_finds_no_error_and_reads_the_cases_and_classes(self, tmp_path: Path):
        manifest = Manifest.load(Path(__file__).parents[2] / "data_manifests" / "msd_hippocampus.json")
        export_croissant(manifest, tmp_path / "croissant.json")
        dataset = mlcroissant.Dataset(tmp_path / "croissant.json")
        assert list(dataset.metadata.issues.errors) == []
        (warning,) = dataset.metadata.issues.warnings
        assert "datePublished" in warning  # which manifests do not know
        assert dataset.metadata.license == [manifest.licence.url]
        cases = list(dataset.records("cases"))
        assert [row["cases/id"] for row in cases] == [case.id for case in manifest.cases]
        assert cases[3]["cases/label"] == manifest.cases[3].label
        classes = list(dataset.records("classes"))
        assert [row["classes/code_value"] for row in classes][1:] == ["5366008"] * 2
        digests = {file.content_url: file.sha256 for file in dataset.metadata.distribution}
        assert digests[manifest.cases[0].image] == manifest.cases[0].image_sha256
        assert len(digests) == 120

    @pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib")  # mlcroissant uses what rdflib will drop
    def test_the_standard_context_is_given_in_full(self, tmp_path: Path, caplog: pytest.LogCaptureFixture):
        export_croissant(make(tmp_path), tmp_path / "croissant.json")
        dataset = mlcroissant.Dataset(tmp_path / "croissant.json")
        assert list(dataset.metadata.issues.errors) == []
        assert "not standard" not in caplog.text

    def test_a_croissant_file_of_another_kind_is_refused(self, tmp_path: Path):
        path = tmp_path / "croissant.json"
        path.write_text(json.dumps({"name": "x", "recordSet": []}))
        with pytest.raises(ManifestError, match=r"has no record set 'cases' with data; only what `data export"):
            import_croissant(path)
        path.write_text("[]")
        with pytest.raises(ManifestError, match=r"is not as `data export --to croissant` writes it"):
            import_croissant(path)
        with pytest.raises(MissingFileError, match=r"none\.json not found"):
            import_croissant(tmp_path / "none.json")

    def test_a_file_that_is_there_is_not_written_over(self, tmp_path: Path):
        manifest = make(tmp_path)
        export_croissant(manifest, tmp_path / "croissant.json")
        with pytest.raises(OutputError, match="already exists"):
            export_croissant(manifest, tmp_path / "croissant.json")
        export_croissant(manifest, tmp_path / "croissant.json", overwrite=True)


@layouts
def test_the_real_volumes_come_back(real_data: Callable[[str], Path], tmp_path: Path, write: Any, read: Any):
    source = real_data("msd-hippocampus")
    shipped = Manifest.load(Path(__file__).parents[2] / "data_manifests" / "msd_hippocampus.json")
    write(shipped, source, tmp_path / "out")
    without_notes(tmp_path / "out")
    read_back = Manifest.from_fields(read(tmp_path / "out")[0], tmp_path / "m.json")
    assert {split: set(ids) for split, ids in read_back.splits.items()} == {
        split: set(ids) for split, ids in shipped.splits.items()
    }
    digests = [{(case.id, case.image_sha256, case.label_sha256) for case in one.cases} for one in (shipped, read_back)]
    assert digests[0] == digests[1]
    shutil.rmtree(tmp_path / "out")
