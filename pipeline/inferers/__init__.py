"""Inferers: from a trained network and an image of any size to its prediction."""

from .class_mask import class_mask as class_mask
from .dihedral import DihedralInferer as DihedralInferer
from .overlap_tile import OverlapTileInferer as OverlapTileInferer
from .overlap_tile import geometry_of as geometry_of
