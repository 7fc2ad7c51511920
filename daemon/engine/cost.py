"""What the prefill of a step costs, and how much of it fits into a time. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple


class Work(NamedTuple):
    """What prefill a step did."""

    forwards: float = 0.0  # of their own; a chunk beside the decode step has none
    tokens: float = 0.0
    looks: float = 0.0  # tokens times the context that each of them attends to
    reads: float = 0.0  # tokens of context that are read, once for all tokens of a chunk

    def plus(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


def work_of(tokens: int, offset: int, *, forwards: int = 0) -> Work:
    """A chunk of so many tokens after `offset` others."""
    return Work(forwards, tokens, tokens * (offset + (tokens + 1) / 2), offset if tokens else 0)


class Recent:
    """The prefill of the last two steps.

        submitted   decode n-1 | prefill n-1 | decode n, guest | prefill n | decode n+1, guest
        read at n+1                                     n

    The device is up to a step behind: what delayed the tokens that are read was submitted in one of
    the last two steps, how much in which depends on the device. So their mean is what counts in a
    run of steps, and only when there was nothing in both is a step one without prefill.
    """

    def __init__(self) -> None:
        self._works = deque([Work()] * 4, maxlen=4)

    def begin(self) -> None:
        """What is added from now on goes with the rows of a step, or comes after them, in turns."""
        self._works.append(Work())

    def add(self, work: Work) -> None:
        self._works[-1] = self._works[-1].plus(work)

    def mean(self) -> Work:
        """Of the two steps; called between the two turns of a step."""
        return Work(*(sum(parts) / 2 for parts in zip(*self._works, strict=True)))


class Cost(NamedTuple):
    """Seconds that prefill adds to a step."""

    forward_s: float
    token_s: float
    look_s: float
    read_s: float = 0.0

    def seconds(self, work: Work) -> float:
        return (
            work.forwards * self.forward_s
            + work.tokens * self.token_s
            + work.looks * self.look_s
            + work.reads * self.read_s
        )

    def fitting(self, seconds: float, offset: int) -> int:
        """How many tokens after `offset` others take at most so long: 0 and more.

        Solves `read_s * offset + token_s * n + look_s * (offset * n + n * n / 2) = seconds`.
        """
        seconds -= self.read_s * offset
        if seconds <= 0:
            return 0
        linear, square = self.token_s + self.look_s * offset, self.look_s / 2
        root = linear + math.sqrt(linear * linear + 4 * square * seconds)
        return int(min(2 * seconds / root, 1 << 30)) if root > 0 else 1 << 30
