"""What was done to a volume, as JSON beside its results. Nothing in it tells who the patient is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..formats import (
    AlgorithmIdentification,
    DicomSeries,
    NiftiImage,
    whole_file,
    without_file_names,
)
from .inputs import SeriesInput, Volume, VolumeInput


def write_volume_record(
    path: Path,
    volume_input: VolumeInput,
    volume: Volume,
    algorithm: AlgorithmIdentification,
    run: Mapping[str, Any],
    results: Sequence[Path],
    *,
    overwrite: bool = False,
) -> None:
    """Write the record of one volume.

    Args:
        path: The JSON file to write.
        volume_input: Where the volume came from.
        volume: The volume.
        algorithm: The bundle and its weights.
        run: How it was run: device, format of numbers, overlays, settings, seconds.
        results: The files that were written.
        overwrite: Replace a file that is already there.

    Raises:
        OutputError: If it cannot be written.
    """
    record = {
        "source": _source(volume_input, volume),
        "results": [result.name for result in results],
        "bundle": asdict(algorithm),
        "run": dict(run),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": f"unet-pipeline {__version__}",
    }
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _source(volume_input: VolumeInput, volume: Volume) -> dict[str, Any]:
    """Describe the source: the size, what was repaired and passed over; a series by the digest of its UID."""
    facts: dict[str, Any] = {"voxels": list(volume.voxels.shape)}
    match volume.source:
        case NiftiImage() as image:
            return {"format": "NIfTI", "file": image.path.name, **volume_input.state, **facts}
        case DicomSeries() as series:
            assert isinstance(volume_input, SeriesInput)
            return {
                "format": "DICOM",
                "series_uid_sha256" if volume_input.uid else "series_files_sha256": volume_input.digest,
                "modality": str(series.headers[0].get("Modality") or ""),
                **facts,
                "repairs": [without_file_names(repair) for repair in series.repairs],
                **volume_input.state,
                "skipped": dict(series.skipped) | volume_input.passed_over,
            }
