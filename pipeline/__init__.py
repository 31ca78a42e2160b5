"""Segmentation of medical and microscopy images with the valid-padding U-Net, built on MONAI and Ignite."""

__version__ = "0.1.0"
