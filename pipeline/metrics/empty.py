"""What a score says where truth or prediction is empty: one rule for every score of this package.

=========================== ===================================================================================
both empty                  what the caller chose: `"nan"`, no score (nothing was there to find; tables leave it out
                            and say so), or `"perfect"`, the best value of the score
one of them empty           the worst value: 0 where 1 is perfect; where 0 mm is perfect (HD95, ASSD), the diagonal
                            of the grid in mm, which no distance within the image exceeds
=========================== ===================================================================================

"Empty" means without voxels of the class, or without objects. Two numbers have no worst value and follow from their
own definitions instead: the volume difference in mm3 is that of the volumes, 0 included, unless both are empty; and the
relative one is NaN where the truth is empty, because there is no volume to relate it to. The scores of the EM challenge
refuse a truth without cells, as `em_scores` says.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from ..errors import ConfigError

EmptyRule = Literal["nan", "perfect"]


def empty_score(
    truth_is_empty: bool, pred_is_empty: bool, empty: EmptyRule, best: float = 1.0, worst: float = 0.0
) -> float | None:
    """Return the score where truth or prediction is empty, None where neither is.

    Args:
        truth_is_empty: Whether the truth has no voxel or object.
        pred_is_empty: Whether the prediction has none.
        empty: What it is when both are empty: `"nan"` for no score, `"perfect"` for the best one.
        best: The best value of the score.
        worst: Its value when only one of them is empty.

    Raises:
        ConfigError: If `empty` is neither; also where nothing is empty, so that a typing error shows at once.
    """
    check_empty_rule(empty)
    if truth_is_empty and pred_is_empty:
        return math.nan if empty == "nan" else best
    return worst if truth_is_empty or pred_is_empty else None


def check_empty_rule(empty: EmptyRule) -> None:
    """Check the name of the rule.

    Raises:
        ConfigError: If it is not known.
    """
    if empty not in get_args(EmptyRule):
        raise ConfigError(f"empty must be one of {', '.join(get_args(EmptyRule))}, got {empty!r}")
