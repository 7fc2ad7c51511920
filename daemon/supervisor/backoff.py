"""How long to wait before an engine that died is started again. Pure."""

from __future__ import annotations


def delay_s(deaths: int, *, base_s: float, cap_s: float, jitter: float) -> float:
    """Seconds to wait after the `deaths`-th death in a row (1 is the first).

    Doubles from `base_s` up to `cap_s`; `jitter` in [0, 1) takes off up to half of it, so that
    engines that one event killed do not all load at the same instant.
    """
    # The exponent is bounded: 2.0 ** 2000 overflows.
    full = min(cap_s, base_s * 2.0 ** min(deaths - 1, 64))
    return full * (1.0 - jitter / 2.0)
