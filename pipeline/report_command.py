"""`unet-pipeline report`: what came of a run, as a page to read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command `report` to the commands of a parser."""
    parser = commands.add_parser(
        "report",
        help="write what came of runs as a page to read",
        description="Write one HTML file about a run: scores with intervals, best and worst cases, learning curves, "
        "calibration, training tiles and border weights, what the run was, the model card and the intended use. It "
        "fetches nothing and can be passed on; cases go by their ids. metrics.csv and metrics.json go beside it. "
        "Several runs stand side by side, each compared with the first where both were evaluated on one split.",
        epilog="example: unet-pipeline report run1 run2 --bundle bundles/em_membrane_segmentation -o report.html",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder that a run wrote to")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
        help="HTML file to write (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--bundle", action="append", default=[], type=Path, metavar="FOLDER",
        help="bundle of the runs, for model card and training tiles; may be given once for each run (default: the "
        "folder of the run, if it is a bundle)",
    )  # fmt: skip
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="manifest of the training (default: the bundle's)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER",
        help="files of the data set, for training tiles (default: where the bundle expects them)",
    )  # fmt: skip
    parser.add_argument(
        "--tiles", type=int, default=3, metavar="N", help="training tiles to draw (default: %(default)s; 0: none)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    # These take seconds to import; a wrong argument should not have to wait for them.
    from .report import BundleChoice, write_report

    choice = BundleChoice(options.bundle, options.manifest, options.data, options.tiles)
    files = write_report(options.output, options.runs, choice, overwrite=options.force, progress=True)
    print(f"report of {len(options.runs)} run{'' if len(options.runs) == 1 else 's'}: {', '.join(map(str, files))}")
