"""Which config files a bundle run is made of, and what is laid over them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from .engines import check_config, override
from .errors import ConfigError, MissingFileError

_SWITCHES = {"true": True, "false": False}


def config_files(bundle: str | Path, base: str, overlays: Sequence[str] = ()) -> list[Path]:
    """Return `configs/<base>.yaml` of a bundle and its overlays, in the order in which they are merged.

    Args:
        bundle: Folder of the bundle.
        base: `"train"` or `"inference"`.
        overlays: Names of overlays, without suffix, such as `"demo"`.

    Raises:
        MissingFileError: If the folder is no bundle, or has no such overlay.
    """
    configs = Path(bundle) / "configs"
    if not configs.is_dir():
        raise MissingFileError(f"bundle {bundle} not found: a bundle is a folder with a configs folder in it")
    return [_config_file(configs, name) for name in (base, *overlays)]


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """Return `id=value` arguments as a mapping; values are read as MONAI's own command line reads them.

    There, `true` and `false` would be text; here they are switches, as in the YAML of the configs.

    Raises:
        ConfigError: If an argument has no `=`.

    Examples:
        >>> parse_overrides(["max_epochs=3", "network_def::channels=[8,16]", "device=cpu"])
        {'max_epochs': 3, 'network_def::channels': [8, 16], 'device': 'cpu'}
    """
    overrides = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise ConfigError(f"argument '{setting}' must be id=value, for example max_epochs=5")
        overrides[name] = _SWITCHES.get(value, DefaultParseValue(value))
    return overrides


def parse_bundle(files: Sequence[Path], overrides: Mapping[str, Any]) -> ConfigParser:
    """Merge config files and overrides, and check that every id means something.

    Args:
        files: The config files, overlays after what they are laid over.
        overrides: Values of config ids.

    Returns:
        The parser, ready to make components.

    Raises:
        ConfigError: If an id is unknown, with the nearest that exists; if a value is of the wrong kind; if a file is
            not YAML, or sets an id in a section that no file before it has.
    """
    parser = ConfigParser()
    try:
        parser.read_config([str(file) for file in files])
    except (yaml.YAMLError, ValueError) as error:
        names = " or ".join(file.name for file in files)
        raise ConfigError(f"config {names} is not valid: {' '.join(str(error).split())}; correct it there") from error
    except KeyError as error:
        names = " + ".join(file.stem for file in files)
        raise ConfigError(
            f"configs {names} do not go together: one sets an id in a section that none before it has "
            f"({error.args[0]}); see the first lines of each for what it is laid over"
        ) from error
    for name, value in overrides.items():
        override(parser, name, value)
    check_config(parser.get())
    parser.parse()
    return parser


def _config_file(configs: Path, name: str) -> Path:
    for suffix in (".yaml", ".yml", ".json"):
        if (configs / f"{name}{suffix}").is_file():
            return configs / f"{name}{suffix}"
    names = sorted(file.stem for file in configs.iterdir() if file.suffix in (".yaml", ".yml"))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"
    raise MissingFileError(f"bundle {configs.parent} has no config '{name}'; {hint}")
