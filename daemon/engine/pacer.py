"""How much prefill a step may carry, so that running streams do not stutter.

A chunk of prefill delays every running stream by the time it takes. The pacer learns from the times
of finished steps what a decode step, a forward, a token and a token's look at its context cost on
this machine, with this model and at this moment, and says how long the prefill of the next step may
take. Pure: it is told the times.
"""

from __future__ import annotations

import math

from .budget import FIRST_TOKENS, Budget
from .cost import Cost, Work
from .fit import Fit

# The largest gap of a running stream, as a multiple of its usual one, while a long prompt is
# computed: the others are to keep 60 % of their rate.
AUTO_GAP = 1.65
# Prompts whose whole prefill takes at most so many times what a step gives to long ones are short:
# a step computes as many as fit into that time, at once, because they soon decode with the others.
SHORT_SHARES = 3.0
# Whatever gap is wanted, prefill goes on with this share of a decode step's time.
LEAST_SHARE = 0.1
_FASTEST_GROWTH = 2.0  # of a chunk, from one step to the next
# After so many steps with prefill long prompts pause, for as few as it takes to see a step without:
# what that takes changes with the rows and with what else the machine does.
_LOOK_AGAIN = 40
_PAUSE = 4  # steps at most
_WEIGHT = 0.3  # of the newest step without prefill
_TOKENS_PER_STEP = 500  # that cost as much as a decode step, at most
_OUTLIER = 4.0  # what took so many times as long as predicted was not the prefill's fault


class Pacer:
    """Learns step times; one for an engine."""

    def __init__(self, guest_tokens: int) -> None:
        """Chunks of so many tokens are computed beside the rows, in the forward of the step."""
        self._guest_tokens = guest_tokens
        self.max_gap_s: float | None = None  # the largest gap wanted; None: AUTO_GAP
        self._decode_s: float | None = None  # of a step without prefill
        self._fit = Fit((1 / 8, 8.0, 8192.0))
        self._cost: Cost | None = None
        self._long_tokens = FIRST_TOKENS
        self._mixed = 0  # steps with prefill since the last one without

    def budget(self, tokens: int) -> Budget:
        """For the next step, of at most so many tokens."""
        if self._cost is None or self._decode_s is None:
            return Budget(tokens=tokens)
        if self._mixed >= _LOOK_AGAIN + _PAUSE:
            self._mixed = 0
        gap_s = self.max_gap_s or AUTO_GAP * self._decode_s
        long_s = max(gap_s - self._decode_s, LEAST_SHARE * self._decode_s)
        return Budget(
            tokens=tokens,
            cost=self._cost,
            long_s=long_s,
            short_s=SHORT_SHARES * long_s,
            long_tokens=self._long_tokens,
            guest_tokens=self._guest_tokens,
            pause=self._mixed >= _LOOK_AGAIN,
        )

    def observe(self, step_s: float, work: Work) -> None:
        """A step with running rows took this long and carried this prefill."""
        if step_s <= 0:
            return
        if not work.tokens:
            self._decode_s = _blend(self._decode_s, step_s)
            self._mixed = 0
            return
        self._mixed += 1
        if self._decode_s is None:
            return  # there was never a step without prefill to compare with
        # With prefill it cannot have been faster than without: the machine is less busy now.
        self._decode_s = min(self._decode_s, _blend(self._decode_s, step_s))
        # What other programs do to a step's time goes either way: less than nothing counts, too.
        added_s = step_s - self._decode_s
        if self._cost is not None:
            added_s = min(added_s, _OUTLIER * self._cost.seconds(work) + self._decode_s)
        # A large chunk says more than a small one, but not in proportion.
        weight = 1 / math.sqrt(work.tokens)
        self._fit.add([part * weight for part in work], added_s * weight)
        forward_s, token_s, look_s = self._fit.solve()
        self._cost = Cost(forward_s, max(token_s, self._decode_s / _TOKENS_PER_STEP), look_s)
        self._long_tokens = max(FIRST_TOKENS, math.ceil(work.tokens * _FASTEST_GROWTH))


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)
