"""Errors of a bundle run as one line on standard error, with the exit status that scripts rely on."""

from __future__ import annotations

import sys
from types import TracebackType

from ..errors import PipelineError

USER_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130


def report_errors_in_one_line() -> None:
    """Make uncaught errors that the user can mend end the process with one line and status 2, and Ctrl-C with 130.

    MONAI's command line shows a traceback of the config parser for them. Other errors keep their traceback: they are
    ours. Called by the `initialize` section of a bundle.
    """
    sys.excepthook = _report


def user_error(error: BaseException | None) -> PipelineError | None:
    """Return the error that the user can mend in a chain of causes: MONAI wraps what happens while a config is read."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, PipelineError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    # An exit from inside the hook sets the status of the process; merely returning would leave it at 1.
    mendable = user_error(error)
    if mendable is not None:
        print(f"error: {mendable}", file=sys.stderr)
        raise SystemExit(USER_ERROR_STATUS)
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; what was complete is kept", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS)
    sys.__excepthook__(kind, error, traceback)
