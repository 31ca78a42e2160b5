"""What the user points at, as a list of image files, and the names of the results that belong to them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..counted import counted
from ..errors import ConfigError, MissingFileError, OutputError
from .ome_zarr import ZARR_SUFFIX, is_zarr_name
from .raster import PNG_SUFFIXES, RASTER_SUFFIXES, check_raster_suffix

ResultKind = Literal["mask", "instances", "probability", "overlay"]
_KINDS: tuple[ResultKind, ...] = ("mask", "instances", "probability", "overlay")


@dataclass(frozen=True)
class Inputs:
    """The images found, and what was passed over.

    Attributes:
        images: In the order of the command line; within a folder in natural order (2 before 10).
        skipped: Entries of folders that are no images: other suffixes, hidden files, other sub-folders.
    """

    images: tuple[Path, ...]
    skipped: tuple[Path, ...]


@dataclass(frozen=True)
class ResultPaths:
    """Names of all results of one image: `<stem>_<kind>` in `folder`, PNG for a PNG and TIFF for TIFF and OME-Zarr.

    Probabilities are always TIFF, since PNG holds no real numbers, and overlays always PNG. Of `cell.ome.tif` and
    `cell.ome.zarr` the stem is `cell`: results are no OME files.

    Attributes:
        source: The image.
        folder: Where results go.
    """

    source: Path
    folder: Path

    @property
    def mask(self) -> Path:
        """Mask or class indices."""
        return self._named("mask", self._suffix)

    @property
    def instances(self) -> Path:
        """Instance numbers."""
        return self._named("instances", self._suffix)

    @property
    def probability(self) -> Path:
        """Probabilities."""
        return self._named("probability", ".tif")

    @property
    def overlay(self) -> Path:
        """The outline on the image, to look at."""
        return self._named("overlay", ".png")

    def of_kind(self, kind: ResultKind) -> Path:
        """Return the path of one kind of result."""
        return {
            "mask": self.mask,
            "instances": self.instances,
            "probability": self.probability,
            "overlay": self.overlay,
        }[kind]

    @property
    def scratch(self) -> Path:
        """Hidden folder of what is unfinished, for an image larger than memory."""
        return self.folder / f".partial-{self._stem}"

    def mark(self, kind: ResultKind) -> Path:
        """Return the file in `scratch` that tells that a result is written where none was before."""
        return self.scratch / f"{kind}.begun"

    def is_unfinished(self, kind: ResultKind) -> bool:
        """Return whether a result was written by a run that has not finished all results of the image."""
        return self.mark(kind).exists() and self.of_kind(kind).exists()

    @property
    def _suffix(self) -> str:
        return ".png" if self.source.suffix.lower() in PNG_SUFFIXES else ".tif"

    @property
    def _stem(self) -> str:
        return re.sub(r"\.ome$", "", self.source.stem, flags=re.IGNORECASE)

    def _named(self, kind: ResultKind, suffix: str) -> Path:
        return self.folder / f"{self._stem}_{kind}{suffix}"


def find_inputs(paths: Iterable[str | os.PathLike[str]], *, formats: Literal["all", "raster"] = "all") -> Inputs:
    """List the images among files and folders.

    A folder gives the PNG and TIFF files and the OME-Zarr folders directly in it, in natural order; other sub-folders
    are not entered, since results of equal names would meet in one output folder. An image named twice counts once. No
    file is opened.

    Args:
        paths: Files and folders, as the user names them.
        formats: `"all"`; or `"raster"` for PNG and TIFF files alone, which fit in memory.

    Returns:
        At least one image, and what was passed over in folders.

    Raises:
        ConfigError: If `paths` is empty.
        MissingFileError: If a path does not exist, or a folder holds no image.
        ImageError: If a file named by the user is not named as PNG or TIFF.
    """
    images: dict[Path, Path] = {}
    skipped: list[Path] = []
    takes_zarr = formats == "all"
    for path in map(Path, paths):
        if path.is_dir() and not (takes_zarr and is_zarr_name(path)):
            found, passed_over = _list_folder(path, takes_zarr)
            skipped += passed_over
        else:
            found = [path]
        for image in found:
            is_zarr = takes_zarr and is_zarr_name(image)
            if not is_zarr and not image.is_file():
                raise MissingFileError(f"input {image} not found or not a file; check the path")
            if not is_zarr:
                check_raster_suffix(image)
            images.setdefault(image.parent.resolve() / image.name, image)
    if not images:
        raise ConfigError("no input given; name at least one image file or a folder of images")
    return Inputs(tuple(images.values()), tuple(skipped))


def image_records(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Return the images of a folder as MONAI takes them: `{"image": path, "source": path}` each, in natural order.

    Raises:
        MissingFileError: If there is no such folder, or no image in it.
    """
    return [{"image": str(path), "source": str(path)} for path in find_inputs([folder], formats="raster").images]


