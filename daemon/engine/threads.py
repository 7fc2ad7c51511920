"""Work beside the engine's thread for which nobody waits too long."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

PATIENCE_S = 1.0  # of this process's computing time
LOOK_S = 0.05


class Threads:
    """Daemon threads that share what they are given. One that is not done in time is left to
    itself, with whatever it works on: nothing can stop it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Round] | None = None  # of the threads that are not lost
        self._number = max(1, min(8, (os.cpu_count() or 1) - 1))

    def run(self, work: Sequence[Callable[[], None]]) -> list[int]:
        """Does all of it, in parallel; returns the positions of what was not done in time. Must
        let go of the GIL where it takes long, and must not raise."""
        late: list[int] = []
        left = list(range(len(work)))
        while left:
            round_ = _Round(work, left)
            for _ in range(min(self._number, len(left))):
                self._threads().put(round_)
            if round_.wait():
                break
            self._queue = None  # its threads are lost; others take up what those have not begun
            left, stuck = round_.give_up()
            late += stuck
        return sorted(late)

    def _threads(self) -> queue.SimpleQueue[_Round]:
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            for _ in range(self._number):
                work = _work, (self._queue,)
                threading.Thread(target=work[0], args=work[1], name="masks", daemon=True).start()
        return self._queue


class _Round:
    """Some work, to which several threads help themselves."""

    def __init__(self, work: Sequence[Callable[[], None]], numbers: list[int]) -> None:
        self._work = work
        self._left = deque(numbers)
        self._begun: set[int] = set()
        self._pending = len(numbers)
        self._lock = threading.Lock()
        self._done = threading.Event()

    def help(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    return
                number = self._left.popleft()
                self._begun.add(number)
            self._work[number]()
            with self._lock:
                self._begun.discard(number)
                self._pending -= 1
                if not self._pending:
                    self._done.set()

    def wait(self) -> bool:
        """False: the time is up. Computing time, as a machine may be busy or asleep."""
        began_s = time.process_time()
        while not self._done.wait(LOOK_S):
            if time.process_time() - began_s > PATIENCE_S:
                return False
        return True

    def give_up(self) -> tuple[list[int], list[int]]:
        """(what nobody has begun, what is not done)"""
        with self._lock:
            left, self._left = list(self._left), deque()
            return left, sorted(self._begun)


def _work(rounds: queue.SimpleQueue[_Round]) -> None:
    while True:
        rounds.get().help()
