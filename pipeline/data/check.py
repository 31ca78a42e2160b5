"""Holding a folder against its manifest: every problem, with the case it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from ..errors import ImageError, LabelError, MissingFileError, PipelineError
from .case_files import Grid, grid_difference, is_nifti, is_raster, read_grid, read_label_values
from .dicom_reference import reference_problem
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
    have the digests that the manifest knows, and can be read; image and label lie on one grid (NIfTI: size, voxel
    sides and affine; PNG and TIFF: size; DICOM SEG: it refers to the image's series); the label holds no value that
    stands for no class. The geometry of DICOM series is not looked at here: reading the series does that.

    Args:
        manifest_path: The manifest.
        folder: Where the files are.
        progress: Show a progress bar.

    Returns:
        The problems: those of the manifest, then those of the cases in their order.

    Raises:
        MissingFileError: If there is no such manifest or folder.
        ManifestError: If the manifest is not JSON or breaks the schema: then nothing else can be told.
    """
    manifest, folder = Manifest.read(manifest_path), Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"data folder {folder} not found; give the folder that the manifest's paths start from")
    problems = [Problem(None, breach) for breach in manifest.breaches()]
    cases = tqdm(manifest.cases, desc="checking", unit="case", disable=not progress, leave=False)
    problems += [Problem(case.id, text) for case in cases for text in _problems_of(case, manifest, folder)]
    return problems


def _problems_of(case: Case, manifest: Manifest, folder: Path) -> Iterator[str]:
    missing = case.missing_files(folder)
    for path in missing:
        yield f"{path} not found; {manifest.way_to_get_files(folder)}"
    damaged = set()
    for kind, relative, expected in case.files():
        path = folder / relative
        names = case.image_files if kind == "image" else ()
        if expected is None or any(gone == path or path in gone.parents for gone in missing):
            continue
        try:
            found = content_sha256(path, names)
        except OSError as error:
            damaged.add(kind)
            yield f"{kind} {path} cannot be read: {error.strerror}; make it readable"
            continue
        if found != expected:
            yield f"{kind} {path} has SHA-256 {found}, but the manifest expects {expected}"
    if not missing and not damaged:
        yield from _problems_of_content(case, manifest, folder)


def _problems_of_content(case: Case, manifest: Manifest, folder: Path) -> Iterator[str]:
    grids: dict[str, Grid] = {}
    for kind, relative, _ in case.files():
        path = folder / relative
        if is_nifti(path) or is_raster(path):
            try:
                grids[kind] = read_grid(path)
            except PipelineError as error:
                yield str(error)
    if case.label is None:
        return
    if len(grids) == 2 and (difference := grid_difference(grids["image"], grids["label"])):
        yield f"label {folder / case.label} is on another grid than its image: {difference}"
    is_dicom_label = not (is_nifti(folder / case.label) or is_raster(folder / case.label))
    if is_dicom_label and (problem := reference_problem(folder / case.image, case.image_files, folder / case.label)):
        yield f"{folder / case.label}: {problem}"
    if not is_dicom_label and "label" not in grids:
        return
    try:
        values = read_label_values(folder / case.label)
    except (ImageError, LabelError) as error:
        yield str(error)
        return
    unknown = [value for value in values if value not in manifest.class_values]
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        yield (
            f"label {folder / case.label} holds the values {shown}, which stand for no class; the classes have "
            f"{sorted(manifest.class_values)}"
        )
