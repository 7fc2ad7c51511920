"""Whose work this is: what every line of the log that is written meanwhile says of its request.

Set where a request comes in and where its books are opened, in the task that answers it; tasks and
threads that are started from there inherit it.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple


class Whose(NamedTuple):
    """The names of a request."""

    request: str | None = None  # as its answer and the usage row say: "chatcmpl-…"
    http: str | None = None  # as the header x-request-id of its response says
    client: str | None = None  # as its own header x-client-request-id says


NOBODY = Whose()
_whose: ContextVar[Whose] = ContextVar("whose", default=NOBODY)


def whose() -> Whose:
    """Of the request that is being answered here; empty outside of one."""
    return _whose.get()


def begins(http: str, client: str | None = None) -> None:
    """An HTTP request came in; one connection's requests follow each other in one task."""
    _whose.set(Whose(None, http, client))


def is_called(request: str) -> None:
    """The request that is being answered here has this id."""
    _whose.set(_whose.get()._replace(request=request))


def nobody_s() -> Context:
    """For a task or a timer that lives longer than the request that starts it."""
    context = copy_context()
    context.run(_whose.set, NOBODY)
    return context
