"""What a data manifest must keep to beyond its schema: every breach, one at a time, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from .manifest_entries import Case, Folds, LabelClass


def rule_breaches(
    classes: Sequence[LabelClass],
    cases: Sequence[Case],
    splits: Mapping[str, Sequence[str]],
    folds: Folds | None,
    split_unit: str,
) -> Iterator[str]:
    """Yield what is wrong with classes, cases, splits and folds, one sentence each; nothing if all is well.

    Classes are numbered 0, 1, ... and neither a name nor a value stands for two; neither an id nor a file belongs to
    two cases; splits name known cases, share none, and no patient (or block, where splits go by block) is in two of
    them, nor in two parts of the folds, which divide one split. Splits go by block only where all cases show one
    patient, and no patient is written in two ways.
    """
    yield from _breaches_of_classes(classes)
    yield from _breaches_of_cases(cases)
    yield from _breaches_of_patients(cases, split_unit)
    yield from _breaches_of_partition(cases, splits, split_unit, "split")
    if folds is not None:
        yield from _breaches_of_folds(cases, splits, folds, split_unit)


def _breaches_of_classes(classes: Sequence[LabelClass]) -> Iterator[str]:
    indices = [label_class.index for label_class in classes]
    if indices != list(range(len(indices))):
        yield f"classes have the indices {indices}; expected {list(range(len(indices)))} in order"
    for key in ("name", "stored_value"):
        for repeated in _repeated(getattr(label_class, key) for label_class in classes):
            yield f"two classes have the {key} {repeated!r}; give each class its own"


def _breaches_of_cases(cases: Sequence[Case]) -> Iterator[str]:
    for repeated in _repeated(case.id for case in cases):
        yield f"two cases have the id {repeated!r}; give each case its own"
    owned = [(path, case.id) for case in cases for path in _paths(case)]
    for repeated in _repeated(path for path, _ in owned):
        yield f"file {repeated!r} is named twice; an image and a label belong to one case each"
    owners = dict(owned)
    for path, owner in owners.items():
        for folder in map(str, PurePosixPath(path).parents):
            if owners.get(folder, owner) != owner:
                yield (
                    f"case {owners[folder]!r} has the folder {folder!r} as a whole, in which {path!r} of case "
                    f"{owner!r} lies; name the files that belong to each: image_files"
                )


def _breaches_of_patients(cases: Sequence[Case], unit: str) -> Iterator[str]:
    patients = sorted({case.patient for case in cases})
    written: dict[str, str] = {}
    for patient in patients:
        other = written.setdefault(patient.casefold(), patient)
        if other != patient:
            yield f"patients {other!r} and {patient!r} differ in case only; write one patient in one way"
    if unit == "block" and len(patients) > 1:
        yield (
            f"split_unit is 'block', but the cases show {len(patients)} patients; expected one, whose blocks are "
            "divided: split by patient (see docs/manifest.md)"
        )


def _breaches_of_partition(
    cases: Sequence[Case], parts: Mapping[str, Sequence[str]], unit: str, noun: str
) -> Iterator[str]:
    by_id = {case.id: case for case in cases}
    part_of_case: dict[str, str] = {}
    part_of_group: dict[str, str] = {}
    reported: set[tuple[str, str]] = set()
    for part, ids in parts.items():
        for case_id in ids:
            if case_id not in by_id:
                yield f"{noun} {part!r} names case {case_id!r}, which is not among the cases"
                continue
            other = part_of_case.setdefault(case_id, part)
            if other != part:
                yield f"case {case_id!r} is in the {noun}s {other!r} and {part!r}; keep it in one"
                continue
            group = str(getattr(by_id[case_id], unit))
            other = part_of_group.setdefault(group, part)
            if other != part and (group, part) not in reported:
                reported.add((group, part))
                yield (
                    f"{unit} {group!r} is in the {noun}s {other!r} and {part!r}; keep all its "
                    f"cases in one {noun}, or split by another unit (see docs/manifest.md)"
                )


def _breaches_of_folds(
    cases: Sequence[Case], splits: Mapping[str, Sequence[str]], folds: Folds, unit: str
) -> Iterator[str]:
    if folds.split not in splits:
        yield f"folds divide the split {folds.split!r}, which is not among the splits {list(splits)}"
        return
    if taken := {"training", "validation"} & set(splits):
        yield (
            f"there are folds and a split {sorted(taken)[0]!r}; a fold makes 'training' and 'validation' itself, so "
            "give the split another name"
        )
    parts = {str(number): ids for number, ids in enumerate(folds.parts)}
    yield from _breaches_of_partition(cases, parts, unit, "fold")
    in_parts = {case_id for ids in folds.parts for case_id in ids}
    left_out = [case_id for case_id in splits[folds.split] if case_id not in in_parts]
    strange = sorted(in_parts - set(splits[folds.split]))
    for case_id in (*left_out, *strange):
        place = "in the split but in no fold" if case_id in left_out else "in a fold but not in the split"
        yield f"case {case_id!r} is {place}; the folds divide the split {folds.split!r}: run `data split` again"


def _paths(case: Case) -> list[str]:
    """Return what may stand for one case only: its files, or its image folder where all files of it count."""
    label = [] if case.label is None else [case.label]
    images = [f"{case.image}/{name}" for name in case.image_files] or [case.image]
    return [str(PurePosixPath(path)) for path in (*images, *label)]  # of files in ".", too


def _repeated(values: Iterable[Any]) -> list[Any]:
    """Return the values that occur more than once, each once."""
    seen: set[Any] = set()
    repeated: dict[Any, None] = {}
    for value in values:
        if value in seen:
            repeated[value] = None
        seen.add(value)
    return list(repeated)
