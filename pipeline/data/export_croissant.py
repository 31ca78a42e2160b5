"""Describing a data set in Croissant, the JSON-LD that data set registries and search engines read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..formats import whole_file
from .manifest import Manifest
from .manifest_entries import Code, PublishedSource

# The context of Croissant 1.0, as the specification prints it.
_CONTEXT: Final[Mapping[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA_TYPES: Final = {
    ".nii.gz": "application/gzip",
    ".dcm": "application/dicom",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
}
_CODES: Final = ("category", "code", "modifier")


def export_croissant(manifest: Manifest, target: str | Path, *, overwrite: bool = False) -> None:
    """Write a Croissant file; images and labels stay where they are, and are named relative to it.

    Every file of known digest, and every archive, is a FileObject. The cases, classes, splits and folds are record sets
    with their data inside, as is `data_set`, which holds what Croissant has no property for. `import_croissant` makes
    the manifest of it again.

    Args:
        manifest: The data set.
        target: The file to write; it belongs into the data folder.
        overwrite: Replace it if it is there.

    Raises:
        OutputError: If it cannot be written, or is there and `overwrite` is not set.

    Source:
        Croissant Format Specification 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
    """
    text = json.dumps(croissant_fields(manifest), indent=2, ensure_ascii=False) + "\n"
    with whole_file(target, overwrite=overwrite) as partial:
        partial.write_text(text, encoding="utf-8")


def croissant_fields(manifest: Manifest) -> dict[str, Any]:
    """Return the JSON-LD of a data set."""
    source = manifest.source
    urls = source.urls if isinstance(source, PublishedSource) else ()
    sets: dict[str, list[dict[str, str | int]]] = {
        "cases": [_case_row(case) for case in manifest.cases],
        "classes": [_class_row(entry) for entry in manifest.classes],
        "splits": [{"split": split, "case": case} for split, ids in manifest.splits.items() for case in ids],
        "data_set": [{"key": key, "value": value} for key, value in _rest(manifest).items()],
    }
    if manifest.folds is not None:
        parts = enumerate(manifest.folds.parts)
        sets["folds"] = [{"fold": number, "case": case} for number, ids in parts for case in ids]
    status = manifest.deidentification
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": manifest.description,
        "version": manifest.version,
        "license": manifest.licence.url or f"{manifest.licence.name}: {manifest.licence.terms}",
        "citeAs": manifest.citation,
        **({"url": urls[0]} if urls else {}),
        **({"sameAs": list(urls[1:])} if urls[1:] else {}),
        **(
            {"rai:personalSensitiveInformation": f"{status.status}. {status.method or ''}".strip()}
            if status is not None
            else {}
        ),
        "distribution": _distribution(manifest),
        "recordSet": [_record_set(name, rows) for name, rows in sets.items()],
    }


def _distribution(manifest: Manifest) -> list[dict[str, Any]]:
    files = [
        _file_object(f"{case.id}/{kind}", path, digest)
        for case in manifest.cases
        for kind, path, digest in case.files()
        # A folder, such as a DICOM series, is no FileObject.
        if digest is not None and not (kind == "image" and (case.image_files or "." not in path.rsplit("/", 1)[-1]))
    ]
    archives = manifest.source.archives if isinstance(manifest.source, PublishedSource) else ()
    return files + [
        _file_object(f"archive/{number}", archive.url, archive.sha256)
        for number, archive in enumerate(archives)
        if archive.sha256 is not None
    ]


def _file_object(name: str, path: str, sha256: str) -> dict[str, Any]:
    kinds = (kind for ending, kind in _MEDIA_TYPES.items() if path.lower().endswith(ending))
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": path,
        "encodingFormat": next(kinds, "application/octet-stream"),
        "sha256": sha256,
    }


def _record_set(name: str, rows: Sequence[Mapping[str, str | int]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{key}",
                "name": key,
                "dataType": "sc:Integer" if isinstance(value, int) else "sc:Text",
            }
            for key, value in rows[0].items()
        ],
        "data": [{f"{name}/{key}": value for key, value in row.items()} for row in rows],
    }


def _case_row(case: Any) -> dict[str, str | int]:
    """Return a case; what it lacks is an empty text, as every record has all fields."""
    return {
        "id": case.id,
        "patient": case.patient,
        "study": case.study or "",
        "series": case.series or "",
        "block": case.block or "",
        "image": case.image,
        "image_sha256": case.image_sha256 or "",
        "image_files": json.dumps(list(case.image_files)) if case.image_files else "",
        "label": case.label or "",
        "label_sha256": case.label_sha256 or "",
        "attributes": json.dumps(dict(case.attributes)) if case.attributes else "",
    }


def _class_row(entry: Any) -> dict[str, str | int]:
    row: dict[str, str | int] = {"index": entry.index, "name": entry.name, "stored_value": entry.stored_value}
    for kind in _CODES:
        code: Code | None = getattr(entry, kind)
        row |= {
            f"{kind}_{part}": "" if code is None else getattr(code, part) for part in ("scheme", "value", "meaning")
        }
    return row


def _rest(manifest: Manifest) -> dict[str, str]:
    """Return, as JSON texts, what Croissant has no property for."""
    fields = json.loads(manifest.path.read_text(encoding="utf-8"))
    kept: Iterable[str] = (
        *("licence", "source", "deidentification", "modality", "spacing_mm", "slice_spacing_mm", "split_unit"),
        *("split_unit_reason", "folds"),
    )
    rest = {key: fields[key] for key in kept if key in fields}
    if "folds" in rest:
        rest["folds"] = {key: value for key, value in rest["folds"].items() if key != "parts"}
    return {key: json.dumps(value, ensure_ascii=False) for key, value in rest.items()}
