"""An attention layer's cache for a whole ragged batch, in the shapes that mlx-lm's models expect.

Models call `update_and_fetch`, `make_mask`, read `offset` and hand the cache on to
`scaled_dot_product_attention`, which lets it attend itself (`..attention`). Where one group is
active, real arrays go through the model; where several are, or a guest, the model carries tokens of
no meaning from `update_and_fetch` to `attend`, and a model that looks into them fails loudly: it is
then run group by group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import RotatingKVCache

from .base import Base, attend, own_of
from .forward import Forward
from .groups import Group


class ManyGroups(TypeError):
    """The model wants one array of keys or masks, but the rows lie in several groups."""


class _Elsewhere(NamedTuple):
    """Stands for keys or values that lie in the groups' buffers of a layer."""

    layer: AttentionLayer
    part: int  # 0: keys, 1: values
    dim: int
    dtype: mx.Dtype  # some models give attention's output the type of the values

    def astype(self, dtype: mx.Dtype) -> _Elsewhere:
        """Attention computes in the widest type of its arguments anyway."""
        return self

    def swapaxes(self, first: int, second: int) -> mx.array:
        """For latent attention, which computes a part of the scores itself and hands it on as the
        mask: queries times this are the queries, and `attend` multiplies them by the rows' keys."""
        if {first, second} != {-1, -2}:
            raise ManyGroups("other axes than the last two")
        self.layer.scored = self.part
        return mx.eye(self.dim, dtype=self.dtype)

    def attend(self, *arguments: Any) -> mx.array:
        """For layers without a cache of their own, which use the keys of another."""
        return self.layer.attend(*arguments)


class _Window(NamedTuple):
    """Stands for a mask: the window that it asked for."""

    size: int | None


