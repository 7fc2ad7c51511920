"""Which small nodes of the prefix tree become one. Pure.

A conversation adds a node or more each turn. Many small ones cost time in every match and make a
base of many pieces, so a node is joined with its only child where nothing forbids it:

    |-- 2,900 --|-- 500 --|-- 180 --|- 90 -|      180 ≤ 2 · 90
    |-- 2,900 --|-- 500 --|----- 270 -----|       500 ≤ 2 · 270
    |-- 2,900 --|---------- 770 ----------|       stays: the first would be copied for little

Each join copies both; as the upper one is never more than twice the lower one, a token is copied
about log(most) times in all.

A checkpoint is only right at the end of a node, so it keeps nodes apart. Of old ones, which every
turn of a conversation leaves behind and nobody goes on from, some are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RECENT = 8  # last checkpoints of a path that all stay: messages are edited and asked again
LEAST_SAVED = 1024  # tokens that an older one must save


class Link(NamedTuple):
    """A node on a path from the root downwards."""

    end: int  # tokens up to its end
    num_tokens: int
    used: bool  # by rows that run
    num_children: int
    checkpoint: bool


def join_at(path: Sequence[Link], most: int) -> int | None:
    """The lowest node that becomes one with the next of the path, of `most` tokens together."""
    for index in range(len(path) - 2, -1, -1):
        upper, lower = path[index], path[index + 1]
        free = not (upper.used or lower.used or upper.checkpoint) and upper.num_children == 1
        fits = upper.num_tokens + lower.num_tokens <= most
        if free and fits and upper.num_tokens <= 2 * lower.num_tokens:
            return index
    return None


def surplus(path: Sequence[Link]) -> list[int]:
    """The nodes whose checkpoints go: neither the first of the path nor a recent one nor where it
    branches, and too near to the one that stays before it."""
    kept = [index for index, link in enumerate(path) if link.checkpoint]
    gone: list[int] = []
    last = path[kept[0]].end if kept else 0
    for number, index in enumerate(kept[1:-RECENT], start=1):
        link, after = path[index], path[kept[number + 1]]
        if link.num_children == 1 and not link.used and after.end - last <= LEAST_SAVED:
            gone.append(index)
        else:
            last = link.end
    return gone
