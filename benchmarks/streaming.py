"""How much memory a streamed run needs for a small and a large image on disk, each in a process of its own (Linux)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from pipeline.engines import keep_freed_memory
from pipeline.inferers import OverlapTileInferer
from pipeline.networks import ValidUNet

from .measure import Table

CLAIM = "An image of 20,000 by 20,000 px on disk takes at most 1.5 GB more memory than one of 2,000 by 2,000 px."
SMALL_PX, LARGE_PX = 2_000, 20_000


def run(rounds: int) -> Table:
    """Measure the peak resident memory of one run for each size; `rounds` is not used, memory repeats."""
    table = Table(CLAIM, unit="GB")
    for side_px in (SMALL_PX, LARGE_PX):
        table.add({f"{side_px} px": [peak_gb(side_px)]})
    small, large = (table.medians[f"{side_px} px"] for side_px in (SMALL_PX, LARGE_PX))
    table.goal("GB above the small image", large - small, "<=", 1.5)
    return table


def peak_gb(side_px: int) -> float:
    """Return the peak resident memory of a process that streams an image of this side."""
    with tempfile.TemporaryDirectory() as folder:
        source = np.lib.format.open_memmap(Path(folder) / "source.npy", "w+", np.uint8, (side_px, side_px))
        for row in range(0, side_px, 1000):
            source[row : row + 1000] = np.random.default_rng(row).integers(0, 256, (1000, side_px), np.uint8)
        source.flush()
        del source
        command = [sys.executable, "-m", f"{__package__}.streaming", folder, str(torch.get_num_threads())]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(finished.stdout.split()[-1]) * 1024 / 1e9


def stream(folder: Path) -> None:
    """Stream `source.npy` of a folder into `mask.npy` there, and print the peak resident memory in KiB."""
    keep_freed_memory()
    torch.manual_seed(0)
    network = ValidUNet(channels=(8, 16, 32, 64, 128)).eval().to(memory_format=torch.channels_last)
    source = np.load(folder / "source.npy", mmap_mode="r")
    sink = np.lib.format.open_memmap(folder / "mask.npy", "w+", np.uint8, source.shape)
    inferer = OverlapTileInferer("auto", precision="auto", progress=True)
    inferer.run_array(source, network, sink, to_output=lambda logits: logits.argmax(0, keepdim=True).byte().numpy())
    # Not `getrusage`, whose peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    stream(Path(sys.argv[1]))
