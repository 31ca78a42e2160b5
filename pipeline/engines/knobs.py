"""What the knobs at the head of a config may be set to: command lines hand over text where a number was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError


@dataclass(frozen=True)
class _Knob:
    kind: str
    types: tuple[type, ...]
    lowest: float | None = None
    words: tuple[str, ...] = ()
    example: str = ""

    def refusal(self, value: Any) -> str | None:
        """Return what a value should have been, None where it is right."""
        if value is None or value in self.words:
            return None
        # True is an int to Python, and no number of epochs.
        right = isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))
        if right and (self.lowest is None or value >= self.lowest):
            return None
        bound = "" if self.lowest is None else f" of at least {self.lowest:g}"
        words = "".join(f" or '{word}'" for word in self.words)
        return f"{self.kind}{bound}{words}; write for example {self.example}"


def _whole(lowest: int, example: str, *words: str) -> _Knob:
    return _Knob("a whole number", (int,), lowest, words, example)


def _number(example: str) -> _Knob:
    return _Knob("a number", (int, float), 0, (), example)


# MONAI's command line reads True and False, and hands over anything else as text.
_SWITCH = _Knob("True or False", (bool,), None, ("true", "false"), "True")
# What YAML 1.1 reads as a switch, which as text is true to Python whatever it says.
_SWITCH_WORDS = ("true", "false", "yes", "no", "on", "off")
_PATH = _Knob("a path", (str,), example="runs/first")
_KNOBS = {
    "seed": _whole(0, "2015"),
    "max_epochs": _whole(1, "20"),
    "tiles_per_case": _whole(1, "20"),
    "val_interval": _whole(1, "5"),
    "tile_px": _whole(1, "572", "auto"),
    "batch_size": _whole(1, "1"),
    "max_memory_mb": _whole(1, "500"),
    "num_workers": _whole(0, "2"),
    "num_classes": _whole(1, "2"),
    "warmup_steps": _whole(0, "100"),
    "slices": _whole(1, "3"),
    "learning_rate": _number("0.001"),
    "w0": _number("10.0"),
    "sigma_px": _number("5.0"),
    "elastic_sigma_px": _number("10.0"),
    "angle_deg": _number("15.0"),
    "resume": _SWITCH,
    "overwrite": _SWITCH,
    "bundle_root": _PATH,
    "manifest_file": _PATH,
    "dataset_dir": _PATH,
    "output_dir": _PATH,
    "ckpt_dir": _PATH,
    "log_dir": _PATH,
    "checkpoint_path": _PATH,
}


def switch(name: str, value: bool | str) -> bool:
    """Return a switch that may come as the text `"true"` or `"false"` from a command line.

    Args:
        name: Its name, for the message.
        value: Its value.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ConfigError(f"{name} is {value!r}; expected True or False")


def check_knobs(config: Mapping[str, Any]) -> None:
    """Refuse a knob of another kind than its name says, or out of its range; expressions and references pass.

    Raises:
        ConfigError: With what was expected, and an example.
    """
    for name, knob in _KNOBS.items():
        value = config.get(name)
        if not is_wired(value) and (expected := knob.refusal(value)) is not None:
            raise ConfigError(f"config id '{name}' is {value!r}; expected {expected}")


def check_switch_words(where: str, text: str) -> None:
    """Refuse text such as `"false"` where nothing reads it as a switch: to Python, and so to MONAI, it is true.

    Args:
        where: The config id.
        text: Its value.

    Raises:
        ConfigError: With the way to write it.
    """
    is_read = _KNOBS.get(where) is _SWITCH or where.endswith("_disabled_")
    if text.lower() in _SWITCH_WORDS and not is_read:
        raise ConfigError(
            f"config id '{where}' is the text {text!r}, which counts as true whatever it says; write True or False, as "
            f"in --{where} False"
        )


def check_kind(name: str, old: Any, new: Any) -> None:
    """Refuse a value of another kind than the one that it replaces.

    Args:
        name: The config id.
        old: Its value in the config files.
        new: What it is to be.

    Raises:
        ConfigError: If a number, a switch, a list or a section would become something else.
    """
    if old is None or new is None or is_wired(old) or is_wired(new):
        return
    kinds: tuple[tuple[str, type | tuple[type, ...]], ...] = (
        ("True or False", bool),
        ("a whole number", int),
        ("a number", (int, float)),
        ("a list such as [8,16]", (list, tuple)),
        ("a section", Mapping),
    )
    for kind, types in kinds:
        if isinstance(old, types):
            if not isinstance(new, types) or (isinstance(new, bool) and not isinstance(old, bool)):
                raise ConfigError(f"config id '{name}' is {new!r}; expected {kind}, as in the bundle ({_short(old)})")
            return


def is_wired(value: Any) -> bool:
    """Return whether a value is an expression or a reference of MONAI's configs, known only when it is evaluated."""
    return isinstance(value, str) and value[:1] in ("$", "@", "%")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
