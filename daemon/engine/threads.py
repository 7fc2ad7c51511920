"""Work beside the engine's thread for which nobody waits too long."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

PATIENCE_S = 1.0  # of this process's computing time
LOOK_S = 0.05


class Threads:
    """Daemon threads that share what they are given. One that is not done in time is left to
    itself, with whatever it works on: nothing can stop it."""

    def __init__(self, *, patient: bool = False) -> None:
        """`patient`: to wait for all in any case."""
        self._patient = patient
        self._queue: queue.SimpleQueue[_Round] | None = None  # of the threads that are not lost
        self._number = max(1, min(8, (os.cpu_count() or 1) - 1))

    def run(self, work: Sequence[Callable[[], None]]) -> list[int]:
        """Does all of it, in parallel; returns the positions of what failed or was not done in
        time. What takes long must let go of the GIL."""
        lost: list[int] = []
        left = list(range(len(work)))
        while left:
            round_ = _Round(work, left)
            threads = self._threads()
            for _ in range(min(self._number, len(left))):
                threads.put(round_)
            in_time = round_.wait(math.inf if self._patient else PATIENCE_S)
            left, unfinished = round_.close()
            lost += unfinished
            if not in_time:
                self._queue = None  # others take up what these have not begun
        return sorted(lost)

    def _threads(self) -> queue.SimpleQueue[_Round]:
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            for _ in range(self._number):
                arguments = (self._queue,)
                threading.Thread(target=_help, args=arguments, name="masks", daemon=True).start()
        return self._queue


class _Round:
    """Some work, to which several threads help themselves."""

    def __init__(self, work: Sequence[Callable[[], None]], numbers: list[int]) -> None:
        self._work = work
        self._left = deque(numbers)
        self._unfinished: set[int] = set()  # begun, and failed or not done yet
        self._pending = len(numbers)
        self._lock = threading.Lock()
        self._over = threading.Event()

    def help(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    return
                number = self._left.popleft()
                self._unfinished.add(number)
            try:
                self._work[number]()
                good = True
            except Exception:
                log.exception("work beside the engine failed")
                good = False
            with self._lock:
                if good:
                    self._unfinished.discard(number)
                self._pending -= 1
                if not self._pending:
                    self._over.set()

    def wait(self, patience_s: float) -> bool:
        """Until all is over; False when the time is up. That of computing, as a machine may be
        busy, or asleep."""
        began_s = time.process_time()
        while not self._over.wait(LOOK_S):
            if time.process_time() - began_s > patience_s:
                return False
        return True

    def close(self) -> tuple[list[int], list[int]]:
        """(what nobody has begun, what was begun and is not done); nothing more is begun."""
        with self._lock:
            left, self._left = list(self._left), deque()
            return left, sorted(self._unfinished)


def _help(rounds: queue.SimpleQueue[_Round]) -> None:
    while True:
        rounds.get().help()
