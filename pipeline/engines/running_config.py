"""The config of the bundle run that is going on, and a check that every id in it means something."""

from __future__ import annotations

import difflib
import inspect
import pydoc
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

from ..errors import ConfigError

# Ids that MONAI, its tools or a person start from, so that nothing in a config need refer to them.
_SECTIONS = ("_meta_", "imports", "initialize", "finalize", "run", "training", "evaluating", "inferring")
_PROPERTIES = (entry["id"] for properties in (TrainProperties, InferProperties) for entry in properties.values())
ENTRY_POINTS = frozenset(tuple(name.split("::")) for name in (*_SECTIONS, *_PROPERTIES))


def running_parser() -> ConfigParser | None:
    """Return the parser of the MONAI bundle run that this call is part of, or None outside one.

    MONAI gives the expressions of a config no handle on the config they stand in, so this looks up the call stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        frame = frame.f_back
    return None


def check_running_config() -> None:
    """Refuse a run whose config has an id that nothing uses, or an argument that its component does not know.

    MONAI adds a mistyped `--max_epohcs 3` to the config as a new id and goes on without a word. Called by the
    `initialize` section of a bundle.

    Raises:
        ConfigError: With the nearest name that exists.
    """
    parser = running_parser()
    if parser is not None:
        check_config(parser.get())


def check_config(config: Mapping[str, Any]) -> None:
    """Do for a merged config what `check_running_config` does for the running one.

    Raises:
        ConfigError: With the nearest name that exists.
    """
    references = ENTRY_POINTS | set(_references(config))
    _check_ids(config, references, parents=())
    for where, component in _components(config, ""):
        _check_arguments(where, component)


def _check_ids(section: Mapping[str, Any], references: frozenset[tuple[str, ...]], parents: tuple[str, ...]) -> None:
    for name, value in section.items():
        path = (*parents, name)
        if any(reference == path[: len(reference)] for reference in references):
            continue
        # A section such as `train` is used through the ids inside it, each of which must then be used itself.
        if not any(path == reference[: len(path)] for reference in references):
            raise ConfigError(f"config id '{'::'.join(path)}' is used by nothing in this run{_meant(name, section)}")
        if isinstance(value, Mapping) and "_target_" not in value:
            _check_ids(value, references, path)


def _check_arguments(where: str, component: Mapping[str, Any]) -> None:
    target = component["_target_"]
    function = pydoc.locate(target) if "." in target else None
    try:
        parameters = inspect.signature(function).parameters.values() if callable(function) else []
    except (TypeError, ValueError):  # some C functions have no signature to compare with
        return
    if not parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    for argument in component:
        if argument not in known and not argument.startswith("_"):
            raise ConfigError(
                f"config id '{where}::{argument}' is no argument of {target}{_meant(argument, [argument, *known])}"
            )


def _components(config: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield where, config
        for name, value in config.items():
            if name != "_meta_":
                yield from _components(value, f"{where}::{name}" if where else str(name))
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from _components(value, f"{where}::{index}")


def _references(config: Any) -> Iterator[tuple[str, ...]]:
    """Yield the ids that strings anywhere in the config refer to, as `@id` or `%id`, split at their separators."""
    if isinstance(config, Mapping):
        for value in config.values():
            yield from _references(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _references(value)
    elif isinstance(config, str):
        for reference in re.findall(r"[@%](\w+(?:(?:::|#)\w+)*)", config):
            yield tuple(re.split("::|#", reference))


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [other for other in known if other != name], n=1)
    return f"; did you mean '{close[0]}'?" if close else "; see the ids in the bundle's configs"
