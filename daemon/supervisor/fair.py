"""Whose turn it is among the requests that wait for a model. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

REMEMBERED = 1000  # owners


class Turn(NamedTuple):
    """Where a request stands in the queue."""

    owner: str | None = None  # API key, or else the client's address; None: nobody in particular
    priority: int = 0  # smaller comes first, as in vLLM


ANYBODY = Turn()


class FairQueue(Generic[T]):
    """Among the requests of the best priority the owner comes first of whom the least runs; of
    owners of whom as much runs, the one whose turn was longest ago. Each owner's come in order.

    What is sent a second time, after an engine died, was already running and comes before all.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[bool, int, str | None], deque[T]] = {}
        self._served: dict[str | None, int] = {}  # owner → number of their last turn
        self._turns = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, item: T, turn: Turn, *, again: bool = False) -> None:
        key = (not again, turn.priority, turn.owner)
        self._queues.setdefault(key, deque()).append(item)

    def take(self, running: Mapping[str | None, int]) -> T | None:
        """Removes and returns the next one; `running`: how much of each owner runs."""
        if not self._queues:
            return None

        def order(key: tuple[bool, int, str | None]) -> tuple[bool, int, int, int]:
            new, priority, owner = key
            return new, priority, running.get(owner, 0), self._served.get(owner, -1)

        key = min(self._queues, key=order)
        queue = self._queues[key]
        item = queue.popleft()
        if not queue:
            del self._queues[key]
        self._turns += 1
        # The latest at the end: whoever is forgotten had no turn for long.
        self._served.pop(key[2], None)
        self._served[key[2]] = self._turns
        if len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]
        return item
