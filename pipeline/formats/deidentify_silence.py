"""Keeping pydicom still: what it logs and warns about quotes values, and values may be names."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom from logging, warning about, and refusing values while the block runs."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
