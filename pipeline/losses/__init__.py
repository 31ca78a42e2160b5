"""Losses."""

from .pixel_weighted import PixelWeightedLoss as PixelWeightedLoss
