"""The config of the bundle run that is going on, and a check that every id in it means something and exists."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import pydoc
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.reference_resolver import ReferenceResolver

from ..bundle_origin import NO_SETTINGS
from ..errors import ConfigError, MissingFileError
from .knobs import check_kind, check_knobs, check_switch_words, is_wired
from .processes import check_device

Owner = TypeVar("Owner")

# Ids that MONAI, its tools, `unet-pipeline` or a person start from, so that nothing in a config need refer to them.
_SECTIONS = ("_meta_", "imports", "initialize", "finalize", "run", "training", "evaluating", "inferring", "segments")
_PROPERTIES = (entry["id"] for properties in (TrainProperties, InferProperties) for entry in properties.values())
ENTRY_POINTS = frozenset(tuple(name.split("::")) for name in (*_SECTIONS, *_PROPERTIES))


def running_parser() -> ConfigParser | None:
    """Return the parser of the MONAI bundle run that this call is part of, or None outside one."""
    return _caller(ConfigParser)


def check_running_config() -> None:
    """Refuse a run whose config has an id that nothing uses or that does not exist, or an unknown argument or device.

    MONAI adds a mistyped `--max_epohcs 3` to the config as a new id and goes on without a word. Called by the
    `initialize` section of a bundle.

    Raises:
        ConfigError: With the nearest name that exists.
    """
    parser = running_parser()
    if parser is None:
        return
    check_config(parser.get())
    workflow = _caller(ConfigWorkflow)
    if workflow is not None and workflow.run_id not in parser:
        raise ConfigError(f"run id '{workflow.run_id}' is not in the config{_meant(workflow.run_id, parser.get())}")


def changed_settings(bundle: Path) -> dict[str, Any]:
    """Return the ids whose values in the running config are not those of the bundle's own `inference.yaml`.

    Args:
        bundle: Folder of the bundle.

    Returns:
        The values, by their ids; ids that only say where files lie are left out. Empty outside a bundle run.

    Raises:
        MissingFileError: If the bundle has no such config.
    """
    running = running_parser()
    if running is None:
        return {}
    names = [bundle / "configs" / f"inference{suffix}" for suffix in (".yaml", ".yml", ".json")]
    file = next((name for name in names if name.is_file()), None)
    if file is None:
        raise MissingFileError(f"{names[0]} not found; records say what a run changes of it; name the bundle_root")
    own = ConfigParser(ConfigParser.load_config_file(str(file)))
    own.resolve_macro_and_relative_ids()
    return {
        name: value
        for name, value in _changes(own.get(), running.get(), "")
        if name not in NO_SETTINGS and not name.startswith("_meta_")
    }


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for name, value in new.items():
        id_ = f"{where}::{name}" if where else str(name)
        if isinstance(value, Mapping) and isinstance(old.get(name), Mapping):
            yield from _changes(old[name], value, id_)
        elif name not in old or old[name] != value:
            yield id_, value


def check_config(config: Mapping[str, Any]) -> None:
    """Do for a merged config what `check_running_config` does for the running one.

    Raises:
        ConfigError: With the nearest name that exists.
    """
    _check_references(config)
    check_knobs(config)
    for where, text in _texts(config, ""):
        check_switch_words(where, text)
    _check_ids(config, ENTRY_POINTS | set(references(config)), parents=())
    for where, component in _components(config, ""):
        check_arguments(where, component)
    _check_device(config.get("device"))


def check_arguments(where: str, component: Mapping[str, Any]) -> None:
    """Refuse a component whose target does not exist, and an argument that the target does not know.

    Args:
        where: The id of the component.
        component: The component, with its `_target_`.

    Raises:
        ConfigError: With the nearest argument that exists.
    """
    target = component["_target_"]
    function = pydoc.locate(target) if "." in target else None
    # Names without a dot are MONAI's own to find, and modules of the bundle itself may not be on the path yet.
    if function is None and "." in target and importlib.util.find_spec(target.partition(".")[0]) is not None:
        raise ConfigError(f"config id '{where}' names {target}, which does not exist; correct its _target_")
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


def override(parser: ConfigParser, name: str, value: Any) -> None:
    """Set a config id to a value, before the config is parsed.

    Args:
        parser: The parser of the config.
        name: The id, such as `"train::dataloader::num_workers"`.
        value: What it is set to.

    Raises:
        ConfigError: If the section of the id does not exist, with the nearest name that does; or if the value is of
            another kind than the one that it replaces.
    """
    parts = re.split("::|#", name)
    for depth in range(1, len(parts)):
        section, parent = "::".join(parts[:depth]), parser.get("::".join(parts[: depth - 1]))
        if not isinstance(parser.get(section), dict | list):
            known = parent if isinstance(parent, dict) else {}
            raise ConfigError(f"config id '{name}' lies in no section of the config{_meant(parts[depth - 1], known)}")
    if name in parser:
        check_kind(name, parser.get(name), value)
    try:
        parser[name] = value
    except (IndexError, ValueError) as error:  # of a list
        raise ConfigError(f"config id '{name}' must end in the number of an item of '{section}'") from error


def resolved(parser: ConfigParser, content: Any) -> Any:
    """Return a part of the config with plain references (`@id`) replaced by what they refer to."""
    if isinstance(content, Mapping):
        return {name: resolved(parser, value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [resolved(parser, value) for value in content]
    if isinstance(content, str) and content.startswith("@") and content[1:] in parser:
        return resolved(parser, parser.get(content[1:]))
    return content


def references(config: Any) -> Iterator[tuple[str, ...]]:
    """Yield the ids that strings anywhere in the config refer to, as `@id` or `%id`, split at their separators."""
    for _, text in _texts(config, ""):
        for reference in re.findall(r"[@%](\w+(?:(?:::|#)\w+)*)", text):
            yield tuple(re.split("::|#", reference))


def _caller(kind: type[Owner]) -> Owner | None:
    """Return the nearest object of this kind whose method the current call is part of.

    MONAI gives the expressions of a config no handle on the config they stand in, so this looks up the call stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back
    return None


def _check_references(config: Mapping[str, Any]) -> None:
    parser = ConfigParser(dict(config))
    for where, text in _texts(config, ""):
        for reference in ReferenceResolver.match_refs_pattern(text):
            # MONAI makes relative references (`@::name`) absolute when it parses the config.
            if not reference.startswith("::") and reference not in parser:
                section = parser.get("::".join(reference.split("::")[:-1]))
                known = section if isinstance(section, dict) else {}
                hint = _meant(reference.split("::")[-1], known)
                raise ConfigError(f"config id '{where}' refers to '@{reference}', which does not exist{hint}")


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


def _texts(config: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the text of every string in the config."""
    if isinstance(config, Mapping | list | tuple):
        items = config.items() if isinstance(config, Mapping) else enumerate(config)
        for name, value in items:
            if name != "_meta_":
                yield from _texts(value, f"{where}::{name}" if where else str(name))
    elif isinstance(config, str):
        yield where, config


def _check_device(device: Any) -> None:
    if device is not None and not is_wired(device):
        try:
            check_device(torch.device(device))
        except (RuntimeError, TypeError) as error:
            raise ConfigError(f"device '{device}' is not known; pass cpu, cuda or cuda:N") from error


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, [str(other) for other in known if other != name], n=1)
    return f"; did you mean '{close[0]}'?" if close else "; see the ids in the bundle's configs"
