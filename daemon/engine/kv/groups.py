"""Which rows of the batch share a buffer. Pure bookkeeping: lengths and columns, no arrays.

Linear layers run over the whole batch; attention runs per group of rows of similar length. The
rows of a group are aligned at their last token, so one slice writes a step's keys for all:

    column   base          clock - longest            clock
    row a      .  .  .  .  .  [----------- a -----------]
    row b      .  .  .  .  .  .  .  .  . [----- b ------]

The bound: a row joins only where `2 * shortest >= longest` holds afterwards, or where
`longest <= SMALL`. All rows of a group grow by one token a step, so the ratio only improves:
attention never reads more than twice the columns that it needs, or SMALL a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

SMALL = 128  # columns; shorter rows are not told apart
GROWTH = 128  # columns that a buffer grows by, at least
# Over a base many rows are short: what they leave free must not weigh as much as the base.
BASE_ROOM = 64
BASE_GROWTH = 32  # also what is free at least after rows were added


def room(longest: int, least: int = SMALL) -> int:
    """Columns kept before the clock, so that somewhat longer rows may still join."""
    return max(least, longest + longest // 4)


@dataclass(slots=True)
class Span:
    """The columns of one kind of layer (all layers with the same window) in a group's buffers."""

    window: int | None  # columns that attention may see; None: all
    base: int  # the clock value that column 0 stands for
    capacity: int  # columns

    def column(self, clock: int) -> int:
        return clock - self.base


@dataclass(slots=True)
class Group:
    """Rows that share buffers. `clock` is the time of the next token's column."""

    clock: int
    lengths: list[int] = field(default_factory=list)  # tokens of each row
    spans: dict[int | None, Span] = field(default_factory=dict)  # by window
    row_capacity: int = 0
    base: object | None = None  # whose first tokens all rows share; they lie elsewhere
    base_length: int = 0  # tokens

    @classmethod
    def for_length(
        cls,
        length: int,
        windows: set[int | None],
        base: object | None = None,
        base_length: int = 0,
    ) -> Group:
        """An empty group with room for a row of this length."""
        group = cls(clock=0, base=base, base_length=base_length)
        group.clock = group.room(None, length)
        for window in windows:
            kept = group.kept(window, length)
            group.spans[window] = Span(window, group.clock - kept, kept + group.growth(kept))
        return group

    def adopt(self, length: int, columns: int) -> None:
        """The first row's own arrays, of so many columns, become the buffers of the layers without
        a window: its tokens lie in the first ones."""
        self.row_capacity = 1
        self.spans[None] = Span(None, self.clock - self.held(None, length), columns)

    @property
    def rows(self) -> int:
        return len(self.lengths)

    def held(self, window: int | None, length: int) -> int:
        """Of a row of this length, the tokens that layers without a window hold here."""
        return length if window is not None else length - self.base_length

    def room(self, window: int | None, longest: int) -> int:
        return room(self.held(window, longest), SMALL if self.base is None else BASE_ROOM)

    def growth(self, columns: int) -> int:
        return growth(columns, GROWTH if self.base is None else BASE_GROWTH)

    def kept(self, window: int | None, longest: int) -> int:
        """Columns before the clock that a span keeps when it is laid out anew."""
        columns = self.room(window, longest)
        return columns if window is None else min(columns, window)

    def full(self, rows: int = 1) -> bool:
        """Whether so many more make it necessary to lay out the buffers anew (`widen`)."""
        return self.rows + rows > self.row_capacity

    def capacity_for(self, rows: int, *, tight: bool) -> int:
        """Rows of the buffers when so many stay: fewer where a quarter is used; `tight`: where any
        can be given back."""
        if tight:
            return min(row_capacity(rows), self.row_capacity)
        return row_capacity(2 * rows) if 4 * rows <= self.row_capacity else self.row_capacity

    def fits(self, *lengths: int) -> bool:
        """Whether rows of these lengths may join: the bound above, and there are columns for them,
        or will be."""
        for span in () if self.full(len(lengths)) else self.spans.values():
            held = self.held(span.window, max(lengths))
            if min(held, span.window or held) > span.column(self.clock):
                return False
        known = [self.held(None, each) for each in (*lengths, *self.lengths)]
        return alike(min(known), max(known))

    def visible(self, window: int | None) -> tuple[int, int]:
        """Columns [first, end) that the next token may attend to, its own included."""
        span = self.spans[window]
        reach = self.held(window, max(self.lengths)) + 1
        if window is not None:
            reach = min(reach, window)
        end = span.column(self.clock) + 1
        return end - reach, end

    def padded(self, window: int | None) -> bool:
        """Whether some row is shorter than what `visible` shows, so that a mask is needed."""
        first, end = self.visible(window)
        return self.held(window, min(self.lengths)) + 1 < end - first

    def needs_columns(self, window: int | None) -> bool:
        """Whether the next token's column lies beyond the buffer."""
        span = self.spans[window]
        return span.column(self.clock) >= span.capacity

    def ahead(self, window: int | None) -> int:
        """How many free columns a layer should have: those with fewer grow in turns. 0 where it is
        better to wait and to lay out the buffers anew, without columns that no row needs."""
        column = self.spans[window].column(self.clock)
        if self.kept(window, max(self.lengths, default=0)) < column:
            return 0
        return min(self.growth(column), GROWTH) // 2

    def relay(self, window: int | None) -> tuple[int, int]:
        """Moves the span's base to what must be kept and grows its capacity from there.

        Returns (first column kept, columns kept), in the old layout.
        """
        span = self.spans[window]
        column = span.column(self.clock)
        kept = min(self.kept(window, max(self.lengths, default=0)), column)
        span.base += column - kept
        span.capacity = kept + self.growth(kept)
        return column - kept, kept

    def widen(self, length: int, rows: int = 1) -> dict[int | None, tuple[int, int]]:
        """So many more rows, one of this length among them and none longer, and columns enough for
        them before the clock and behind it. Returns by window (columns put before the first,
        columns that are kept)."""
        longest = max(length, *self.lengths) if self.lengths else length
        self.row_capacity = row_capacity(self.rows + rows)
        moves: dict[int | None, tuple[int, int]] = {}
        for window, span in self.spans.items():
            column = span.column(self.clock)
            before = max(0, self.kept(window, longest) - column)
            span.base -= before
            span.capacity = before + max(span.capacity, column + BASE_GROWTH)
            moves[window] = before, column
        return moves

    def advance(self) -> None:
        """One more token in every row."""
        self.clock += 1
        self.lengths = [length + 1 for length in self.lengths]


