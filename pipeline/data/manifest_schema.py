"""The JSON Schema of data manifests; `data_manifests/manifest.schema.json` is the same, published for editors.

A `description` here ends an error message ("expected ..."), so each says in words what its rule wants.
"""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = {"type": "string", "minLength": 1, "description": "text that is not empty"}
_URL: Final = {
    "type": "string",
    "pattern": r"^https?://[^\s]+(?!\n)$",
    "description": "an address that starts with http:// or https://",
}
_NAME: Final = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*(?!\n)$",
    "description": "a name made of letters, digits, '.', '_' and '-' that starts with a letter or digit",
}
_PATH: Final = {
    "type": "string",
    "pattern": r"^(?![/~])(?!(?:.*/)?\.{1,2}(?:/|$))(?!.*//)[^\\:\x00-\x1f]*[^\\:/\x00-\x1f](?!\n)$",
    "description": "a path relative to the data folder, with '/' between its parts and neither '.' nor '..' among them",
}
_SHA256: Final = {
    "type": ["string", "null"],
    "pattern": r"^[0-9a-f]{64}(?!\n)$",
    "description": "a SHA-256 as 64 lower-case hexadecimal digits, or null where it is not known",
}
_FOLDER: Final = {
    **_PATH,
    "pattern": r"^(\.(?!\n)|(?:" + _PATH["pattern"].removeprefix("^").removesuffix("$") + "))$",
    "description": "a folder below the data folder, or '.' for the data folder itself",
}
_RELATIVE_FILE: Final = {**_PATH, "description": "a path relative to the image folder, with '/' between its parts"}
_LENGTH_MM: Final = {"type": "number", "exclusiveMinimum": 0, "description": "a length in mm, above 0"}


def _record(required: tuple[str, ...], properties: dict[str, Any], description: str) -> dict[str, Any]:
    """Return the schema of an object that takes these keys and no others."""
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def _list(items: dict[str, Any], description: str, least: int = 1) -> dict[str, Any]:
    """Return the schema of a list without repetitions."""
    return {"type": "array", "minItems": least, "uniqueItems": True, "description": description, "items": items}


_LICENCE: Final = {
    **_record(
        ("name",),
        {"name": _TEXT, "url": _URL, "terms": _TEXT},
        "the licence: its name, and its url, its terms, or both",
    ),
    "anyOf": [{"required": ["url"]}, {"required": ["terms"]}],
}
_GENERATED: Final = _record(
    ("generator", "seed"),
    {"generator": _TEXT, "seed": {"type": "integer", "minimum": 0, "description": "a seed, at least 0"}},
    "the generator and its seed",
)
_ARCHIVE: Final = _record(
    ("url", "sha256"),
    {
        "url": _URL,
        "sha256": _SHA256,
        "path": _PATH,
        "folders": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": _PATH,
            "additionalProperties": _FOLDER,
            "description": "folders of the archive, and the folders that their files go to",
        },
    },
    "a file to download: its url and sha256, its path if it is not to be unpacked, and which folders go where if it is",
)
_PUBLISHED: Final = _record(
    ("urls", "layout"),
    {
        "urls": _list(_URL, "the addresses that the files come from, none of them twice", least=0),
        "layout": _TEXT,
        "archives": _list(_ARCHIVE, "one file or more to download, none of them twice"),
    },
    "the urls of the files, the layout of the folder they go to, and archives if a program can fetch them",
)
_SOURCE: Final = {
    "type": "object",
    "description": "a source: a generator and a seed, or urls and a layout",
    "if": {"required": ["generator"]},
    "then": _GENERATED,
    "else": _PUBLISHED,
}
_CODE: Final = _record(
    ("scheme", "value", "meaning"),
    {
        "scheme": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9_]{1,16}(?!\n)$",
            "description": "a coding scheme as DICOM writes it, such as SCT for SNOMED CT",
        },
        "value": {
            "type": "string",
            "pattern": r"^[^\\\x00-\x20][^\\\x00-\x1f]{0,63}(?!\n)$",
            "description": 'a code value, a text such as "10200004"',
        },
        "meaning": {
            "type": "string",
            "minLength": 1,
            "maxLength": 64,
            "description": "a text of at most 64 characters",
        },
    },
    "a code: its scheme, value and meaning",
)
_CLASS: Final = _record(
    ("index", "name", "stored_value"),
    {
        "index": {"type": "integer", "minimum": 0, "description": "a class index, at least 0; 0 is background"},
        "name": _TEXT,
        "stored_value": {"type": "integer", "description": "the value that stands for the class in label files"},
        "category": _CODE,
        "code": _CODE,
        "modifier": _CODE,
    },
    "a class: its index, its name, its stored_value, and the codes of what it is (category, code, modifier)",
)
_CASE: Final = {
    **_record(
        ("id", "patient", "image", "label", "image_sha256", "label_sha256"),
        {
            "id": _NAME,
            "patient": _NAME,
            "study": _NAME,
            "series": _NAME,
            "block": _NAME,
            "attributes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _NAME,
                "additionalProperties": {"type": ["string", "number"], "description": "a text or a number"},
                "description": "what else is known of the case, by name, such as the site; never who it is",
            },
            "image": {"type": "string", "description": _PATH["description"]},
            "image_files": _list(_RELATIVE_FILE, "one file or more of the image folder, none of them twice"),
            "label": {
                **_PATH,
                "type": ["string", "null"],
                "description": _PATH["description"] + "; or null where the case has no label",
            },
            "image_sha256": _SHA256,
            "label_sha256": _SHA256,
        },
        "a case: its id, patient, image, label, image_sha256 and label_sha256, and its block where splits go by block",
    ),
    # Files in the data folder itself are named one by one, so that it cannot be mistaken for the folder of one image.
    "if": {"required": ["image_files"]},
    "then": {"properties": {"image": _FOLDER}},
    "else": {"properties": {"image": _PATH}},
}
_PART: Final = _list(_NAME, "ids of one case or more, none of them twice")
_FOLDS: Final = _record(
    ("split", "seed", "parts"),
    {
        "split": _NAME,
        "seed": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "a seed, at least 0, or null where the folds come from elsewhere",
        },
        "stratify": _TEXT,
        "parts": _list(_PART, "two lists or more of ids of cases", least=2),
    },
    "folds: the split that they divide, the seed, what they are stratified by, and the parts",
)
_DEIDENTIFICATION: Final = _record(
    ("status",),
    {
        "status": {
            "enum": ["not_applicable", "deidentified", "pseudonymised", "identified", "unknown"],
            "description": "'not_applicable' (no person is shown), 'deidentified', 'pseudonymised' (somebody holds the "
            "key), 'identified' or 'unknown'",
        },
        "method": _TEXT,
    },
    "whether the data name people: its status, and the method by which they no longer do",
)

