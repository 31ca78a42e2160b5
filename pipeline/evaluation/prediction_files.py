"""Which file of a folder is the prediction of which case: by the name of the file, and of DICOM SEG by its content.

The rule for people is `pipeline.evaluate_command.NAMING_RULE`, which the help of `unet-pipeline evaluate` shows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ..data import Case
from ..data.case_files import is_nifti, is_raster
from ..data.dicom_reference import referenced_series, series_uid_of
from ..errors import LabelError, MissingFileError
from ..formats import (
    ITK_SUFFIXES,
    NIFTI_SUFFIXES,
    RASTER_SUFFIXES,
    is_itk_name,
    nifti_stem,
    series_digest,
    series_name,
)
from ..formats.dicom_files import UNREADABLE
from ..formats.quiet_dicom import quiet_dicom

Role = Literal["labels", "mask", "instances", "probability"]

_NIFTI_AND_OTHERS: Final = (*reversed(NIFTI_SUFFIXES), *ITK_SUFFIXES, *RASTER_SUFFIXES)
_DICOM_SUFFIX: Final = ".dcm"
_PREDICTED: Final = re.compile(r"(?P<name>.+)_(?P<ending>mask|seg|instances|probability|overlay)(?:_(?P<number>\d+))?")
_DAMAGE: Final = (*UNREADABLE, OSError)


@dataclass
class CaseFiles:
    """The predictions of one case.

    Attributes:
        labels: With values as labels have them.
        mask: As `predict` writes classes.
        instances: A number for each object.
        probability: One file of all classes, or one for each class from 1 on, in this order.
    """

    labels: Path | None = None
    mask: Path | None = None
    instances: Path | None = None
    probability: dict[int, Path] = field(default_factory=dict)

    @property
    def classes(self) -> Path | None:
        """The file that tells the classes."""
        return self.labels or self.mask

    @property
    def paths(self) -> list[Path]:
        """All files."""
        single = (self.labels, self.mask, self.instances)
        return [path for path in single if path is not None] + list(self.probability.values())

    def has(self, role: Role) -> bool:
        """Return whether there is a file of the role."""
        return bool(getattr(self, role))


@dataclass(frozen=True)
class FoundPredictions:
    """What a folder holds.

    Attributes:
        files: The files of each case of the split that has some, by case.
        strangers: Files that belong to no case of the split.
        doubled: By case, the first two files of one kind, of which nobody can tell which counts.
    """

    files: dict[str, CaseFiles]
    strangers: tuple[Path, ...]
    doubled: dict[str, tuple[Path, Path]]


def find_predictions(folder: str | Path, cases: tuple[Case, ...], data: Path) -> FoundPredictions:
    """Tell which file of a folder belongs to which case; the help of `unet-pipeline evaluate` says how.

    Args:
        folder: Folder of predictions.
        cases: The cases of the split.
        data: Where the files of the manifest are; series are asked for their UIDs.

    Raises:
        MissingFileError: If there is no such folder.
        LabelError: If a name could mean two cases.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"folder of predictions {folder} not found or not a folder; check the path")
    uids = {case.id: _series_uid(case, data) for case in cases}
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for case in cases:
        for name in {
            case.id,
            _image_stem(case),
            *((series_name(series_digest(uid, ())),) if (uid := uids[case.id]) else ()),
        }:
            owners[name].add(case.id)
    by_uid = {uid: case for case, uid in uids.items() if uid}
    files: dict[str, CaseFiles] = {}
    strangers: list[Path] = []
    doubled: dict[str, tuple[Path, Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        for name, role, number in _meaning(path, owners, by_uid):
            cases_of_name = owners.get(name, set())
            if len(cases_of_name) > 1:
                raise LabelError(
                    f"prediction {path} could be of the cases {', '.join(sorted(cases_of_name))}; name it by the id of "
                    "its case"
                )
            if not cases_of_name:
                strangers.append(path)
                continue
            (case_id,) = cases_of_name
            other = _add(files.setdefault(case_id, CaseFiles()), path, role, number)
            if other is not None:
                doubled.setdefault(case_id, (other, path))
    return FoundPredictions(files, tuple(strangers), doubled)


def _meaning(path: Path, owners: dict[str, set[str]], by_uid: dict[str, str]) -> Iterator[tuple[str, Role, int]]:
    """Yield what a file is a prediction of, its role and the number in its name; nothing where it is passed over."""
    if path.name.lower().endswith(_DICOM_SUFFIX):
        header = _header(path)
        if header is not None:
            if header.get("SegmentationType") != "FRACTIONAL":
                owners_of_series = {by_uid[uid] for uid in referenced_series(header) if uid in by_uid}
                yield owners_of_series.pop() if len(owners_of_series) == 1 else "", "mask", 0
            return
        # Who reads it will say what is wrong; its name tells to whose case that belongs.
    suffixes = (*_NIFTI_AND_OTHERS, _DICOM_SUFFIX)
    suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        return
    name = path.name[: -len(suffix)]
    found = _PREDICTED.fullmatch(name)
    # An id may itself end as a result of `predict` does.
    if found is None or name in owners or (found["number"] and found["ending"] != "probability"):
        yield name, "labels", 0
    elif found["ending"] != "overlay":
        roles: dict[str, Role] = {"seg": "mask", "mask": "mask"}
        role = roles.get(found["ending"]) or ("instances" if found["ending"] == "instances" else "probability")
        yield found["name"], role, int(found["number"] or 0)


def _add(files: CaseFiles, path: Path, role: Role, number: int) -> Path | None:
    """Add a file, and return the one whose place it takes, if there is one."""
    if role == "probability":
        other = files.probability.get(number)
        files.probability[number] = path
        files.probability = dict(sorted(files.probability.items()))
    else:
        # Labels and masks both say the classes.
        other = files.classes if role in ("labels", "mask") else files.instances
        setattr(files, role, path)
    return other


def _image_stem(case: Case) -> str:
    path = Path(case.image)
    if is_nifti(path):
        return nifti_stem(path)
    return re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE) if is_raster(path) or is_itk_name(path) else path.name


def _series_uid(case: Case, data: Path) -> str | None:
    """Return the UID of the series that is the image of a case; None for other images and where it has none."""
    image = data / case.image
    if is_nifti(image) or is_raster(image) or is_itk_name(image):
        return None
    if image.is_file():
        return series_uid_of(image)
    names = [image / name for name in case.image_files] or sorted(path for path in image.rglob("*") if path.is_file())
    return next((uid for name in names if name.is_file() and (uid := series_uid_of(name))), None)


def _header(path: Path) -> Dataset | None:
    """Return what a DICOM file says before its pixels; None if it cannot be read."""
    try:
        with quiet_dicom():
            return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, *_DAMAGE):
        return None
