"""The KV caches of all rows that decode together, however different their lengths.

Joining copies the row's own cache into a free place of a group, or, where a long row is the first
of its group, takes its arrays over as they are. Into the places of rows that leave come the last
rows of their group: where much stays they alone are copied, otherwise all of it, which waits for
nothing. Other groups stay as they are; buffers grow by doubling rows and by `groups.growth`
columns, and shrink when a quarter is used, so what that copies is amortised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from .attention_layer import AttentionLayer
from .base import Base, TailCache, own_of
from .forward import Forward, Guest
from .groups import Group, choose, in_turns
from .pack import Members, Place, together
from .state_layer import StateLayer

LEAST_ADOPTED = 512  # tokens; copying fewer costs less than columns for somewhat longer rows gain
MOST_COPIED = 64 << 20  # bytes that stay when a row leaves; they are soon copied, without a wait

LayerCaches = list[Any]  # one cache object of mlx-lm a layer, of one row


def supports(caches: LayerCaches) -> bool:
    """Whether a batch can hold rows with these caches."""
    return all(
        type(leaf) in (KVCache, ArraysCache) or (type(leaf) is RotatingKVCache and leaf.keep == 0)
        for leaf in leaves(caches)
    )


def leaves(caches: LayerCaches) -> list[Any]:
    """The cache objects of all layers, with those inside a CacheList one by one."""
    found: list[Any] = []
    for cache in caches:
        found += leaves(list(cache.caches)) if isinstance(cache, CacheList) else [cache]
    return found


def kinds(caches: LayerCaches) -> list[str]:
    """What caches these are, each with its window."""
    return [f"{type(leaf).__name__} {getattr(leaf, 'max_size', '')}" for leaf in leaves(caches)]


def base_of(caches: LayerCaches) -> Base | None:
    """The base that a row's caches go on from."""
    tails = (leaf for leaf in leaves(caches) if isinstance(leaf, TailCache))
    return next((leaf.base for leaf in tails), None)


class LayerList:
    """The parts of a layer with several caches (mlx-lm's CacheList)."""

    def __init__(self, parts: list[Any]) -> None:
        self.caches = tuple(parts)

    def __getitem__(self, index: int) -> Any:
        return self.caches[index]


