"""The commands `unet-pipeline data ...`: each parses, calls one function of `pipeline.data`, and says what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import deidentify_command
from .counted import counted
from .errors import ConfigError, ManifestError, OutputError

_EXCHANGE = ("msd", "nnunet", "croissant")


def add_parser(commands: Any) -> None:
    """Add `data` with its commands to the parser's commands."""
    parser = commands.add_parser(
        "data",
        help="manifests: index, check, split, fetch, export, import; and deidentify",
        description="Make, check and exchange manifests: what a data set is, and which cases train and which validate. "
        "Remove the identity of patients from DICOM files.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_index, _add_check, _add_split, _add_fetch, _add_export, _add_import):
        add(actions)
    deidentify_command.add_parser(actions)


def _add_index(actions: Any) -> None:
    parser = actions.add_parser(
        "index",
        help="make a manifest of a folder",
        description="Scan a folder for DICOM series (with DICOM SEG as labels), or for pairs of NIfTI, PNG or TIFF "
        "files, and write a manifest with their digests. Patients, studies and series of DICOM become pseudonyms.",
        epilog="example: unet-pipeline data index scans --image-glob '*/t1.nii.gz' --label-glob '*/mask.nii.gz' "
        "-o scans.json",
    )
    parser.add_argument("folder", metavar="FOLDER", help="the folder; paths in the manifest start from it")
    _add_output(parser, "manifest to write")
    parser.add_argument("--name", help="name of the data set (default: that of the folder)")
    parser.add_argument("--image-glob", metavar="PATTERN", help="images, such as 'images/*.png'")
    parser.add_argument("--label-glob", metavar="PATTERN", help="labels, with the same wildcards: 'masks/*.png'")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME=VALUE",
        help="classes by their value in label files, background first (default: the values found)",
    )  # fmt: skip
    parser.add_argument(
        "--patient-pattern", metavar="REGEX",
        help="what tells the patient in a path, its first group, or the whole if it has none: "
        "'^([^/]+)/' is the first folder "
        "(default: PatientID of DICOM, sub-... of BIDS, else each image is a patient of its own)",
    )  # fmt: skip
    parser.add_argument(
        "--key-file", metavar="FILE",
        help="secret of at least 16 bytes: with it a patient has the same pseudonym in every index (default: a random "
        "one that is not kept)",
    )  # fmt: skip
    parser.add_argument(
        "--identifying-paths",
        action="store_true",
        help="paths name patients, and the manifest may hold them; cases and patients get pseudonyms",
    )
    parser.set_defaults(command=_index)


def _add_check(actions: Any) -> None:
    parser = actions.add_parser(
        "check",
        help="hold a folder against its manifest",
        description="Check that files are there and have their digests, that image and label lie on one grid, that "
        "labels hold known values, and that no patient is in two splits. Lists every problem; exit status 2 if there "
        "is one.",
        epilog="example: unet-pipeline data check data_manifests/msd_hippocampus.json Task04_Hippocampus",
    )
    _add_data_set(parser)
    parser.set_defaults(command=_check)


def _add_split(actions: Any) -> None:
    parser = actions.add_parser(
        "split",
        help="draw folds by patient",
        description="Draw k folds, a held-out part, or both, in which no patient is twice, and write them with the "
        "seed into the manifest. Replaces the splits that are there.",
        epilog="example: unet-pipeline data split scans.json --folds 5 --holdout 0.2 --seed 1 -o scans_5_folds.json",
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="the manifest")
    _add_output(parser, "manifest to write; may be the same with --force")
    parser.add_argument("--seed", type=int, required=True, help="seed of the draw, at least 0")
    parser.add_argument("--folds", type=int, metavar="K", help="number of folds, at least 2")
    parser.add_argument(
        "--holdout", type=float, metavar="PART",
        help="part of the patients to hold out, at most 0.5: as 'test' beside folds, else as 'validation'",
    )  # fmt: skip
    parser.add_argument(
        "--stratify", metavar="class|ATTRIBUTE",
        help="keep the classes in the labels, or an attribute of the cases, alike in all parts",
    )  # fmt: skip
    parser.add_argument("--folder", metavar="FOLDER", help="where the files are; --stratify class reads the labels")
    parser.set_defaults(command=_split)


