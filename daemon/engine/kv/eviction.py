"""What leaves the hot tier first. Pure.

What is kept is worth the time that it saves per byte, the more the sooner it is likely to be asked
for again; and who was asked for lately is asked for again:

    worth = tokens that would be computed again / bytes / time since the last use

For what a client has marked (Anthropic's `cache_control`) time passes more slowly.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

LEAST_AGE = 1.0  # younger things do not differ
MARKED = 4.0  # times the worth of what is as old


class Candidate(NamedTuple, Generic[K]):
    key: K
    num_tokens: int  # to compute again when it is gone
    nbytes: int
    age: float
    marked: bool = False  # a client said that it will ask for it again


def worth(candidate: Candidate) -> float:
    saved = candidate.num_tokens / max(candidate.nbytes, 1) / max(candidate.age, LEAST_AGE)
    return saved * MARKED if candidate.marked else saved


def choose(candidates: Iterable[Candidate[K]], needed_bytes: int, spare_bytes: int = 0) -> list[K]:
    """The least worthy whose bytes are at least as many as needed, or all there are; and the next
    ones, as far as they have no more than `spare_bytes` beyond that."""
    chosen: list[K] = []
    for candidate in sorted(candidates, key=worth):
        if needed_bytes <= 0 and candidate.nbytes >= spare_bytes + needed_bytes:
            break
        chosen.append(candidate.key)
        needed_bytes -= candidate.nbytes
    return chosen
