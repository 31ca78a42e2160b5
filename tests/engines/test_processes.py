"""Devices that are not there, and joining processes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.engines import check_device, join_processes
from pipeline.errors import ConfigError

JOIN = """
import sys
import torch
from pipeline.engines import join_processes

join_processes("gloo", sys.argv[1])
total = torch.tensor([torch.distributed.get_rank() + 1])
torch.distributed.all_reduce(total)
print(int(total))
# As at the end of a run: the group ends while the wrapper of the network still holds it.
network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
network(torch.ones(1, 2)).sum().backward()
held = torch.distributed.group.WORLD
torch.distributed.destroy_process_group()
del network
print(sys.getrefcount(held) > 2)
"""


def test_the_cpu_is_always_there() -> None:
    check_device(torch.device("cpu"))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_device(torch.device("cuda:1"))
    with pytest.raises(
        ConfigError, match=r"device cuda:2 does not exist: this machine shows 2 GPUs; start no more proc"
    ):
        check_device(torch.device("cuda:2"))


def test_no_process_joins_on_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"device cuda:0 does not exist.*set device to cpu .*backend to gloo"):
        join_processes("nccl", "cuda:0")
    assert not torch.distributed.is_initialized()


def test_a_backend_that_is_not_in_this_build_is_refused() -> None:
    with pytest.raises(ConfigError, match="backend 'ncl' is not in this build of torch; set backend to gloo"):
        join_processes("ncl", torch.device("cpu"))


def test_two_processes_join(tmp_path: Path, processes: Any) -> None:
    (tmp_path / "join.py").write_text(JOIN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [
        processes.start("join", ["cpu"], tmp_path, env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    finished = [rank.wait() for rank in ranks]
    assert [process.status for process in finished] == [0, 0], finished
    assert [process.stdout for process in finished] == ["3\nTrue\n", "3\nTrue\n"]
