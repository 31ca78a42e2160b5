"""Pairing images with labels by their paths: by the folders that data sets use, or by two patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ..counted import counted
from ..errors import ConfigError, ImageError, LabelError

# Medical Segmentation Decathlon and nnU-Net; this project; and what most others write.
_LABEL_FOLDER: Final[Mapping[str, str]] = {
    "imagesTr": "labelsTr",
    "imagesTs": "labelsTs",
    "images": "labels",
    "image": "label",
}
_CHANNEL: Final = re.compile(r"_(\d{4})$")


@dataclass(frozen=True)
class Pair:
    """An image and its label, relative to the data folder.

    Attributes:
        name: What both names have in common, for the id of the case.
        image: Path of the image.
        label: Path of the label, or None.
    """

    name: str
    image: str
    label: str | None


def pair_by_folders(names: Sequence[str]) -> list[Pair]:
    """Pair `imagesTr/x.nii.gz` (or `imagesTr/x_0000.nii.gz`) with `labelsTr/x.nii.gz`, and so on.

    Args:
        names: Paths of images and labels relative to the data folder.

    Raises:
        ImageError: If no folder is named as one of images, or an image has several channels in files of their own.
        LabelError: If a label belongs to no image.
    """
    labels = {_key(name): name for name in names if set(PurePosixPath(name).parent.parts) & set(_LABEL_FOLDER.values())}
    pairs = []
    for name in names:
        folder = next((part for part in PurePosixPath(name).parent.parts if part in _LABEL_FOLDER), None)
        if folder is None:
            continue
        channel = _CHANNEL.search(_stem(name))
        if channel and folder in ("imagesTr", "imagesTs"):
            if channel[1] != "0000":
                raise ImageError(
                    f"image {name} is another channel of an image; expected one channel a case; move it away"
                )
            unmarked = PurePosixPath(name).with_name(PurePosixPath(name).name.replace(channel[0], "", 1)).as_posix()
        else:
            unmarked = name
        label = labels.pop(_key(unmarked, folder), None)
        pairs.append(Pair(_stem(unmarked), name, label))
    if not pairs:
        raise ImageError(
            f"of {counted(len(names), 'image')} none lies in a folder named {', '.join(_LABEL_FOLDER)}; say which are "
            "images and which labels: --image-glob 'scans/*.nii.gz' --label-glob 'masks/*.nii.gz'"
        )
    if labels:
        raise LabelError(f"label {min(labels.values())} belongs to no image; expected an image of the same name")
    return pairs


def pair_by_globs(names: Sequence[str], image_glob: str, label_glob: str | None) -> list[Pair]:
    """Pair what `*`, `?` and `**` stand for in two patterns: `*/t1.nii.gz` and `*/mask.nii.gz`.

    Args:
        names: Paths relative to the data folder.
        image_glob: Pattern of images; `*` stands for any part of one name, `**/` for folders.
        label_glob: Pattern of labels with the same wildcards in the same order, or None where there are no labels.

    Raises:
        ConfigError: If the patterns have different wildcards, or one is absolute.
        ImageError: If nothing matches the image pattern, or two images match alike.
        LabelError: If a label belongs to no image.
    """
    image_pattern, label_pattern = _pattern(image_glob), _pattern(label_glob or "")
    if label_glob is not None and image_pattern.groups != label_pattern.groups:
        raise ConfigError(
            f"patterns {image_glob!r} and {label_glob!r} have {image_pattern.groups} and {label_pattern.groups} "
            "wildcards; expected as many, in the same order: an image and a label belong together where they stand for "
            "the same"
        )
    labels = {found.groups(): name for name in names if label_glob and (found := label_pattern.fullmatch(name))}
    taken = set(labels.values())
    images: dict[tuple[str, ...], str] = {}
    for name in names:
        if name not in taken and (found := image_pattern.fullmatch(name)):
            if found.groups() in images:
                raise ImageError(f"images {images[found.groups()]} and {name} are one case to {image_glob!r}")
            images[found.groups()] = name
    if not images:
        raise ImageError(
            f"no file matches {image_glob!r}; the pattern starts from the data folder: '**/' is any folder"
        )
    strange = [name for key, name in labels.items() if key not in images]
    if strange:
        raise LabelError(f"label {strange[0]} belongs to no image that matches {image_glob!r}; correct the patterns")
    return [
        Pair("-".join(filter(None, (part.strip("/") for part in key))) or _stem(name), name, labels.get(key))
        for key, name in images.items()
    ]


def _pattern(glob: str) -> re.Pattern[str]:
    if glob.startswith("/") or "\\" in glob:
        raise ConfigError(f"pattern {glob!r} is absolute or has a backslash; expected one relative to the data folder")
    wildcards = {"**/": r"((?:[^/]+/)*)", "*": r"([^/]*)", "?": r"([^/])"}
    pieces = re.split(r"(\*\*/|\*|\?)", glob)
    return re.compile("".join(wildcards.get(piece, re.escape(piece)) for piece in pieces))


def _key(name: str, image_folder: str | None = None) -> tuple[str, str]:
    """Return the folder of a label, or that of the label which an image should have, and the name without suffix."""
    parent = PurePosixPath(name).parent
    parts = [_LABEL_FOLDER[part] if part == image_folder else part for part in parent.parts]
    return "/".join(parts), _stem(name)


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return path.name.removesuffix(".gz").removesuffix(".nii") if path.name.endswith((".nii", ".nii.gz")) else path.stem


def relative_names(folder: Path, paths: Sequence[Path]) -> list[str]:
    """Return paths relative to the data folder, with '/' between their parts, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in paths)
