"""Rows that were computed in one forward, and may enter a batch as they lie there: pure data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx


class Pack(NamedTuple):
    """Keys and values of some rows, aligned at their last token."""

    pairs: list[tuple[mx.array, mx.array] | None]  # [rows, kv heads, columns or more, dim], a leaf
    columns: int  # of the longest row; the others have padding before theirs

    def arrays(self) -> list[mx.array]:
        """What to evaluate."""
        return [part for pair in self.pairs if pair is not None for part in pair]

    def last(self, rows: list[int], columns: int, part: mx.array) -> mx.array:
        """The last columns of these rows in one of the arrays."""
        if rows != list(range(part.shape[0])):
            part = part[mx.array(rows)]
        return part[:, :, self.columns - columns : self.columns]


class Place(NamedTuple):
    """Where a row lies."""

    pack: Pack
    row: int


class Members(NamedTuple):
    """Rows of one pack that join together."""

    pack: Pack
    joining: list[int]  # their indices among those that join
    rows: list[int]  # in the pack, ascending


def together(places: Sequence[Place | None]) -> list[Members]:
    """The packs of which more than one row joins."""
    found: dict[int, list[tuple[int, int]]] = {}
    packs: dict[int, Pack] = {}
    for index, place in enumerate(places):
        if place is not None:
            packs[id(place.pack)] = place.pack
            found.setdefault(id(place.pack), []).append((place.row, index))
    return [
        Members(packs[key], [index for _, index in members], [row for row, _ in members])
        for key, members in ((key, sorted(members)) for key, members in found.items())
        if len(members) > 1
    ]
