"""Errors of a bundle run as one line on standard error, with the exit status that scripts rely on."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from ..exit_status import say_in_one_line, user_error


def report_errors_in_one_line() -> None:
    """Make uncaught errors that the user can mend end the process with one line and status 2, and Ctrl-C with 130.

    MONAI's command line shows a traceback of the config parser for them. Other errors keep their traceback: they are
    ours. Called by the `initialize` section of a bundle.
    """
    sys.excepthook = _report
    threading.excepthook = _report_in_thread


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    status = say_in_one_line(error)
    if status is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        # An exit from inside the hook sets the status of the process; merely returning would leave it at 1.
        raise SystemExit(status)


def _report_in_thread(arguments: threading.ExceptHookArgs) -> None:
    # TensorBoard writes in a thread, and raises the error of that thread again in the next call that the run makes.
    if user_error(arguments.exc_value) is None:
        threading.__excepthook__(arguments)
