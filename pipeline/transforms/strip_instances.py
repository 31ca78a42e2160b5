"""The instances of a mask larger than memory, numbered strip by strip as the whole mask would be.

Strips are (row, column), from top to bottom, `True` inside cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from .instances import interior_instances


@dataclass(frozen=True, eq=False)
class StripInstances:
    """The numbering of `interior_instances`, of a mask that is read twice, a strip at a time.

    Each strip is numbered for itself. In the first pass the numbers that meet at the borders between strips are joined;
    in the second, strips come out with the final numbers. What is held is one strip, and 4 bytes for each instance of
    each strip: it grows with the number of cells, not with their area.

    Attributes:
        count: Number of instances in the whole mask.
    """

    count: int
    _read: Callable[[], Iterable[NDArray[np.bool_]]] = field(repr=False)
    _starts: tuple[int, ...] = field(repr=False)
    _numbers: NDArray[np.int32] = field(repr=False)

    @classmethod
    def of(cls, read: Callable[[], Iterable[NDArray[np.bool_]]]) -> StripInstances:
        """Make the first pass.

        Args:
            read: Gives the strips of the mask, (row, column) bool of one width and at least one row each. It is called
                once more by `strips`, and must give the same ones.

        Raises:
            LabelError: If a strip is not a two-dimensional array of bool.

        Examples:
            >>> mask = np.array([[True, False, True], [True, True, True]])
            >>> StripInstances.of(lambda: (mask[:1], mask[1:])).count
            1
        """
        starts, pairs = [0], []
        above: NDArray[np.int32] | None = None
        for strip in read():
            instances = interior_instances(strip)
            if above is not None:
                meet = (above > 0) & (instances[0] > 0)
                pairs.append(np.unique(np.stack([above[meet] + starts[-2], instances[0][meet] + starts[-1]]), axis=1))
            starts.append(starts[-1] + int(instances.max()))
            above = instances[-1].copy()
        joined = np.concatenate([np.empty((2, 0), np.int64), *pairs], axis=1)
        numbers = _final_numbers(starts[-1], joined)
        return cls(int(numbers.max()), read, tuple(starts), numbers)

    def strips(self) -> Iterator[NDArray[np.int32]]:
        """Make the second pass.

        Yields:
            (row, column) int32: the strips, with 0 on membranes and instances numbered from 1 in reading order.
        """
        for strip, (start, end) in zip(self._read(), pairwise(self._starts), strict=True):
            final = self._numbers[start : end + 1].copy()
            final[0] = 0
            yield final[interior_instances(strip)]


def _final_numbers(count: int, joined: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the final number of each provisional one, with 0 for 0.

    Args:
        count: Provisional numbers are 1 to `count`, in the order in which a reader meets them within each strip, and
            strip after strip.
        joined: (2, pairs) provisional numbers of one instance.
    """
    involved, places = np.unique(joined, return_inverse=True)
    first, second = places.reshape(2, -1)
    links = sparse.coo_array((np.ones(len(first), np.bool_), (first, second)), (len(involved),) * 2)
    _, group = csgraph.connected_components(links, directed=False)
    # An instance is met first where its lowest provisional number is; `involved` is sorted.
    _, lowest, member = np.unique(group, return_index=True, return_inverse=True)
    root = involved[lowest[member]]
    begins = np.ones(count + 1, np.bool_)
    begins[0] = False
    begins[involved[root != involved]] = False
    numbers = np.cumsum(begins, dtype=np.int32)
    numbers[involved] = numbers[root]
    return numbers
