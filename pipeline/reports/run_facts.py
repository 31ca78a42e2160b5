"""What a run was, as a person reads it: when, on what, with which settings; and what two runs differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from .run_folder import RunFolder

_STATUS = {
    "completed": "completed",
    "interrupted": "stopped by hand before its end",
    "failed": "failed before its end",
    "running": "not over, or killed: its record says that it is running",
}


def run_facts(run: RunFolder) -> list[tuple[str, str]]:
    """Return headings and texts; what is not recorded says so."""
    record = run.record
    if record is None:
        return [("Record", "no log/run.json in the folder: nothing is known of the training")]
    best = run.best_epoch
    versions = record.get("versions")
    memory = record.get("peak_memory_mb")
    facts: list[tuple[str, Any]] = [
        ("State", _STATUS[record["status"]]),
        ("Started", None if "started" not in record else readable_time(record["started"])),
        ("Time", None if "wall_time_s" not in record else duration(record["wall_time_s"])),
        ("Epochs", f"{run.epochs[-1].number if run.epochs else 0} of {record.get('max_epochs', 'an unknown number')}"),
        ("Steps an epoch", record.get("steps_per_epoch")),
        ("Checkpoint of epoch", None if best is None or "best_epoch" not in record else best.number),
        ("Resumed at epoch", record.get("resumed_at_epoch") or "not resumed"),
        ("Bundle", None if run.bundle is None else f"{run.bundle.name} {run.bundle.version}"),
        ("Data", f"{run.data.name} {run.data.version}"),
        ("Manifest SHA-256", run.data.sha256),
        ("Config SHA-256", record.get("config_sha256")),
        ("Checkpoint SHA-256", run.checkpoint_sha256 or "no models/model.pt in the folder"),
        ("Seed", record.get("seed")),
        ("Device", record.get("device")),
        ("Processes and threads", f"{record.get('processes', '?')} and {record.get('threads', '?')}"),
        ("Most memory", None if not memory else ", ".join(f"{name} {mb:.0f} MB" for name, mb in memory.items())),
        ("Versions", None if not versions else ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Source commit", record.get("commit")),
    ]
    return [(heading, "not recorded" if fact is None else str(fact)) for heading, fact in facts]


def stopped_early(run: RunFolder) -> str | None:
    """Return in words that a run did not come to its end, or None."""
    if run.record is None or run.record["status"] == "completed":
        return None
    reached = run.epochs[-1].number if run.epochs else 0
    return (
        f"The training was {_STATUS[run.record['status']]}. "
        f"Its record ends with epoch {reached} of {run.record.get('max_epochs', 'an unknown number')}."
    )


def config_text(run: RunFolder) -> str | None:
    """Return the config as YAML, or None without a record."""
    if run.record is None:
        return None
    return str(yaml.safe_dump(run.record["config"], sort_keys=False, allow_unicode=True, width=100))


def config_differences(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    """Return the ids in which the configs of runs differ, with the value of each run; `–` where it has none."""
    flat = [dict(_leaves(run.record["config"], "")) if run.record is not None else {} for run in runs]
    ids = dict.fromkeys(name for leaves in flat for name in leaves)
    return [
        (name, [_value(leaves, name) for leaves in flat])
        for name in ids
        if len({_value(leaves, name) for leaves in flat}) > 1
    ]


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Examples:
        >>> [duration(seconds) for seconds in (4.2, 75, 7260, 93600)]
        ['4 s', '1 min 15 s', '2 h 1 min', '26 h 0 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def readable_time(started: str) -> str:
    """Return a time in ISO 8601 as people write it.

    Examples:
        >>> readable_time("2026-03-01T09:30:00+00:00")
        '2026-03-01 09:30:00 UTC'
    """
    return started.replace("T", " ").replace("+00:00", " UTC")


def _value(leaves: Mapping[str, str], name: str) -> str:
    return leaves.get(name, "–")


def _leaves(content: Any, where: str) -> list[tuple[str, str]]:
    """Return ids and values; a list of numbers or texts is one value."""
    if isinstance(content, Mapping) and content:
        items = content.items()
    elif isinstance(content, list) and any(isinstance(item, Mapping | list) for item in content):
        items = dict(enumerate(content)).items()
    else:
        return [(where, str(content))]
    return [leaf for name, value in items for leaf in _leaves(value, f"{where}::{name}" if where else str(name))]
