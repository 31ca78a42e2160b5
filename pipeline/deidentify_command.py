"""`unet-pipeline data deidentify`: a folder of DICOM files without the identity of its patients."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    # Subparsers are generic for type checkers only.
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: _Commands) -> None:
    """Add the command `deidentify` to the commands of a parser."""
    parser = commands.add_parser(
        "deidentify",
        help="remove the identity of patients from DICOM files",
        description="De-identify DICOM images by the Basic Application Level Confidentiality Profile (DICOM PS3.15 "
        "Annex E): names, ids, dates, institutions, descriptions, private attributes and overlays go, UIDs are "
        "replaced consistently. Pixels stay as they are: images that say anything but NO of burned-in annotation, "
        "photographs, secondary captures, and objects without pixels (reports, presentation states, documents) are "
        "left out, and images that do not say are counted. IN is only read.",
        epilog="example: unet-pipeline data deidentify export anonymous --new-key study.key --retain-dates modified",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="folder of DICOM files, searched to its depths")
    parser.add_argument("target", type=Path, metavar="OUT", help="folder to write: missing or empty, and outside of IN")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--key", type=Path, metavar="FILE",
        help="secret that pseudonyms and UIDs are derived from, 32 bytes or more, mode 0600; the same key gives the "
        "same pseudonyms (default: a key that is drawn and not kept)",
    )  # fmt: skip
    keys.add_argument("--new-key", type=Path, metavar="FILE", help="draw a key and keep it in a new file, mode 0600")
    parser.add_argument("--retain-uids", action="store_true", help="Retain UIDs Option: keep UIDs as they are")
    parser.add_argument(
        "--retain-dates", choices=("full", "modified"),
        help="Retain Longitudinal Temporal Information Option: keep dates (full), or move all dates of a patient into "
        "the past by the same 366 to 4017 days (modified) (default: dates are removed)",
    )  # fmt: skip
    parser.add_argument(
        "--clean-descriptors", action="store_true",
        help="Clean Descriptors Option: keep of descriptions the words of a list of anatomical and technical terms "
        "(default: descriptions are removed)",
    )  # fmt: skip
    parser.add_argument(
        "--list-left-out", type=Path, metavar="FILE",
        help="new file, mode 0600, for the names of the files that are left out and why; names may tell patients",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true",
        help="add to OUT where it holds files, replacing same-named ones; needs the key and the options of before",
    )  # fmt: skip
    parser.set_defaults(command=_deidentify)


def _deidentify(options: argparse.Namespace) -> None:
    from .deidentification import (
        DeidentificationKey,
        DeidentificationOptions,
        DeidentificationPlan,
        deidentify_folder,
        write_left_out,
    )

    outside = [path for path in (options.key, options.new_key, options.list_left_out) if path is not None]
    plan = DeidentificationPlan.checked(options.source, options.target, overwrite=options.force, kept_outside=outside)
    _check_new_files([path for path in (options.new_key, options.list_left_out) if path is not None])
    if options.new_key is not None:
        key = DeidentificationKey.create(options.new_key)
    elif options.key is not None:
        key = DeidentificationKey.read(options.key)
    else:
        key = DeidentificationKey.one_time()
    chosen = DeidentificationOptions(
        retain_uids=options.retain_uids,
        dates=options.retain_dates or "removed",
        clean_descriptors=options.clean_descriptors,
    )
    left_out: list[tuple[str, Path]] = []
    try:
        counts = deidentify_folder(plan, key, chosen, left_out=left_out, progress=True)
    except BaseException:
        # A key that stands for no files would be in the way of the same command.
        if options.new_key is not None:
            options.new_key.unlink()
        raise
    print("\n".join([*counts.lines(), f"written: {options.target}"]))
    if options.list_left_out is not None:
        write_left_out(options.list_left_out, left_out)


def _check_new_files(paths: list[Path]) -> None:
    """Refuse files that exist, and one name for two of them, before long work."""
    from .formats import checked_target

    for path in paths:
        if path.exists():
            raise OutputError(f"{path} already exists; expected a new file, also with --force; choose another name")
    targets = [checked_target(path) for path in paths]
    if len(set(targets)) < len(targets):
        raise OutputError(f"{paths[0]} is given for the key and for the list of files; expected two names")
