"""What a de-identification did, in numbers and in words that hold nothing of the patients."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..counted import counted
from ..errors import ConfigError
from ..formats.dicom_files import DEIDENTIFICATION_RECORD
from ..formats.whole_file import whole_file
from .key import DeidentificationKey
from .options import DeidentificationOptions
from .profile import confidentiality_profile

RECORD_NAME = DEIDENTIFICATION_RECORD


@dataclass
class DeidentificationCounts:
    """What happened to the files of a run.

    Attributes:
        files_read: Files that were found.
        files_written: Instances that were written.
        patients: Pseudonyms; likewise `studies` and `series`, by the names of their folders.
        left_out: Why files were left out, and how many.
        not_searched: Why folders were not searched, and how many.
        burned_in_no: Written instances that say that no annotation is burned in.
        burned_in_not_stated: Written instances that do not say so, by the name of their SOP class.
        without_patient_id: Written instances whose source says no Patient ID.
        ambiguous_patients: Pseudonyms of those whose Patient ID stands with several names or birth dates.
        repeated_identifiers: Values that were cleared because they repeat an identifier.
    """

    files_read: int = 0
    files_written: int = 0
    patients: set[str] = field(default_factory=set)
    studies: set[tuple[str, str]] = field(default_factory=set)
    series: set[tuple[str, str, str]] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    not_searched: Counter[str] = field(default_factory=Counter)
    burned_in_no: int = 0
    burned_in_not_stated: Counter[str] = field(default_factory=Counter)
    without_patient_id: int = 0
    ambiguous_patients: set[str] = field(default_factory=set)
    repeated_identifiers: int = 0

    @property
    def studies_of_several_patients(self) -> int:
        """How many studies have files of more than one pseudonym."""
        patients = Counter(study for _, study in self.studies)
        return sum(number > 1 for number in patients.values())

    def record(self, key: DeidentificationKey, options: DeidentificationOptions) -> dict[str, Any]:
        """Return what is kept beside the files: program, profile, options and numbers, and no identifier."""
        return {
            "made_by": {"program": "unet-pipeline", "version": __version__},
            "profile": {
                "standard": "DICOM PS3.15 Annex E, Table E.1-1",
                "edition": confidentiality_profile().edition,
                "method_codes": [
                    {"code": code, "scheme": "DCM", "meaning": meaning} for code, meaning in options.codes
                ],
            },
            "options": dataclasses.asdict(options),
            "key_fingerprint": key.fingerprint,
            "files": {"read": self.files_read, "written": self.files_written, "left_out": _sorted(self.left_out)},
            "folders_not_searched": _sorted(self.not_searched),
            "patients": len(self.patients),
            "studies": len(self.studies),
            "series": len(self.series),
            "burned_in_annotation": {"NO": self.burned_in_no, "not_stated": _sorted(self.burned_in_not_stated)},
            "files_without_patient_id": self.without_patient_id,
            "patients_with_several_names_or_birth_dates": len(self.ambiguous_patients),
            "studies_of_several_patients": self.studies_of_several_patients,
            "repeated_identifiers_cleared": self.repeated_identifiers,
        }

    def lines(self) -> list[str]:
        """Return the same for a person to read, a line a topic."""
        lines = [
            f"{counted(self.files_written, 'file')} of {counted(len(self.patients), 'patient')} de-identified "
            f"({counted(len(self.studies), 'study', 'studies')}, {counted(len(self.series), 'series', 'series')})"
        ]
        if self.left_out:
            reasons = "; ".join(f"{number} {reason}" for reason, number in _sorted(self.left_out).items())
            lines.append(f"{counted(self.left_out.total(), 'file')} not written: {reasons}")
        if self.not_searched:
            reasons = "; ".join(f"{number} {reason}" for reason, number in _sorted(self.not_searched).items())
            lines.append(f"not searched: {reasons}")
        if self.burned_in_not_stated:
            lines.append(
                f"burned-in annotation: {counted(self.burned_in_not_stated.total(), 'file')} not stated, "
                f"{self.burned_in_no} stated NO; pixels were not looked at: look at the images before you share them"
            )
        if self.without_patient_id:
            lines.append(
                f"{counted(self.without_patient_id, 'file')} without a Patient ID: of the patient of their study, "
                "else told apart by name and birth date, or by study"
            )
        if self.ambiguous_patients:
            lines.append(
                f"{counted(len(self.ambiguous_patients), 'Patient ID')} with several names or birth dates: one "
                "pseudonym each; make sure that each is one person"
            )
        if self.studies_of_several_patients:
            studies = counted(self.studies_of_several_patients, "study", "studies")
            lines.append(f"{studies} of several Patient IDs: a pseudonym for each of them")
        if self.repeated_identifiers:
            lines.append(f"{counted(self.repeated_identifiers, 'value')} cleared that repeat an identifier")
        return lines


def read_earlier_runs(
    folder: Path, key: DeidentificationKey, options: DeidentificationOptions
) -> dict[str, list[dict[str, Any]]]:
    """Return what the record of a folder says of the runs before, under `earlier_runs`; nothing where it has none.

    Raises:
        ConfigError: If that record cannot be read, or is of another key or of other options: one patient would be
            there twice.
    """
    path = folder / RECORD_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made_with = (record.pop("key_fingerprint"), record.pop("options"))
        earlier = list(record.pop("earlier_runs", ()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} cannot be read as the record of a de-identification; expected the one that an earlier run wrote; "
            "choose an empty folder"
        ) from error
    if made_with != (key.fingerprint, dataclasses.asdict(options)):
        raise ConfigError(
            f"{folder} holds files that were made with another key or with other options; expected the same for one "
            "folder, since each patient has one pseudonym there; pass those, or choose an empty folder"
        )
    return {"earlier_runs": [*earlier, record]}


def write_left_out(path: str | os.PathLike[str], left_out: Iterable[tuple[str, Path]]) -> None:
    """Write which files were left out, in a new file that only its owner may read: reason, tab, path.

    Raises:
        OutputError: If the file exists or cannot be written.
    """
    with whole_file(path) as partial:
        partial.chmod(stat.S_IRUSR | stat.S_IWUSR)
        lines = (f"{reason}\t{source}\n" for reason, source in left_out)
        partial.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))
