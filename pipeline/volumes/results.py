"""Names of the results of volumes, and that none of them destroys anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import OutputError
from ..formats import AlgorithmIdentification
from .inputs import NiftiInput, SeriesInput, VolumeInput

VolumeFormat = Literal["dicom-seg", "nifti"]


@dataclass(frozen=True)
class VolumeResults:
    """Names of all results of one volume in `folder`.

    Attributes:
        source: The volume.
        folder: Where results go.
        format: How masks are written.
    """

    source: VolumeInput
    folder: Path
    format: VolumeFormat

    @property
    def mask(self) -> Path:
        """The segments as DICOM SEG, or class indices as NIfTI."""
        return self._named("seg.dcm" if self.format == "dicom-seg" else "mask.nii.gz")

    def probability(self, index: int | None = None) -> Path:
        """Return the path of the probability of a class from 1 as NIfTI, or without a class of all as DICOM SEG."""
        return self._named("probability.dcm" if index is None else f"probability_{index}.nii.gz")

    @property
    def record(self) -> Path:
        """What was done, JSON; it is written last."""
        return self._named("seg.json" if self.format == "dicom-seg" else "mask.json")

    @property
    def probabilities(self) -> list[Path]:
        """Files of probabilities that are there, for whatever number of classes."""
        if not self.folder.is_dir():
            return []
        ending = r"\.dcm" if self.format == "dicom-seg" else r"_[0-9]+\.nii\.gz"
        pattern = re.compile(f"{re.escape(self.source.name)}_probability{ending}")
        return sorted(path for path in self.folder.iterdir() if pattern.fullmatch(path.name))

    @property
    def existing(self) -> list[Path]:
        """Results that are there."""
        return [path for path in (self.mask, *self.probabilities, self.record) if os.path.lexists(path)]

    def is_finished(self, with_probability: bool) -> bool:
        """Return whether a run has written all results that are wanted now."""
        has_probability = bool(self.probabilities) or not with_probability
        return self.mask.exists() and self.record.exists() and has_probability

    def check_made_alike(self, algorithm: AlgorithmIdentification, settings: Mapping[str, Any]) -> None:
        """Refuse finished results that another network, other settings or another state of the source gave.

        Args:
            algorithm: The bundle and its weights.
            settings: Values of config ids, as a record has them.

        Raises:
            OutputError: If they are such, or the record cannot be read.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            source, bundle, recorded = record["source"], record["bundle"], record["run"]["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self.record} is no record of a segmentation, so that nobody knows what the mask beside it is; pass "
                "--force to replace both, or choose another output folder"
            ) from error
        state = self.source.state
        if any(source.get(name) != value for name, value in state.items()):
            made = ", ".join(f"{name} {source.get(name)}" for name in state)
            now = ", ".join(f"{name} {value}" for name, value in state.items())
            reason = f"was made of another state of the source (then {made}; now {now})"
        elif bundle != asdict(algorithm):
            reason = "was made by another bundle, version or network"
        elif recorded != settings:
            reason = f"was made with other settings ({json.dumps(recorded)}; now {json.dumps(settings)})"
        else:
            return
        raise OutputError(f"{self.mask} {reason}; pass --force to replace it, or choose another output folder")

    def remove_earlier(self, rewritten: Collection[Path]) -> None:
        """Remove what an earlier run left and this one will not write anew: the record, then probabilities.

        Without its record a volume counts as unfinished, so that what is left by a run that is killed after this is
        never taken for whole.

        Args:
            rewritten: Results that this run writes.

        Raises:
            OutputError: If a file cannot be removed.
        """
        for path in (self.record, *(path for path in self.probabilities if path not in rewritten)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{path}, the result of an earlier run, cannot be removed: {error.strerror}; check its permissions"
                ) from error

    def _named(self, ending: str) -> Path:
        return self.folder / f"{self.source.name}_{ending}"


def plan_volume_results(
    volumes: Sequence[VolumeInput], folder: Path, result_format: VolumeFormat, *, overwrite: bool = False
) -> list[VolumeResults]:
    """Name the results of each volume, and refuse the whole run before its first result would destroy something.

    Args:
        volumes: What `find_volumes` found.
        folder: The output folder; it need not exist.
        result_format: How masks are written.
        overwrite: Let results replace those of an earlier run. An input is never overwritten.

    Raises:
        OutputError: If two volumes would give a result of one name, a result would overwrite an input, `folder` is a
            file or lies in a DICOM folder that is read, or a result exists already.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder} is a file; name a folder")
    plan = [VolumeResults(volume, folder, result_format) for volume in volumes]
    sources = {os.path.realpath(volume.path): volume.path for volume in volumes if isinstance(volume, NiftiInput)}
    named: dict[str, VolumeInput] = {}
    for results in plan:
        source = results.source
        other = named.setdefault(source.name, source)
        if other != source:
            raise OutputError(
                f"inputs {_place(other)} and {_place(source)} would both write {results.mask}; expected different "
                "names and series; run them into different output folders"
            )
        if isinstance(source, SeriesInput) and folder.resolve().is_relative_to(source.folder.resolve()):
            raise OutputError(
                f"output folder {folder} lies in the DICOM folder {source.folder}, which stays as it is; choose "
                "another output folder"
            )
        overwritten = [sources[real] for path in results.existing if (real := os.path.realpath(path)) in sources]
        if overwritten:
            raise OutputError(
                f"a result of {_place(source)} would overwrite the input {overwritten[0]}; choose another output "
                "folder, or leave results of earlier runs out of the inputs"
            )
    for results in plan:
        if results.existing and not overwrite:
            raise OutputError(
                f"{results.existing[0]} already exists; pass --force (in a bundle run --overwrite True, in Python "
                "overwrite=True) to replace it, or "
                "choose another output folder"
            )
    return plan


def _place(volume: VolumeInput) -> Path:
    return volume.path if isinstance(volume, NiftiInput) else volume.folder
