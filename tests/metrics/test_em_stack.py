"""Scores of a stack: means before the best, slices by case, refusals that name the case."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError, ImageError, LabelError, PipelineError
from pipeline.metrics import EMCurves, em_scores, em_scores_by_case, em_stack_scores

TRUTH = np.array([[True, True, False, True, True]])


def curves(*v_rand: float, warping: bool = True) -> EMCurves:
    errors = tuple(1 - value for value in v_rand)
    return EMCurves(
        (0.2, 0.5, 0.8)[: len(v_rand)],
        v_rand,
        v_rand,
        errors,
        errors,
        tuple(v / 9 for v in v_rand) if warping else None,
    )


def drawn(count: int) -> list[tuple[str, NDArray[np.float64], NDArray[np.bool_]]]:
    rng = np.random.default_rng(1)
    return [(f"case_{number}", rng.random((9, 11)), rng.random((9, 11)) < 0.7) for number in range(count)]


def test_a_stack_is_averaged_at_each_threshold_before_the_best_is_taken() -> None:
    scores = em_stack_scores([curves(1.0, 0.8, 0.0), curves(0.0, 0.8, 1.0)])
    assert scores.v_rand_curve == (0.5, 0.8, 0.5)
    assert (scores.v_rand, scores.v_rand_threshold) == (0.8, 0.5)
    assert scores.pixel_error == scores.rand_error == pytest.approx(0.2)
    assert scores.warping_error == pytest.approx(0.5 / 9)
    assert scores.warping_error_threshold == 0.2


def test_the_order_of_slices_does_not_change_the_last_digit() -> None:
    rng = np.random.default_rng(0)
    slices = [curves(*rng.random(3)) for _ in range(30)]
    expected = em_stack_scores(slices)
    for _ in range(20):
        assert em_stack_scores([slices[i] for i in rng.permutation(30)]) == expected


@pytest.mark.parametrize("warping", [True, False])
def test_a_stack_of_one_slice_scores_as_the_slice(warping: bool) -> None:
    assert em_stack_scores([curves(0.1, 0.7, 0.4, warping=warping)]) == curves(0.1, 0.7, 0.4, warping=warping)


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        pytest.param([], "0 slices with 0 sets", id="empty"),
        pytest.param([curves(1, 1), curves(1, 1, 1)], "2 slices with 2 sets", id="other-thresholds"),
        pytest.param(
            [curves(1), curves(1, warping=False), curves(1)], "2 of 3 slices have a warping error", id="some-warping"
        ),
    ],
)
def test_a_stack_that_cannot_be_averaged_is_refused(slices: list[EMCurves], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        em_stack_scores(slices)


# By case.


@pytest.mark.parametrize("warping", [True, False])
def test_slices_are_scored_each_under_its_case_in_their_order(warping: bool) -> None:
    scores = em_scores_by_case(drawn(4)[::-1], (0.3, 0.6), warping=warping)
    assert list(scores) == ["case_3", "case_2", "case_1", "case_0"]
    for case, probability, truth in drawn(4):
        assert scores[case] == em_scores(probability, truth, (0.3, 0.6), warping=warping)


def test_one_slice_is_read_at_a_time() -> None:
    held = []

    def read() -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.bool_]]]:
        for one in drawn(3):
            held.append(one[0])
            yield one

    assert list(em_scores_by_case(read())) == held == ["case_0", "case_1", "case_2"]
    held.clear()
    with pytest.raises(ConfigError, match="thresholds"):
        em_scores_by_case(read(), ())
    assert held == ["case_0"]


def test_the_bar_shows_how_many_slices_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    em_scores_by_case(drawn(3))
    assert capsys.readouterr() == ("", "")
    em_scores_by_case(drawn(3), progress=True)
    out, shown = capsys.readouterr()
    assert out == ""
    assert "scoring" in shown
    assert "/3 " in shown


@pytest.mark.parametrize(
    ("probability", "truth", "error", "message"),
    [
        pytest.param([[0, math.nan, 0, 0, 0]], TRUTH, ImageError, "not a number", id="nan"),
        pytest.param([[0, 0, 1.5, 0, 0]], TRUTH, ImageError, "values from 0 to 1.5", id="above-1"),
        pytest.param([[0, -0.5, 1, 0, 0]], TRUTH, ImageError, "values from -0.5 to 1", id="below-0"),
        pytest.param([[0, 0, 1, 0]], TRUTH, LabelError, r"\(1, 5\) and the membrane probability \(1, 4\)", id="shape"),
        pytest.param([[0, 0, 1, 0, 0]], 255 * TRUTH, LabelError, r"\[0, 255\]", id="label-values"),
        pytest.param([[0, 0, 1, 0, 0]], TRUTH & False, LabelError, "no interior", id="all-membrane"),
    ],
)
def test_a_slice_that_cannot_be_scored_is_refused_by_its_case(
    probability: list[list[float]], truth: NDArray[np.generic], error: type[PipelineError], message: str
) -> None:
    with pytest.raises(error, match=f"^case 'bad': .*{message}"):
        em_scores_by_case([("good", [[0, 0, 1, 0, 0]], TRUTH), ("bad", probability, truth)])


def test_a_case_that_comes_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="case 'case_0' comes twice"):
        em_scores_by_case(drawn(1) * 2)
