"""Predictions of anybody against the labels of a split: worked values, other libraries, real files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from small_sets import SmallSet, write_manifest, write_png, write_volume

from pipeline.data import Manifest
from pipeline.errors import ConfigError, ImageError, LabelError, MissingFileError
from pipeline.evaluation import CaseArrays, ScoreSettings, evaluate_predictions, score_case
from pipeline.evaluation.membrane_kind import summarise_membranes
from pipeline.formats import read_dicom_seg, read_dicom_series, read_image, write_probability
from pipeline.metrics import EMCurves, em_scores, em_stack_scores, surface_scores

ROOT = Path(__file__).parents[2]


def evaluated(small: Any, **options: Any) -> Any:
    return evaluate_predictions(small.predictions, small.manifest, "validation", small.folder, **options)


# --- classes ---------------------------------------------------------------------------------------------------------


def test_dice_and_volume_are_those_that_one_counts_by_hand(volumes: Any) -> None:
    evaluation = evaluated(volumes)
    assert evaluation.kind == "classes"
    summary = evaluation.summary
    # a: 2 of 4 voxels found, b: all, c: none.
    assert summary.scores_by_case["dice_anterior"] == {"a": 2 / 3, "b": 1.0, "c": 0.0}
    assert summary.scores_by_case["iou_anterior"] == {"a": 1 / 2, "b": 1.0, "c": 0.0}
    # Two voxels of 2 × 1 × 3 mm are missing in a.
    assert summary.scores_by_case["volume_difference_mm3_anterior"] == {"a": -12.0, "b": 0.0, "c": 0.0}
    assert summary.scores_by_case["relative_volume_difference_anterior"]["a"] == -0.5
    assert summary.scores["dice_anterior"] == pytest.approx(5 / 9)
    # Neither has class 2 in a and b; in c it was not found.
    posterior = summary.scores_by_case["dice_posterior"]
    assert (math.isnan(posterior["a"]), math.isnan(posterior["b"]), posterior["c"]) == (True, True, 0.0)
    assert summary.scores["dice"] == pytest.approx(5 / 18)
    assert summary.scores_by_case["dice"] == {"a": 2 / 3, "b": 1.0, "c": 0.0}
    # One surface is empty: the diagonal of 4 × 5 × 3 voxels.
    diagonal_mm = math.dist((0, 0, 0), (4 * 2, 5 * 1, 3 * 3))
    assert summary.scores_by_case["hd95_mm_posterior"]["c"] == pytest.approx(diagonal_mm)


def test_the_table_weighs_patients_and_the_scores_weigh_cases(volumes: Any) -> None:
    evaluation = evaluated(volumes)
    rows = {(row.class_name, row.score): row.interval for row in evaluation.table.by_class(seed=0)}
    found = rows["anterior", "dice"]
    assert found.mean == pytest.approx(((2 / 3 + 1) / 2 + 0) / 2)
    assert (found.cases, found.patients) == (3, 2)
    assert evaluation.summary.scores["dice_anterior"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert evaluation.record()["means"] == {
        "scores": "over cases",
        "table": "over the cases of a patient, then over patients",
    }


def test_the_rule_for_empty_classes_is_that_of_the_settings(volumes: Any) -> None:
    evaluation = evaluated(volumes, settings=ScoreSettings(empty="perfect"))
    assert evaluation.summary.scores_by_case["dice_posterior"] == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert evaluation.record()["settings"]["empty"] == "perfect"


def test_spacing_and_tolerance_decide_what_surfaces_agree(volumes: Any) -> None:
    """The prediction of c lies one voxel of 2 mm away along the first axis."""
    near, far = (
        evaluated(volumes, settings=ScoreSettings(tolerance_mm=tolerance)).summary.scores_by_case["nsd_anterior"]["c"]
        for tolerance in (2.0, 0.5)
    )
    assert near == 1.0
    assert far < 0.6


def test_a_mask_in_another_order_of_axes_is_scored_where_it_lies(volumes: Any) -> None:
    wanted = evaluated(volumes).summary.scores_by_case
    path = volumes.predictions / "a_mask.nii.gz"
    image = nib.load(path)
    turned = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(("P", "S", "L"))))
    assert turned.shape != image.shape
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    assert evaluated(volumes).summary.scores_by_case["hd95_mm_anterior"] == wanted["hd95_mm_anterior"]


def test_the_spacing_is_that_of_the_axes_of_the_file_however_they_lie(volumes: Any) -> None:
    angle = 0.3
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    # The first axis of the file runs along the body, 2.5 mm; the second to the left, 0.75; the third to the front, 1.5.
    affine[:3, :3] = turn @ np.array([[0, -0.75, 0], [0, 0, 1.5], [2.5, 0, 0]])
    arrays = {}
    for case in "abc":
        files = {
            "image": volumes.folder / "image" / f"{case}-image.nii.gz",
            "label": volumes.folder / "label" / f"{case}.nii.gz",
            "pred": volumes.predictions / f"{case}_mask.nii.gz",
        }
        arrays[case] = {name: np.asarray(nib.load(path).dataobj).copy() for name, path in files.items()}
        for name, path in files.items():
            write_volume(path, arrays[case][name], affine)
    by_case = evaluated(volumes).summary.scores_by_case
    assert by_case["volume_difference_mm3_anterior"]["a"] == pytest.approx(-2 * 2.5 * 0.75 * 1.5)
    for case in "abc":
        wanted = surface_scores(arrays[case]["label"] == 1, arrays[case]["pred"] == 1, (2.5, 0.75, 1.5), 1.0)
        found = [by_case[f"{name}_anterior"][case] for name in ("nsd", "hd95_mm", "assd_mm")]
        assert found == pytest.approx([wanted.nsd, wanted.hd95_mm, wanted.assd_mm])
    # c is found one voxel further on along the first axis.
    assert by_case["hd95_mm_anterior"]["c"] == pytest.approx(2.5)


def test_the_pages_of_a_stack_have_the_slice_spacing_of_the_manifest(tmp_path: Path) -> None:
    folder, predictions = tmp_path / "data", tmp_path / "predictions"
    for path in (folder / "image", folder / "label", predictions):
        path.mkdir(parents=True)
    classes = [
        {"index": 0, "name": "background", "stored_value": 0},
        {"index": 1, "name": "nucleus", "stored_value": 1},
    ]
    changes = {"classes": classes, "spacing_mm": [0.5, 2.0], "slice_spacing_mm": 8.0}
    write_manifest(folder, {"a": "p1"}, "msd_hippocampus", ".tif", **changes)
    truth = np.zeros((4, 6, 7), np.uint8)
    truth[1, 2:4, 2:5] = 1
    found = np.roll(truth, 1, axis=0)
    found[2, 2, 2] = 0
    for path, pages in (
        (folder / "image" / "a-image.tif", truth),
        (folder / "label" / "a.tif", truth),
        (predictions / "a_mask.tif", found),
    ):
        tifffile.imwrite(path, pages, photometric="minisblack")
    by_case = evaluated(SmallSet(folder, predictions, folder / "manifest.json")).summary.scores_by_case
    assert by_case["volume_difference_mm3_nucleus"]["a"] == -0.5 * 2.0 * 8.0
    axes = [np.moveaxis(pages == 1, 0, -1) for pages in (truth, found)]
    assert by_case["assd_mm_nucleus"]["a"] == surface_scores(*axes, (0.5, 2.0, 8.0), 1.0).assd_mm


def test_a_dicom_seg_that_shows_other_things_or_another_series_is_refused(phantom_ct: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / "phantom_ct.json")
    first, second = (case for case in manifest.cases if case.id in ("p010-s1-1", "p011-s1-1"))
    manifest = replace(manifest, splits={"validation": (first.id,)})
    segmentation = pydicom.dcmread(phantom_ct / str(first.label))
    segmentation.save_as(tmp_path / "any.dcm")
    assert evaluate_predictions(tmp_path, manifest, "validation", phantom_ct).summary.scores["dice"] == 1
    (code,) = segmentation.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    code.CodeValue = "78961009"
    segmentation.save_as(tmp_path / "any.dcm")
    with pytest.raises(LabelError, match=rf"case '{first.id}': .*segment 1 shows SCT:78961009, .*; renumber"):
        evaluate_predictions(tmp_path, manifest, "validation", phantom_ct)
    pydicom.dcmread(phantom_ct / str(second.label)).save_as(tmp_path / "any.dcm")
    with pytest.raises(MissingFileError, match=rf"'{first.id}' .* has no mask .*, but any.dcm belongs to none"):
        evaluate_predictions(tmp_path, manifest, "validation", phantom_ct)


def test_plain_files_hold_the_values_of_labels_and_masks_hold_class_indices(volumes: Any) -> None:
    content = json.loads(volumes.path.read_text(encoding="utf-8"))
    content["classes"][1]["stored_value"], content["classes"][2]["stored_value"] = 40, 1
    volumes.change(classes=content["classes"])
    for case in "abc":
        for path in (volumes.folder / "label" / f"{case}.nii.gz", volumes.predictions / f"{case}_mask.nii.gz"):
            voxels = np.asarray(nib.load(path).dataobj)
            if path.parent.name == "label" or case == "b":
                voxels = np.choose(voxels, [0, 40, 1]).astype(np.uint8)
            path.unlink()
            write_volume(path if case != "b" else path.parent / f"{case}.nii.gz", voxels)
    assert evaluated(volumes).summary.scores_by_case["dice_anterior"] == {"a": 2 / 3, "b": 1.0, "c": 0.0}
    with pytest.raises(LabelError, match=r"case 'b': prediction .* holds the values \[40\], which stand for no class"):
        evaluated(volumes, values="indices")
    (volumes.predictions / "b.nii.gz").rename(volumes.predictions / "b_mask.nii.gz")
    with pytest.raises(LabelError, match=r"case 'b'"):
        evaluated(volumes)
    assert evaluated(volumes, values="auto", skip_bad=True).skipped[0].case == "b"


def test_values_of_labels_are_told_from_class_indices(slices: Any, tmp_path: Path) -> None:
    for case in slices.manifest.cases_of("validation"):
        label = read_image(slices.folder / str(case.label)).pixels[0, 0]
        write_png(tmp_path / f"{case.id}.png", (label > 0).astype(np.uint8))
    with pytest.raises(LabelError, match=r"\[1\], which .*; where masks hold class indices, pass --values indices"):
        evaluated(slices)
    evaluation = evaluated(slices, values="indices", settings=ScoreSettings(warping=False))
    assert evaluation.summary.scores["v_rand"] == 1.0


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["left kidney", "left_kidney"], ["left_kidney_1", "left_kidney_2"]),
        (["+", "-"], ["__1", "__2"]),
        (["a b", "a-b", "a_b_1"], ["a_b_1_", "a_b_2", "a_b_1"]),
        (["right kidney", "µ"], ["right_kidney", "µ"]),
    ],
)
def test_classes_with_names_alike_keep_their_own_scores(volumes: Any, names: list[str], keys: list[str]) -> None:
    classes = [{"index": index, "name": name, "stored_value": index} for index, name in enumerate(["other", *names])]
    wanted = evaluated(volumes).summary.scores_by_case
    volumes.change(classes=classes)
    summary = evaluated(volumes).summary
    assert [name for name in summary.scores if name.startswith("dice_")] == [f"dice_{key}" for key in keys]
    for theirs, key in zip(("anterior", "posterior"), keys, strict=False):
        found = {case: str(value) for case, value in summary.scores_by_case[f"dice_{key}"].items()}
        assert found == {case: str(value) for case, value in wanted[f"dice_{theirs}"].items()}
    assert summary.scores["dice"] == pytest.approx(5 / 18)


def test_probabilities_alone_give_classes_and_calibration(volumes: Any) -> None:
    for case in "abc":
        mask = volumes.predictions / f"{case}_mask.nii.gz"
        classes = np.asarray(nib.load(mask).dataobj)
        mask.unlink()
        for index in (1, 2):
            probability = np.where(classes == index, 0.75, 0.125).astype(np.float32)
            write_volume(volumes.predictions / f"{case}_probability_{index}.nii.gz", probability)
    evaluation = evaluated(volumes)
    assert evaluation.summary.scores_by_case["dice_anterior"] == {"a": 2 / 3, "b": 1.0, "c": 0.0}
    bins = evaluation.record()["calibration"]["bins"]
    # 2 + 4 + 4 voxels of 0.75, of which 2 + 4 are true; 2 × 3 × 60 in all, of which 4 + 4 + 4 + 3 are.
    (high,) = (found for found in bins if found["low"] < 0.75 <= found["high"])
    assert (high["count"], high["mean_probability"], high["positive_fraction"]) == (10, 0.75, 0.6)
    (low,) = (found for found in bins if found["low"] < 0.125 <= found["high"])
    assert (low["count"], low["positive_fraction"]) == (350, pytest.approx(9 / 350))
    wanted = (10 * 0.15 + 350 * abs(0.125 - 9 / 350)) / 360
    assert evaluation.record()["calibration"]["ece"] == pytest.approx(wanted)


def test_there_is_a_calibration_only_where_all_cases_have_probabilities(volumes: Any) -> None:
    for case in "abc":
        for index, value in ((1, 0.5), (2, 0.505)):  # with what rounding may add
            voxels = np.full((4, 5, 3), value, np.float32)
            write_volume(volumes.predictions / f"{case}_probability_{index}.nii.gz", voxels)
    evaluation = evaluated(volumes)
    assert sum(found["count"] for found in evaluation.record()["calibration"]["bins"]) == 2 * 3 * 60
    assert evaluation.summary.scores_by_case["dice_anterior"]["a"] == 2 / 3  # of the masks
    for index in (1, 2):
        (volumes.predictions / f"b_probability_{index}.nii.gz").unlink()
    assert evaluated(volumes).record()["calibration"] is None


def test_labels_of_dicom_are_scored_against_nifti_in_another_order(phantom_ct: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / "phantom_ct.json")
    cases = manifest.cases_of("validation")
    wanted = {}
    for number, case in enumerate(cases):
        series = read_dicom_series(phantom_ct / case.image)
        found = read_dicom_seg(phantom_ct / str(case.label), series)
        pred = np.where(found.masks == 2, 0, found.masks) if number else found.masks
        image = nib.Nifti1Image(pred.astype(np.uint8), found.affine)
        # The one as anybody names it, the other as `predict` does.
        file = next(path for path in (phantom_ct / case.image).rglob("*") if path.is_file())
        uid = str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID)
        names = f"{case.id}.nii.gz", f"series-{hashlib.sha256(uid.encode()).hexdigest()[:12]}_mask.nii.gz"
        nib.save(nib.as_closest_canonical(image), tmp_path / names[number % 2])
        wanted[case.id] = 0.0 if number else 1.0
    evaluation = evaluate_predictions(tmp_path, manifest, "validation", phantom_ct)
    assert evaluation.summary.scores_by_case["dice_right_kidney"] == wanted
    assert set(evaluation.summary.scores_by_case["hd95_mm_liver"].values()) == {0.0}


def test_real_labels_against_themselves_are_perfect(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    manifest = Manifest.load(ROOT / "data_manifests" / "msd_hippocampus.json")
    folder = real_data("msd-hippocampus")
    for case in manifest.cases_of("validation"):
        (tmp_path / Path(str(case.label)).name).symlink_to(folder / str(case.label))
    evaluation = evaluate_predictions(tmp_path, manifest, "validation", folder)
    assert len(evaluation.cases) == 20
    scores = evaluation.summary.scores
    assert [scores[name] for name in ("dice", "iou", "nsd", "hd95_mm", "volume_difference_mm3")] == [1, 1, 1, 0, 0]
    assert len(evaluation.record()["pictures"]) == 6


@pytest.mark.parametrize("spacing_mm", [None, [0.5, 2.0]])
def test_flat_images_take_the_spacing_of_the_manifest_or_are_refused(nuclei: Any, spacing_mm: Any) -> None:
    nuclei.change(spacing_mm=spacing_mm)
    for case in "ab":
        label = nuclei.folder / "label" / f"{case}.png"
        truth = (read_image(label).pixels[0, 0] > 0).astype(np.uint8)
        label.unlink()
        write_png(label, truth)
        (nuclei.predictions / f"{case}_instances.png").unlink()
        pred = truth.copy()
        pred[0, 0] = 0
        write_png(nuclei.predictions / f"{case}_mask.png", pred * 255)
    if spacing_mm is None:
        with pytest.raises(ConfigError, match=r"say the spacing in mm, .*; add spacing_mm"):
            evaluated(nuclei, skip_bad=True)
        return
    by_case = evaluated(nuclei).summary.scores_by_case
    assert by_case["volume_difference_mm3_nucleus"] == {"a": -0.5 * 2.0, "b": -0.5 * 2.0}


# --- instances -------------------------------------------------------------------------------------------------------


def test_panoptic_quality_f1_seg_and_det_are_those_that_one_counts_by_hand(nuclei: Any) -> None:
    evaluation = evaluated(nuclei, objects="numbers")
    assert evaluation.kind == "instances"
    by_case = evaluation.summary.scores_by_case
    # a: IoU of 1 and 3/4, one object too many: SQ 7/8, RQ 2 * 2 / (2 + 3) = 4/5.
    assert by_case["panoptic_quality"] == {"a": pytest.approx(7 / 8 * 4 / 5), "b": 1.0}
    assert by_case["segmentation_quality"] == {"a": 7 / 8, "b": 1.0}
    assert by_case["f1_iou_0.5"] == {"a": 4 / 5, "b": 1.0}
    assert by_case["f1_iou_0.8"] == {"a": 2 / 5, "b": 1.0}
    assert by_case["seg"] == {"a": 7 / 8, "b": 1.0}
    assert by_case["det"] == {"a": 1 - 1 / 20, "b": 1.0}
    # Over all four objects of both frames.
    assert evaluation.summary.scores["seg"] == pytest.approx((1 + 3 / 4 + 1 + 1) / 4)
    assert evaluation.summary.scores["det"] == pytest.approx(1 - 1 / 40)
    assert evaluation.summary.scores["panoptic_quality"] == pytest.approx((0.7 + 1) / 2)


def test_seg_and_det_are_over_all_objects_and_not_over_images(nuclei: Any) -> None:
    one = np.zeros((6, 8), np.uint16)
    one[0, 0:4] = 5
    write_png(nuclei.folder / "label" / "b.png", one)
    write_png(nuclei.predictions / "b_instances.png", one)
    summary = evaluated(nuclei, objects="numbers").summary
    assert summary.scores_by_case["seg"] == {"a": 7 / 8, "b": 1.0}
    assert summary.scores["seg"] == pytest.approx((1 + 3 / 4 + 1) / 3)
    assert summary.scores["det"] == pytest.approx(1 - 1 / 30)
    assert summary.scores["panoptic_quality"] == pytest.approx((0.7 + 1) / 2)


def test_an_image_without_objects_is_scored_by_the_rule_of_the_settings(nuclei: Any) -> None:
    for path in (nuclei.folder / "label" / "b.png", nuclei.predictions / "b_instances.png"):
        write_png(path, np.zeros((6, 8), np.uint16))
    names = ("panoptic_quality", "segmentation_quality", "f1_iou_0.5", "seg", "det")
    by_case = evaluated(nuclei, objects="numbers").summary.scores_by_case
    assert all(math.isnan(by_case[name]["b"]) for name in names)
    by_case = evaluated(nuclei, objects="numbers", settings=ScoreSettings(empty="perfect")).summary.scores_by_case
    assert [by_case[name]["b"] for name in names] == [1.0] * 5


def test_objects_outside_the_field_of_interest_do_not_count(nuclei: Any) -> None:
    evaluation = evaluated(nuclei, objects="numbers", settings=ScoreSettings(border_px=1))
    # The row at the border is left out, in truth and prediction; so is the object that is not there.
    assert evaluation.summary.scores_by_case["seg"] == {"a": 3 / 4, "b": 1.0}
    assert evaluation.summary.scores_by_case["det"] == {"a": 1.0, "b": 1.0}
    assert evaluation.record()["settings"]["border_px"] == 1


def test_components_of_masks_are_objects(nuclei: Any) -> None:
    for case in "ab":
        for path in (nuclei.folder / "label" / f"{case}.png", nuclei.predictions / f"{case}_instances.png"):
            pixels = (read_image(path).pixels[0, 0] > 0).astype(np.uint8)
            path.unlink()
            write_png(path.parent / f"{case}{'_mask' if path.parent == nuclei.predictions else ''}.png", pixels * 1)
    evaluation = evaluated(nuclei, kind="instances")
    assert evaluation.summary.scores_by_case["panoptic_quality"] == {"a": pytest.approx(0.7), "b": 1.0}


def test_labels_with_numbers_are_refused_until_they_are_said_to_be_numbers(nuclei: Any) -> None:
    with pytest.raises(LabelError, match=r"case 'a': label .* \[5, 9\], which stand for no class.*--objects numbers"):
        evaluated(nuclei)


def test_real_nuclei_are_found_and_merged_ones_are_not(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("dsb2018-nuclei")
    labels = sorted((folder / "labels").iterdir())[:4]
    classes = [
        {"index": 0, "name": "background", "stored_value": 0},
        {"index": 1, "name": "nucleus", "stored_value": 1},
    ]
    patients = {label.stem: label.stem for label in labels}
    write_manifest(tmp_path, patients, "msd_hippocampus", ".png", classes=classes, spacing_mm=None)
    fields = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    for case, label in zip(fields["cases"], labels, strict=True):
        case["image"], case["label"] = f"images/{label.stem}.png", f"labels/{label.name}"
    (tmp_path / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")
    manifest = Manifest.load(tmp_path / "manifest.json")
    wanted = {}
    for number, label in enumerate(labels):
        truth = read_image(label).pixels[0, 0]
        # All but the first are perfect; there every nucleus is merged into one.
        pred = truth if number else (truth > 0).astype(np.uint16)
        write_png(tmp_path / "predictions" / f"{label.stem}_instances.png", pred)
        wanted[label.stem] = 1.0 if number else 0.0
    evaluation = evaluate_predictions(tmp_path / "predictions", manifest, "validation", folder, objects="numbers")
    assert evaluation.summary.scores_by_case["f1_iou_0.5"] == wanted
    assert evaluation.summary.ranked_cases()[-1] == labels[0].stem
    assert len(evaluation.record()["pictures"]) == 4


# --- membranes -------------------------------------------------------------------------------------------------------


def membrane_probabilities(small: Any, predictions: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    found = {}
    for case in small.manifest.cases_of("validation"):
        membrane = read_image(small.folder / str(case.label)).pixels[0, 0] == 0
        probability = (0.7 * membrane + 0.3 * random.random(membrane.shape)).astype(np.float32)
        write_probability(predictions / f"{case.id}_probability.tif", np.stack([probability, 1 - probability])[None])
        found[case.id] = probability
    return found


@pytest.fixture
def slices(small_data: Any, tmp_path: Path) -> SmallSet:
    return SmallSet(small_data.folder, tmp_path, small_data.manifest)


def test_membranes_are_scored_as_a_stack_of_probabilities(slices: Any, tmp_path: Path) -> None:
    probabilities = membrane_probabilities(slices, tmp_path)
    evaluation = evaluated(slices)
    assert evaluation.kind == "membranes"
    curves = {
        case.id: em_scores(
            probabilities[case.id], read_image(slices.folder / str(case.label)).pixels[0, 0] > 0, warping=True
        )
        for case in slices.manifest.cases_of("validation")
    }
    stack = em_stack_scores(curves.values())
    names = ("v_rand", "v_info", "rand_error", "pixel_error", "warping_error")
    assert {name: evaluation.summary.scores[name] for name in names} == {name: stack.best(name) for name in names}
    assert evaluation.summary.scores["v_rand_threshold"] == stack.v_rand_threshold
    at = stack.index_of_best("v_rand")
    assert evaluation.summary.scores_by_case["v_rand"] == {
        case: of_case.v_rand_curve[at] for case, of_case in curves.items()
    }
    # Masks beside them tell less, and change nothing.
    for case in probabilities:
        write_png(tmp_path / f"{case}_mask.png", np.zeros_like(probabilities[case], np.uint8))
    assert evaluated(slices).summary.scores == evaluation.summary.scores
    # One case by its mask among others by their probabilities would be no score of one method.
    moved = tmp_path / "v1_probability.tif"
    moved.rename(tmp_path / "v1.txt")
    with pytest.raises(MissingFileError, match="case 'v1' of the split 'validation' has no probability"):
        evaluated(slices)
    (tmp_path / "v1.txt").rename(moved)
    # The blocks of the stack are what intervals draw.
    assert set(evaluation.table.patients.values()) == {"v0", "v1", "v2"}


def test_probabilities_of_all_classes_sum_to_1(slices: Any, tmp_path: Path) -> None:
    probabilities = membrane_probabilities(slices, tmp_path)
    case, probability = next(iter(probabilities.items()))
    path = tmp_path / f"{case}_probability.tif"
    wanted = evaluated(slices, settings=ScoreSettings(warping=False)).record()
    path.unlink()
    # Class 1 alone says what it leaves to class 0; half precision is near enough.
    write_probability(path, (1 - probability)[None, None])
    found = evaluated(slices, settings=ScoreSettings(warping=False)).record()
    assert found["scores"] == pytest.approx(wanted["scores"])
    path.unlink()
    write_probability(path, np.stack([probability, probability])[None])
    with pytest.raises(ImageError, match=rf"case '{case}': .* the probabilities of the classes sum to .*; expected 1"):
        evaluated(slices)


def test_each_score_of_a_case_is_at_the_threshold_that_is_best_for_all_cases(slices: Any) -> None:
    flat = (0.5, 0.5, 0.5)
    cases = {
        "a": EMCurves((0.2, 0.5, 0.8), (0.9, 0.6, 0.1), flat, flat, (0.3, 0.2, 0.1)),
        "b": EMCurves((0.2, 0.5, 0.8), (0.1, 0.8, 0.7), flat, flat, (0.3, 0.1, 0.1)),
    }
    summary = summarise_membranes(cases, slices.manifest)
    assert (summary.scores["v_rand"], summary.scores["v_rand_threshold"]) == (pytest.approx(0.7), 0.5)
    assert summary.scores_by_case["v_rand"] == {"a": 0.6, "b": 0.8}
    assert (summary.scores["pixel_error"], summary.scores["pixel_error_threshold"]) == (pytest.approx(0.1), 0.8)
    assert summary.scores_by_case["pixel_error"] == {"a": 0.1, "b": 0.1}


@pytest.mark.parametrize(("excess", "is_refused"), [(2e-6, False), (1e-3, True)])
def test_what_rounding_leaves_of_probabilities_in_memory_is_cut_off(
    slices: Any, excess: float, is_refused: bool
) -> None:
    truth = np.ones((4, 5), np.int64)
    truth[2] = 0
    interior = np.where(truth == 1, 1 + excess, 0).astype(np.float32)
    arrays = CaseArrays(truth, None, np.stack([1 - interior, interior]), None)
    if is_refused:
        with pytest.raises(ImageError, match=r"case 'a': probability holds values from -0\.001.* to 1\.001"):
            score_case("a", arrays, "membranes", slices.manifest, ScoreSettings())
        return
    scored = score_case("a", arrays, "membranes", slices.manifest, ScoreSettings())
    assert summarise_membranes({"a": scored.values}, slices.manifest).scores["pixel_error"] == 0


def test_masks_of_membranes_are_scored_where_there_are_no_probabilities(slices: Any, tmp_path: Path) -> None:
    for case in slices.manifest.cases_of("validation"):
        label = read_image(slices.folder / str(case.label)).pixels[0, 0]
        write_png(tmp_path / f"{case.id}_mask.png", label)
    evaluation = evaluated(slices, settings=ScoreSettings(warping=False))
    assert evaluation.summary.scores["v_rand"] == 1.0
    assert "warping_error" not in evaluation.summary.scores
    assert evaluation.calibration is None
