"""A Python that has torch, MONAI and the package imported, and forks for each command: real processes without the wait.

Every line of standard input is a request, every line of standard output its answer. `start` forks a process that runs
`python -m MODULE ARGUMENT...` from there on: a session of its own, its own files, limits and exit status.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import signal
import sys
from typing import Any

import monai.bundle.scripts  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import pipeline.cli
import pipeline.predict  # noqa: F401


def serve() -> dict[str, Any]:
    """Answer requests; return in the child of each fork, with what it is to run."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            return dict(request)
        print(child, flush=True)
    # Closed by the tests that started it.
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Take on the session, files, folder, environment and limits of a fresh process."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    if request["largest_file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file_bytes"],) * 2)
    sys.path[0] = request["cwd"]
    sys.argv[1:] = request["arguments"]


# What is imported lives as long as the process: a child need not look through it for garbage when it ends.
gc.freeze()
wanted = serve()
become(wanted)
# At the top level, so that an uncaught exception ends the process as it ends any other.
runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)