def plan_results(
    images: Sequence[Path],
    folder: str | os.PathLike[str],
    *,
    kinds: Iterable[ResultKind] = (),
    overwrite: bool = False,
) -> list[ResultPaths]:
    """Name the results of each image, and refuse the whole run before its first result would destroy something.

    Args:
        images: What `find_inputs` found.
        folder: The output folder; it need not exist.
        kinds: The results that will be written, which must not exist yet unless `overwrite` is set or they are those of
            a run that was killed before it had written all results of the image.
        overwrite: Let results replace those of an earlier run. An input is never overwritten.

    Returns:
        One value for each image, in the same order.

    Raises:
        OutputError: If two images would give a result of the same name, a result would overwrite an image, `folder` is
            a file, or a result exists already.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder} is a file; name a folder")
    plan = [ResultPaths(image, folder) for image in images]
    sources = {os.path.realpath(image): image for image in images}
    planned: dict[Path, Path] = {}
    for results in plan:
        for kind in _KINDS:
            path = results.of_kind(kind)
            other = planned.setdefault(path, results.source)
            if other != results.source:
                raise OutputError(
                    f"inputs {other} and {results.source} would both write {path}; expected different names; "
                    "rename one, or run them into different output folders"
                )
            overwritten = sources.get(os.path.realpath(path))
            if overwritten is not None:
                raise OutputError(
                    f"the {kind} of {results.source} would overwrite the input {overwritten}; choose another output "
                    "folder, or leave results of earlier runs out of the inputs"
                )
    for results in plan:
        for kind in kinds:
            if results.of_kind(kind).exists() and not overwrite and not results.is_unfinished(kind):
                raise OutputError(
                    f"{results.of_kind(kind)} already exists; pass --force (in a bundle run --overwrite True, in "
                    "Python overwrite=True) to replace it, or choose another output folder"
                )
    return plan


def _list_folder(folder: Path, takes_zarr: bool) -> tuple[list[Path], list[Path]]:
    """Return the images of a folder in natural order, and everything else in it."""
    try:
        entries = sorted(folder.iterdir(), key=natural_order)
    except OSError as error:
        raise MissingFileError(f"folder {folder} cannot be listed: {error.strerror}; check its permissions") from error
    images = [entry for entry in entries if _is_image_name(entry, takes_zarr)]
    if not images:
        raise MissingFileError(
            f"folder {folder} holds no image ({counted(len(entries), 'other entry', 'other entries')}); expected files "
            f"ending in {', '.join(RASTER_SUFFIXES)}{' or folders ending in ' + ZARR_SUFFIX if takes_zarr else ''}; "
            "name the folder that holds them directly"
        )
    return images, [entry for entry in entries if not _is_image_name(entry, takes_zarr)]


def _is_image_name(path: Path, takes_zarr: bool) -> bool:
    """Return whether an entry of a folder is meant; hidden files (`._a.tif` of macOS, `.partial-…`) never are."""
    if path.name.startswith("."):
        return False
    return is_zarr_name(path) and takes_zarr if path.is_dir() else path.suffix.lower() in RASTER_SUFFIXES


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sort key that compares numbers in names as numbers."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name
