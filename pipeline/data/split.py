"""Splitting a data set by patient: k folds and a held-out part, drawn with a seed and frozen in the manifest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm.auto import tqdm

from ..counted import counted
from ..errors import ConfigError, ManifestError
from .case_files import read_label_values
from .manifest import Manifest
from .manifest_entries import Case

# A fold turns this split into `training` and `validation`; nothing trains on it by accident under this name.
DEVELOPMENT: Final = "development"


def split_data_set(
    manifest: Manifest,
    *,
    seed: int,
    folds: int | None = None,
    holdout: float | None = None,
    stratify: str | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Draw splits in which no patient (or block, where the manifest splits by block) is in two.

    With `folds`, the cases make up the split `development`, which the folds divide, and the held-out ones `test`.
    Without, they make up `training` and the held-out ones `validation`. Cases without a label are in none. What is
    drawn depends on the ids and groups of the cases, the seed and the version of scikit-learn; hence the result is
    written down, and not drawn again.

    Args:
        manifest: The data set.
        seed: Seed of the draw, at least 0.
        folds: Number of folds, at least 2 and at most the number of patients that are not held out.
        holdout: Part of the patients to hold out, above 0 and at most 0.5.
        stratify: `"class"` to have each class in all parts alike (read from the labels, so it needs `folder`), or the
            name of an attribute of the cases. Balance is sought case by case, as far as patients allow.
        folder: Where the files are.
        progress: Show a progress bar while labels are read.

    Returns:
        The values of the manifest's keys `splits` and, with folds, `folds`.

    Raises:
        ConfigError: If a number is out of range, or neither folds nor a held-out part is asked for.
        ManifestError: If no case has a label, there are too few patients, or a case lacks the attribute.
        MissingFileError: If a label is not there, for `stratify="class"`.
    """
    _check_arguments(seed, folds, holdout)
    cases = sorted((case for case in manifest.cases if case.label is not None), key=lambda case: case.id)
    if not cases:
        raise ManifestError(f"manifest {manifest.path}: no case has a label, so there is nothing to split; add labels")
    groups = [str(getattr(case, manifest.split_unit)) for case in cases]
    strata = None if stratify is None else _strata(manifest, cases, stratify, folder, progress)

    held = _held_out(groups, strata, holdout, seed, manifest) if holdout is not None else np.zeros(len(cases), bool)
    kept = np.flatnonzero(~held)
    order = {case.id: number for number, case in enumerate(manifest.cases)}

    def ids(indices: Sequence[int] | np.ndarray[Any, Any]) -> list[str]:
        return sorted((cases[index].id for index in indices), key=order.__getitem__)

    if folds is None:
        return {"splits": {"training": ids(kept), "validation": ids(np.flatnonzero(held))}}
    parts = _parts(
        [groups[index] for index in kept], strata and [strata[index] for index in kept], folds, seed, manifest
    )
    splits = {DEVELOPMENT: ids(kept)}
    if holdout is not None:
        splits["test"] = ids(np.flatnonzero(held))
    frozen: dict[str, Any] = {"split": DEVELOPMENT, "seed": seed}
    if stratify is not None:
        frozen["stratify"] = stratify
    return {"splits": splits, "folds": {**frozen, "parts": [ids(kept[part]) for part in parts]}}


def _check_arguments(seed: int, folds: int | None, holdout: float | None) -> None:
    if folds is None and holdout is None:
        raise ConfigError("nothing to split into: ask for folds (--folds 5), a held-out part (--holdout 0.2), or both")
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed {seed} is out of range; expected a whole number from 0 to {2**32 - 1}")
    if folds is not None and folds < 2:
        raise ConfigError(f"number of folds is {folds}; expected at least 2")
    if holdout is not None and not 0 < holdout <= 0.5:
        raise ConfigError(f"held-out part is {holdout}; expected a number above 0 and at most 0.5, such as 0.2")


def _strata(
    manifest: Manifest, cases: Sequence[Case], stratify: str, folder: str | Path | None, progress: bool
) -> list[str]:
    """Return for each case the name of what it is to be balanced by."""
    if stratify == "class":
        if folder is None:
            raise ConfigError("stratifying by class reads the labels; say where the files are (--folder FOLDER)")
        labels = tqdm(cases, desc="reading labels", unit="case", disable=not progress, leave=False)
        return [",".join(map(str, read_label_values(Path(folder) / str(case.label)))) for case in labels]
    lacking = [case.id for case in cases if stratify not in case.attributes]
    if lacking:
        known = sorted({name for case in cases for name in case.attributes})
        raise ManifestError(
            f"manifest {manifest.path}: case {lacking[0]!r} has no attribute {stratify!r} to stratify by; "
            f"expected 'class' or one of {known}; add it to the cases"
        )
    return [str(case.attributes[stratify]) for case in cases]


def _held_out(
    groups: Sequence[str], strata: Sequence[str] | None, holdout: float, seed: int, manifest: Manifest
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which cases are held out: whole groups, about `holdout` of them and at least one."""
    number = len(set(groups))
    if number < 2:
        raise ManifestError(_too_few(manifest, number, 2))
    held = np.zeros(len(groups), bool)
    if strata is None:
        names = np.array(sorted(set(groups)))
        wanted = max(1, round(holdout * number))
        held[np.isin(groups, np.random.default_rng(seed).permutation(names)[:wanted])] = True
    else:
        held[_parts(groups, strata, min(number, max(2, round(1 / holdout))), seed, manifest)[0]] = True
    return held


def _parts(
    groups: Sequence[str], strata: Sequence[str] | None, number: int, seed: int, manifest: Manifest
) -> list[np.ndarray[Any, np.dtype[np.intp]]]:
    """Return the indices of the cases of each of `number` parts."""
    # It takes a second to import.
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if len(set(groups)) < number:
        raise ManifestError(_too_few(manifest, len(set(groups)), number))
    if strata is None:
        drawn = GroupKFold(number, shuffle=True, random_state=seed).split(groups, groups=groups)
    else:
        # scikit-learn refuses what no class fills; which stratum comes first must not depend on the cases' order.
        names = sorted(set(strata))
        classes = [names.index(stratum) for stratum in strata]
        _check_strata(classes, number, manifest)
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
        drawn = splitter.split(groups, classes, groups=groups)
    with warnings.catch_warnings():
        # That a stratum with fewer cases than folds is not in all of them goes without saying.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = [part for _, part in drawn]
    if any(len(part) == 0 for part in parts):
        raise ManifestError(
            f"manifest {manifest.path}: {number} stratified folds leave one without a case; ask for fewer, or do not "
            "stratify"
        )
    return parts


def _check_strata(classes: Sequence[int], number: int, manifest: Manifest) -> None:
    most = int(np.bincount(classes).max())
    if most < number:
        raise ManifestError(
            f"manifest {manifest.path}: no stratum has more than {counted(most, 'case')}, too few for {number} folds; "
            f"ask for at most {max(most, 2)} folds, or do not stratify"
        )


def _too_few(manifest: Manifest, number: int, wanted: int) -> str:
    unit = manifest.split_unit
    return (
        f"manifest {manifest.path}: {counted(number, unit)} cannot be split into {wanted} parts; "
        f"no {unit} may be in two; ask for fewer folds, or add cases of other {unit}s"
    )
