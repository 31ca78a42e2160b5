"""Which bundle and which weights a segmentation came from, as records and DICOM SEG say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .errors import ConfigError, MissingFileError
from .formats import AlgorithmIdentification, ExpectedSeries, expected_series

NO_SETTINGS: Final = (
    *("allow", "bundle_root", "checkpoint_path", "dataset_dir", "mask_format", "output_dir", "overwrite"),
)
"""Ids of `inference.yaml` that say which files are read and written, and not how a volume is segmented. Of the repairs
that are allowed, a record has those that were made."""


@dataclass(frozen=True)
class BundleOrigin:
    """Files and settings that a predictor was made from.

    Attributes:
        bundle: Folder of the bundle.
        checkpoint: File of the weights.
        overlays: Names of overlays on `inference.yaml`.
        settings: Values of config ids.
    """

    bundle: Path
    checkpoint: Path
    overlays: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return overlays and settings as a record has them."""
        settings = json.loads(json.dumps(dict(self.settings), default=str))
        return {"overlays": list(self.overlays), "settings": dict(sorted(settings.items()))}

    def algorithm(self) -> AlgorithmIdentification:
        """Return name and version in the bundle's `metadata.json`, and the SHA-256 of the file of weights.

        Raises:
            MissingFileError: If there is no `configs/metadata.json`.
            ConfigError: If it is no JSON, or its name or version is missing or does not fit into a DICOM header.
        """
        metadata = self._metadata()
        name, version = (metadata.get(key) for key in ("name", "version"))
        if not (isinstance(name, str) and isinstance(version, str)):
            raise ConfigError(
                f"{self._metadata_path} does not say name and version of the bundle as texts; add them there"
            )
        with self.checkpoint.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return AlgorithmIdentification(name, version, digest)

    def expected(self) -> ExpectedSeries:
        """Return what the bundle's `metadata.json` says that DICOM series must be.

        Raises:
            MissingFileError: If there is no `configs/metadata.json`.
            ConfigError: If it is no JSON.
        """
        part: Any = self._metadata()
        for name in ("network_data_format", "inputs", "image"):
            part = part.get(name) if isinstance(part, dict) else None
        return expected_series(part if isinstance(part, dict) else {})

    @property
    def _metadata_path(self) -> Path:
        return self.bundle / "configs" / "metadata.json"

    def _metadata(self) -> dict[str, Any]:
        path = self._metadata_path
        if not path.is_file():
            raise MissingFileError(f"{path} not found; results must say which bundle they came from; write one")
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is not valid JSON; correct it there") from error
        return metadata if isinstance(metadata, dict) else {}
