"""Keeping what DICOM libraries say out of logs and warnings: they complain about values, which may be a patient's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydicom import config

_LOGGERS: Final = ("pydicom", "highdicom")


@contextmanager
def quiet_dicom() -> Iterator[None]:
    """Silence pydicom and highdicom for a block, in which whatever matters must be checked.

    Values are not validated, so that a header that breaks the standard can be read and copied as it is.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings(), config.disable_value_validation():
            # By category: pydicom lays some of its warnings at the door of whoever called it.
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
