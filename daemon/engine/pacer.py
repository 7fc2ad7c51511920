"""How much prefill a step may carry, so that running streams do not stutter.

A chunk of prefill delays every running stream by the time it takes. The pacer learns from the times
of finished steps what a decode step, a forward, a token and a token's look at its context cost on
this machine, with this model and at this moment, and says how long the prefill of the next step may
take. Pure: it is told the times.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from .budget import FIRST_TOKENS, Budget
from .cost import Cost, Work
from .fit import Fit

# The largest gap of a running stream, as a multiple of its usual one, while a long prompt is
# computed: the others are to keep 60 % of their rate, with some to spare for what is guessed.
AUTO_GAP = 1.5
# Prompts whose whole prefill takes at most so many times what a step gives to long ones are short:
# a step computes as many as fit into that time, at once, because they soon decode with the others.
SHORT_SHARES = 3.5
# Streams that have all just begun may pause for so long: those that come with them soon run beside
# them, instead of one a step.
BEGINNING_S = 0.1
# Where few tokens take that long, what every chunk costs is most of it: a step in two or three
# computes more of them. So many times what a step gives may be saved for that.
SAVED_SHARES = 1.0
# Whatever gap is wanted, prefill goes on with this share of a decode step's time.
LEAST_SHARE = 0.1
_FASTEST_GROWTH = 2.0  # of a chunk, from one step to the next
# After so many steps with prefill long prompts pause, for as few as it takes to see some without:
# what those take changes with the rows and with what else the machine does.
_LOOK_AGAIN = 40
_LOOKS = 2  # steps without prefill
_PAUSE = 5  # steps at most
_KEPT = 5  # of the last steps without prefill: their median is not moved by one that was disturbed
_TOKENS_PER_STEP = 500  # that cost as much as a decode step, at most
_OUTLIER = 4.0  # what took so many times as long as predicted was not the prefill's fault


class Pacer:
    """Learns step times; one for an engine."""

    def __init__(self, guest_tokens: int) -> None:
        """Chunks of so many tokens are computed beside the rows, in the forward of the step."""
        self._guest_tokens = guest_tokens
        self.max_gap_s: float | None = None  # the largest gap wanted; None: AUTO_GAP
        self._decodes_s: deque[float] = deque(maxlen=_KEPT)  # of steps without prefill
        self._fit = Fit((1 / 8, 8.0, 8192.0, 1024.0))
        self._cost: Cost | None = None
        self._long_tokens = FIRST_TOKENS
        self._mixed = 0  # steps with prefill since the last ones without
        self._looks = 0  # steps without prefill since the last one with
        self._given: Budget | None = None  # for the last step

    @property
    def _decode_s(self) -> float | None:
        return statistics.median(self._decodes_s) if self._decodes_s else None

    def budget(self, tokens: int, *, beginning: bool = False) -> Budget:
        """For the next step, of at most so many tokens; `beginning`: all streams just began."""
        decode_s = self._decode_s
        if self._cost is None or decode_s is None:
            return Budget(tokens=tokens)
        if self._mixed >= _LOOK_AGAIN + _PAUSE:
            self._mixed = 0
        gap_s = self.max_gap_s or AUTO_GAP * decode_s
        long_s = max(gap_s - decode_s, LEAST_SHARE * decode_s)
        patience_s = BEGINNING_S if beginning and not self.max_gap_s else 0.0
        self._given = Budget(
            tokens=tokens,
            cost=self._cost,
            long_s=long_s,
            short_s=max(SHORT_SHARES * long_s, patience_s),
            debt_s=self._given.debt_s if self._given is not None else 0.0,
            save_s=0.0 if self.max_gap_s else SAVED_SHARES * long_s,
            long_tokens=self._long_tokens,
            guest_tokens=self._guest_tokens,
            pause=self._mixed >= _LOOK_AGAIN,
        )
        return self._given

    def observe(self, step_s: float, work: Work) -> None:
        """A step with running rows took this long and carried this prefill."""
        if step_s <= 0:
            return
        if not work.tokens:
            self._decodes_s.append(step_s)
            self._looks += 1
            if self._looks >= _LOOKS:
                self._mixed = 0
            return
        self._mixed += 1
        self._looks = 0
        decode_s = self._decode_s
        if decode_s is None:
            return  # there was never a step without prefill to compare with
        if step_s < decode_s:
            # With prefill it cannot have been faster than without: the machine is less busy now.
            self._decodes_s.remove(max(self._decodes_s))
            self._decodes_s.append(step_s)
        # What other programs do to a step's time goes either way: less than nothing counts, too.
        added_s = step_s - decode_s
        if self._cost is not None:
            added_s = min(added_s, _OUTLIER * self._cost.seconds(work) + decode_s)
        # A large chunk says more than a small one, but not in proportion.
        weight = 1 / math.sqrt(work.tokens)
        self._fit.add([part * weight for part in work], added_s * weight)
        forward_s, token_s, look_s, read_s = self._fit.solve()
        self._cost = Cost(forward_s, max(token_s, decode_s / _TOKENS_PER_STEP), look_s, read_s)
        self._long_tokens = max(FIRST_TOKENS, math.ceil(work.tokens * _FASTEST_GROWTH))
