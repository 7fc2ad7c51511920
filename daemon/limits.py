"""How many may be connected, and how long what a client sends may take to arrive. Pure."""

from __future__ import annotations

AHEAD_BYTES = 64 * 1024  # that a client may send beyond the request that is being answered
SLOWEST = 16 * 1024  # bytes of a body per second that are always fast enough


def connections_allowed(configured: int, open_files: int) -> int:
    """`server.max_connections`, or half of the files that the process may have open: the rest is
    for engines, the database, logs and MCP servers, which must not fail for the clients' sake."""
    return max(1, min(configured, open_files // 2))


def arrives_too_slowly(
    waited_s: float, received_bytes: int, timeout_s: float, *, header: bool
) -> bool:
    """Whether a request that has been arriving for `waited_s` is to be given up.

    A header has `timeout_s`. A body has as much, and a second more for each SLOWEST bytes of it
    that came, so that a slow line may upload much and a trickle may not go on for ever.
    """
    extra_s = 0.0 if header else received_bytes / SLOWEST
    return waited_s > timeout_s + extra_s
