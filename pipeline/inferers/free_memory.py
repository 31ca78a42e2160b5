"""How much memory a device has left for this process."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

_CGROUPS = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the memory that can be taken on `device` without pushing anything out, in bytes.

    For a CPU this is what the system calls available, and no more than what a container's limit leaves.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has reserved and does not use is as good as free.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    available = int(psutil.virtual_memory().available)
    limit, used = _read_bytes(_CGROUPS / "memory.max"), _read_bytes(_CGROUPS / "memory.current")
    return available if limit is None or used is None else max(min(available, limit - used), 0)


def _read_bytes(path: Path) -> int | None:
    """Return the number in a file of the cgroup, None where there is no such file or it says `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
