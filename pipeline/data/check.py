"""Holding a folder against its manifest: every problem, with the case it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from ..errors import MissingFileError, PipelineError
from .case_content import check_label_grid, read_case_image, read_case_label
from .digests import content_sha256
from .manifest import Manifest
from .manifest_entries import Case


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Attributes:
        case: Id of the case, or None where it is about the manifest as a whole.
        text: What is wrong, in one line.
    """

    case: str | None
    text: str

    def __str__(self) -> str:
        """Return the line that people read."""
        return f"manifest: {self.text}" if self.case is None else f"case {self.case!r}: {self.text}"


def check_data_set(manifest_path: str | Path, folder: str | Path, progress: bool = False) -> list[Problem]:
    """Check everything that can be checked of a data set, and go on after a problem.

    The manifest: its classes, cases and splits, and that no patient is in two of them. Each case: its files are there,
    have the digests that the manifest knows, and are read as training reads them, so that what `read_nifti` and
    `read_dicom_series` refuse (NaN, a missing slice, a tilted gantry) is a problem of the case; image and label lie on
    one grid (PNG and TIFF: have one size); a DICOM SEG refers to the series of the image, lies on its voxels and gives
    each of them one class; the label holds no value that stands for no class. No image is that of another patient or
    another split.

    Args:
        manifest_path: The manifest.
        folder: Where the files are.
        progress: Show a progress bar.

    Returns:
        The problems: those of the manifest, those of the cases in their order, and images that are there twice.

    Raises:
        MissingFileError: If there is no such manifest or folder.
        ManifestError: If the manifest is not JSON or breaks the schema: then nothing else can be told.
    """
    manifest, folder = Manifest.read(manifest_path), Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"data folder {folder} not found; give the folder that the manifest's paths start from")
    problems = [Problem(None, breach) for breach in manifest.breaches()]
    cases = tqdm(manifest.cases, desc="checking", unit="case", disable=not progress, leave=False)
    digests: dict[str, str] = {}
    problems += [Problem(case.id, text) for case in cases for text in _problems_of(case, manifest, folder, digests)]
    return [*problems, *_twins(manifest, digests)]


def _twins(manifest: Manifest, digests: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the cases that have the image of an earlier one, which belongs to another patient or another split."""
    split_of = {case: split for split, cases in manifest.splits.items() for case in cases}
    first: dict[str, Case] = {}
    for case in manifest.cases:
        other = first.setdefault(digests.get(case.id, case.id), case)
        splits = [split_of.get(case.id), split_of.get(other.id)]
        if case.patient != other.patient or splits[0] != splits[1]:
            where = "another patient" if case.patient != other.patient else f"the split {splits[1]!r}"
            yield Problem(
                case.id,
                f"its image is byte for byte that of case {other.id!r}, of {where}; leave one out, or give both one "
                "patient",
            )


def _problems_of(case: Case, manifest: Manifest, folder: Path, digests: dict[str, str]) -> Iterator[str]:
    """Yield the problems of a case, and note the digest of its image."""
    missing = case.missing_files(folder)
    for path in missing:
        yield f"{path} not found; {manifest.way_to_get_files(folder)}"
    damaged = set()
    for kind, relative, expected in case.files():
        path = folder / relative
        names = case.image_files if kind == "image" else ()
        if any(gone == path or path in gone.parents for gone in missing):
            continue
        try:
            found = content_sha256(path, names)
        except OSError as error:
            damaged.add(kind)
            yield f"{kind} {path} cannot be read: {error.strerror}; make it readable"
            continue
        if kind == "image":
            digests[case.id] = found
        if expected is not None and found != expected:
            yield f"{kind} {path} has SHA-256 {found}, but the manifest expects {expected}"
    if not missing and not damaged:
        yield from _problems_of_content(case, manifest, folder)


def _problems_of_content(case: Case, manifest: Manifest, folder: Path) -> Iterator[str]:
    image = label = None
    try:
        image = read_case_image(folder / case.image, case.image_files)
    except PipelineError as error:
        yield str(error)
    if case.label is None:
        return
    try:
        label = read_case_label(folder / case.label, image)
        if image is not None:
            check_label_grid(label, image)
    except PipelineError as error:
        yield str(error)
    unknown = [value for value in label.values or () if value not in manifest.class_values] if label else []
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        yield (
            f"label {folder / case.label} holds the values {shown}, which stand for no class; the classes have "
            f"{sorted(manifest.class_values)}"
        )
