"""Everything a user can do wrong, as exceptions whose one line names the thing, the rule, the value and the way out.

::

    PipelineError
    ├── TileSizeError       (ValueError)         a tile side that a valid U-Net cannot take
    ├── ImageError          (ValueError)         an image file or array that cannot be used
    ├── LabelError          (ValueError)         a label that does not fit its image, its classes or its logits
    ├── ManifestError       (ValueError)         a data manifest, or files that differ from it
    ├── ConfigError         (ValueError)         a bundle config: an unknown id, a value out of range
    ├── CheckpointError     (RuntimeError)       a checkpoint that cannot be read, or belongs to another network
    ├── TrainingError       (RuntimeError)       a run that cannot go on: a loss that is not finite
    ├── MissingFileError    (FileNotFoundError)  a file or folder that is not there
    └── OutputError         (OSError)            a result that cannot be written, or would overwrite
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error that a user can cause; commands print it as one line and exit with status 2."""


class TileSizeError(PipelineError, ValueError):
    """A tile side that does not fit the geometry of the network."""


class ImageError(PipelineError, ValueError):
    """An image that cannot be read, or whose pixels cannot be used."""


class LabelError(PipelineError, ValueError):
    """A label that does not fit its image or the classes declared for it."""


class ManifestError(PipelineError, ValueError):
    """A data manifest that is wrong, or files that are not what it says."""


class ConfigError(PipelineError, ValueError):
    """A bundle config or an argument with an unknown name or a value out of range."""


class CheckpointError(PipelineError, RuntimeError):
    """A checkpoint that cannot be read or belongs to another network."""


class TrainingError(PipelineError, RuntimeError):
    """A training run that cannot go on."""


class MissingFileError(PipelineError, FileNotFoundError):
    """A file or folder that does not exist."""


class OutputError(PipelineError, OSError):
    """A result that cannot be written."""
