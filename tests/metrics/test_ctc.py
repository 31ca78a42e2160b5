"""SEG and DET of the Cell Tracking Challenge: worked values, laws, and py-ctcmetrics on random and on real masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ctc_metrics.metrics.technical.det import det
from ctc_metrics.metrics.technical.seg import seg
from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations, match
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.errors import ConfigError, LabelError
from pipeline.metrics import CTCSeg, ctc_det, ctc_detections, ctc_seg, ctc_seg_sequence

Instances = NDArray[np.int64]


def row(*values: int) -> Instances:
    return np.array([values])


def boxes(random: np.random.Generator, shape: Sequence[int], count: int) -> Instances:
    """Random overlapping boxes with odd numbers; the corner is background."""
    instances = np.zeros(shape, np.int64)
    for number in range(count):
        start = random.integers(0, np.array(shape) - 2)
        size = random.integers(1, np.array(shape) // 2 + 1)
        instances[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = 3 * number + 2
    instances[(0,) * len(shape)] = 0
    return instances


def perturbed(truth: Instances, random: np.random.Generator) -> Instances:
    """What a network makes of cells: shifted, some split, some merged, some missed, some invented."""
    pred = np.roll(truth, random.integers(-1, 2, truth.ndim), range(truth.ndim))
    names = np.unique(truth)[1:]
    rows = np.indices(truth.shape)[0]
    for name in names:
        fate = random.random()
        where = pred == name
        if fate < 0.15:
            pred[where] = 0
        elif fate < 0.3 and where.any():
            pred[where & (rows < rows[where].mean())] += 5000
        elif fate < 0.5:
            pred[where] = random.choice(names)
    invented = ndimage.binary_dilation(random.random(truth.shape) < 2e-4, iterations=2) & (truth == 0)
    numbers = ndimage.label(invented)[0]
    return np.where(numbers > 0, numbers + 10_000, pred)


def peer_match(truth: Instances, pred: Instances, folder: Path) -> tuple[list[float], ...]:
    """Matches of a frame by py-ctcmetrics, which reads TIFF."""
    for name, instances in (("truth", truth), ("pred", pred)):
        tifffile.imwrite(folder / f"{name}.tif", instances.astype(np.uint16))
    return match(str(folder / "truth.tif"), str(folder / "pred.tif"))


def peer(found: Sequence[tuple[list[float], ...]]) -> tuple[float, float]:
    """SEG and DET of a sequence by py-ctcmetrics."""
    labels_ref, labels_comp, mapped_ref, mapped_comp, ious = map(list, zip(*found, strict=True))
    operations = count_acyclic_graph_correction_operations(None, None, labels_ref, labels_comp, mapped_ref, mapped_comp)
    return seg(labels_ref, ious), det(**operations)


def ours(pairs: Sequence[tuple[Instances, Instances]]) -> tuple[float, float]:
    return (
        ctc_seg_sequence(ctc_seg(truth, pred) for truth, pred in pairs).value,
        ctc_det(ctc_detections(truth, pred) for truth, pred in pairs),
    )


@pytest.mark.parametrize(
    ("truth", "pred", "seg_value", "detections", "det_value"),
    [
        pytest.param(row(1, 1, 0, 2, 2), row(9, 9, 0, 4, 4), 1, (0, 0, 0, 2), 1, id="perfect"),
        # 5 is the greater half of 1 (3 of 5 px); 6 matches nothing.
        pytest.param(row(1, 1, 1, 1, 1, 0), row(5, 5, 5, 6, 6, 0), 3 / 5, (0, 0, 1, 1), 1 - 1 / 10, id="split"),
        pytest.param(row(1, 1, 1, 1, 0), row(5, 5, 6, 6, 0), 0, (0, 1, 2, 1), 0, id="split in halves: no match"),
        # 7 covers both wholly: 3/5 and 2/5; one cut parts them.
        pytest.param(row(1, 1, 1, 2, 2, 0), row(7, 7, 7, 7, 7, 0), 1 / 2, (1, 0, 0, 2), 1 - 5 / 20, id="merger"),
        pytest.param(row(1, 1, 1, 1, 0), row(0, 3, 3, 3, 3), 3 / 5, (0, 0, 0, 1), 1, id="shifted by a pixel"),
        pytest.param(row(1, 1, 0, 2, 2), row(0, 0, 0, 0, 0), 0, (0, 2, 0, 2), 0, id="empty prediction"),
        pytest.param(row(0, 0, 0, 0, 0), row(0, 8, 0, 8, 9), 0, (0, 0, 2, 0), 0, id="empty truth"),
        # Costs 5 and 12 of 10: more than from nothing, so 0.
        pytest.param(row(1, 0, 0, 0, 0), row(0, 2, 3, 4, 5), 0, (0, 1, 4, 1), 0, id="worse than nothing"),
    ],
)
def test_worked_values(
    truth: Instances, pred: Instances, seg_value: float, detections: tuple[int, ...], det_value: float
) -> None:
    assert ctc_seg(truth, pred) == (pytest.approx(seg_value), detections[3])
    assert ctc_detections(truth, pred) == detections
    assert ctc_det([ctc_detections(truth, pred)]) == pytest.approx(det_value)


def test_nothing_in_truth_and_prediction_is_what_the_caller_chose() -> None:
    nothing = row(0, 0, 0)
    assert math.isnan(ctc_seg(nothing, nothing).value)
    assert ctc_seg(nothing, nothing, empty="perfect") == (1, 0)
    frames = [ctc_detections(nothing, nothing)]
    assert math.isnan(ctc_det(frames))
    assert ctc_det(frames, empty="perfect") == 1
    assert math.isnan(ctc_seg_sequence([ctc_seg(nothing, nothing)]).value)
    assert ctc_seg_sequence([ctc_seg(nothing, nothing), ctc_seg(nothing, row(0, 1, 0))]) == (0, 0)


def test_frames_without_objects_have_no_weight_in_a_sequence() -> None:
    half, nothing, perfect, false = CTCSeg(0.5, 1), CTCSeg(math.nan, 0), CTCSeg(1.0, 0), CTCSeg(0.0, 0)
    assert ctc_seg_sequence([half, nothing, nothing]) == half
    assert ctc_seg_sequence([half, perfect, false]) == half
    # Without any object in the truth, what is predicted in one frame is false in all.
    assert ctc_seg_sequence([perfect, false, perfect]) == CTCSeg(0.0, 0)
    assert ctc_seg_sequence([nothing, false]) == CTCSeg(0.0, 0)


def test_a_sequence_is_the_mean_over_its_objects_and_not_over_its_frames() -> None:
    frames = [CTCSeg(0.5, 3), CTCSeg(1.0, 1), CTCSeg(math.nan, 0), CTCSeg(0.0, 0)]
    assert ctc_seg_sequence(frames) == (pytest.approx(2.5 / 4), 4)


def test_objects_outside_the_field_of_interest_are_left_out_whole() -> None:
    truth = np.zeros((9, 11), int)
    truth[0:2, 0:11] = 1  # wholly in the border of 2 px
    truth[1:5, 1:3] = 2  # one column in the border, one in the field
    truth[3:6, 9:11] = 3  # wholly in the border
    pred = np.zeros_like(truth)
    pred[1:5, 1:2] = 4  # half of 2, but wholly in the border
    pred[2:5, 2:3] = 5
    pred[7:9, 4:9] = 6  # wholly in the border
    assert ctc_seg(truth, truth, border_px=2) == (1, 1)
    assert ctc_seg(truth, truth) == (1, 3)
    # 2 is counted with its pixels in the border: 8 px, of which 5 covers 3.
    assert ctc_seg(truth, pred, border_px=2) == (0, 1)
    assert ctc_detections(truth, pred, border_px=2) == (0, 1, 1, 1)
    pred[1:5, 2:3] = 5
    pred[1, 1] = 5
    assert ctc_seg(truth, pred, border_px=2) == (pytest.approx(5 / 8), 1)


def test_the_border_of_a_volume_lies_along_rows_and_columns_only() -> None:
    truth = np.zeros((7, 7, 3), int)
    truth[3, 3, 0] = 1
    truth[0, 3, 1] = 2
    assert ctc_seg(truth, truth, border_px=1) == (1, 1)


@pytest.mark.parametrize("shape", [(24, 31), (15, 12, 14)], ids=str)
def test_random_sequences_equal_py_ctcmetrics(shape: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(len(shape))
    seen = []
    for _ in range(12):
        truths = [boxes(random, shape, 6) for _ in range(3)]
        pairs = [(truth, perturbed(truth, random)) for truth in truths]
        for _, pred in pairs:
            pred[(0,) * len(shape)] = 0
        found = [peer_match(*pair, tmp_path) for pair in pairs]
        assert ours(pairs) == pytest.approx(peer(found), abs=1e-12)
        seen.append(ours(pairs))
    assert np.ptp(seen, axis=0).min() > 0.2  # the law was tried on good and bad predictions


def test_real_nuclei_equal_py_ctcmetrics(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = sorted((real_data("dsb2018-nuclei") / "labels").glob("*.png"))[::3]
    assert len(paths) == 6
    pairs, found = [], []
    for path in paths:
        truth = np.array(Image.open(path)).astype(np.int64)
        pairs.append((truth, perturbed(truth, random)))
        found.append(peer_match(*pairs[-1], tmp_path))
        assert ours(pairs[-1:]) == pytest.approx(peer(found[-1:]), abs=1e-12)
    assert ours(pairs) == pytest.approx(peer(found), abs=1e-12)
    assert 0.3 < ours(pairs)[0] < 0.9
    assert 0.3 < ours(pairs)[1] < 0.9
    assert ours([(truth, truth) for truth, _ in pairs]) == (1, 1)


def test_the_numbers_of_instances_mean_nothing() -> None:
    random = np.random.default_rng(5)
    truth = boxes(random, (20, 20), 5)
    pred = perturbed(truth, random)
    renamed = np.where(pred > 0, 10**12 - pred, 0)
    assert ctc_seg(truth, renamed) == ctc_seg(truth, pred)
    assert ctc_seg(truth.astype(np.uint16), pred.astype(np.float32)) == ctc_seg(truth, pred)


def test_what_cannot_be_scored_is_refused() -> None:
    good = row(0, 1, 2)
    with pytest.raises(LabelError, match=r"truth is \(1, 3\) but pred is \(1, 2\)"):
        ctc_seg(good, row(0, 1))
    with pytest.raises(LabelError, match="pred is a bool mask"):
        ctc_seg(good, good > 0)
    with pytest.raises(LabelError, match="truth holds values that are not whole"):
        ctc_seg(good + 0.5, good)
    with pytest.raises(LabelError, match="pred holds values that are not whole"):
        ctc_seg(good, np.array([[0, np.nan, 1]]))
    with pytest.raises(LabelError, match="pred holds the instance -1"):
        ctc_detections(good, row(0, -1, 1))
    with pytest.raises(LabelError, match=r"truth and pred have no voxels: their shape is \(0, 3\)"):
        ctc_seg(good[:0], good[:0])
    with pytest.raises(LabelError, match="1 axes"):
        ctc_seg(good[0], good[0])
    for border_px in (-1, 1):
        with pytest.raises(ConfigError, match="no field of interest in an image of 1 by 3 px; it must be 0 to 0"):
            ctc_seg(good, good, border_px=border_px)
    with pytest.raises(ConfigError, match="empty must be one of nan, perfect"):
        ctc_seg(good, good, empty="one")  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="at least one frame"):
        ctc_seg_sequence([])
    with pytest.raises(LabelError, match="at least one frame"):
        ctc_det([])
