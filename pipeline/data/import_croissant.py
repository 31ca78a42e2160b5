"""Reading a Croissant file that describes cases and classes as `export_croissant` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import ManifestError, MissingFileError
from .manifest import Manifest
from .manifest_reading import read_json

_WANTED: Final = ("cases", "classes", "splits", "data_set")


def import_croissant(path: str | Path) -> dict[str, Any]:
    """Return the fields of the manifest that a Croissant file was made of.

    Only the record sets `cases`, `classes`, `splits`, `folds` and `data_set` with data inside are understood: Croissant
    itself says nothing of which file is the label of which.

    Args:
        path: The JSON-LD file.

    Raises:
        MissingFileError: If it is not there.
        ManifestError: If it lacks one of these record sets or a property, or the result breaks a rule of manifests.
    """
    path = Path(path)
    try:
        content = read_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} not found; give the Croissant file") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}; give the Croissant file") from error
    try:
        sets = {one["name"]: [_plain(one["name"], row) for row in one.get("data", [])] for one in content["recordSet"]}
        lacking = [name for name in _WANTED if not sets.get(name)]
        if lacking:
            raise ManifestError(
                f"{path} has no record set {lacking[0]!r} with data; only what `data export --to croissant` wrote can "
                "be imported; index the files instead: unet-pipeline data index FOLDER"
            )
        fields = _fields(content, sets)
    except ManifestError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManifestError(
            f"{path} is not as `data export --to croissant` writes it ({error!r}); export it again"
        ) from error
    Manifest.from_fields(fields, path)
    return fields


def _plain(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(f"{name}/"): value for key, value in row.items()}


def _fields(content: Mapping[str, Any], sets: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    rest = {row["key"]: json.loads(row["value"]) for row in sets["data_set"]}
    splits: dict[str, list[str]] = {}
    for row in sets["splits"]:
        splits.setdefault(row["split"], []).append(row["case"])
    fields = {
        "name": content["name"],
        "version": content["version"],
        "description": content["description"],
        "citation": content["citeAs"],
        **{key: value for key, value in rest.items() if key != "folds"},
        "classes": [_class_fields(row) for row in sets["classes"]],
        "cases": [_case_fields(row) for row in sets["cases"]],
        "splits": splits,
    }
    if "folds" in rest:
        parts: dict[int, list[str]] = {}
        for row in sets["folds"]:
            parts.setdefault(int(row["fold"]), []).append(row["case"])
        fields["folds"] = {**rest["folds"], "parts": [parts[number] for number in sorted(parts)]}
    return fields


def _class_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    codes = {
        kind: {part: row[f"{kind}_{part}"] for part in ("scheme", "value", "meaning")}
        for kind in ("category", "code", "modifier")
        if row[f"{kind}_value"]
    }
    return {"index": row["index"], "name": row["name"], "stored_value": row["stored_value"], **codes}


def _case_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: row[key] for key in ("id", "patient", "image")}
    fields |= {key: row[key] or None for key in ("label", "image_sha256", "label_sha256")}
    fields |= {key: row[key] for key in ("study", "series", "block") if row[key]}
    fields |= {key: json.loads(row[key]) for key in ("image_files", "attributes") if row[key]}
    return fields
