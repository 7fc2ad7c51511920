"""What is done about engines that die: how often, after how long, and with less of what. Pure."""

from __future__ import annotations

import math

import msgspec

from ..protocol import wire
from .backoff import delay_s

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


def halved(
    message: wire.CacheLimits | wire.MemoryLimit | wire.ClearCache, times: int, weights_bytes: int
) -> wire.CacheLimits | wire.MemoryLimit | wire.ClearCache:
    """What an engine that ran out of memory so many times is told of its share: it starts with
    less, and would else have as much again as soon as it is ready. Weights stay whole."""
    match message:
        case wire.CacheLimits(hot_bytes=hot) if hot:
            # Not 0, with which nobody wants the tier.
            return msgspec.structs.replace(message, hot_bytes=max(1, hot >> times))
        case wire.MemoryLimit(num_bytes=limit):
            beside = max(0, limit - weights_bytes)
            return wire.MemoryLimit(limit - beside + (beside >> times))
    return message


class Deaths:
    """Counts the deaths of one engine since it was last known to be well."""

    def __init__(self) -> None:
        self.early = 0  # in a row, before it was ready
        self._in_a_row = 0

    def count(self, recovery: Recovery, *, ready_s: float) -> None:
        """One more, after so many seconds of being ready; 0: it never was."""
        self._in_a_row = 1 if ready_s >= recovery.forget_s else self._in_a_row + 1
        self.early = 0 if ready_s else self.early + 1

    def hopeless(self, recovery: Recovery) -> bool:
        """It does not start."""
        return self.early >= recovery.start_attempts

    def wait_s(self, recovery: Recovery, *, jitter: float) -> float:
        """Until it is started again; `jitter` in [0, 1)."""
        return delay_s(
            self._in_a_row, base_s=recovery.delay_s, cap_s=recovery.max_delay_s, jitter=jitter
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


class Vigil:
    """Watches over one life of an engine: while it loads, and while it has work."""

    def __init__(self, load_silence_s: float) -> None:
        """A load that reports nothing for `load_silence_s` hangs."""
        self._load_silence_s = load_silence_s
        self._loading, self._working = Watch(), Watch()

    def tick(
        self, elapsed_s: float, *, spoke: bool, loads: bool, sent: int, hang_s: float | None
    ) -> str | None:
        """Once a tick: why it must be taken for dead, None while it need not. `sent` is how many
        requests it has."""
        if loads:
            patience_s = self._load_silence_s
            if self._loading.tick(elapsed_s, spoke=spoke, works=True, hang_s=patience_s):
                return f"reported nothing for {self._loading.silent_s:.0f} s of loading"
        elif self._working.tick(elapsed_s, spoke=spoke, works=sent > 0, hang_s=hang_s):
            return f"did nothing for {self._working.silent_s:.0f} s while it had {sent} requests"
        return None
