"""Where a prompt parts from the one that it could have shared more with."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

LONG = 1000  # characters: less in common, or less lost, is not worth a word
AROUND = 40  # characters shown on both sides
RECENT = 8  # prompts of a model that are remembered


class Divergence(NamedTuple):
    """Two prompts are equal for `shared` characters, and then no more."""

    shared: int
    length: int  # of the new prompt
    before: str  # the last characters in common
    old: str  # how the earlier prompt goes on
    new: str  # how this one does

    def __str__(self) -> str:
        return (
            f"of {self.length} characters the first {self.shared} are those of an earlier prompt; "
            f"after {self.before!r} came {self.old!r}, now {self.new!r}"
        )


def divergence(old: str, new: str) -> Divergence | None:
    """None unless much is shared and much of both is not."""
    shared = common_prefix(old, new)
    if min(shared, len(old) - shared, len(new) - shared) < LONG:
        return None
    before = new[max(0, shared - AROUND) : shared]
    after = slice(shared, shared + AROUND)
    return Divergence(shared, len(new), before, old[after], new[after])


def common_prefix(a: str, b: str) -> int:
    """Characters, by comparing halves: each comparison runs at the speed of memory."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class RecentPrompts:
    """The last prompts of one model, one of each conversation's turns."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=RECENT)

    def note(self, text: str) -> Divergence | None:
        """Remembers `text`; says where it parts from the prompt that it shares most with."""
        if len(text) < LONG:
            return None
        nearest = max(self._texts, key=lambda old: common_prefix(old, text), default="")
        if text.startswith(nearest) and nearest:
            self._texts.remove(nearest)  # this one holds all that it had
        self._texts.append(text)
        return divergence(nearest, text)
