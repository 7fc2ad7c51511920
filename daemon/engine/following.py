"""Which of two waiting requests computes the prefix that both have. Pure.

    ahead       |----- shared -----|---- its own ----|
    sequence    |----- shared -----|-- its own --|
                  computed once      each for itself

A sequence follows one that came before it, so nobody waits in a circle. When the one ahead goes
away its followers look for another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .kv.prefix_tree import common
from .sequence import Sequence, Status


class Sharing(NamedTuple):
    """What waiting must save, and whether a prefix is only right where a checkpoint is kept."""

    least_tokens: int
    at_marks: bool


def follow(sequence: Sequence, earlier: Iterable[Sequence], known: int, sharing: Sharing) -> None:
    """Lets the sequence wait for the one of the `earlier` (in the order of their arrival) with
    which it shares most, if that saves enough beyond the `known` tokens, which need no computing.
    The one ahead stops where the other goes on, to let go of what both will use."""
    shared: dict[int, int] = {}  # by id(): exactly how many tokens are the same
    best, most = None, known + sharing.least_tokens - 1
    for other in earlier:
        if other.adapter != sequence.adapter:
            continue
        same = _same(sequence, other, shared)
        shared[id(other)] = same
        usable = min(same, sequence.prefill_tokens, other.prefill_tokens)
        if sharing.at_marks and usable < other.num_prefilled:
            usable = max((mark for mark in other.marks if mark <= usable), default=0)
        if usable > most:
            best, most = other, usable
    if best is None:
        return
    sequence.ahead, sequence.shared, sequence.same = best, most, shared[id(best)]
    if most > best.num_prefilled and most not in best.marks:
        best.marks = sorted((*best.marks, most))


def _same(sequence: Sequence, other: Sequence, shared: dict[int, int]) -> int:
    """How many tokens both begin with; what is known of the one ahead of `other` saves work."""
    start = 0
    if other.ahead is not None and id(other.ahead) in shared:
        start = shared[id(other.ahead)]
        if start != other.same:
            return min(start, other.same)
    ours, theirs = sequence.prompt, other.prompt
    if start > min(len(ours), len(theirs)):
        return min(len(ours), len(theirs))
    return start + common(ours[start:] if start else ours, theirs, at=start)


def waits(sequence: Sequence) -> bool:
    """Whether what this one will go on from is still computed by the one ahead, or being read."""
    if sequence.fetching:
        return True
    ahead = sequence.ahead
    if ahead is None or ahead.status not in (Status.WAITING, Status.PREFILL):
        return False
    return ahead.num_prefilled < sequence.shared