MANIFEST_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Data manifest",
    **_record(
        (
            "name",
            "version",
            "description",
            "licence",
            "citation",
            "source",
            "classes",
            "spacing_mm",
            "slice_spacing_mm",
            "split_unit",
            "cases",
            "splits",
        ),
        {
            "$schema": {"type": "string", "description": "where this schema lies, for editors"},
            "name": _NAME,
            "version": {
                "type": "string",
                "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+(?!\n)$",
                "description": "a version such as 1.0.0",
            },
            "description": _TEXT,
            "licence": _LICENCE,
            "citation": _TEXT,
            "source": _SOURCE,
            "deidentification": _DEIDENTIFICATION,
            "modality": {
                "type": "string",
                "pattern": r"^[A-Za-z0-9_]{1,16}(?!\n)$",
                "description": "how the images were made, in at most 16 letters, as DICOM writes it: CT, MR, SM",
            },
            "classes": _list(_CLASS, "two classes or more, none of them twice", least=2),
            "spacing_mm": {
                "type": ["array", "null"],
                "minItems": 2,
                "maxItems": 2,
                "items": _LENGTH_MM,
                "description": "the spacing of pixels [row, column] in mm, or null where it is not known",
            },
            "slice_spacing_mm": {
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
                "description": "the spacing of slices in mm, above 0, or null where there is none or it is not known",
            },
            "split_unit": {
                "enum": ["patient", "block"],
                "description": "'patient', or 'block' with a split_unit_reason",
            },
            "split_unit_reason": _TEXT,
            # Not `_list`: comparing each with each takes minutes for thousands, and the rules find an id given twice.
            "cases": {"type": "array", "minItems": 1, "description": "one case or more", "items": _CASE},
            "splits": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _NAME,
                "additionalProperties": _PART,
                "description": "one split or more: a name, and the ids of its cases",
            },
            "folds": _FOLDS,
        },
        "a data manifest",
    ),
    "if": {"required": ["split_unit"], "properties": {"split_unit": {"const": "block"}}},
    "then": {
        "required": ["split_unit_reason"],
        "properties": {"cases": {"items": {"required": ["block"]}}},
    },
}
