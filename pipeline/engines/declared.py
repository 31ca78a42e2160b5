"""Handlers that a config declares under an id of their own, as items of a list of handlers."""

from __future__ import annotations

from typing import TypeVar

Handler = TypeVar("Handler")


def declared(handler: Handler) -> Handler:
    """Return the handler.

    `ConfigWorkflow.check_properties` of MONAI takes components in a list of handlers, and breaks at a plain `"@id"`::

        - {_target_: pipeline.engines.declared, handler: '@checkpoint'}
    """
    return handler
