"""What each key has had today, against what it may have in a day of this machine's time zone.

Kept in memory: nothing is asked of the database while requests come in. A request that has begun is
finished, so the last one may go beyond a budget of tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..protocol.errors import BudgetSpent
from .keys import Key


class Spent(NamedTuple):
    requests: int = 0
    tokens: int = 0


class Day(NamedTuple):
    """Seconds since the epoch: the midnights around a moment."""

    start_s: float
    end_s: float

    @classmethod
    def of(cls, now_s: float) -> Day:
        here = time.localtime(now_s)
        start, end = (
            time.mktime((here.tm_year, here.tm_mon, here.tm_mday + days, 0, 0, 0, 0, 0, -1))
            for days in (0, 1)
        )
        return cls(start, end)


class Budgets:
    """Counts by name of key. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._day = Day.of(clock())
        self._spent: dict[str, Spent] = {}

    @property
    def day(self) -> Day:
        self._turn()
        return self._day

    def spent(self, key: str) -> Spent:
        self._turn()
        return self._spent.get(key, Spent())

    def restore(self, day: Day, spent: Mapping[str, Spent]) -> None:
        """Adds what was spent before this process began; nothing when that day is over."""
        self._turn()
        if day == self._day:
            for key, before in spent.items():
                self._add(key, *before)

    def begin(self, key: Key) -> None:
        """Counts a request. Raises BudgetSpent, with the time until the day ends."""
        spent = self.spent(key.name)
        for had, most, what in (
            (spent.requests, key.requests_per_day, "requests"),
            (spent.tokens, key.tokens_per_day, "tokens"),
        ):
            if most is not None and had >= most:
                raise BudgetSpent(
                    f"The API key '{key.name}' has had {had:,} of its {most:,} {what} for today. "
                    "The next day begins at midnight of the server's time zone.",
                    retry_after_s=math.ceil(self._day.end_s - self._clock()),
                )
        self._add(key.name, 1, 0)

    def end(self, key: str, tokens: int) -> None:
        """Counts what a request has used: tokens of its prompt and output."""
        self._turn()
        self._add(key, 0, tokens)

    def _add(self, key: str, requests: int, tokens: int) -> None:
        before = self._spent.get(key, Spent())
        self._spent[key] = Spent(before.requests + requests, before.tokens + tokens)

    def _turn(self) -> None:
        """A new day begins with nothing."""
        now = self._clock()
        if not self._day.start_s <= now < self._day.end_s:
            self._day = Day.of(now)
            self._spent.clear()
