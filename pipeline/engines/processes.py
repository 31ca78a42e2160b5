"""The device of a process, and joining the processes of a distributed run."""

from __future__ import annotations

import ignite.distributed as idist
import torch

from ..errors import ConfigError

# Groups live until the process ends. Were the wrapper of a network the last to hold one, it would end the group's
# threads while they wait for the lock that it holds: now and then the process would hang after its last step.
_JOINED: list[torch.distributed.ProcessGroup | None] = []


def check_device(device: torch.device) -> None:
    """Refuse a GPU that this machine does not have.

    Raises:
        ConfigError: If there is no such GPU.
    """
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device} does not exist: this machine shows {torch.cuda.device_count()} GPUs; start no more "
            "processes than GPUs (--nproc_per_node), or set device to cpu (and backend to gloo for several processes)"
        )


def join_processes(backend: str, device: torch.device | str) -> None:
    """Join the processes that `torchrun` started; every rank must call this before it makes anything distributed.

    Args:
        backend: `"nccl"` for GPUs, `"gloo"` for CPUs.
        device: The device of this process.

    Raises:
        ConfigError: If there is no such GPU, or the backend is not available.
    """
    device = torch.device(device)
    check_device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_backend_available(backend):
        raise ConfigError(f"backend '{backend}' is not in this build of torch; set backend to gloo and device to cpu")
    torch.distributed.init_process_group(backend)
    _JOINED.append(torch.distributed.group.WORLD)
    # Ignite joins with a collective call of its own, which hangs later where only some ranks come to make it.
    idist.get_world_size()
