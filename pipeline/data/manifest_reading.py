"""The JSON of a data manifest: read strictly, held against the schema with messages that name the place; written."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import jsonschema

from ..errors import ManifestError, MissingFileError
from ..formats import whole_file
from .manifest_schema import MANIFEST_SCHEMA

_VALIDATOR: Final = jsonschema.Draft202012Validator(MANIFEST_SCHEMA)
_LONGEST_VALUE: Final = 80  # characters of a bad value that a message shows


def read_manifest_fields(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the fields of a manifest, which keep to the schema, and the bytes of the file.

    Raises:
        MissingFileError: If there is no such file.
        ManifestError: If it cannot be read, is not JSON or breaks the schema.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        msg = f"manifest {path} not found; the project's own are in data_manifests/"
        raise MissingFileError(msg) from error
    except OSError as error:
        msg = f"manifest {path} cannot be read: {error.strerror}; give the path of a JSON file that you may read"
        raise ManifestError(msg) from error
    fields = read_json(content, f"manifest {path}")
    check_schema(fields, path)
    return fields, content


def manifest_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return the JSON text of a manifest as this project writes it."""
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def write_manifest_fields(path: Path, fields: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write a manifest whole or not at all. `Manifest.from_fields` checks the fields, this does not.

    Raises:
        OutputError: If it cannot be written, or is there and `overwrite` is not set.
    """
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(manifest_bytes(fields))


def read_json(content: bytes, thing: str) -> Any:
    """Return what JSON text holds, refusing what JSON leaves open: a key given twice, and NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            _refuse(thing, f"key {twice[0]!r} is given twice in one object; keep one")
        return dict(pairs)

    def no_constant(name: str) -> NoReturn:
        _refuse(thing, f"{name} is not a JSON number; write a number, or null where it is not known")

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        _refuse(thing, f"the file must be UTF-8 text, but byte {error.start} is not; save it as UTF-8", error)
    except json.JSONDecodeError as error:
        _refuse(thing, f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}; correct it there", error)
    except RecursionError as error:
        _refuse(thing, "the JSON is nested too deep for a manifest; check that it is the right file", error)


def _refuse(thing: str, problem: str, cause: Exception | None = None) -> NoReturn:
    """Raise a `ManifestError` about a manifest file."""
    msg = f"{thing}: {problem}"
    raise ManifestError(msg) from cause


def check_schema(fields: Any, path: Path) -> None:
    """Check a manifest against the schema, and report the first place, in the order of the file, that breaks it."""
    errors = sorted(_VALIDATOR.iter_errors(fields), key=_place_in_file)
    if not errors:
        return
    error = errors[0]
    place = "/".join(str(step) for step in error.absolute_path) or "the top level"
    description = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    match error.validator:
        case "required":
            wanted = [key for key in error.validator_value if key not in error.instance]
            problem = f"{place} lacks {', '.join(map(repr, wanted))}; add what is missing (see docs/manifest.md)"
        case "additionalProperties":
            known = list(error.schema["properties"])
            unknown = next(key for key in error.instance if key not in known)
            close = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the keys there are {known}"
            problem = f"{place} has an unknown key {unknown!r}; {hint}"
        case "anyOf":
            problem = f"{place} lacks both 'url' and 'terms'; add one of them (see docs/manifest.md)"
        case _ if list(error.absolute_path)[-1:] == ["patient"]:
            # What stands there by mistake may well be the name of a person.
            problem = f"{place} is not a pseudonym; expected {description}"
        case _:
            value = json.dumps(error.instance, ensure_ascii=False)
            shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
            problem = f"{place} is {shown}; expected {description}"
    _refuse(f"manifest {path}", problem)


def _place_in_file(error: jsonschema.ValidationError) -> list[str]:
    """Return what sorts errors by place, with the items of a list in their order."""
    return [f"{step:09d}" if isinstance(step, int) else step for step in error.absolute_path]
