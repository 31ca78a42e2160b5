"""Run benchmarks by name: `python -m benchmarks inference`; all of them without a name."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from pipeline.engines import keep_freed_memory

from . import __path__ as folder
from .measure import Table

NOT_BENCHMARKS = ("__main__", "measure")


def main() -> None:
    """Run what the command line names, print each table, and write each as JSON."""
    names = sorted(module.name for module in pkgutil.iter_modules(folder) if module.name not in NOT_BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names)}; all by default")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times each candidate is measured (default: %(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/benchmarks"),
        help="folder of the JSON files (default: %(default)s)",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names))
    if unknown:
        parser.error(f"no benchmark is named {unknown[0]!r}; there are {', '.join(names)}")
    torch.set_num_threads(arguments.threads)
    # As the programs do that segment images.
    keep_freed_memory()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or names:
        table: Table = importlib.import_module(f"{__package__}.{name}").run(arguments.rounds)
        print(table, end="\n\n")
        record = {"benchmark": name, "machine": machine(), **table.as_record()}
        (arguments.output / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "bfloat16": torch.cpu.get_capabilities().get("avx512_bf16", False),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """Return the processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
