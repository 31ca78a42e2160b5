"""What the network of a run saw in training, drawn anew from its seed: augmented tiles, and the weights of a case."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver
from numpy.typing import NDArray

from .bundle_config import config_files, parse_bundle
from .data import Manifest, TileDataset, TileSampler
from .errors import PipelineError
from .preview import tile_picture
from .reports import overlay_picture

logger = logging.getLogger("unet_pipeline")


@dataclass(frozen=True)
class TrainingSamples:
    """Pictures of what a training began with, or why there are none.

    Attributes:
        tiles: Augmented tiles with the cases that they were drawn from.
        weights: A whole case with its label and its weight map, and its id; None without.
        reason: Why nothing is shown, or None.
    """

    tiles: tuple[tuple[str, NDArray[np.uint8]], ...] = ()
    weights: tuple[str, NDArray[np.uint8]] | None = None
    reason: str | None = None


def training_samples(
    record: Mapping[str, Any], bundle: Path, count: int, manifest: Path | None = None, folder: Path | None = None
) -> TrainingSamples:
    """Draw the tiles that the training of a run began with.

    A record is data and not code: what is built is the bundle's own config, with the numbers and texts of the run put
    in their places. No data are generated or fetched for it.

    Args:
        record: The record of the run.
        bundle: Folder of the bundle that was trained.
        count: How many tiles.
        manifest: The manifest; the bundle's own by default.
        folder: Where the files of the data set are; where the bundle expects them by default.
    """
    parser = parse_bundle(config_files(bundle, "train"), {"bundle_root": str(bundle)})
    needed = _needed(parser, "train::dataset")
    recorded, differing = _recorded_settings(record["config"], parser.get(), "")
    decisive = [name for name in differing if _is_among(name, needed)]
    if decisive:
        return TrainingSamples(reason=f"the run was set up otherwise than the bundle now is, in {', '.join(decisive)}")
    settings = {name: value for name, value in recorded.items() if _is_among(name, needed)}
    settings |= {"bundle_root": str(bundle)}
    settings |= {} if manifest is None else {"manifest_file": str(manifest.absolute())}
    settings |= {} if folder is None else {"dataset_dir": str(folder.absolute())}
    try:
        parser = parse_bundle(config_files(bundle, "train"), settings)
        data: Manifest = parser.get_parsed_content("manifest")
        if data.digest != record["manifest"]["sha256"]:
            return TrainingSamples(reason="the manifest is not the one of the run; pass that with --manifest")
        where = parser.get_parsed_content("dataset_dir")
        if data.missing_files(where, "training"):
            return TrainingSamples(reason="the files of the data set were not found; pass their folder with --data")
        data.check_files(where, "training")
        tiles = parser.get_parsed_content("train::dataset")
        return _drawn(tiles, count)
    except PipelineError as error:
        # The page may be passed on, and what an error names are files of this machine.
        logger.warning("no training tiles in the report: %s", error)
        return TrainingSamples(reason="data and config could not be used; the command said why on standard error")


def _drawn(tiles: Any, count: int) -> TrainingSamples:
    if not isinstance(tiles, TileDataset):
        return TrainingSamples(reason="the bundle's training draws no tiles that tell how they were drawn")
    explained = [tiles.explained(number) for number in islice(TileSampler(tiles, tiles.seed), count)]
    pictures = tuple((str(entry.tile["case"]), tile_picture(entry)) for entry in explained)
    case = explained[0].case
    image, label, weight = (np.asarray(torch.as_tensor(case[key])) for key in ("image", "label", "weight"))
    middle = len(image) // 2  # of slices that are channels, the one that the label belongs to
    whole = overlay_picture(image[middle : middle + 1], label, weight=weight)
    return TrainingSamples(pictures, (str(explained[0].tile["case"]), whole))


def _needed(parser: ConfigParser, start: str) -> set[str]:
    """Return an id of a config and all ids that it refers to, and these, and so on."""
    needed: set[str] = set()
    open_ids = {start}
    while open_ids:
        name = open_ids.pop()
        needed.add(name)
        for text in _texts(parser.get(name)):
            open_ids |= {
                reference for reference in ReferenceResolver.match_refs_pattern(text) if reference not in needed
            }
    return needed


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping | list):
        for item in content.values() if isinstance(content, Mapping) else content:
            yield from _texts(item)


def _is_among(name: str, needed: Collection[str]) -> bool:
    """Return whether an id is one of those, lies in one, or holds one."""
    return any(f"{name}::".startswith(f"{other}::") or f"{other}::".startswith(f"{name}::") for other in needed)


def _recorded_settings(recorded: Any, bundled: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plain values of a recorded config by id, and the ids that differ in anything else.

    What is plain replaces what is plain; expressions and references of a record are never taken over, nor is what it
    names as a `_target_`.
    """
    if recorded == bundled:
        return {}, []
    pairs: Sequence[tuple[str, Any, Any]]
    if isinstance(recorded, Mapping) and isinstance(bundled, Mapping):
        places = ("bundle_root", "manifest_file", "dataset_dir", "output_dir", "ckpt_dir", "log_dir", "_meta_")
        names = [name for name in dict.fromkeys((*bundled, *recorded)) if where or name not in places]
        pairs = [(name, recorded.get(name), bundled.get(name)) for name in names]
    elif _is_plain(recorded) and _is_plain(bundled) and not where.rpartition("::")[2].startswith("_"):
        return {where: recorded}, []
    elif isinstance(recorded, list) and isinstance(bundled, list) and len(recorded) == len(bundled):
        pairs = [(str(number), *both) for number, both in enumerate(zip(recorded, bundled, strict=True))]
    else:
        return {}, [where]
    settings: dict[str, Any] = {}
    differing: list[str] = []
    for name, ours, theirs in pairs:
        inner = _recorded_settings(ours, theirs, f"{where}::{name}" if where else name)
        settings |= inner[0]
        differing += inner[1]
    return settings, differing


def _is_plain(value: Any) -> bool:
    """Return whether a value is numbers and texts that nothing runs or looks up."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return value[:1] not in ("$", "@", "%", "+")
    return isinstance(value, bool | int | float)
