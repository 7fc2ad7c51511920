"""Ending the connections of a server that accepts no more. Of Sanic's protocols it reads what they
say about themselves: `http`, `_time`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sanic.http.constants import Stage

CLOSE_S = 2.0  # at stop: for the last bytes of finished responses to leave
GRACE_S = 0.5  # for the first request of a connection that was just accepted


async def close_idle(connections: set[Any]) -> None:
    """Closes each connection once no request is on it for GRACE_S: one that was accepted a moment
    ago has its request still on the way. Does not end."""
    while True:
        for connection in list(connections):
            if _rests_s(connection) > GRACE_S:
                connection.close_if_idle()
        await asyncio.sleep(0.05)


async def taken_up(connections: set[Any]) -> None:
    """Until every connection has a request that is being answered, or is closed."""
    deadline = time.monotonic() + 2 * GRACE_S
    while time.monotonic() < deadline:
        if not any(map(_rests_s, connections)):
            return
        await asyncio.sleep(0.02)


def _rests_s(connection: Any) -> float:
    """For how long a connection had no request on it; 0 when it has one."""
    idle = connection.http is None or connection.http.stage is Stage.IDLE
    return max(1e-3, time.monotonic() - connection._time) if idle else 0.0


async def close_all(connections: set[Any]) -> None:
    """Idle ones at once; the others when their response has left, or after CLOSE_S."""
    now = asyncio.get_running_loop().time
    deadline = now() + CLOSE_S
    while connections and now() < deadline:
        for connection in list(connections):
            connection.close_if_idle()
        await asyncio.sleep(0.02)
    for connection in list(connections):
        connection.abort()