def growth(columns: int, least: int = GROWTH) -> int:
    """Columns to allocate beyond `columns`: few, to waste little; enough to copy seldom."""
    return max(least, columns // 8)


def in_turns(free: list[int], tokens: int, ahead: int) -> list[int]:
    """Which of the layers with so many `free` columns grow before so many tokens are written.

    Those that they would overfill; and of those with up to `ahead` columns more, as many as it
    takes for all to have had their turn by then.
    """
    must = [index for index, columns in enumerate(free) if columns < tokens]
    soon = [index for index, columns in enumerate(free) if tokens <= columns < tokens + ahead]
    a_turn = math.ceil(len(free) * tokens / ahead)
    return must + soon[: max(0, a_turn - len(must))]


def alike(shortest: int, longest: int) -> bool:
    """Whether rows from one length to the other may be in one group: the bound above."""
    return longest <= SMALL or 2 * shortest >= longest


def row_capacity(rows: int) -> int:
    """Rows to allocate for `rows`: the next power of two, so that growing is amortised."""
    return 1 << max(rows - 1, 0).bit_length()


def columns_for(lengths: Iterable[int]) -> int:
    """Columns of the buffers that hold rows of these lengths: what they leave free, and free rows,
    are among them. Rows that come in an unlucky order take more."""
    left = sorted(lengths, reverse=True)
    columns = 0
    while left:
        longest = left[0]
        rows = sum(alike(each, longest) for each in left)
        kept = room(longest)
        columns += row_capacity(rows) * (kept + growth(kept))
        del left[:rows]
    return columns


def choose(groups: list[Group], *lengths: int, base: object | None = None) -> Group | None:
    """The group that rows of these lengths over this base join: of those that fit the one with the
    nearest longest row; None when they need a group of their own."""
    fitting = [group for group in groups if group.base is base and group.fits(*lengths)]
    if not fitting:
        return None
    longest = max(lengths)
    return min(fitting, key=lambda group: abs(max(group.lengths, default=longest) - longest))
