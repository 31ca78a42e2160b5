"""Images larger than memory: the same result as in memory, from any array-like, also after being killed."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from pipeline.errors import ConfigError, ImageError, OutputError
from pipeline.geometry import PaddedGeometry
from pipeline.inferers import OverlapTileInferer
from pipeline.networks import ValidUNet


@pytest.fixture(scope="module")
def network() -> ValidUNet:
    torch.manual_seed(0)
    return ValidUNet(2, 3, channels=(4, 6, 8)).eval()


@pytest.fixture
def source() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 333, 140), np.uint8)


def in_memory(source: np.ndarray, network: nn.Module, inferer: OverlapTileInferer) -> np.ndarray:
    with torch.inference_mode():
        return inferer(torch.from_numpy(source.astype(np.float32))[None], network)[0].numpy()


@pytest.mark.parametrize("tile_px", ["auto", 76, 108], ids=str)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_result_is_that_of_a_call(network: ValidUNet, source: np.ndarray, tile_px: Any, batch_size: int) -> None:
    inferer = OverlapTileInferer(tile_px, batch_size=batch_size, max_memory_mb=2)
    sink = np.full((3, 333, 140), np.nan, np.float32)
    plan = inferer.run_array(source, network, sink)
    assert plan.tiles > 1
    expected = in_memory(source, network, inferer)
    assert np.abs(sink - expected).max() <= 1e-5 * expected.std()


def test_it_runs_between_memory_maps(network: ValidUNet, source: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "source.npy", source)
    stored = np.load(tmp_path / "source.npy", mmap_mode="r")
    sink = np.lib.format.open_memmap(tmp_path / "sink.npy", "w+", np.float32, (3, 333, 140))
    OverlapTileInferer(76).run_array(stored, network, sink)
    assert np.allclose(np.load(tmp_path / "sink.npy"), in_memory(source, network, OverlapTileInferer(76)), atol=1e-6)


def test_it_runs_between_zarr_arrays(network: ValidUNet, source: np.ndarray, tmp_path: Path) -> None:
    stored = zarr.create_array(tmp_path / "source.zarr", shape=source.shape, chunks=(1, 50, 64), dtype=source.dtype)
    stored[:] = source
    sink = zarr.create_array(tmp_path / "sink.zarr", shape=(3, 333, 140), chunks=(3, 64, 64), dtype="f4")
    OverlapTileInferer(76).run_array(stored, network, sink)
    assert np.allclose(sink[:], in_memory(source, network, OverlapTileInferer(76)), atol=1e-6)


def test_pixels_go_through_both_conversions(source: np.ndarray) -> None:
    torch.manual_seed(1)
    network = ValidUNet(1, 2, channels=(4, 6, 8)).eval()
    sink = np.zeros(source.shape[1:], np.uint8)

    def to_input(pixels: np.ndarray) -> np.ndarray:
        return (pixels.mean(0, keepdims=True, dtype=np.float32) - 100) / 50

    def to_output(logits: torch.Tensor) -> np.ndarray:
        return logits.argmax(0, keepdim=True).to(torch.uint8).numpy()

    OverlapTileInferer(76).run_array(source, network, sink, to_input=to_input, to_output=to_output)
    assert np.array_equal(sink, in_memory(to_input(source), network, OverlapTileInferer(76)).argmax(0))
    assert 0 < sink.mean() < 1


# --- going on after being killed -------------------------------------------------------------------------------------

_RUN = """
import sys, numpy as np, torch
from pipeline.inferers import OverlapTileInferer
from pipeline.networks import ValidUNet
folder = sys.argv[1]
torch.manual_seed(0)
network = ValidUNet(1, 1, channels=(8, 12, 16)).eval()
source = np.load(folder + "/../source.npy", mmap_mode="r")
sink = np.lib.format.open_memmap(folder + "/sink.npy", "r+")
OverlapTileInferer(108, max_memory_mb=20).run_array(source, network, sink, journal=folder + "/journal")
"""


@pytest.fixture
def streamed(processes: Any, tmp_path: Path) -> Callable[[str], Any]:
    """Start a process that streams one image into `sink.npy` of a folder; the folder is made at the first start."""
    np.save(tmp_path / "source.npy", np.random.default_rng(1).integers(0, 256, (6000, 300), np.uint8))
    (tmp_path / "streamed_run.py").write_text(_RUN)

    def start(name: str) -> Any:
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            np.save(folder / "sink.npy", np.zeros((6000, 300), np.float32))
        return processes.start("streamed_run", [folder], tmp_path)

    return start


def test_a_run_killed_ten_times_ends_with_the_same_bytes(streamed: Callable[[str], Any], tmp_path: Path) -> None:
    whole = streamed("whole").wait()
    assert whole.status == 0, whole.stderr
    draws = random.Random(0)
    killed = tmp_path / "killed"
    for _ in range(10):
        process = streamed("killed")
        # A random moment at which some strips are finished and some are not.
        wanted = draws.randint(1, 3) + len(strips_in(killed))
        process.wait_for(lambda wanted=wanted: len(strips_in(killed)) >= wanted)
        time.sleep(draws.random() * 0.02)
        process.kill()
        assert process.wait().status == -signal.SIGKILL, "the run was over before it was killed"
    finished = streamed("killed").wait()
    assert finished.status == 0, finished.stderr
    assert not (killed / "journal").exists()
    assert (killed / "sink.npy").read_bytes() == (tmp_path / "whole" / "sink.npy").read_bytes()


def strips_in(folder: Path) -> list[str]:
    journal = folder / "journal"
    return journal.read_text().splitlines()[1:] if journal.exists() else []


class _InterruptedError(RuntimeError):
    pass


class _FailingSink(np.ndarray):
    """An array that fails when it is written for the `fails_at`-th time."""

    fails_at = 2

    def __setitem__(self, index: Any, pixels: Any) -> None:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise _InterruptedError
        super().__setitem__(index, pixels)


def test_a_run_that_goes_on_keeps_its_tiles_and_does_no_strip_twice(
    network: ValidUNet, source: np.ndarray, tmp_path: Path
) -> None:
    expected, journal = np.zeros((3, 333, 140), np.float32), tmp_path / "journal"
    whole = OverlapTileInferer("auto", max_memory_mb=2).run_array(source, network, expected)
    sink = np.zeros((3, 333, 140), np.float32).view(_FailingSink)
    with pytest.raises(_InterruptedError):
        OverlapTileInferer("auto", max_memory_mb=2).run_array(source, network, sink, journal=journal)
    begun = json.loads(journal.read_text().splitlines()[0])

    # With another budget it would choose other tiles.
    finished_px: list[int] = []
    plan = OverlapTileInferer("auto", max_memory_mb=500).run_array(
        source, network, sink, journal=journal, finished_px=finished_px.append
    )
    assert [plan.rows.input_px, plan.columns.input_px] == begun["tile_px"]
    assert plan.axes == whole.axes
    assert np.array_equal(sink, expected)
    step = plan.rows.starts_px[1]
    assert finished_px[0] == step * 140
    assert len(finished_px) == 1 + plan.tiles - len(plan.columns.starts_px)
    assert sum(finished_px) == 333 * 140
    assert not journal.exists()


def interrupted(source: np.ndarray, network: ValidUNet, journal: Path, inferer: OverlapTileInferer) -> np.ndarray:
    sink = np.zeros((3, 333, 140), np.float32).view(_FailingSink)
    with pytest.raises(_InterruptedError):
        inferer.run_array(source, network, sink, journal=journal)
    return np.asarray(sink)


def test_a_sink_that_lost_what_was_finished_is_refused(network: ValidUNet, source: np.ndarray, tmp_path: Path) -> None:
    journal, inferer = tmp_path / "journal", OverlapTileInferer(76)
    interrupted(source, network, journal, inferer)
    with pytest.raises(OutputError, match=r"sink does not hold the strips that journal .* tells to be finished"):
        inferer.run_array(source, network, np.zeros((3, 333, 140), np.float32), journal=journal)


@pytest.mark.parametrize("settings", [{"tile_px": 92}, {"tile_px": "auto", "max_memory_mb": 1}], ids=str)
def test_tiles_that_do_not_fit_those_of_the_journal_are_refused(
    network: ValidUNet, source: np.ndarray, tmp_path: Path, settings: dict[str, Any]
) -> None:
    journal = tmp_path / "journal"
    sink = interrupted(source, network, journal, OverlapTileInferer("auto", max_memory_mb=4))
    with pytest.raises(OutputError, match=r"the run of journal .* began with tiles of \d+ × \d+ px.*start anew"):
        OverlapTileInferer(**settings).run_array(source, network, sink, journal=journal)


def test_source_and_sink_must_not_be_the_same(source: np.ndarray, tmp_path: Path) -> None:
    network = ValidUNet(2, 2, channels=(4, 6, 8)).eval()
    image = np.lib.format.open_memmap(tmp_path / "image.npy", "w+", np.float32, (2, 90, 80))
    other = np.lib.format.open_memmap(tmp_path / "image.npy", "r+")
    for sink in (image, image[:, ::-1], other):
        with pytest.raises(OutputError, match="sink and source are the same memory or file"):
            OverlapTileInferer(76).run_array(image, network, sink)
    assert not image.any()


def test_copies_and_parts_of_memory_maps_are_read(network: ValidUNet, source: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", source)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    expected, found = (np.zeros((3, 200, 140), np.float32) for _ in range(2))
    OverlapTileInferer(76).run_array(source[:, 50:250], network, expected)
    for part in (mapped[:, 50:250], mapped.copy()[:, 50:250], mapped[:, ::-1][:, ::-1][:, 50:250]):
        OverlapTileInferer(76).run_array(part, network, found)
        assert np.array_equal(found, expected)


def test_a_part_of_a_file_that_shrank_is_refused(network: ValidUNet, source: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", source)
    part = np.load(tmp_path / "image.npy", mmap_mode="r")[:, 200:]
    with (tmp_path / "image.npy").open("r+b") as file:
        file.truncate(part.base.nbytes // 2)
    with pytest.raises(ImageError, match=r"image\.npy has shrunk to"):
        OverlapTileInferer(76).run_array(part, network, np.zeros((3, 133, 140), np.float32))


def test_a_network_in_double_precision_gives_double_precision(source: np.ndarray) -> None:
    network = ValidUNet(2, 2, channels=(4, 6, 8)).eval().double()
    sink = np.zeros((2, 333, 140))
    OverlapTileInferer(76).run_array(source, network, sink)
    with torch.inference_mode():
        expected = OverlapTileInferer(76)(torch.from_numpy(source.astype(np.float64))[None], network)[0].numpy()
    assert np.array_equal(sink, expected)


def test_numbers_too_large_for_float32_are_refused(network: ValidUNet) -> None:
    with pytest.raises(ImageError, match="too large for float32"):
        OverlapTileInferer(76).run_array(np.full((2, 30, 30), 1e300), network, np.zeros((3, 30, 30), np.float32))


def test_a_tensor_is_no_source(network: ValidUNet) -> None:
    with pytest.raises(ImageError, match=r"source is a torch tensor; .* give tensor.numpy\(\)"):
        OverlapTileInferer(76).run_array(torch.zeros(2, 30, 30), network, np.zeros((3, 30, 30), np.float32))


@pytest.mark.parametrize("change", ["network", "source", "precision", "run_id"])
def test_a_journal_of_another_run_is_refused(
    network: ValidUNet, source: np.ndarray, tmp_path: Path, change: str
) -> None:
    journal = tmp_path / "journal"
    sink: np.ndarray = np.zeros((3, 333, 140), np.float32).view(_FailingSink)
    with pytest.raises(_InterruptedError):
        OverlapTileInferer(76).run_array(source, network, sink, journal=journal, run_id="a")
    kept = journal.read_bytes()
    if change == "network":
        torch.manual_seed(5)
        network = ValidUNet(2, 3, channels=(4, 6, 8)).eval()
    if change == "source":
        source, sink = source[:, :-1], np.zeros((3, 332, 140), np.float32)  # type: ignore[assignment]
    inferer = OverlapTileInferer(76, precision="bf16" if change == "precision" else "fp32")
    with pytest.raises(
        OutputError,
        match=r"belongs to another run, with other .*; repeat that run, or remove the journal to start anew",
    ):
        inferer.run_array(source, network, sink, journal=journal, run_id="b" if change == "run_id" else "a")
    assert journal.read_bytes() == kept


# --- bad input -------------------------------------------------------------------------------------------------------


class _Untouched:
    """A source or sink that must be refused by what it is, before a pixel is moved."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __getitem__(self, index: Any) -> Any:
        # One pixel is looked at, to learn how many channels the conversion gives.
        rows = index[-2]
        assert rows.stop - rows.start == 1
        return np.zeros((*self.shape[:-2], 1, self.shape[-1]), self.dtype)

    def __setitem__(self, index: Any, pixels: Any) -> None:
        raise AssertionError("written")


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((3, 333, 141), "f4", r"sink has the shape \(3, 333, 141\); expected \(3, 333, 140\)"),
        ((333, 140), "f4", r"sink has the shape \(333, 140\); expected \(3, 333, 140\)"),
        ((3, 333, 140), "u1", "sink holds uint8, which cannot hold float32 results exactly; make it float32"),
        ((3, 333, 140), "f2", "sink holds float16, which cannot hold float32 results exactly"),
    ],
    ids=["size", "channels", "integers", "half"],
)
def test_a_sink_that_does_not_fit_is_refused_before_any_work(
    network: ValidUNet, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        OverlapTileInferer(76).run_array(_Untouched((2, 333, 140), "u1"), network, _Untouched(shape, dtype))


def test_a_read_only_sink_is_refused(network: ValidUNet, source: np.ndarray) -> None:
    sink = np.zeros((3, 333, 140), np.float32)
    sink.flags.writeable = False
    with pytest.raises(OutputError, match="sink is read-only"):
        OverlapTileInferer(76).run_array(source, network, sink)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 0, 140), "u1", "not empty"),
        ((140,), "u1", r"must be \(row, column\) or \(channel, row, column\)"),
        ((2, 20, 20), "c8", "must hold integers or real numbers, got complex64"),
        ((3, 20, 20), "u1", r"image must be \(batch, 2, height, width\) for this network, got \(1, 3"),
    ],
    ids=["empty", "axes", "complex", "channels"],
)
def test_a_source_that_cannot_be_used_is_refused(
    network: ValidUNet, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        OverlapTileInferer(76).run_array(_Untouched(shape, dtype), network, _Untouched((3, 20, 20), "f4"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_found_before_any_work(network: ValidUNet, value: float) -> None:
    source = np.zeros((2, 700, 30), np.float32)
    source[1, 650, 7] = value
    with pytest.raises(ImageError, match=r"NaN, infinite, or too large for float32 in rows 512\.\.699"):
        OverlapTileInferer(76).run_array(source, network, _Untouched((3, 700, 30), "f4"))


def test_a_memory_map_that_shrinks_is_named_and_not_a_crash(network: ValidUNet, tmp_path: Path) -> None:
    path = tmp_path / "source.raw"
    np.zeros((2, 4000, 300), np.uint8).tofile(path)
    source = np.memmap(path, np.uint8, "r", shape=(2, 4000, 300))
    os.truncate(path, 5000)
    with pytest.raises(ImageError, match=r"source\.raw has shrunk to 5000 bytes; expected 2400000; leave it alone"):
        OverlapTileInferer(76).run_array(source, network, np.zeros((3, 4000, 300), np.float32))


def test_a_source_that_gives_fewer_rows_than_it_promises_is_named(network: ValidUNet) -> None:
    class Shrinking(_Untouched):
        def __getitem__(self, index: Any) -> Any:
            return np.zeros((2, 333, 140), np.uint8)[:, :100][index]

    with pytest.raises(ImageError, match=r"source gives \(2, .*; leave it alone while it is read"):
        OverlapTileInferer(76).run_array(Shrinking((2, 333, 140), "u1"), network, np.zeros((3, 333, 140), np.float32))


def test_a_full_disk_is_named(network: ValidUNet, source: np.ndarray) -> None:
    class Full(_Untouched):
        def __setitem__(self, index: Any, pixels: Any) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"a strip of the result cannot be written: .*No space left on device"):
        OverlapTileInferer(76).run_array(source, network, Full((3, 333, 140), "f4"))


def test_a_network_of_another_size_than_its_geometry_says_is_refused(source: np.ndarray) -> None:
    network = nn.Conv2d(2, 3, 5)
    with pytest.raises(ConfigError, match=r"Conv2d gives \(\d+, \d+\) px for a tile of .* expected .* by its geometry"):
        OverlapTileInferer(64, geometry=PaddedGeometry(8, 8)).run_array(source, network, np.zeros((3, 333, 140), "f4"))


def test_a_zarr_array_that_is_read_only_is_refused_before_any_work(
    network: ValidUNet, source: np.ndarray, tmp_path: Path
) -> None:
    zarr.create_array(tmp_path / "sink.zarr", shape=(3, 333, 140), dtype="f4")
    sink = zarr.open_array(tmp_path / "sink.zarr", mode="r")
    with pytest.raises(OutputError, match="sink is read-only"):
        OverlapTileInferer(76).run_array(source, network, sink)
