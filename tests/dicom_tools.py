"""Programs of Debian that check and read DICOM, and share nothing with the package: dicom3tools and DCMTK."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(name) is None:
        assert "CI" not in os.environ, f"{name} is not installed; .ci/run installs it"
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=False)


def dciodvfy(path: Path) -> list[str]:
    """Return what dciodvfy of dicom3tools says of a file: the kind of object alone where it finds nothing."""
    return run_tool("dciodvfy", path).stderr.splitlines()
