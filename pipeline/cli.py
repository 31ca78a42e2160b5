"""The command `unet-pipeline`: thin ways to a bundle run."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from . import __version__, data_commands, evaluate_command, predict_command, report_command
from .counted import counted
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
    print(f"{counted(options.number, 'training tile')} drawn: {options.output}")


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

    predict_command.add_parser(commands)
    evaluate_command.add_parser(commands)
    report_command.add_parser(commands)
    data_commands.add_parser(commands)
    return parser