class RaggedBatch:
    """Rows in groups. The batch's order is group by group; `join` and `leave` tell how it changed.

    An order is a list of indices into the rows before the call, followed by the joining ones.
    """

    def __init__(self, empty: LayerCaches) -> None:
        self._forward = Forward()
        self.groups = self._forward.groups
        self.layers = [self._layer(cache) for cache in empty]
        self._leaves: list[AttentionLayer | StateLayer] = leaves_of(self.layers)
        for number, leaf in enumerate(self._leaves):
            if isinstance(leaf, AttentionLayer):
                leaf.number = number
        self._attention = [leaf for leaf in self._leaves if isinstance(leaf, AttentionLayer)]
        full = [leaf for leaf in self._attention if leaf.window is None]
        for number, leaf in enumerate(full):
            leaf.sliceable = number
        self._windows: set[int | None] = {leaf.window for leaf in self._attention} or {None}

    def _layer(self, cache: Any) -> Any:
        if isinstance(cache, CacheList):
            return LayerList([self._layer(part) for part in cache.caches])
        if isinstance(cache, ArraysCache):
            return StateLayer(self._forward, len(cache.cache))
        return AttentionLayer(self._forward, getattr(cache, "max_size", None))

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def spare(self) -> bool:
        """Whether there are free places that `leave` could give back."""
        return any(g.capacity_for(g.rows, tight=True) < g.row_capacity for g in self.groups)

    # ---- joining and leaving

    def join(
        self,
        rows: list[tuple[LayerCaches, int]],
        places: Sequence[Place | None] | None = None,
    ) -> list[int]:
        """Adds rows, each with its own caches and the number of tokens in them. Those of one pack
        go together where a group has room for all of them, or there is to be one."""
        ids = self._ids()
        before = self.rows
        done: set[int] = set()
        for members in together(places or []):
            lengths = [rows[i][1] for i in members.joining]
            group = choose(self.groups, *lengths)
            if group is None and choose(self.groups, max(lengths)) is not None:
                continue  # some of them may join others
            number = self._number_of(group, max(lengths), None, ids)
            self._put_pack(number, members, lengths)
            ids[number] += [before + i for i in members.joining]
            done.update(members.joining)
        for i, (caches, length) in enumerate(rows):
            if i in done:
                continue
            base = base_of(caches)
            group = choose(self.groups, length, base=base)
            number = self._number_of(group, length, base, ids)
            self._put(number, leaves(caches), length)
            ids[number].append(before + i)
        order = [row for group_ids in ids for row in group_ids]
        self._reorder_states(order, before, [leaves(caches) for caches, _ in rows])
        return order

    def _number_of(
        self, group: Group | None, length: int, base: Base | None, ids: list[list[int]]
    ) -> int:
        """Of the group, or of a new one for rows of this length."""
        if group is None:
            group = self._new_group(length, base)
            ids.append([])
        return self.groups.index(group)

    def _new_group(self, length: int, base: Base | None) -> Group:
        base_length = base.length if base is not None else 0
        group = Group.for_length(length, self._windows, base, base_length)
        self.groups.append(group)
        for layer in self._attention:
            layer.add_group()
        return group

    def _put(self, number: int, sources: list[Any], length: int) -> None:
        """A row takes its place; a long one that is the first brings its arrays along."""
        group = self.groups[number]
        pairs = [
            (layer, source)
            for layer, source in zip(self._leaves, sources, strict=True)
            if isinstance(layer, AttentionLayer)
        ]
        columns = 0
        if not group.rows and group.held(None, length) >= LEAST_ADOPTED:
            columns = _columns([source for layer, source in pairs if layer.window is None])
        if columns:
            group.adopt(length, columns)
        self._make_rows(number, length, 1)
        for layer, source in pairs:
            if columns and layer.window is None:
                layer.adopt(number, source)
            else:
                layer.put(number, group.rows, source, length)
        group.lengths.append(length)

    def _put_pack(self, number: int, members: Members, lengths: list[int]) -> None:
        """Rows of a pack take their places, with one copy a layer. What padding has left before a
        shorter one is masked, as its length says."""
        group, longest = self.groups[number], max(lengths)
        self._make_rows(number, longest, len(lengths))
        for layer, pair in zip(self._leaves, members.pack.pairs, strict=True):
            if isinstance(layer, AttentionLayer) and pair is not None:
                keys, values = (members.pack.last(members.rows, longest, part) for part in pair)
                layer.put_rows(number, group.rows, keys, values)
        group.lengths += lengths

    def _make_rows(self, number: int, length: int, rows: int) -> None:
        """Places for so many more rows, of at most this length."""
        group = self.groups[number]
        if group.full(rows):
            moves = group.widen(length, rows)
            for layer in self._attention:
                before, kept = moves[layer.window]
                layer.relay(number, 0, kept, before)

    def leave(self, rows: list[int], *, tight: bool = False) -> list[int]:
        """Removes rows; returns the order of those that stay. `tight`: free places are not wanted
        for others, but their memory is."""
        ids = self._ids()
        sizes, before = list(map(len, ids)), self.rows
        for row in sorted(rows, reverse=True):
            number, place = self._place(row)
            group = self.groups[number]
            last = group.rows - 1
            group.lengths[place] = group.lengths[last]
            ids[number][place] = ids[number][last]
            group.lengths.pop()
            ids[number].pop()
        self._move(ids, sizes, tight)
        for number in reversed(range(len(self.groups))):
            if not self.groups[number].rows:
                del self.groups[number], ids[number]
                for layer in self._attention:
                    layer.drop_group(number)
        order = [row for group_ids in ids for row in group_ids]
        self._reorder_states(order, before, [])
        return order

    def _move(self, ids: list[list[int]], sizes: list[int], tight: bool) -> None:
        """Rows take the places that `ids` gives them; `sizes` were the groups' rows before."""
        first = 0
        for number, (kept, size) in enumerate(zip(ids, sizes, strict=True)):
            places = [row - first for row in kept]
            first += size
            group = self.groups[number]
            capacity = group.capacity_for(len(kept), tight=tight)
            shrinks = tight and kept and capacity < group.row_capacity
            if places == list(range(len(kept))) and not shrinks:
                continue
            much = sum(layer.bytes_of(number) for layer in self._attention) > MOST_COPIED
            if much and capacity == group.row_capacity:
                self._fill(number, places)
                continue
            group.row_capacity = capacity
            for layer in self._attention:
                layer.keep(number, places)

    def _fill(self, number: int, places: list[int]) -> None:
        """Rows take the places that others have left. What the step before still reads MLX copies
        as a whole before it writes to it: so this waits for that step."""
        moves = [(place, row) for place, row in enumerate(places) if place != row]
        copies = [layer.copies(number, [row for _, row in moves]) for layer in self._attention]
        mx.eval(copies)
        for layer, rows in zip(self._attention, copies, strict=True):
            layer.set_rows(number, [place for place, _ in moves], rows)

    def extract(self, row: int, empty: LayerCaches, *, states: bool = False) -> LayerCaches:
        """A copy of the row's caches, filled into empty ones of mlx-lm's; `states`: of those alone
        that cannot be cut."""
        number, place = self._place(row)
        for layer, leaf in zip(self._leaves, leaves(empty), strict=True):
            if isinstance(layer, StateLayer):
                layer.extract_row(row, leaf)
            elif not states or layer.window is not None:
                layer.extract(number, place, leaf)
        return empty

    def pairs(self, row: int, start: int, end: int) -> list[tuple[mx.array, mx.array] | None]:
        """Views of a row's tokens [start, end) in the layers without a window."""
        number, place = self._place(row)
        full = [layer for layer in self._attention if layer.window is None]
        return [layer.span(number, place, start, end) for layer in full]

    def length(self, row: int) -> int:
        """Tokens in the row's caches."""
        number, place = self._place(row)
        return self.groups[number].lengths[place]

    def base(self, row: int) -> Base | None:
        """What the row goes on from."""
        base = self.groups[self._place(row)[0]].base
        return base if isinstance(base, Base) else None

    def rows_of_length(self, length: int) -> list[int]:
        """The rows that hold so many tokens."""
        lengths = [n for group in self.groups for n in group.lengths]
        return [row for row, n in enumerate(lengths) if n == length]

    def replace(self, row: int, caches: LayerCaches) -> None:
        """Puts caches of as many tokens as the row has into its place."""
        number, place = self._place(row)
        for layer, source in zip(self._leaves, leaves(caches), strict=True):
            if isinstance(layer, AttentionLayer):
                layer.put(number, place, source, self.groups[number].lengths[place])
            else:
                layer.replace(row, source)

    def _reorder_states(self, order: list[int], before: int, joining: list[list[Any]]) -> None:
        for i, layer in enumerate(self._leaves):
            if isinstance(layer, StateLayer):
                layer.reorder(order, before, [sources[i] for sources in joining])

    def _ids(self) -> list[list[int]]:
        start, ids = 0, []
        for group in self.groups:
            ids.append(list(range(start, start + group.rows)))
            start += group.rows
        return ids

    def _place(self, row: int) -> tuple[int, int]:
        for number, group in enumerate(self.groups):
            if row < group.rows:
                return number, row
            row -= group.rows
        raise IndexError(row)

    # ---- a step

    def decode(
        self,
        model: nn.Module,
        tokens: mx.array,
        *,
        together: bool,
        guests: list[Guest] | None = None,
        covers: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """One token a row, int [rows] → logits [rows, vocabulary], lazily.

        `together` runs all groups in one forward; otherwise each group has its own. `guests`, which
        want `together`, are computed into their own caches in the same forward. `covers(start,
        stop)` is called before each forward that covers only these rows.
        """
        forward = self._forward
        forward.begin(guests or [])
        for number, group in enumerate(self.groups):
            self._make_columns(number, group)
        lengths = [n for group in self.groups for n in group.lengths]
        for guest in forward.guests:
            tokens = mx.concatenate([tokens, mx.array(guest.tokens, dtype=tokens.dtype)])
            lengths += range(guest.offset, guest.offset + len(guest.tokens))
        positions = mx.array(lengths, dtype=mx.int32)
        if together or len(self.groups) == 1:
            forward.active = list(range(len(self.groups)))
            forward.offsets = positions
            logits = model(tokens[:, None], cache=self.layers)[: self.rows, -1]
        else:
            parts: list[mx.array] = []
            for number in range(len(self.groups)):
                forward.active = [number]
                start, stop = forward.active_rows
                forward.offsets = positions[start:stop]
                if covers is not None:
                    covers(start, stop)
                parts.append(model(tokens[start:stop, None], cache=self.layers)[:, -1])
            logits = mx.concatenate(parts)
        for group in self.groups:
            group.advance()
        return logits

    def _make_columns(self, number: int, group: Group) -> None:
        for window in self._windows:
            self._grow_in_turns(number, group, window)
            if not group.needs_columns(window):
                continue
            first, kept = group.relay(window)
            for layer in self._attention:
                if layer.window == window:
                    layer.relay(number, first, kept)

    def _grow_in_turns(self, number: int, group: Group, window: int | None) -> None:
        """Some layers get more columns before they need them, so that no step pays for all."""
        span = group.spans[window]
        column = span.column(group.clock)
        ahead = group.ahead(window)
        if not ahead or span.capacity - column > ahead:
            return
        layers = [layer for layer in self._attention if layer.window == window]
        layers = [layer for layer in layers if layer.columns(number)]
        for index in in_turns([layer.columns(number) - column for layer in layers], 1, ahead):
            layers[index].grow(number, column + ahead + group.growth(column))
        span.capacity = min([layer.columns(number) for layer in layers], default=span.capacity)

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self._leaves)


def _columns(caches: list[Any]) -> int:
    """That all arrays of these caches have; 0 where they have none."""
    owns = list(map(own_of, caches))
    arrays = [array for own in owns for array in (own.keys, own.values) if array is not None]
    return min((array.shape[2] for array in arrays), default=0)


def leaves_of(layers: list[Any]) -> list[Any]:
    """Like `leaves`, of a batch's layers."""
    found: list[Any] = []
    for layer in layers:
        found += leaves_of(list(layer.caches)) if isinstance(layer, LayerList) else [layer]
    return found


def arrays(caches: LayerCaches) -> list[mx.array]:
    """Every array in a row's caches: evaluate these to have the caches computed."""
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten([cache.state for cache in caches])
    return [leaf for _, leaf in flat if isinstance(leaf, mx.array)]