class AttentionLayer:
    """Keys and values of one attention layer: a pair of buffers per group.

    Buffers are [row capacity, kv heads, columns, head dim]. `window` bounds what a token sees
    (a sliding-window layer); its buffer forgets what has left the window.
    """

    def __init__(self, forward: Forward, window: int | None) -> None:
        self.window = window
        self.keys: list[mx.array | None] = []
        self.values: list[mx.array | None] = []
        self.number = 0  # among the batch's leaves
        self.sliceable: int | None = None  # among those without a window
        self.scored: int | None = None  # the part that the model computes scores with itself
        self._forward = forward
        self._guest_views: list[tuple[mx.array, mx.array]] = []

    # ---- what models call

    @property
    def offset(self) -> mx.array:
        """int [rows]: the position of each row's next token."""
        return self._forward.offsets

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Writes one token a row; keys [rows, heads, 1, dim]."""
        if keys.shape[2] != 1:
            raise ManyGroups("a batch decodes one token a row")
        active = self._forward.active
        start = 0
        for number in active:
            group = self._forward.groups[number]
            column = group.spans[self.window].column(group.clock)
            stop = start + group.rows
            whole = not self._forward.mixed
            for buffers, new in ((self.keys, keys), (self.values, values)):
                buffer = buffers[number]
                if buffer is None:
                    buffer = buffers[number] = self._blank(group, new)
                buffer[: group.rows, :, column : column + 1] = new if whole else new[start:stop]
            start = stop
        self.scored = None
        self._guest_views.clear()
        for guest in self._forward.guests:
            stop = start + len(guest.tokens)
            cache = guest.leaves[self.number]
            chunk = (part[start:stop].transpose(2, 1, 0, 3) for part in (keys, values))
            self._guest_views.append(cache.update_and_fetch(*chunk))
            start = stop
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Any, Any]:
        """What the rows may attend to, this step's token included."""
        keys, values = self._view(self._forward.active[0])
        if self._forward.mixed:
            return (
                _Elsewhere(self, 0, keys.shape[-1], keys.dtype),
                _Elsewhere(self, 1, values.shape[-1], values.dtype),
            )
        return keys, values

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | _Window | None:
        """Bool [rows, 1, 1, columns], or None where every row sees every column, or `attend` masks
        what they do not see."""
        if N != 1:
            raise ManyGroups("a batch decodes one token a row")
        if self._forward.mixed:
            if return_array and window_size is not None:
                raise ManyGroups("an array as mask")
            return None if window_size is None else _Window(window_size)
        group = self._forward.groups[self._forward.active[0]]
        return self._forward.mask(group, self.window, window_size)

    def attend(
        self,
        queries: mx.array,
        keys: Any,
        values: Any,
        scale: float,
        mask: Any,
        sinks: mx.array | None,
    ) -> mx.array:
        """Attention of queries [rows, heads, 1, dim] to the rows' keys, group by group."""
        active = self._forward.active
        if not self._forward.mixed:
            return mx.fast.scaled_dot_product_attention(
                queries, keys, values, scale=scale, mask=mask, sinks=sinks
            )
        if not isinstance(keys, _Elsewhere) or not isinstance(values, _Elsewhere):
            raise ManyGroups("keys of the model's own")
        part_scores = mask if isinstance(mask, mx.array) and self.scored is not None else None
        if not (mask is None or part_scores is not None or isinstance(mask, _Window)):
            raise ManyGroups("a mask of the model's own")
        window_size = mask.size if isinstance(mask, _Window) else None

        def rows_attend(
            start: int, stop: int, parts: tuple[mx.array, mx.array], seen: Any, *, whole: bool
        ) -> mx.array:
            """Rows [start, stop): one token each, or `whole`, the tokens of one sequence."""
            q, scored = queries[start:stop], part_scores
            if scored is not None and self.scored is not None:
                scored = scored[start:stop]
                scored = scored.transpose(2, 1, 0, 3) if whole else scored
                seen = _scores(scored, parts[self.scored], seen)
            out = mx.fast.scaled_dot_product_attention(
                q.transpose(2, 1, 0, 3) if whole else q,
                parts[keys.part],
                parts[values.part],
                scale=scale,
                mask=seen,
                sinks=sinks,
            )
            return out.transpose(2, 1, 0, 3) if whole else out

        outputs: list[mx.array] = []
        start = 0
        for number in active:
            group = self._forward.groups[number]
            stop = start + group.rows
            seen = self._forward.mask(group, self.window, window_size)
            if isinstance(group.base, Base) and self.sliceable is not None:
                parts = self._over_base(group.base, group, window_size)
                ours = [(self._view(number), seen)]
                if part_scores is not None and self.scored is not None:
                    part = part_scores[start:stop]
                    parts = [(p, _shared_scores(part, p[self.scored], m)) for p, m in parts]
                    ours = [(p, _scores(part, p[self.scored], m)) for p, m in ours]
                parts = [((p[keys.part], p[values.part]), m) for p, m in parts]
                ours = [((p[keys.part], p[values.part]), m) for p, m in ours]
                q = queries[start:stop]
                outputs.append(attend(q, parts, ours[0], scale=scale, sinks=sinks))
            else:
                outputs.append(rows_attend(start, stop, self._view(number), seen, whole=False))
            start = stop
        for guest, parts in zip(self._forward.guests, self._guest_views, strict=True):
            stop = start + len(guest.tokens)
            seen = self._forward.guest_mask(guest, self.window, window_size)
            outputs.append(rows_attend(start, stop, parts, seen, whole=True))
            start = stop
        return mx.concatenate(outputs)

    def _over_base(
        self, base: Base, group: Group, window_size: int | None
    ) -> list[tuple[tuple[mx.array, mx.array], mx.array | None]]:
        """The base's pairs in this layer, each with its mask."""
        assert self.sliceable is not None
        parts: list[tuple[tuple[mx.array, mx.array], mx.array | None]] = []
        first = 0
        for pair in base.layers[self.sliceable]:
            end = first + pair[0].shape[2]
            mask = None
            if window_size is not None:
                mask = self._forward.base_mask(group, first, end, window_size)
            parts.append((pair, mask))
            first = end
        return parts

    def _blank(self, group: Group, like: mx.array) -> mx.array:
        columns = group.spans[self.window].capacity
        return mx.zeros((group.row_capacity, like.shape[1], columns, like.shape[3]), like.dtype)

    def _view(self, number: int) -> tuple[mx.array, mx.array]:
        group = self._forward.groups[number]
        first, end = group.visible(self.window)
        keys, values = self.keys[number], self.values[number]
        assert keys is not None
        assert values is not None
        return keys[: group.rows, :, first:end], values[: group.rows, :, first:end]

    # ---- what the batch calls

    def add_group(self) -> None:
        self.keys.append(None)
        self.values.append(None)

    def drop_group(self, number: int) -> None:
        del self.keys[number], self.values[number]

    def adopt(self, number: int, source: Any) -> None:
        """A row's own arrays become the buffers of its group; nothing is copied."""
        own = own_of(source)
        self.keys[number], self.values[number] = own.keys, own.values

    def put(self, number: int, row: int, source: Any, length: int) -> None:
        """Copies a row's own cache of `length` tokens into its place; nothing else moves."""
        group = self._forward.groups[number]
        end = group.spans[self.window].column(group.clock)
        source = own_of(source)
        keys, values = source.keys, source.values
        length = group.held(self.window, length)
        if keys is None or not length:
            return
        tokens = length
        if isinstance(source, RotatingKVCache):
            keys, values = source._temporal_order(keys), source._temporal_order(values)
            tokens = min(length, keys.shape[2])
            keys, values = keys[..., -tokens:, :], values[..., -tokens:, :]
        else:
            keys, values = keys[..., :length, :], values[..., :length, :]
        tokens = min(tokens, self.window or tokens)
        for buffers, new in ((self.keys, keys), (self.values, values)):
            buffer = buffers[number]
            if buffer is None:
                buffer = buffers[number] = self._blank(group, new)
            buffer[row : row + 1, :, end - tokens : end] = new[..., new.shape[2] - tokens :, :]

    def put_rows(self, number: int, row: int, keys: mx.array, values: mx.array) -> None:
        """Copies whole rows, [rows, kv heads, columns, dim] up to their last tokens, into the
        places from `row` on."""
        group = self._forward.groups[number]
        end = group.spans[self.window].column(group.clock)
        rows, _, columns, _ = keys.shape
        for buffers, new in ((self.keys, keys), (self.values, values)):
            buffer = buffers[number]
            if buffer is None:
                buffer = buffers[number] = self._blank(group, new)
            buffer[row : row + rows, :, end - columns : end] = new

    def keep(self, number: int, rows: list[int]) -> None:
        """The group's rows become `rows`, in this order, in its present capacity: one gather."""
        spare = self._forward.groups[number].row_capacity - len(rows)
        index = mx.array(rows + [0] * spare)
        for buffers in (self.keys, self.values):
            buffer = buffers[number]
            if buffer is not None:
                buffers[number] = buffer[index]

    def copies(self, number: int, rows: list[int]) -> list[mx.array]:
        """Of these rows of the group's keys and values; none where there are no buffers."""
        buffers = self.keys[number], self.values[number]
        return [buffer[mx.array(rows)] for buffer in buffers if buffer is not None]

    def set_rows(self, number: int, rows: list[int], copies: list[mx.array]) -> None:
        """Puts what `copies` gave into other rows, in place: these are few."""
        for buffers, copy in zip((self.keys, self.values), copies, strict=False):
            buffer = buffers[number]
            assert buffer is not None
            for i, row in enumerate(rows):
                buffer[row : row + 1] = copy[i : i + 1]

    def relay(self, number: int, first: int, kept: int, before: int = 0) -> None:
        """Lays the group's buffers out anew, in its present capacities: what were the `kept`
        columns from `first` on come after `before` empty ones."""
        group = self._forward.groups[number]
        columns = group.spans[self.window].capacity
        for buffers in (self.keys, self.values):
            old = buffers[number]
            if old is None:
                continue
            live = min(group.rows, old.shape[0])
            after = columns - before - kept
            padding = [(0, group.row_capacity - live), (0, 0), (before, after), (0, 0)]
            buffers[number] = mx.pad(old[:live, :, first : first + kept], padding)

    def columns(self, number: int) -> int:
        """Of the group's buffers; 0 while there are none."""
        buffers = self.keys[number], self.values[number]
        return min((each.shape[2] for each in buffers if each is not None), default=0)

    def grow(self, number: int, columns: int) -> None:
        """Gives the group's buffers so many columns; what is in them stays where it is."""
        for buffers in (self.keys, self.values):
            old = buffers[number]
            if old is not None:
                padding = [(0, 0), (0, 0), (0, columns - old.shape[2]), (0, 0)]
                buffers[number] = mx.pad(old, padding)

    def extract(self, number: int, row: int, empty: Any) -> None:
        """Fills the row's tokens into an empty cache of mlx-lm's; copies this row only."""
        group = self._forward.groups[number]
        length = group.lengths[row]
        end = group.spans[self.window].column(group.clock)
        tokens = length if self.window is None else min(length, self.window)
        keys, values = self.keys[number], self.values[number]
        if keys is not None and values is not None and tokens:
            empty.keys = mx.contiguous(keys[row : row + 1, :, end - tokens : end])
            empty.values = mx.contiguous(values[row : row + 1, :, end - tokens : end])
        empty.offset = length
        if isinstance(empty, RotatingKVCache):
            empty._idx = tokens

    def span(self, number: int, row: int, start: int, end: int) -> tuple[mx.array, mx.array] | None:
        """Views of a row's tokens [start, end). Only where there is no window."""
        group = self._forward.groups[number]
        first = group.spans[self.window].column(group.clock) - group.lengths[row]
        assert start >= group.base_length, "the base is not the row's own"
        keys, values = self.keys[number], self.values[number]
        if keys is None or values is None:
            return None
        columns = slice(first + start, first + end)
        return keys[row : row + 1, :, columns], values[row : row + 1, :, columns]

    def bytes_of(self, number: int) -> int:
        """Of the group's buffers."""
        buffers = self.keys[number], self.values[number]
        return sum(buffer.nbytes for buffer in buffers if buffer is not None)

    @property
    def nbytes(self) -> int:
        return sum(map(self.bytes_of, range(len(self.keys))))


def _shared_scores(queries: mx.array, keys: mx.array, mask: Any) -> mx.array:
    """The same of keys [1, ..] that all rows share."""
    scores = (queries.transpose(2, 1, 0, 3) @ keys.swapaxes(-1, -2)).transpose(2, 1, 0, 3)
    return scores if mask is None else mx.where(mask, scores, mx.finfo(scores.dtype).min)


def _scores(queries: mx.array, keys: mx.array, mask: Any) -> mx.array:
    """A part of attention's scores, masked: [.., rows, columns] to be added to the rest."""
    scores = queries @ keys.swapaxes(-1, -2)
    if mask is None:
        return scores
    if isinstance(mask, str):  # "causal"
        rows, columns = scores.shape[-2:]
        mask = mx.arange(columns) <= mx.arange(columns - rows, columns)[:, None]
    return mx.where(mask, scores, mx.array(mx.finfo(scores.dtype).min, scores.dtype))
