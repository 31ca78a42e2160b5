"""Networks, one a file."""

from .valid_unet import ValidUNet as ValidUNet
