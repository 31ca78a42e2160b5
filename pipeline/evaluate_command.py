"""`unet-pipeline evaluate`: predictions, made by anybody, against the truth of a split."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .data import Manifest

NAMING_RULE: Final = (
    "A prediction is named by the id of its case or by the name of the case's image without suffix; then comes "
    "nothing (NAME.nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd, .png, .tif or .tiff: it holds the values that labels have "
    "in the manifest), or what `unet-pipeline predict` adds: NAME_mask (class indices, or 255 for class 1 of two), "
    "NAME_instances, NAME_probability.tif (a channel for each class, or class 1 of two alone), "
    "NAME_probability_1.nii.gz and so on for every class from 1. Predictions of a DICOM series may be named as "
    "`predict` does, series-<digest>. A DICOM SEG (.dcm) may have any name: it belongs to the case whose series it "
    "refers to, and its segment numbers are class indices. Pictures (NAME_overlay), fractional DICOM SEG, files of "
    "other kinds and folders are passed over."
)


def add_parser(commands: Any) -> None:
    """Add the command `evaluate` to the commands of a parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score predictions against the labels of a split",
        description="Score a folder of predictions, made by this program or by any other, against the labels of a "
        f"split. {NAMING_RULE} Every case of the split must have a prediction, and every prediction a case. Writes "
        "evaluation.json, scores.csv and pictures of the best and worst three cases, and prints a table: means over "
        "cases, and means over patients (or over blocks, where the manifest splits by block) with bootstrap intervals.",
        epilog="example: unet-pipeline evaluate --predictions masks --manifest data_manifests/msd_hippocampus.json "
        "--folder DATA --split validation -o scores",
    )
    parser.add_argument("--predictions", required=True, metavar="FOLDER", help="folder of predictions")
    parser.add_argument("--manifest", required=True, metavar="FILE", help="manifest of the data set")
    parser.add_argument("--split", required=True, help="split of the manifest that is scored, such as validation")
    parser.add_argument("--fold", type=int, help="fold of the manifest, where it has folds")
    parser.add_argument(
        "--folder", metavar="DATA", help="where images and labels of the manifest are (default: the manifest's folder)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("evaluation"), metavar="OUT",
        help="folder for the results (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--scores", choices=("classes", "membranes", "instances"),
        help="classes: Dice, IoU, NSD, HD95, ASSD, volume difference; membranes: the EM challenge's scores, from "
        "probabilities or else masks; instances: panoptic quality, F1, and the Cell Tracking Challenge's SEG and DET "
        "(default: membranes where the manifest has two classes of which class 0 is named membrane; instances where it "
        "has two and the predictions are instances alone; else classes)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out cases that have no prediction, or two of one kind, or cannot be scored, and predictions of no "
        "case; the first line and the record name them",
    )
    parser.add_argument(
        "--compare", metavar="FILE", help="evaluation.json of another run on the same split: print and keep paired "
        "differences, this run minus that one",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace results of an earlier evaluation")
    _add_settings(parser)
    parser.set_defaults(command=_evaluate)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how it is scored")
    how.add_argument(
        "--tolerance-mm", type=float, default=1.0, metavar="MM",
        help="surfaces that lie no further apart agree, for the NSD (default: %(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--empty", choices=("nan", "perfect"), default="nan",
        help="what a score is where neither truth nor prediction has the class or an object: none, or perfect; where "
        "only one has it, the score is the worst (default: %(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--no-warping", action="store_true", help="leave out the warping error, a third of the time of membranes"
    )
    how.add_argument(
        "--iou-thresholds", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.9], metavar="IOU",
        help="thresholds of F1 of instances (default: 0.5 to 0.9)",
    )  # fmt: skip
    how.add_argument(
        "--border-px", type=int, default=0, metavar="PX",
        help="objects with no pixel further than this from the border are outside the field of interest of SEG and DET "
        "(default: %(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--values", choices=("auto", "labels", "indices"), default="auto",
        help="what masks hold: the values that labels have in the manifest, or class indices (default: by their names)",
    )  # fmt: skip
    how.add_argument(
        "--objects", choices=("components", "numbers"), default="components",
        help="for instances: objects of a label are the 4-connected components of class 1, or its numbers (default: "
        "%(default)s)",
    )  # fmt: skip
    how.add_argument("--seed", type=int, default=0, help="seeds the intervals (default: %(default)s)")


def _evaluate(options: argparse.Namespace) -> None:
    # These take seconds to import; a wrong argument should not have to wait for them.
    from .data import Manifest
    from .evaluation import (
        OtherEvaluation,
        ScoreSettings,
        check_output,
        compare,
        comparison_fields,
        comparison_text,
        evaluate_predictions,
        table_text,
    )

    settings = ScoreSettings(
        tolerance_mm=options.tolerance_mm,
        empty=options.empty,
        warping=not options.no_warping,
        iou_thresholds=options.iou_thresholds,
        border_px=options.border_px,
        seed=options.seed,
    )
    manifest = Manifest.load(options.manifest, options.fold)
    cases = manifest.cases_of(options.split)
    data = manifest.path.parent if options.folder is None else Path(options.folder)
    check_output(
        options.output, [case.id for case in cases], overwrite=options.force, sources=_sources(options, manifest, data)
    )
    other = None if options.compare is None else OtherEvaluation.read(options.compare)
    if other is not None:
        other.check_split(manifest, options.split)
    evaluation = evaluate_predictions(
        options.predictions,
        manifest,
        options.split,
        data,
        options.scores,
        settings,
        values=options.values,
        objects=options.objects,
        skip_bad=options.skip_bad,
        progress=True,
    )
    compared = () if other is None else compare(evaluation, other)
    more = {} if other is None else {"comparison": comparison_fields(compared, other)}
    path = evaluation.write(options.output, overwrite=options.force, more=more)
    print(table_text(evaluation))
    if compared:
        print(comparison_text(compared))
    print(f"scores of every case: {path}")


def _sources(options: argparse.Namespace, manifest: Manifest, data: Path) -> list[Path]:
    """Return the files that are read, folders of DICOM left out: results may lie beside them, but not replace them."""
    files = [manifest.path, *(data / case.image for case in manifest.cases)]
    files += [data / case.label for case in manifest.cases if case.label is not None]
    files += [] if options.compare is None else [Path(options.compare)]
    predictions = Path(options.predictions)
    return files + (list(predictions.iterdir()) if predictions.is_dir() else [])
