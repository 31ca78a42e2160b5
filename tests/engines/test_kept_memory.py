"""In a process of its own, as the setting cannot be undone: freed memory is used again, the system is not asked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys, torch
from pipeline.engines import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def fill():
    torch.ones(100_000_000, dtype=torch.uint8)
for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range(20):
    fill()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_minflt - before.ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is of GNU's C library")
def test_a_freed_tensor_gives_its_memory_to_the_next() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", COUNT_FAULTS, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "give back")
    }
    # A tensor is 24,414 small pages; twice the heap may have to grow, where something else lies in a gap.
    assert faults["keep"] < 0.1 * faults["give back"]
