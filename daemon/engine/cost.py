"""What the prefill of a step costs, and how much of it fits into a time. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple


class Work(NamedTuple):
    """What prefill a step did."""

    forwards: float = 0.0  # of their own; a chunk beside the decode step has none
    tokens: float = 0.0
    looks: float = 0.0  # tokens times the context that each of them attends to

    def plus(self, other: Work) -> Work:
        return Work(
            self.forwards + other.forwards,
            self.tokens + other.tokens,
            self.looks + other.looks,
        )

    def half(self) -> Work:
        return Work(self.forwards / 2, self.tokens / 2, self.looks / 2)


def work_of(tokens: int, offset: int, *, forwards: int = 0) -> Work:
    """A chunk of so many tokens after `offset` others."""
    return Work(forwards, tokens, tokens * (offset + (tokens + 1) / 2))


class Cost(NamedTuple):
    """Seconds that prefill adds to a step."""

    forward_s: float
    token_s: float
    look_s: float

    def seconds(self, work: Work) -> float:
        return (
            work.forwards * self.forward_s + work.tokens * self.token_s + work.looks * self.look_s
        )

    def fitting(self, seconds: float, offset: int) -> int:
        """How many tokens after `offset` others take at most so long: 0 and more.

        Solves `token_s * n + look_s * (offset * n + n * n / 2) = seconds`.
        """
        if seconds <= 0:
            return 0
        linear, square = self.token_s + self.look_s * offset, self.look_s / 2
        root = linear + math.sqrt(linear * linear + 4 * square * seconds)
        return int(min(2 * seconds / root, 1 << 30)) if root > 0 else 1 << 30
