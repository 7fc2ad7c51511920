"""How many may be connected, and how long what a client sends may take to arrive. Pure."""

from __future__ import annotations

AHEAD_BYTES = 64 * 1024  # fewer may be sent beyond the request that is being answered
SLOWEST = 16 * 1024  # bytes of a body per second that are always fast enough
BODIES = 16  # of the largest size, that may be held at once, all requests together
LARGE_BYTES = 1024 * 1024  # of a body; smaller ones are not counted
FRAMES = 1000  # without a message's end, that a WebSocket may send at once; chunks of a body
PIECE_BYTES = 256  # of a message or body, for each of which there may be one more


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


def frames_left(left: float, since_s: float, received_bytes: int, frames: int) -> float:
    """How many more a WebSocket may send that end no message (pings, pieces of a message); below
    0 it sent too many. Each costs time, however little is in it: there is one for each
    PIECE_BYTES, and 100 a second. `left` was so `since_s` ago."""
    return min(float(FRAMES), left + 100 * since_s + received_bytes / PIECE_BYTES) - frames


def too_many_pieces(chunks: int, received_bytes: int) -> bool:
    """Whether a body comes in chunks that are too small."""
    return chunks > FRAMES + received_bytes / PIECE_BYTES
