"""What the run of a checkpoint recorded of its settings: what the network must be given, and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai.bundle import ConfigParser

from ..bundle_origin import NO_SETTINGS
from ..errors import ConfigError
from .running_config import override, references, resolved, running_parser

RECORD_NAME: Final = "run.json"
# What decides what a network sees, and what it is; ids that these refer to count with them.
_ROOTS = ("preprocessing", "network_def")


@dataclass(frozen=True)
class RecordedSettings:
    """Where a config for inference and the record of a run differ.

    Attributes:
        taken: Values of the record, by config ids that nobody chose.
        contradicted: Values of the record, by config ids that were chosen otherwise.
        network_def: The network of the run, with what was chosen otherwise; None where it is that of the config.
    """

    taken: Mapping[str, Any]
    contradicted: Mapping[str, Any]
    network_def: dict[str, Any] | None = None


def recorded_settings(parser: ConfigParser, checkpoint: Path, chosen: Sequence[str] = ()) -> RecordedSettings:
    """Compare a config for inference with the record of the run that a checkpoint lies in.

    Compared are the arguments of `network_def`, and all ids that it or `preprocessing` refers to and that both configs
    have. A record is data, not code: expressions, references and components in it are passed over, and the network
    must be the one that the bundle itself names.

    Args:
        parser: The config, with what was chosen.
        checkpoint: `<run>/models/model.pt`; the record is `<run>/log/run.json`.
        chosen: Ids that were chosen, and are not to be taken from the record.

    Returns:
        The differences; none where there is no record.

    Raises:
        ConfigError: If the network was trained to segment something else than `segments` says.
    """
    record = _record_of(checkpoint)
    config = record.get("config")
    _check_segments(_value_at(config, "segments"), parser.get("segments"), checkpoint)
    taken: dict[str, Any] = {}
    contradicted: dict[str, Any] = {}
    for id_ in _ids_of(parser):
        value = _value_at(config, id_)
        if value is None or not _is_plain(value) or not _is_plain(parser.get(id_)) or _equal(value, parser.get(id_)):
            continue
        (contradicted if _is_chosen(id_, chosen) else taken)[id_] = value
    own = parser.get("network_def")
    recorded = recorded_network(checkpoint, own)
    if recorded is None:
        return RecordedSettings(taken, contradicted)
    with_taken = ConfigParser(json.loads(json.dumps(parser.get(), default=str)))
    for id_, value in taken.items():
        with_taken[id_] = value
    own_arguments = resolved(with_taken, own)
    network_def = dict(recorded)
    for name in {*own_arguments, *recorded} - {"_target_"}:
        if name in own_arguments and name in recorded and _equal(own_arguments[name], recorded[name]):
            continue
        id_, refers_to = f"network_def::{name}", ["::".join(parts) for parts in references(own.get(name))]
        if not any(_is_chosen(one, chosen) for one in (id_, *refers_to)):
            taken[id_] = recorded.get(name)
            continue
        network_def.pop(name, None)
        if name in own:
            network_def[name] = own[name]
        if _is_chosen(id_, chosen):
            contradicted[id_] = recorded.get(name)
    return RecordedSettings(taken, contradicted, network_def if network_def != own else None)


def take_recorded(parser: ConfigParser, recorded: RecordedSettings) -> None:
    """Set the ids of a config to what the record says, where nobody chose otherwise.

    Raises:
        ConfigError: If a value of the record is of another kind than the one that it replaces.
    """
    for id_, value in recorded.taken.items():
        if not id_.startswith("network_def::"):
            override(parser, id_, value)
    if recorded.network_def is not None:
        parser["network_def"] = recorded.network_def
    parser.parse(reset=True)


def check_recorded_settings(checkpoint_path: str | Path) -> None:
    """Refuse a bundle run whose network would be given something else than it was trained with.

    Called by the `initialize` section of a bundle's `inference.yaml`. `unet-pipeline predict` takes the recorded values
    itself.

    Args:
        checkpoint_path: The weights; without a record of their run, nothing can be compared.

    Raises:
        ConfigError: With what to pass.
    """
    parser = running_parser()
    if parser is None:
        return
    # Weights of another network are refused where they are loaded.
    recorded = {
        id_: value
        for id_, value in recorded_settings(parser, Path(checkpoint_path)).taken.items()
        if not id_.startswith("network_def::")
    }
    if recorded:
        given = ", ".join(f"{id_} is {json.dumps(parser.get(id_))}" for id_ in recorded)
        wanted = " ".join(f"--{id_} '{json.dumps(value)}'" for id_, value in recorded.items())
        raise ConfigError(
            f"config id {given}, and the network of {checkpoint_path} was trained with other values, as the record of "
            f"its run says; pass {wanted}"
        )


def recorded_network(checkpoint: Path, network_def: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the network that the run of a checkpoint recorded, if the run's folder is still around the checkpoint.

    Only arguments are taken over, and only for the network that the bundle itself names: a record is data, not code.

    Args:
        checkpoint: `<run>/models/model.pt`; the record is `<run>/log/run.json`.
        network_def: The bundle's own `network_def`.
    """
    recorded = _record_of(checkpoint).get("network_def")
    if not isinstance(recorded, dict) or recorded.get("_target_") != network_def.get("_target_"):
        return None
    arguments = {name: value for name, value in recorded.items() if name != "_target_"}
    return recorded if _is_plain(arguments) else None


