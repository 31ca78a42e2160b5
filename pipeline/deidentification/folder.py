"""De-identifying a folder of DICOM files into another folder, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pydicom.misc
from tqdm.auto import tqdm

from ..errors import ImageError, MissingFileError, OutputError, PipelineError
from ..formats.quiet_dicom import quiet_dicom
from .admission import CLOSED, DAMAGED, NOT_DICOM, class_name, reason_to_leave_out
from .dataset import DeidentifiedInstance, deidentify_dataset
from .elements import text_of
from .identity import HEADER_KEYWORDS, Identities, PatientHeader
from .key import DeidentificationKey
from .options import DeidentificationOptions
from .record import RECORD_NAME, DeidentificationCounts, read_earlier_runs

_SAME_INSTANCE = "another file of the same SOP Instance UID with other content"
_COPY = "copy of a file that was written"
_CLOSED_FOLDER = "folder that cannot be opened"
_LINKED_FOLDER = "link to a folder"
_WHOSE = "without Patient ID, in a study of several patients or of another"


@dataclass(frozen=True)
class DeidentificationPlan:
    """Where files come from and go to. Made by `DeidentificationPlan.checked`.

    Attributes:
        source: Folder (or one file) that is read.
        target: Folder that is written.
        files: All files of the source, in the order of their paths.
        not_searched: Folders whose files are not among them, and why.
    """

    source: Path
    target: Path
    files: tuple[Path, ...] = field(repr=False)
    not_searched: tuple[tuple[str, Path], ...] = field(default=(), repr=False)

    @classmethod
    def checked(
        cls,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        kept_outside: Sequence[str | os.PathLike[str]] = (),
    ) -> DeidentificationPlan:
        """Check both folders before anything is read or written.

        Args:
            source: The folder with identified data.
            target: The folder for de-identified data; it may be missing or empty.
            overwrite: Allow a target that holds files: same-named ones are replaced, the others stay.
            kept_outside: Files that must lie in neither folder: the key, and lists that name source files.

        Raises:
            MissingFileError: If there is no source.
            ImageError: If the source holds no files.
            OutputError: If one folder lies in the other, the target is no folder, holds files, or has no parent, or if
                a file that must be kept outside is not.
        """
        source, target = Path(source), Path(target)
        if not source.exists():
            raise MissingFileError(f"{source} not found; check the path")
        read, written = source.resolve(), target.resolve()
        if read == written or read in written.parents or written in read.parents:
            raise OutputError(
                f"{target} and {source} lie in one another; expected a folder of its own for de-identified data; "
                "name one beside it"
            )
        for path in map(Path, kept_outside):
            real = path.resolve()
            if any(folder == real or folder in real.parents for folder in (read, written)):
                raise OutputError(
                    f"{path} lies in {source} or {target}; expected it outside of both, since it leads back to the "
                    "patients; name another place"
                )
        if target.exists() and not target.is_dir():
            raise OutputError(f"{target} is a file; expected a folder; choose another name")
        if not written.parent.is_dir():
            raise OutputError(f"cannot write {target}: folder {target.parent} does not exist; create it first")
        if target.exists() and any(target.iterdir()) and not overwrite:
            raise OutputError(f"folder {target} is not empty; pass --force (in Python: overwrite=True) to add to it")
        not_searched: list[tuple[str, Path]] = []
        files = (source,) if source.is_file() else tuple(_files_below(source, not_searched))
        if not files:
            raise ImageError(
                f"folder {source} holds no files that can be read; expected DICOM files; check the path and the "
                "permissions"
            )
        return cls(source, target, files, tuple(not_searched))


def deidentify_folder(
    plan: DeidentificationPlan,
    key: DeidentificationKey,
    options: DeidentificationOptions | None = None,
    *,
    left_out: list[tuple[str, Path]] | None = None,
    progress: bool = False,
) -> DeidentificationCounts:
    """De-identify every image of a folder; `deidentify_dataset` says how, `reason_to_leave_out` which.

    Files become `PATIENT/STUDY/SERIES/INSTANCE.dcm`, named by pseudonyms that the key gives; no name of the source
    appears anywhere. Beside them lies `deidentification.json`: options, numbers and the version of the program; where
    a run adds to the folder of an earlier one, also what that one's record said. The
    folder appears when everything is done: after an error or an interruption it is as it was before. The source is
    only read. What pydicom would log or warn about is kept still, since it quotes values.

    Args:
        plan: The folders.
        key: What pseudonyms are derived from.
        options: Options of the profile; None for the basic profile alone.
        left_out: Gets reason and source path of what is not written or not searched. Paths may name patients.
        progress: Show a progress bar.

    Returns:
        What was done, in numbers.

    Raises:
        ImageError: If not one file can be written.
        ConfigError: If the target holds files that were made with another key or with other options.
        OutputError: If the operating system cannot write.
    """
    options = options or DeidentificationOptions()
    counts = DeidentificationCounts(files_read=len(plan.files))
    counts.not_searched.update(reason for reason, _ in plan.not_searched)
    if left_out is not None:
        left_out.extend(plan.not_searched)
    target = plan.target.resolve()
    earlier_runs = read_earlier_runs(plan.target, key, options)
    staging = target.with_name(f".partial-{secrets.token_hex(4)}")
    digests: dict[Path, bytes] = {}
    try:
        staging.mkdir()
        identities = _identities(plan.files, progress)
        for path in tqdm(plan.files, desc="de-identifying", unit="file", disable=not progress, leave=False):
            with quiet_dicom():
                reason = _deidentify_file(path, staging, key, options, identities, counts, digests)
            if reason is not None:
                counts.left_out[reason] += 1
                if left_out is not None:
                    left_out.append((reason, path))
        if not counts.files_written:
            reasons = "; ".join(f"{number} {reason}" for reason, number in sorted(counts.left_out.items()))
            raise ImageError(
                f"{plan.source} holds no image that may be written ({reasons}); expected DICOM images; check the folder"
            )
        record = json.dumps(counts.record(key, options) | earlier_runs, indent=2, ensure_ascii=False) + "\n"
        _write(staging / RECORD_NAME, record.encode("utf-8"))
        _publish(staging, target)
    except PipelineError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {plan.target}: {error.strerror}; check the free space and the permissions"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return counts


def _deidentify_file(
    path: Path,
    staging: Path,
    key: DeidentificationKey,
    options: DeidentificationOptions,
    identities: Identities,
    counts: DeidentificationCounts,
    digests: dict[Path, bytes],
) -> str | None:
    """De-identify one file and count it; return why it is left out, or None."""
    try:
        # Pipes and devices could be read for ever.
        read = path.read_bytes() if path.is_file() else b""
    except OSError:
        return CLOSED
    if read[128:132] != b"DICM":
        return NOT_DICOM
    try:
        dataset = pydicom.dcmread(io.BytesIO(read))
        reason = reason_to_leave_out(dataset)
        if reason is not None:
            return reason
        identity = identities.of(PatientHeader.of(dataset))
        if identity is None:
            return _WHOSE
        instance = deidentify_dataset(dataset, key, options, identity=identity)
        content = _encoded(instance)
    except MemoryError:
        raise
    except Exception:
        # Bytes can be wrong in ways that no list of pydicom's exceptions covers, and a traceback would quote them.
        return DAMAGED
    place = staging / instance.patient / instance.study / instance.series / f"{instance.instance}.dcm"
    digest = hashlib.sha256(content).digest()
    if place in digests:
        return _COPY if digests[place] == digest else _SAME_INSTANCE
    place.parent.mkdir(parents=True, exist_ok=True)
    _write(place, content)
    digests[place] = digest
    _count(instance, counts)
    if identities.is_ambiguous(identity):
        counts.ambiguous_patients.add(instance.patient)
    return None


def _identities(files: Sequence[Path], progress: bool) -> Identities:
    """Read who the patients are, from every header that can be read."""
    identities = Identities()
    for path in tqdm(files, desc="reading headers", unit="file", disable=not progress, leave=False):
        with quiet_dicom(), contextlib.suppress(Exception):
            # Damaged files are counted when their turn comes; a traceback would quote them.
            if path.is_file() and pydicom.misc.is_dicom(path):
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER_KEYWORDS))
                identities.add(PatientHeader.of(header))
    return identities


def _count(instance: DeidentifiedInstance, counts: DeidentificationCounts) -> None:
    counts.files_written += 1
    counts.patients.add(instance.patient)
    counts.studies.add((instance.patient, instance.study))
    counts.series.add((instance.patient, instance.study, instance.series))
    if text_of(instance.dataset, "BurnedInAnnotation").upper() == "NO":
        counts.burned_in_no += 1
    else:
        counts.burned_in_not_stated[class_name(str(instance.dataset.SOPClassUID))] += 1
    counts.without_patient_id += not instance.had_patient_id
    counts.repeated_identifiers += instance.repeated_identifiers


def _encoded(instance: DeidentifiedInstance) -> bytes:
    """Return the bytes of a DICOM file: a preamble of zeros, new file meta information, the dataset (PS3.10)."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, instance.dataset, enforce_file_format=True)
    return stream.getvalue()


def _files_below(folder: Path, not_searched: list[tuple[str, Path]]) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        not_searched.append((_CLOSED_FOLDER, Path(error.filename)))

    for root, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        # Path.is_symlink raises over a path that is too long.
        links = (Path(root, name) for name in folders if os.path.islink(Path(root, name)))  # noqa: PTH114
        not_searched.extend((_LINKED_FOLDER, path) for path in links)
        yield from (Path(root, name) for name in sorted(names))


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish(staging: Path, target: Path) -> None:
    """Give the finished folder its name, or add its files to a folder that holds some."""
    if not target.exists() or not any(target.iterdir()):
        if target.exists():
            target.rmdir()
        staging.rename(target)
        return
    for path in _files_below(staging, []):
        place = target / path.relative_to(staging)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