def _add_fetch(actions: Any) -> None:
    parser = actions.add_parser(
        "fetch",
        help="download a data set",
        description="Download the archives that a manifest names, check their digests and unpack them. Goes on where "
        "an earlier download stopped. Read the licence first: it is printed.",
        epilog="example: unet-pipeline data fetch my_manifest.json my_data",
    )
    _add_data_set(parser)
    parser.set_defaults(command=_fetch)


def _add_export(actions: Any) -> None:
    parser = actions.add_parser(
        "export",
        help="write a data set for other tools",
        description="Copy a data set into the layout of the Medical Segmentation Decathlon (msd) or nnU-Net version 2 "
        "(nnunet), or describe it in a Croissant file (croissant). In both layouts DICOM series and their labels "
        "become "
        "NIfTI, each on its own voxel grid.",
        epilog="example: unet-pipeline data export scans.json scans --to nnunet -o Dataset001_Scans",
    )
    _add_data_set(parser)
    parser.add_argument("--to", required=True, choices=_EXCHANGE, help="the format")
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH", help="folder to make; for croissant the file to write"
    )
    parser.add_argument("--force", action="store_true", help="replace a Croissant file")
    parser.set_defaults(command=_export)


def _add_import(actions: Any) -> None:
    parser = actions.add_parser(
        "import",
        help="make a manifest of a data set of other tools",
        description="Make a manifest of a folder in the layout of the Medical Segmentation Decathlon (msd) or nnU-Net "
        "version 2 (nnunet), or of a Croissant file that `data export` wrote. The files stay where they are.",
        epilog="example: unet-pipeline data import Task04_Hippocampus --from msd -o hippocampus.json",
    )
    parser.add_argument("path", metavar="PATH", help="the folder; for croissant the file")
    parser.add_argument("--from", dest="source", required=True, choices=_EXCHANGE, help="the format")
    _add_output(parser, "manifest to write")
    parser.add_argument(
        "--patient-pattern", metavar="REGEX",
        help="what tells the patient in the path of an image, its first group, or the whole if it has none (default: "
        "the manifest that `data export` noted, sub-... of BIDS, else each image is a patient of its own)",
    )  # fmt: skip
    parser.set_defaults(command=_import)


def _add_data_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", help="the manifest")
    parser.add_argument("folder", metavar="FOLDER", help="where the files are; the manifest's paths start from it")


def _add_output(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help=what)
    parser.add_argument("--force", action="store_true", help="replace it if it exists")


def _index(options: argparse.Namespace) -> None:
    from .data import Pseudonyms, index_data_set

    _refuse_existing(options)
    fields, notes = index_data_set(
        options.folder,
        name=options.name,
        pseudonyms=Pseudonyms.from_file(options.key_file) if options.key_file else None,
        image_glob=options.image_glob,
        label_glob=options.label_glob,
        classes=None if options.classes is None else _classes(options.classes),
        patient_pattern=options.patient_pattern,
        identifying_paths=options.identifying_paths,
        progress=True,
    )
    _write(options, fields)
    for note in notes:
        print(note, file=sys.stderr)
    patients = len({case["patient"] for case in fields["cases"]})
    print(
        f"{counted(len(fields['cases']), 'case')} of {counted(patients, 'patient')}, "
        f"{counted(len(fields['classes']), 'class', 'classes')}: {options.output}; fill in licence and citation, check "
        "the names of the classes, and draw splits (unet-pipeline data split)"
    )


