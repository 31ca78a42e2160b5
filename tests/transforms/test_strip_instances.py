"""Instances of a mask that comes in strips: the numbering of the whole mask, however it is cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.errors import LabelError
from pipeline.transforms import StripInstances, interior_instances

Mask = NDArray[np.bool_]

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def in_strips(mask: Mask, rows: int) -> StripInstances:
    def read() -> Iterator[Mask]:
        for first in range(0, len(mask), rows):
            yield mask[first : first + rows]

    return StripInstances.of(read)


def drawn(*rows: str) -> Mask:
    """Return a mask drawn with `#` for membrane and `.` for interior."""
    return np.array([[pixel == "." for pixel in row] for row in rows])


@settings(max_examples=300, deadline=None)
@given(mask=masks)
def test_every_strip_height_gives_the_numbers_of_the_whole_mask(mask: Mask) -> None:
    expected = interior_instances(mask)
    for rows in range(1, len(mask) + 1):
        found = in_strips(mask, rows)
        strips = list(found.strips())
        assert [len(strip) for strip in strips] == [
            len(mask[first : first + rows]) for first in range(0, len(mask), rows)
        ]
        np.testing.assert_array_equal(np.concatenate(strips), expected)
        assert found.count == expected.max()
        assert all(strip.dtype == np.int32 for strip in strips)


@pytest.mark.parametrize("density", [0.3, 0.6, 0.65, 0.9])
@pytest.mark.parametrize("rows", [1, 7, 64, 500])
def test_large_random_masks_are_numbered_as_a_whole(density: float, rows: int) -> None:
    mask = np.random.default_rng(int(100 * density)).random((300, 211)) < density
    np.testing.assert_array_equal(np.concatenate(list(in_strips(mask, rows).strips())), interior_instances(mask))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_arms_that_meet_far_below_are_one_instance_with_the_number_of_the_first(rows: int) -> None:
    comb = drawn(".#.#.", ".#.#.", ".#.#.", "...#.", "##.#.", ".....")
    found = in_strips(comb, rows)
    assert found.count == 1
    np.testing.assert_array_equal(np.concatenate(list(found.strips())), comb)


def test_an_instance_that_begins_later_but_more_to_the_left_comes_later() -> None:
    found = np.concatenate(list(in_strips(drawn("##.", ".#.", ".##"), 1).strips()))
    np.testing.assert_array_equal(found, [[0, 0, 1], [2, 0, 1], [2, 0, 0]])


@settings(max_examples=50, deadline=None)
@given(mask=masks, cuts=st.sets(st.integers(1, 13)))
def test_strips_may_differ_in_height(mask: Mask, cuts: set[int]) -> None:
    pieces = np.split(mask, sorted(cut for cut in cuts if cut < len(mask)))
    found = StripInstances.of(lambda: pieces)
    np.testing.assert_array_equal(np.concatenate(list(found.strips())), interior_instances(mask))


@pytest.mark.parametrize(("value", "count"), [(False, 0), (True, 1)], ids=["membrane", "interior"])
def test_a_constant_mask_has_no_or_one_instance(value: bool, count: int) -> None:
    found = in_strips(np.full((9, 4), value), 2)
    assert found.count == count
    np.testing.assert_array_equal(np.concatenate(list(found.strips())), np.full((9, 4), count))


def test_a_strip_that_is_no_mask_is_refused() -> None:
    with pytest.raises(LabelError, match="compare the label with its interior class first"):
        StripInstances.of(lambda: [np.zeros((3, 4), np.uint8)])
