"""How many tokens of long prompts a step may carry, so that running streams do not stutter.

A chunk of prefill delays every running stream by the time it takes. The pacer learns from the times
of finished steps what a decode step and what a token of prefill cost on this machine, with this
model and at this moment, and allows as many tokens as fit the gap. Pure: it is told the times.
"""

from __future__ import annotations

# The largest gap of a running stream, as a multiple of its usual one, while a prompt is computed.
# Prefill then has up to 60 % of the time; users see the others slow down, not stop.
GAP = 2.5
LEAST_TOKENS = 16  # fewer cost about as much: the weights are read either way
FIRST_TOKENS = 64  # before anything is known
_WEIGHT = 0.2  # of the newest observation
_FASTEST_GROWTH = 2.0  # from one step to the next


class Pacer:
    """Learns step times; one for an engine."""

    def __init__(self) -> None:
        self._decode_s: float | None = None  # of a step without prefill
        self._token_s: float | None = None  # that a token of prefill adds
        self._tokens = FIRST_TOKENS

    @property
    def tokens(self) -> int:
        """Prefill tokens of long prompts that the next step may carry."""
        return self._tokens

    def observe(self, step_s: float, prefill_tokens: float) -> None:
        """A step with running rows took this long and carried so many tokens of prefill."""
        if step_s <= 0:
            return
        if not prefill_tokens:
            self._decode_s = _blend(self._decode_s, step_s)
            return
        if self._decode_s is None:
            return  # there was never a step without prefill to compare with
        token_s = max(step_s - self._decode_s, 0.01 * self._decode_s) / prefill_tokens
        self._token_s = _blend(self._token_s, token_s)
        fitting = (GAP - 1) * self._decode_s / self._token_s
        self._tokens = round(max(LEAST_TOKENS, min(fitting, self._tokens * _FASTEST_GROWTH)))


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)
