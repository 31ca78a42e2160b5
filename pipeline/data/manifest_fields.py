"""The entries of a data manifest from the fields of its JSON, and the fields from the entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .manifest_entries import (
    Archive,
    Case,
    Code,
    Deidentification,
    Folds,
    GeneratedSource,
    LabelClass,
    PublishedSource,
)


def class_of(fields: Mapping[str, Any]) -> LabelClass:
    """Return a class."""
    codes = {key: Code(**fields[key]) for key in ("category", "code", "modifier") if key in fields}
    # JSON Schema takes 1.0 for an integer.
    index, stored_value = int(fields["index"]), int(fields["stored_value"])
    return LabelClass(index=index, name=fields["name"], stored_value=stored_value, **codes)


def spacing_of(fields: Sequence[float] | None) -> tuple[float, float] | None:
    """Return a spacing (row, column) in mm, or None."""
    return None if fields is None else (float(fields[0]), float(fields[1]))


def source_of(fields: Mapping[str, Any]) -> GeneratedSource | PublishedSource:
    """Return a source."""
    if "generator" in fields:
        return GeneratedSource(generator=fields["generator"], seed=int(fields["seed"]))
    archives = tuple(
        Archive(**{**archive, "folders": tuple(archive.get("folders", {}).items())})
        for archive in fields.get("archives", ())
    )
    return PublishedSource(urls=tuple(fields["urls"]), layout=fields["layout"], archives=archives)


def case_of(fields: Mapping[str, Any]) -> Case:
    """Return a case."""
    return Case(**{**fields, "image_files": tuple(fields.get("image_files", ()))})


def folds_of(fields: Mapping[str, Any] | None) -> Folds | None:
    """Return the folds, or None."""
    if fields is None:
        return None
    seed = None if fields["seed"] is None else int(fields["seed"])
    parts = tuple(tuple(ids) for ids in fields["parts"])
    return Folds(split=fields["split"], seed=seed, parts=parts, stratify=fields.get("stratify"))


def deidentification_of(fields: Mapping[str, Any] | None) -> Deidentification | None:
    """Return the status of de-identification, or None where it is not stated."""
    return None if fields is None else Deidentification(**fields)
