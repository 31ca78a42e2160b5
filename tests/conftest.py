"""What several test files share: a small data set, the arguments of a small run, and processes that start at once."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import generate_phantom_ct, phantom_em_slice
from pipeline.data.frozen_tiff import write_frozen_tiff

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"
CHANNELS = [4, 8, 16, 32, 64]
# Rows and columns differ, so that swapping them shows.
TRAINING_PX = (64, 96)
VALIDATION_PX = (80, 112)


@dataclass(frozen=True)
class SmallData:
    """Crops of two generated slices with a manifest of their own: four cases to train on, three to validate."""

    manifest: Path
    folder: Path

    @property
    def fields(self) -> dict[str, Any]:
        """The manifest as a dictionary that may be changed."""
        return dict(json.loads(self.manifest.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Finished:
    """What a process left behind; `status` is negative for the signal that ended it."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line on standard error: what a person reads first."""
        lines = self.stderr.rstrip("\n").splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class TrainedRun:
    """A copy of the repository's bundle and manifests in which the bundle was trained."""

    root: Path
    bundle: Path
    finished: Finished
    entries_before: frozenset[str]

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint."""
        return self.bundle / "models" / "model.pt"

    @property
    def record(self) -> dict[str, Any]:
        """The record of the run."""
        return dict(json.loads((self.bundle / "log" / "run.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Running:
    """A process that `Processes.start` started."""

    pid: int
    stdout: Path
    stderr: Path
    owner: Processes

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 240.0) -> None:
        """Wait until something that the process does can be seen."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.stderr.read_text(encoding="utf-8")
            time.sleep(0.01)

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: interrupt the process and all that it started."""
        os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it without a chance to react."""
        os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float = 240.0) -> Finished:
        """Wait for the end."""
        status = self.owner.wait(self, timeout_s)
        return Finished(status, self.stdout.read_text(encoding="utf-8"), self.stderr.read_text(encoding="utf-8"))


