"""The command `unet-pipeline`: thin ways to a bundle run."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from . import __version__, data_commands
from .exit_status import say_in_one_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit with 0, with 2 after an error that the user can mend, or with 130 after Ctrl-C."""
    parser = command_line_parser()
    # argparse gives up on positional arguments that come after options, where people write id=value.
    options, rest = parser.parse_known_args(arguments)
    # MONAI looks for a decoder on GPUs whenever a reader is made; that there is none is no news for a user.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    if rest:
        if options.command not in (_train, _preview) or any(setting.startswith("-") for setting in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.settings += rest
    try:
        options.command(options)
    except (Exception, KeyboardInterrupt) as error:
        status = say_in_one_line(error, program="unet-pipeline: ")
        if status is None:
            raise
        sys.exit(status)


def _train(options: argparse.Namespace) -> None:
    # These take seconds to import; a wrong argument should not have to wait for them.
    from monai.bundle import run

    from .bundle_config import config_files, parse_bundle, parse_overrides

    overrides = {"bundle_root": options.bundle, **parse_overrides(options.settings)}
    if options.output is not None:
        # An absolute path is never taken for an expression or a reference of the config.
        overrides["output_dir"] = str(options.output.absolute())
    files = config_files(options.bundle, "train", options.overlay)
    parse_bundle(files, overrides)
    with warnings.catch_warnings():
        # The bundle was named on this command line: MONAI's reminder that configs run code is no news.
        warnings.filterwarnings("ignore", message="parsing config_file")
        run("training", config_file=[str(file) for file in files], **overrides)


def _preview(options: argparse.Namespace) -> None:
    from .bundle_config import parse_overrides
    from .preview import write_preview

    write_preview(
        options.output,
        options.bundle,
        options.number,
        options.overlay,
        parse_overrides(options.settings),
        overwrite=options.force,
    )
    print(f"{_counted(options.number, 'training tile')} drawn: {options.output}")


def _predict(options: argparse.Namespace) -> None:
    from .bundle_config import parse_overrides
    from .engines import keep_freed_memory
    from .formats import find_inputs
    from .predict import Predictor, Wanted, predict_files

    inputs = find_inputs(options.inputs)
    keep_freed_memory()
    predictor = Predictor.from_bundle(options.bundle, options.checkpoint, options.overlay, parse_overrides(options.set))
    if inputs.skipped:
        names = ", ".join(path.name for path in inputs.skipped[:5]) + (", ..." if len(inputs.skipped) > 5 else "")
        print(f"{len(inputs.skipped)} entries passed over, not PNG or TIFF: {names}", file=sys.stderr)
    plan = predict_files(
        predictor,
        inputs.images,
        options.output,
        Wanted(probability=options.probability, picture=options.picture),
        overwrite=options.force,
        skip_existing=options.skip_existing,
    )
    left_out = len(inputs.images) - len(plan)
    print(
        f"{_counted(len(plan), 'image')} segmented on {predictor.device} in {predictor.number_format}"
        f"{f', {left_out} with results skipped' if left_out else ''}: {options.output}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _add_training(parser: argparse.ArgumentParser) -> None:
    """Add what names a bundle's training."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--overlay", action="append", default=[], metavar="NAME",
        help="config laid over train.yaml, such as demo; may be given several times",
    )  # fmt: skip


def command_line_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="unet-pipeline",
        description="Train and apply the valid-padding U-Net of Ronneberger, Fischer and Brox through MONAI bundles.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a bundle",
        description="Train a bundle: the same run as `python -m monai.bundle run training`.",
        epilog="example: unet-pipeline train bundles/em_membrane_segmentation --overlay demo max_epochs=5",
    )
    _add_training(train)
    train.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER",
        help="where everything that the run writes goes (default: the bundle's folder)",
    )  # fmt: skip
    train.add_argument(
        "settings", nargs="*", metavar="id=value", help="value of a config id, such as max_epochs=5 or tile_px=380"
    )
    train.set_defaults(command=_train)

    preview = commands.add_parser(
        "preview",
        help="draw what the network will see",
        description="Draw augmented training tiles of a bundle: the tile with lines that stand every 32 px in the "
        "image bent as it is, and in its frame the network's output, its label and its weights. They are the tiles "
        "that training in one process begins with. Data that a manifest generates are generated first.",
        epilog="example: unet-pipeline preview bundles/em_membrane_segmentation --overlay demo -n 4 -o preview.png",
    )
    _add_training(preview)
    preview.add_argument("-n", "--number", type=int, default=6, help="how many tiles (default: %(default)s)")
    preview.add_argument(
        "-o", "--output", type=Path, default=Path("preview.png"), metavar="FILE",
        help="PNG file to write (default: %(default)s)",
    )  # fmt: skip
    preview.add_argument("--force", action="store_true", help="replace the file if it is there")
    preview.add_argument(
        "settings", nargs="*", metavar="id=value", help="value of a config id, such as elastic_sigma_px=20"
    )
    preview.set_defaults(command=_preview)

    predict = commands.add_parser(
        "predict",
        help="segment images",
        description="Segment PNG, TIFF and OME-Zarr: single images, folders and multi-page stacks, 8 and 16 bit. "
        "Writes <name>_mask (0 and 255) and <name>_instances, on the pixel grid of each image. Gray TIFF of more than "
        "16.7 million pixels (4096 by 4096), and OME-Zarr, may be larger than memory: they go through strip by strip, "
        "and the same command goes on where it was stopped.",
        epilog="example: unet-pipeline predict --bundle bundles/em_membrane_segmentation images -o masks --picture",
    )
    predict.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image files, OME-Zarr folders, and folders of images"
    )
    predict.add_argument("--bundle", required=True, metavar="FOLDER", help="folder of the bundle")
    predict.add_argument(
        "--checkpoint", metavar="FILE", help="trained weights (default: models/model.pt of the bundle)"
    )
    predict.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="where results go")
    predict.add_argument(
        "--probability", action="store_true", help="also write <name>_probability.tif, float32, a class a channel"
    )
    predict.add_argument(
        "--picture",
        action="store_true",
        help="also write <name>_overlay.png, to look at: outlines on the image, of the first page of a stack",
    )
    predict.add_argument(
        "--overlay", action="append", default=[], metavar="NAME", help="config laid over inference.yaml"
    )
    predict.add_argument(
        "--set", action="append", default=[], metavar="id=value",
        help="value of a config id, such as precision=fp32 or tile_px=380; may be given several times",
    )  # fmt: skip
    existing = predict.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace results of an earlier run")
    existing.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images that have all their results, so that a folder goes on where it was stopped",
    )
    predict.set_defaults(command=_predict)
    data_commands.add_parser(commands)
    return parser
