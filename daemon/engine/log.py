"""The engine's log: messages to the front, which writes them with the model's name.

A line about one request says so by `extra={"request": sequence.request}`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..protocol import wire


class ToFront(logging.Handler):
    """Hands every record to `send`, which must not block."""

    def __init__(self, send: Callable[[Any], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        self._send(
            wire.Log(
                record.levelno,
                record.name,
                record.getMessage(),
                record.__dict__.get("request"),
                trace,
            )
        )


def set_up(send: Callable[[Any], None]) -> None:
    """Everything of this process goes to the front, which drops what is below its level."""
    logging.getLogger().addHandler(ToFront(send))
    set_level(debug=False)


def set_level(*, debug: bool) -> None:
    """Whether lines of level debug are worth sending."""
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.INFO)