@dataclass
class Processes:
    """Real processes out of a Python that has everything imported already (`warm_interpreter.py`)."""

    server: subprocess.Popen[str]
    folder: Path
    started: int = field(default=0)

    def start(
        self,
        module: str,
        arguments: Sequence[str | Path],
        cwd: Path,
        env: Mapping[str, str] | None = None,
        largest_file_bytes: int = 0,
    ) -> Running:
        """Start `python -m MODULE ARGUMENT...`."""
        self.started += 1
        stdout, stderr = (self.folder / f"{self.started}.{name}" for name in ("stdout", "stderr"))
        request = {
            "module": module,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "env": dict(env or {}),
            "largest_file_bytes": largest_file_bytes,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        return Running(int(self._ask(request)), stdout, stderr, self)

    def wait(self, running: Running, timeout_s: float) -> int:
        """Wait for a process that was started; kill it when the time is up."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps({"wait": running.pid}) + "\n")
        self.server.stdin.flush()
        if not select.select([self.server.stdout], [], [], timeout_s)[0]:
            running.kill()
        return int(self.server.stdout.readline())

    def _ask(self, request: Mapping[str, Any]) -> str:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Return the folder of a real data set: skip without `PIPELINE_DATA`, fail without the folder."""
    if "PIPELINE_DATA" not in os.environ:
        pytest.skip("PIPELINE_DATA is not set; it names the folder of real data sets")

    def folder_of(name: str) -> Path:
        folder = Path(os.environ["PIPELINE_DATA"]) / name
        assert folder.is_dir(), f"PIPELINE_DATA is set, and {folder} is not there"
        return folder

    return folder_of


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a shell script for which a folder is a file system of its own, of a size such as `64k`.

    It lies in a mount namespace that ends with the script: skip where the system allows nobody to make one.
    """
    namespace = ["unshare", "--mount", "--map-root-user"]
    if shutil.which(namespace[0]) is None:
        pytest.skip("the command unshare is not installed")
    probe = subprocess.run([*namespace, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespace can be made here: {probe.stderr.strip()}")

    def run(folder: Path, size: str, script: str) -> subprocess.CompletedProcess[str]:
        mount = f"mount -t tmpfs -o size={size} tmpfs '{folder}'"
        command = [*namespace, "sh", "-ec", f"{mount}; {script}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)

    return run


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes that start without the seconds that importing torch and MONAI takes."""
    command = [sys.executable, str(Path(__file__).with_name("warm_interpreter.py"))]
    # Small networks gain nothing from a second thread, and lose much where other programs want the cores.
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield Processes(server, tmp_path_factory.mktemp("processes"))
        server.stdin.close()


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> SmallData:
    """Crops of two generated slices; nobody may change the files."""
    folder = tmp_path_factory.mktemp("small_data")
    slices = [phantom_em_slice(0), phantom_em_slice(1)]
    crops = {f"t{number}": (slices[0], (80 * number, 90 * number), TRAINING_PX) for number in range(4)}
    crops |= {f"v{number}": (slices[1], (90 * number, 80 * number), VALIDATION_PX) for number in range(3)}
    cases = []
    for case, (piece, (row, column), (height, width)) in crops.items():
        entry: dict[str, Any] = {"id": case, "patient": "phantom", "block": case}
        for kind, pixels in (("image", piece.image), ("label", piece.label)):
            path = folder / kind / f"{case}.tif"
            write_frozen_tiff(path, np.ascontiguousarray(pixels[row : row + height, column : column + width]))
            entry[kind] = f"{kind}/{case}.tif"
            entry[f"{kind}_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        cases.append(entry)
    fields = json.loads((ROOT / "data_manifests" / "phantom_em.json").read_text(encoding="utf-8"))
    fields |= {
        "name": "small",
        "source": {"urls": ["https://example.org/small.zip"], "layout": "unpack the archive there"},
        "cases": cases,
        "splits": {"training": ["t0", "t1", "t2", "t3"], "validation": ["v0", "v1", "v2"]},
    }
    manifest = folder / "small.json"
    manifest.write_text(json.dumps(fields), encoding="utf-8")
    return SmallData(manifest, folder)


@pytest.fixture(scope="session")
def phantom_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated CT series with their labels; nobody may change the files."""
    folder = tmp_path_factory.mktemp("phantom_ct")
    generate_phantom_ct(folder)
    return folder


@pytest.fixture(scope="session")
def small_run(small_data: SmallData) -> dict[str, Any]:
    """Values of config ids with which one epoch of training takes about a second."""
    return {
        "manifest_file": str(small_data.manifest),
        "dataset_dir": str(small_data.folder),
        "network_def::channels": CHANNELS,
        "tile_px": 188,
        "tiles_per_case": 1,
        "num_workers": 0,
        "max_epochs": 2,
        "val_interval": 1,
        "warmup_steps": 2,
        "device": "cpu",
    }


def options_of(settings: Mapping[str, Any]) -> list[str]:
    """Write values of config ids as MONAI's command line takes them."""
    return [
        word
        for name, value in settings.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]


@pytest.fixture(scope="session")
def as_options() -> Callable[[Mapping[str, Any]], list[str]]:
    """Write values of config ids as MONAI's command line takes them."""
    return options_of


def entries_of(folder: Path) -> frozenset[str]:
    """List everything below a folder."""
    return frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="session")
def trained_run(
    tmp_path_factory: pytest.TempPathFactory, small_data: SmallData, small_run: dict[str, Any]
) -> TrainedRun:
    """Train as the first lines of train.yaml say, from the root of a repository, in a cold process of its own."""
    root = tmp_path_factory.mktemp("repository")
    bundle = root / "bundles" / BUNDLE.name
    shutil.copytree(BUNDLE / "configs", bundle / "configs")
    shutil.copytree(small_data.folder, bundle / "datasets" / "phantom_em")
    (root / "data_manifests").mkdir()
    shutil.copy(small_data.manifest, root / "data_manifests" / "phantom_em.json")
    before = entries_of(root)
    settings = {name: value for name, value in small_run.items() if name not in ("manifest_file", "dataset_dir")}
    relative = f"bundles/{BUNDLE.name}"
    command = ["-m", "monai.bundle", "run", "training", "--config_file", f"{relative}/configs/train.yaml"]
    run = subprocess.run(
        [sys.executable, *command, "--bundle_root", relative, *options_of(settings)],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return TrainedRun(root, bundle, Finished(run.returncode, run.stdout, run.stderr), before)


@pytest.fixture
def command(processes: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run the command to its end in `tmp_path`; return status, standard output and the last line on standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        finished = processes.start("pipeline", arguments, tmp_path).wait()
        assert "Traceback" not in finished.stderr
        return finished.status, finished.stdout, finished.last_line

    return run
