"""The prefill that one step may do while rows are running. Pure.

Short prompts are computed at once, as many as fit into their time, because they soon decode with
the others. Long ones share a smaller time, in chunks, so that they neither stop the running streams
nor keep short requests waiting.
"""

from __future__ import annotations

from .cost import Cost, work_of

# A guest's chunk is at most this long: its tokens pass the output projection for nothing.
GUEST_TOKENS = 128
FIRST_TOKENS = 16  # of long prompts, before anything is known
FIRST_SHORT_TOKENS = 256  # of short ones
FEW_TOKENS = 12  # first ones of a prompt: a chunk that takes no longer is not worth its forward
MOST_DEBT = 8  # steps that long prompts wait at most for what they took before


class Budget:
    """Hands out the tokens of one step, prompt after prompt in the order of their arrival."""

    def __init__(
        self,
        *,
        tokens: int,
        cost: Cost | None = None,
        long_s: float = 0.0,
        short_s: float = 0.0,
        debt_s: float = 0.0,
        save_s: float = 0.0,
        long_tokens: int = FIRST_TOKENS,
        guest_tokens: int = 0,
        pause: bool = False,
    ) -> None:
        """`tokens` bounds all of it. `cost` None: nothing is known yet; then `long_tokens` and
        FIRST_SHORT_TOKENS count. Chunks of up to `guest_tokens` need no forward of their own. In a
        `pause` long prompts get nothing. `debt_s` is what they took beyond their time before; less
        than nothing is what they saved, up to `save_s`."""
        self._tokens = tokens
        self._cost = cost
        self._long_s = long_s
        self._short_s = self._short_left_s = max(short_s, long_s)
        self.debt_s = max(debt_s, -save_s)
        self._save_s = save_s
        self._long_tokens = long_tokens
        self._guest_tokens = guest_tokens
        self._pause = pause
        self._full_s = 0.0
        self._short_tokens = FIRST_SHORT_TOKENS
        self._first_short = self._first_long = True

    def grants(self, prompts: list[tuple[int, int]], known: list[int] | None = None) -> list[int]:
        """Of each prompt, (its tokens, those computed before), how many tokens this step computes.
        So many tokens of each were `known` when it came and make it no longer.

        When several long ones wait they get more, up to the time of the short ones: else requests
        would come in faster than they are taken up.
        """
        known = known or [0] * len(prompts)
        short = [self._is_short(*prompt, k) for prompt, k in zip(prompts, known, strict=True)]
        self._long_s = min(self._long_s * max(1, short.count(False)), self._short_s)
        # A token, or a forward, may take longer than its time: the next steps make up for that.
        self._most_debt_s = MOST_DEBT * self._long_s
        self._full_s = self._long_s + self._save_s
        self._long_s -= self.debt_s
        granted: list[int] = []
        for (tokens, done), is_short in zip(prompts, short, strict=True):
            wanted = (self._short if is_short else self._long)(tokens - done, done)
            granted.append(min(wanted, self._tokens))
            self._tokens -= granted[-1]
        self.debt_s = min(max(-self._long_s, -self._save_s), self._most_debt_s)
        return granted

    def _is_short(self, prompt_tokens: int, done: int, known: int) -> bool:
        tokens = prompt_tokens - known
        if done > known:
            return False  # it was begun as a long one; what is left may look short for a moment
        if self._cost is None:
            return tokens <= FIRST_SHORT_TOKENS
        return self._cost.seconds(work_of(tokens, known, forwards=1)) <= self._short_s

    def _short(self, missing: int, done: int) -> int:
        """All or nothing, so that prompts can be packed; who comes later does not overtake."""
        if self._cost is None:
            fits = missing <= self._short_tokens
            self._short_tokens -= missing if fits else self._short_tokens
            return missing if fits else 0
        work = work_of(missing, done, forwards=int(self._first_short))
        seconds = self._cost.seconds(work)
        fits = seconds <= self._short_left_s
        self._short_left_s -= seconds if fits else self._short_left_s
        self._first_short = self._first_short and not fits
        return missing if fits else 0

    def _long(self, missing: int, done: int) -> int:
        """A chunk, or nothing where there will soon be time for one that is worth it. When all is
        saved that can be, the first long prompt gets at least a token."""
        cost = self._cost
        if self._pause or (cost is not None and self._long_s <= 0):
            return 0
        first, self._first_long = self._first_long, False
        if cost is None:
            granted = min(missing, max(self._long_tokens, int(first)))
            self._long_tokens -= granted
            return granted
        fitting = min(self._long_tokens, self._chunk(cost, done, first=first))
        full = self._long_s >= self._full_s
        if fitting < missing and not full and not self._worth(cost, fitting, done):
            return 0
        granted = min(missing, max(fitting, int(first)))
        forwards = int(granted > self._guest_tokens or not first)
        if granted:
            self._long_s -= cost.seconds(work_of(granted, done, forwards=forwards))
        return granted

    def _worth(self, cost: Cost, tokens: int, offset: int) -> bool:
        """Whether a chunk spends more on its tokens than on what every chunk costs. Where each of
        them takes long, for a long context, a few do."""
        each = work_of(tokens, offset)._replace(reads=0)
        every = cost.token_s * FEW_TOKENS + cost.read_s * offset
        return cost.seconds(each) >= every

    def _chunk(self, cost: Cost, offset: int, *, first: bool) -> int:
        """Only the first chunk may go beside the rows, and only as far as `guest_tokens`."""
        guest_tokens = self._guest_tokens if first else 0
        beside = cost.fitting(self._long_s, offset)
        if beside < guest_tokens:
            return beside
        # Where a forward is needed, at least as much time again goes into what it computes.
        own_s = max(self._long_s - cost.forward_s, cost.forward_s if first else 0.0)
        return max(guest_tokens, cost.fitting(own_s, offset))
