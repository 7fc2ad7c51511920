"""Ending the connections of a server that accepts no more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

CLOSE_S = 2.0  # at stop: for the last bytes of finished responses to leave
GRACE_S = 0.5  # for the first request of a connection that was just accepted


async def close_idle(connections: set[Connection]) -> None:
    """Closes each connection once no request is on it for GRACE_S: one that was accepted a moment
    ago has its request still on the way. Does not end."""
    while True:
        for connection in list(connections):
            if connection.rests_s() > GRACE_S:
                connection.close_if_idle()
        await asyncio.sleep(0.05)


async def taken_up(connections: set[Connection]) -> None:
    """Until every connection has a request that is being answered, or is closed."""
    deadline = time.monotonic() + 2 * GRACE_S
    while time.monotonic() < deadline:
        if not any(connection.rests_s() for connection in connections):
            return
        await asyncio.sleep(0.02)


async def close_all(connections: set[Connection]) -> None:
    """Idle ones at once; the others when their response has left, or after CLOSE_S."""
    now = asyncio.get_running_loop().time
    deadline = now() + CLOSE_S
    while connections and now() < deadline:
        for connection in list(connections):
            connection.close_if_idle()
        await asyncio.sleep(0.02)
    for connection in list(connections):
        connection.abort()
