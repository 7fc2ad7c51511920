"""What is done about engines that die: how often, after how long, and with less of what. Pure."""

from __future__ import annotations

import math

import msgspec

from ..protocol import wire

MIN_STEP_TOKENS = 64


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """`recovery:` of config.yaml; durations in seconds."""

    start_attempts: int = 3  # so many deaths in a row before Ready mean: it does not start
    request_attempts: int = 2  # a request that so many deaths met is given up
    delay_s: float = 0.25  # before the first restart; doubles with each death in a row
    max_delay_s: float = 30.0
    forget_s: float = 60.0  # an engine ready for so long starts again as after a first death
    hang_s: float | None = None  # an engine silent at work for so long is ended; None: auto


def with_less_memory(load: wire.Load) -> wire.Load:
    """The same load for an engine that ran out of memory: half of all that takes some."""
    return msgspec.structs.replace(
        load,
        max_concurrent=max(1, load.max_concurrent // 2),
        hot_bytes=load.hot_bytes // 2,
        step_tokens=max(MIN_STEP_TOKENS, load.step_tokens // 2),
        kv_limit_bytes=None if load.kv_limit_bytes is None else max(1, load.kv_limit_bytes // 2),
    )


class Watch:
    """Tells an engine that hangs from one that computes for long.

    Looked at once a tick. The longest silence that was followed by a word is what this engine is
    known to need; by itself, twenty times as long is a hang, but a minute never is.
    """

    TICK_S = 1.0
    FACTOR = 20.0
    LEAST_S = 60.0

    def __init__(self) -> None:
        self._silent_s = 0.0
        self._longest_s = 0.0

    def tick(self, elapsed_s: float, *, spoke: bool, works: bool, hang_s: float | None) -> bool:
        """`elapsed_s` since the last tick; True when the engine must be taken for dead.

        A tick that took much longer than it should says that this process slept, and the engine
        perhaps with it: it counts as two.
        """
        if spoke or not works:
            if spoke:
                self._longest_s = max(self._longest_s, self._silent_s)
            self._silent_s = 0.0
            return False
        self._silent_s += min(elapsed_s, 2 * self.tick_s(hang_s))
        return self._silent_s >= self.limit_s(hang_s)

    @classmethod
    def tick_s(cls, hang_s: float | None) -> float:
        """How often to look."""
        return cls.TICK_S if hang_s is None else min(cls.TICK_S, hang_s / 4)

    def limit_s(self, hang_s: float | None) -> float:
        """The silence that is too long; inf: none is."""
        if hang_s is None:
            return max(self.LEAST_S, self.FACTOR * self._longest_s)
        return hang_s if hang_s else math.inf

    @property
    def silent_s(self) -> float:
        """How long the engine has said nothing while it had work."""
        return self._silent_s
