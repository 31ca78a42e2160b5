"""Inferers: from a trained network and an image of any size to its prediction."""

from .class_mask import class_mask as class_mask
from .dihedral import DihedralInferer as DihedralInferer
from .overlap_tile import OverlapTileInferer as OverlapTileInferer
from .tile_plan import AxisPlan as AxisPlan
from .tile_plan import TilePlan as TilePlan