def _check_segments(recorded: Any, configured: Any, checkpoint: Path) -> None:
    """Refuse masks whose segments would be named otherwise than what the network was trained on."""
    if not (isinstance(recorded, list) and isinstance(configured, list)):
        return
    shown, expected = ([_without_colour(segment) for segment in segments] for segments in (configured, recorded))
    place = next((place for place, pair in enumerate(zip(shown, expected, strict=False)) if not _equal(*pair)), None)
    if place is not None:
        raise ConfigError(
            f"segment {place + 1} of the config is {_named(shown[place])}, and the network of {checkpoint} was trained "
            f"to show {_named(expected[place])} there, as the record of its run says; write its segments into the "
            "inference.yaml of the bundle"
        )


def _without_colour(segment: Any) -> Any:
    if not isinstance(segment, dict):
        return segment
    return {name: value for name, value in segment.items() if name != "color_rgb"}


def _named(segment: Any) -> str:
    code = _value_at(segment, "type::value")
    return f"{_value_at(segment, 'label')!r} (SNOMED CT {code})"


def _record_of(checkpoint: Path) -> dict[str, Any]:
    """Return the record of the run around a checkpoint; empty where there is none that can be read."""
    path = checkpoint.resolve().parent.parent / "log" / RECORD_NAME
    if checkpoint.resolve().parent.name != "models" or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _ids_of(parser: ConfigParser) -> list[str]:
    """Return the ids that the roots refer to, also by way of others."""
    found: list[str] = []
    waiting = list(_ROOTS)
    while waiting:
        for parts in references(parser.get(waiting.pop())):
            id_ = "::".join(parts)
            if id_ in parser and id_ not in (*found, *_ROOTS, *NO_SETTINGS):
                found.append(id_)
                waiting.append(id_)
    return sorted(found)


def _value_at(config: Any, id_: str) -> Any:
    for name in id_.split("::"):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _is_chosen(id_: str, chosen: Sequence[str]) -> bool:
    """Return whether an id, a part of it or a section around it was chosen."""
    parts = id_.split("::")
    for name in chosen:
        others = name.replace("#", "::").split("::")
        shorter = min(len(parts), len(others))
        if parts[:shorter] == others[:shorter]:
            return True
    return False


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does, which has one kind of lists."""
    return bool(json.loads(json.dumps(one, default=str)) == json.loads(json.dumps(other, default=str)))


def _is_plain(value: Any) -> bool:
    """Return whether a value holds nothing that MONAI would run or look up, at any depth."""
    if isinstance(value, dict):
        return all(name[:1] != "_" and _is_plain(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return not isinstance(value, str) or value[:1] not in ("$", "@", "%")