def _check(options: argparse.Namespace) -> None:
    from .data import Manifest, check_data_set

    problems = check_data_set(options.manifest, options.folder, progress=True)
    for problem in problems:
        print(problem)
    manifest = Manifest.read(options.manifest)
    if problems:
        bad = len({problem.case for problem in problems if problem.case is not None})
        raise ManifestError(
            f"{counted(len(problems), 'problem')} in {options.manifest} and {options.folder}, in {bad} of "
            f"{counted(len(manifest.cases), 'case')}; they are listed above"
        )
    patients = len({case.patient for case in manifest.cases})
    print(
        f"{counted(len(manifest.cases), 'case')} of {counted(patients, 'patient')} are as {options.manifest} says; "
        f"its SHA-256 is {manifest.digest}"
    )


def _split(options: argparse.Namespace) -> None:
    from .data import Manifest, split_data_set
    from .data.manifest_reading import read_manifest_fields

    manifest = Manifest.read(options.manifest)
    drawn = split_data_set(
        manifest,
        seed=options.seed,
        folds=options.folds,
        holdout=options.holdout,
        stratify=options.stratify,
        folder=options.folder,
        progress=True,
    )
    fields = {key: value for key, value in read_manifest_fields(manifest.path)[0].items() if key != "folds"}
    _write(options, {**fields, **drawn})
    sizes = [f"{split} {counted(len(ids), 'case')}" for split, ids in drawn["splits"].items()]
    if "folds" in drawn:
        sizes.append("folds of " + ", ".join(str(len(part)) for part in drawn["folds"]["parts"]))
    print(f"{'; '.join(sizes)}: {options.output}")


def _fetch(options: argparse.Namespace) -> None:
    from .data import Manifest, fetch_data_set

    manifest = Manifest.load(options.manifest)
    terms = manifest.licence.terms or manifest.licence.url
    print(f"licence: {manifest.licence.name}; {terms}", file=sys.stderr)
    number = fetch_data_set(manifest, options.folder, progress=True)
    said = f"{counted(number, 'file')} fetched" if number else "everything was there"
    print(f"{said}; all files are as the manifest says: {options.folder}")


def _export(options: argparse.Namespace) -> None:
    from .data import Manifest, export_croissant, export_msd, export_nnunet

    manifest = Manifest.load(options.manifest)
    if options.to == "croissant":
        manifest.check_files(options.folder)
        export_croissant(manifest, options.output, overwrite=options.force)
    else:
        export = export_msd if options.to == "msd" else export_nnunet
        export(manifest, options.folder, options.output, progress=True)
    print(f"{counted(len(manifest.cases), 'case')} exported: {options.output}")


def _import(options: argparse.Namespace) -> None:
    from .data import import_croissant, import_msd, import_nnunet

    _refuse_existing(options)
    notes: tuple[str, ...] = ()
    if options.source == "croissant":
        if options.patient_pattern is not None:
            raise ConfigError("a Croissant file tells the patients; leave --patient-pattern out")
        fields = import_croissant(options.path)
    else:
        read = import_msd if options.source == "msd" else import_nnunet
        fields, notes = read(options.path, options.patient_pattern, progress=True)
    _write(options, fields)
    for note in notes:
        print(note, file=sys.stderr)
    sizes = ", ".join(f"{split} {len(ids)}" for split, ids in fields["splits"].items())
    print(f"{counted(len(fields['cases']), 'case')} ({sizes}): {options.output}")


def _refuse_existing(options: argparse.Namespace) -> None:
    """Say so before the work, and not after it."""
    if options.output.exists() and not options.force:
        raise OutputError(f"{options.output} already exists; pass --force to replace it")


def _write(options: argparse.Namespace, fields: Mapping[str, Any]) -> None:
    from .data import Manifest
    from .data.manifest_reading import write_manifest_fields

    Manifest.from_fields(dict(fields), options.output)
    write_manifest_fields(options.output, fields, overwrite=options.force)


def _classes(texts: list[str]) -> dict[str, int]:
    classes: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (name and equals and value.removeprefix("-").isdigit()):
            raise ConfigError(f"class {text!r} is not NAME=VALUE with a whole number, such as liver=1; correct it")
        if name in classes:
            raise ConfigError(f"class {name!r} is given twice; give each class its own name")
        classes[name] = int(value)
    return classes
