"""`unet-pipeline predict`: images and volumes through a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .counted import counted
from .errors import ConfigError

if TYPE_CHECKING:
    from .predict import Predictor

_FOR_VOLUMES = {"format": "--format", "series": "--series", "all_series": "--all-series", "allow": "--allow"}


def add_parser(commands: Any) -> None:
    """Add the command `predict` to the commands of a parser."""
    parser = commands.add_parser(
        "predict",
        help="segment images and volumes",
        description="Segment PNG, TIFF and OME-Zarr with a bundle for images: single images, folders and multi-page "
        "stacks, 8 and 16 bit. Writes <name>_mask (0 and 255) and <name>_instances, on the pixel grid of each image. "
        "Gray TIFF of more than 16.7 million pixels (4096 by 4096), and OME-Zarr, may be larger than memory: they go "
        "through strip by strip, and the same command goes on where it was stopped. Segment DICOM series and NIfTI "
        "with a bundle for volumes: a folder is searched to its depths for DICOM, in whatever order its files are, and "
        "series that have gaps, doubled slices or a tilt are refused. Writes series-<digest>_seg.dcm for a series, "
        "which belongs to the source's patient and study, <name>_mask.nii.gz for NIfTI, and a JSON record, in which no "
        "patient is named, beside each.",
        epilog="example: unet-pipeline predict --bundle bundles/em_membrane_segmentation images -o masks --picture",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT",
        help="image files, OME-Zarr folders and folders of images; or NIfTI files, folders of them, and folders of "
        "DICOM",
    )  # fmt: skip
    parser.add_argument("--bundle", metavar="FOLDER", help="folder of the bundle (required but with --list)")
    parser.add_argument("--checkpoint", metavar="FILE", help="trained weights (default: models/model.pt of the bundle)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="where results go (required but with --list)"
    )
    parser.add_argument(
        "--probability", action="store_true",
        help="also write probabilities: <name>_probability.tif, float32, a class a channel; of a volume a fractional "
        "DICOM SEG, or <name>_probability_<class>.nii.gz for each class from 1 on",
    )  # fmt: skip
    parser.add_argument(
        "--picture",
        action="store_true",
        help="also write <name>_overlay.png, to look at: outlines on the image, of the first page of a stack",
    )
    _add_volume_options(parser)
    parser.add_argument(
        "--overlay", action="append", default=[], metavar="NAME", help="config laid over inference.yaml"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="id=value",
        help="value of a config id, such as precision=fp32 or tile_px=380; may be given several times",
    )  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace results of an earlier run")
    existing.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images that have all their results, so that a folder goes on where it was stopped",
    )
    parser.set_defaults(command=_predict, refuse=parser.error)


def _add_volume_options(parser: argparse.ArgumentParser) -> None:
    volumes = parser.add_argument_group("volumes")
    volumes.add_argument(
        "--format", choices=("dicom-seg", "nifti"),
        help="how masks are written (default: dicom-seg for a DICOM series, nifti for NIfTI)",
    )  # fmt: skip
    which = volumes.add_mutually_exclusive_group()
    which.add_argument(
        "--series", action="append", default=[], metavar="UID",
        help="the series of a folder that holds several; may be given several times",
    )  # fmt: skip
    which.add_argument(
        "--all-series", action="store_true", help="all series of the folders, but for those of localizers alone"
    )
    which.add_argument(
        "--list", action="store_true",
        help="show the DICOM series of the inputs, with UID, modality, number and size of slices, and segment nothing",
    )  # fmt: skip
    volumes.add_argument(
        "--allow", action="append", default=[], metavar="REPAIR",
        help="a repair of DICOM series that may be made, and is recorded: duplicate, empty-file, gap, interleaved, "
        "localizer, modality, monochrome1-invert, monochrome1-keep, rescale, slice-spacing, tilt or units; may be "
        "given several times",
    )  # fmt: skip


def _predict(options: argparse.Namespace) -> None:
    if options.list:
        _list(options)
        return
    missing = [name for name, value in (("--bundle", options.bundle), ("-o/--output", options.output)) if value is None]
    if missing:
        options.refuse(f"the following arguments are required: {', '.join(missing)}")
    # These take seconds to import; a wrong argument should not have to wait for them.
    from .bundle_config import parse_overrides
    from .engines import keep_freed_memory
    from .predict import Predictor

    keep_freed_memory()
    predictor = Predictor.from_bundle(options.bundle, options.checkpoint, options.overlay, parse_overrides(options.set))
    for remark in predictor.remarks:
        print(remark, file=sys.stderr)
    (_predict_volumes if predictor.reads_volumes else _predict_images)(options, predictor)


def _list(options: argparse.Namespace) -> None:
    from .volumes import find_series

    rows = [("SERIES", "MODALITY", "SLICES", "ROWS × COLUMNS")]
    for series in find_series(options.inputs, progress=True):
        sizes = " and ".join(f"{rows} × {columns}" for rows, columns in series.sizes_px)
        kind = f"{series.modality}{' localizer' if series.is_localizer else ''}"
        rows.append((series.uid or "(no UID)", kind, str(series.slices), sizes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _predict_images(options: argparse.Namespace, predictor: Predictor) -> None:
    from .formats import find_inputs
    from .predict import Wanted, predict_files
    from .volumes import check_not_volumes

    given = next((option for name, option in _FOR_VOLUMES.items() if getattr(options, name)), None)
    if given is not None:
        raise ConfigError(f"{given} is for volumes, and bundle {options.bundle} segments images; leave it out")
    check_not_volumes(options.inputs)
    inputs = find_inputs(options.inputs)
    if inputs.skipped:
        names = ", ".join(path.name for path in inputs.skipped[:5]) + (", ..." if len(inputs.skipped) > 5 else "")
        print(
            f"{counted(len(inputs.skipped), 'entry', 'entries')} passed over, not PNG or TIFF: {names}", file=sys.stderr
        )
    plan = predict_files(
        predictor,
        inputs.images,
        options.output,
        Wanted(probability=options.probability, picture=options.picture),
        overwrite=options.force,
        skip_existing=options.skip_existing,
    )
    _say(options, predictor, "image", len(plan), len(inputs.images) - len(plan))


def _predict_volumes(options: argparse.Namespace, predictor: Predictor) -> None:
    from .predict_volumes import predict_volumes
    from .volumes import SeriesChoice, SeriesInput, find_volumes

    if options.picture:
        raise ConfigError(f"--picture is for images, and bundle {options.bundle} segments volumes; leave it out")
    choice = SeriesChoice(options.series, options.all_series, options.allow)
    volumes = find_volumes(options.inputs, choice, progress=True)
    plan = predict_volumes(
        predictor,
        volumes,
        options.output,
        options.format,
        probability=options.probability,
        overwrite=options.force,
        skip_existing=options.skip_existing,
    )
    passed_over: dict[Path, list[str]] = {}
    named: dict[Path, list[str]] = {}
    for results in plan:
        source = json.loads(results.record.read_text(encoding="utf-8"))["source"]
        for repair in source.get("repairs", ()):
            print(f"{results.source.name}: {repair}", file=sys.stderr)
        if isinstance(results.source, SeriesInput):
            folder = results.source.folder
            named.setdefault(folder, []).append(results.source.name)
            passed_over[folder] = [f"{count} {kind} passed over" for kind, count in source["skipped"].items()]
    # Folders may be named by patients: the first of its series stands for each.
    for folder, notes in passed_over.items():
        others = f" and {len(named[folder]) - 1} more of its folder" if len(named[folder]) > 1 else ""
        for note in notes:
            print(f"{named[folder][0]}{others}: {note}", file=sys.stderr)
    _say(options, predictor, "volume", len(plan), len(volumes) - len(plan))


def _say(options: argparse.Namespace, predictor: Predictor, noun: str, number: int, left_out: int) -> None:
    print(
        f"{counted(number, noun)} segmented on {predictor.device} in {predictor.number_format}"
        f"{f', {left_out} with results skipped' if left_out else ''}: {options.output}"
    )
