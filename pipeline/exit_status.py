"""How a command ends: one line on standard error, and the exit status that scripts rely on. No import of torch."""

from __future__ import annotations

import errno
import sys

from tqdm import tqdm

from .errors import ConfigError, OutputError, PipelineError

USER_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130
# A full disk, and folders that may not be written: TensorBoard and other writers that are not ours report them bare.
_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


def say_in_one_line(error: BaseException, program: str = "") -> int | None:
    """Say on standard error what ended the program, and return the exit status that belongs to it.

    Args:
        error: What was raised.
        program: What the line begins with, such as `"unet-pipeline: "`.

    Returns:
        2 for an error that the user can mend, 130 for Ctrl-C; None for any other, of which nothing is said.
    """
    mendable = user_error(error)
    if isinstance(error, KeyboardInterrupt):
        line, status = "interrupted; what was complete is kept", INTERRUPTED_STATUS
    elif mendable is not None:
        line, status = f"{program}error: {mendable}", USER_ERROR_STATUS
    else:
        return None
    # A bar that is still open would share its line with the message, and be drawn once more below it.
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    print(line, file=sys.stderr)
    return status


def user_error(error: BaseException | None) -> PipelineError | None:
    """Return the error that the user can mend in a chain of causes: MONAI wraps what happens while a config is read."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, PipelineError):
            return error
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            what = error.filename or "the results"
            way_out = "check the free space and the permissions, or write elsewhere"
            return OutputError(f"cannot use {what}: {error.strerror}; {way_out}")
        refused = _refused_by_library(error)
        if refused is not None:
            return refused
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _refused_by_library(error: BaseException) -> ConfigError | None:
    """Return what a library says of a value in the config that is out of range, such as a negative learning rate."""
    cause = error.__cause__
    if not str(error).startswith("Failed to instantiate component") or type(cause) is not ValueError:
        return None
    frame = cause.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    # A ValueError out of this package is our own mistake, and keeps its traceback.
    if frame is None or frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        return None
    component = str(error).split("'")[1]
    return ConfigError(f"{component} refuses a value of the config: {' '.join(str(cause).split())}; correct it")
