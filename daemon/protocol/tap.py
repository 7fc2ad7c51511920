"""The short way of a token: from the engine's message straight into its client's socket.

    usually     row ──► task wakes ──► events are asked for, one by one ──► frame ──► write
    with a tap  row ──► events ──► frame ──► write

Waking a task for every stream and step costs the front more than all else that it does for a token.
While whoever sends the stream has nothing to do but to wait for its next event, and the client
takes what it is sent, nothing is decided on that way; so it is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from .events import Event


class Tap:
    """Made by who sends a stream, used by who makes its events.

    `encode` makes the frame of an event, or b"". `write` sends a frame and says whether the client
    lags behind. It is None while the events must be asked for instead, which is so until the stream
    is open and while its client lags behind. A stream that is asked for its events all the time is
    the same stream.
    """

    __slots__ = ("encode", "write")

    def __init__(self, encode: Callable[[Event], bytes]) -> None:
        self.encode = encode
        self.write: Callable[[bytes], bool] | None = None
