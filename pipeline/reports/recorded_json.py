"""Reading JSON that a run left behind, held against a schema: what is read afterwards need not be checked again."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from ..errors import ConfigError


def read_recorded(path: Path, schema: str) -> dict[str, Any]:
    """Return the content of a record; NaN and infinities, which Python writes though JSON has none, become None.

    Args:
        path: The file.
        schema: Name of the schema in this folder, such as `"run"`.

    Raises:
        ConfigError: If the file cannot be read, is not JSON or breaks the schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None, parse_float=_finite)
    except OSError as error:
        raise ConfigError(f"record {path} cannot be read: {error.strerror}; give a run that you may read") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"record {path} is damaged: it is not JSON; restore it, or leave the run out") from error
    found = jsonschema.exceptions.best_match(_validator(schema).iter_errors(content))
    if found is not None:
        # The schema's own message may quote half of the record.
        place = "/".join(map(str, found.absolute_path)) or "the whole file"
        rule = f"{found.validator} {json.dumps(found.validator_value)}"[:120]
        raise ConfigError(f"record {path} is damaged at {place}: expected {rule}; restore it, or leave the run out")
    return dict(content)


def _finite(digits: str) -> float | None:
    value = float(digits)  # of 1e999 infinity
    return value if math.isfinite(value) else None


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    text = resources.files(__package__).joinpath(f"{schema}.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))
