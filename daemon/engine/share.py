"""What this engine may use of the machine's memory, divided as its needs change.

    limit = weights + activations + freed but held + running sequences + hot tier
                                                     ^ first           ^ what they leave, at
                                                                         most cache.hot

The hot tier gives way to running sequences; when it has nothing more to give, the scheduler
preempts the youngest of them. The front tells a new limit whenever another engine's use changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .kv.groups import columns_for

if TYPE_CHECKING:
    from .core import EngineCore

# Buffers of groups have more columns than the tokens in them.
KV_PADDING = 1.25
# A prefill chunk's activations and MLX's buffers, as the front reckons before a load.
ACTIVATION_SHARE = 1 / 16
ACTIVATION_MIN_BYTES = 32 << 20
# Sequences grow by a token a step: there is no need to look at each, when none came or went.
EVERY_STEPS = 8


def kv_tokens(limit_bytes: int | None, bytes_per_token: int) -> int | None:
    """How many tokens the running sequences may hold, as far as their caches grow with them."""
    if limit_bytes is None or not bytes_per_token:
        return None
    return max(1, int(limit_bytes / (bytes_per_token * KV_PADDING)))


class MemoryShare:
    """Keeps a core within the limit that it was told last; without one it does nothing."""

    def __init__(
        self,
        core: EngineCore,
        *,
        weights_bytes: int,
        kv_bytes_per_token: int,
        hot_bytes: int,
        set_limit: Callable[[int], None],
        tidy: Callable[[int], int] = lambda free_bytes: 0,
    ) -> None:
        """`set_limit` bounds the allocator: what it keeps for reuse counts, too. `tidy` gives back
        what the process holds and does not use, where that is more than it is told to be free, and
        returns how much stays, in bytes."""
        self.hot_bytes = hot_bytes  # the most that the hot tier may have
        self._core = core
        self._bytes_per_token = kv_bytes_per_token
        self._fixed_bytes = weights_bytes + max(
            ACTIVATION_MIN_BYTES, int(weights_bytes * ACTIVATION_SHARE)
        )
        self.limit_bytes: int | None = None  # as told last
        self._set_limit = set_limit
        self._tidy = tidy
        self._looked_at = 0
        self._members = 0
        core.scheduler.weigh = columns_for

    def limit(self, limit_bytes: int) -> None:
        """Another limit for everything, from now on."""
        self.limit_bytes = limit_bytes
        self._set_limit(limit_bytes)
        self._divide(limit_bytes)

    def keep(self) -> None:
        """To be called after each step."""
        core = self._core
        due = core.idle or core.steps - self._looked_at >= EVERY_STEPS
        if self.limit_bytes is not None and (due or core.num_running != self._members):
            self._divide(self.limit_bytes)

    def rest(self) -> None:
        """To be called when nothing runs: nothing that is not used is held."""
        self._tidy(0)

    def _divide(self, limit_bytes: int) -> None:
        core = self._core
        self._looked_at, self._members = core.steps, core.num_running
        scheduler = core.scheduler
        used = core.kv_bytes
        hot = core.reuse.cache.tree.nbytes if core.reuse is not None else 0
        room = limit_bytes - self._fixed_bytes
        room = max(0, room - self._tidy(max(0, room - used - hot)))
        if self._bytes_per_token:
            # Buffers take what they take, whatever was reckoned; what is yet to come is reckoned.
            beyond = used - scheduler.held * self._bytes_per_token
            scheduler.max_kv_tokens = max(1, (room - beyond) // self._bytes_per_token)
            used = scheduler.needed * self._bytes_per_token + beyond
        if core.reuse is not None:
            # Not 0 for lack of room: that would mean that nobody wants the tier.
            hot_bytes = min(self.hot_bytes, max(1, room - used))
            if hot_bytes != core.reuse.cache.hot_bytes:
                core.reuse.cache.resize(hot_bytes)
