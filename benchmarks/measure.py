"""Measuring candidates in turns, and the table of medians and ratios that comes of it."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm


@dataclass
class Table:
    """The figures of one benchmark.

    Attributes:
        claim: What is claimed, in a sentence.
        medians: Median of each candidate, in `unit`.
        all_figures: Every figure behind the medians.
        goals: Name, figure, comparison (`"<="` or `">="`) and wanted figure of each goal.
    """

    claim: str
    unit: str = "s"
    medians: dict[str, float] = field(default_factory=dict)
    all_figures: dict[str, list[float]] = field(default_factory=dict)
    goals: list[tuple[str, float, str, float]] = field(default_factory=list)

    def add(self, figures: Mapping[str, list[float]]) -> None:
        """Add measured candidates."""
        for name, values in figures.items():
            self.all_figures[name] = values
            self.medians[name] = statistics.median(values)

    def goal(self, name: str, figure: float, comparison: str, wanted: float) -> None:
        """Hold a figure against what is claimed."""
        self.goals.append((name, figure, comparison, wanted))

    def as_record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "claim": self.claim,
            "unit": self.unit,
            "medians": self.medians,
            "figures": self.all_figures,
            "goals": [
                {
                    "name": name,
                    "figure": figure,
                    "wanted": f"{comparison} {wanted}",
                    "reached": reached(figure, comparison, wanted),
                }
                for name, figure, comparison, wanted in self.goals
            ],
        }

    def __str__(self) -> str:
        """Return the table for people."""
        width = max(map(len, [*self.medians, *(goal[0] for goal in self.goals)]))
        lines = [self.claim, ""]
        for name, median in self.medians.items():
            spread = f"{min(self.all_figures[name]):.3f} .. {max(self.all_figures[name]):.3f}"
            lines.append(f"{name:{width}}  {median:9.3f} {self.unit}  ({spread})")
        lines.append("")
        for name, figure, comparison, wanted in self.goals:
            verdict = "reached" if reached(figure, comparison, wanted) else "MISSED"
            lines.append(f"{name:{width}}  {figure:9.3f}    wanted {comparison} {wanted:g}: {verdict}")
        return "\n".join(lines)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one core, as a worker of a data loader does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def reached(figure: float, comparison: str, wanted: float) -> bool:
    """Tell whether a goal is reached."""
    return figure <= wanted if comparison == "<=" else figure >= wanted


def seconds_in_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time candidates in turns, so that other load falls on all of them alike; the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with tqdm(total=(rounds + 1) * len(candidates), unit="run", leave=False, file=sys.stderr) as bar:
        for turn in range(rounds + 1):
            for name, candidate in candidates.items():
                bar.set_description(name)
                started = time.perf_counter()
                candidate()
                if turn:
                    seconds[name].append(time.perf_counter() - started)
                bar.update()
    return seconds
