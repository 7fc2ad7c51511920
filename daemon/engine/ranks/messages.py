"""What the ranks of a group tell each other, in frames of `protocol.channel`.

Rank 0 starts each other rank and holds its stdin and stdout: on this machine as pipes, on another
through ssh. A rank whose stdin ends has lost rank 0 and exits; rank 0 exits when a stdout ends.
"""

from __future__ import annotations

import msgspec

from ...protocol.wire import Load, LoadFailed, Stats, ToEngine

# ---- rank 0 → the others


class Start(msgspec.Struct, tag=True, frozen=True):
    """Form the ring and load. The first message, once."""

    load: Load
    addresses: tuple[str, ...]  # "ip:port" by rank


class Messages(msgspec.Struct, tag=True, frozen=True):
    """What the front said before this step."""

    messages: list[ToEngine]


class Decision(msgspec.Struct, tag=True, frozen=True):
    """What rank 0 read off its clock, or decided by its rounding."""

    value: float


FromLeader = Start | Messages | Decision

# ---- the others → rank 0


class Hello(msgspec.Struct, tag=True, frozen=True):
    """Ready to form the ring at this port of its machine."""

    port: int


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The rank's part of the model is loaded and warm."""

    memory_bytes: int  # weights


FromFollower = Hello | Loaded | LoadFailed | Stats
