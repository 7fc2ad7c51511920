"""Runs a decoder: prefill chunks of single rows, decode steps of all rows."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from .. import attention
from ..adapters.selection import NONE, Selection
from ..kv import packed, ragged
from ..kv.base import Base, over
from ..kv.forward import Guest
from ..kv.pack import Pack, Place
from ..kv.payload import Checkpoint, Span, capture, restore, span_of
from ..kv.ragged import LayerCaches, RaggedBatch
from ..ranks.lockstep import Lockstep


class TextRunner:
    """Owns the model and the caches of the running rows.

    A single row keeps mlx-lm's plain caches: at batch 1 nothing of the batch machinery costs
    anything. More rows form a ragged batch, or, where the architecture cannot batch (`batches`
    False), run one after the other. `together` says whether groups of different lengths may share
    one forward, `pack_limit` up to how many tokens prompts may share a prefill, `mixes` whether a
    chunk of a prompt may take part in a decode step, and `starts` whether a prompt's first token
    may (otherwise prompts of one token, which have no prefill, are computed alone first).

    With a `selection` each row has an adapter, by its number; 0 is the model as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        selection: Selection | None = None,
        lockstep: Lockstep | None = None,
    ) -> None:
        attention.install()
        self.model = model
        self.lockstep = lockstep or Lockstep()
        self._selection = selection
        self._adapters: list[int] = []  # of the rows, in their order
        self.batches = ragged.supports(self.new_cache())
        self.together = True
        self.pack_limit = packed.limit(self.new_cache())
        self.mixes = self.pack_limit > 0
        self.starts = True
        self._plain: list[LayerCaches] = []  # rows that are not in the batch
        self._lengths: list[int] = []  # tokens in their caches
        self._batch: RaggedBatch | None = None

    def new_cache(self) -> LayerCaches:
        """Empty caches for one row."""
        return make_prompt_cache(self.model)

    @property
    def num_adapters(self) -> int:
        """Rows may choose among so many."""
        return len(self._selection.scales) - 1 if self._selection is not None else 0

    @property
    def rows(self) -> int:
        return len(self._plain) + (self._batch.rows if self._batch else 0)

    def prefill(self, cache: LayerCaches, tokens: list[int], adapter: int = NONE) -> None:
        """Computes `tokens` into the row's caches. Submitted, not waited for.

        The logits are never evaluated, so the output projection of the prompt costs nothing.
        """
        self.logits(cache, tokens, adapter)
        mx.async_eval(ragged.arrays(cache))

    def logits(self, cache: LayerCaches, tokens: list[int], adapter: int = NONE) -> mx.array:
        """The same, lazily: logits [tokens, vocabulary] of what follows each token."""
        self._select([adapter])
        return self.model(mx.array([tokens]), cache=cache)[0]

    def prefill_packed(
        self,
        caches: list[LayerCaches],
        prompts: list[list[int]],
        adapters: list[int] | None = None,
    ) -> Pack:
        """The same for several whole prompts of at most `pack_limit` tokens, in one forward."""
        self._select(adapters or [NONE] * len(prompts))
        pack = packed.prefill(self.model, prompts, caches)
        mx.async_eval(pack.arrays())
        return pack

    def join(
        self,
        rows: list[tuple[LayerCaches, int]],
        adapters: list[int] | None = None,
        places: list[Place | None] | None = None,
    ) -> list[int]:
        """Prefilled rows, with the number of tokens in their caches, enter the decode batch. Those
        that have `places` were computed together, and nothing was added since.

        Returns the new order: indices into the rows before, followed by the joining ones.
        """
        known = self._adapters + (adapters or [NONE] * len(rows))
        order = self._join(rows, places)
        self._adapters = [known[row] for row in order]
        return order

    def _join(
        self,
        rows: list[tuple[LayerCaches, int]],
        places: list[Place | None] | None = None,
    ) -> list[int]:
        alone = len(self._plain) + len(rows) == 1 and ragged.base_of(rows[0][0]) is None
        if self._batch is None and (not self.batches or alone):
            self._plain += [caches for caches, _ in rows]
            self._lengths += [length for _, length in rows]
            return list(range(len(self._plain)))
        if self._batch is None:
            self._batch = self._batch_of_plain()
        return self._batch.join(rows, places)

    def leave(self, rows: list[int], *, tight: bool = False) -> list[int]:
        """Rows leave, their caches are freed; returns the order of those that stay. `tight`: so are
        all places that nobody has."""
        order = self._leave(rows, tight)
        self._adapters = [self._adapters[row] for row in order]
        return order

    def _leave(self, rows: list[int], tight: bool = False) -> list[int]:
        if self._batch is None:
            gone = set(rows)
            stay = [row for row in range(len(self._plain)) if row not in gone]
            self._plain = [self._plain[row] for row in stay]
            self._lengths = [self._lengths[row] for row in stay]
            return stay
        order = self._batch.leave(rows, tight=tight)
        if self._batch.rows == 1 and self._batch.groups[0].base is not None:
            return order  # over a base it costs less where it is
        if self._batch.rows == 1:
            self._lengths = [self._batch.groups[0].lengths[0]]
            self._plain = [self._batch.extract(0, self.new_cache())]
        if self._batch.rows <= 1:
            self._batch = None
        return order

    @property
    def spare(self) -> bool:
        """Whether `leave` could give memory back although nobody leaves: places of some who did."""
        return self._batch is not None and self._batch.spare

    @property
    def shares(self) -> bool:
        """Whether rows may go on from a base (`kv.base`). What a base keeps from being evicted it
        lets go of when Python collects it: in the ranks of a group not at the same step."""
        return self.batches and self.together and self.lockstep.alone

    def base(self, row: int) -> Base | None:
        """What the row goes on from."""
        return self._batch.base(row) if self._batch is not None else None

    def put_over(self, row: int, base: Base) -> list[int]:
        """A row that begins with the base lets go of its own copy of it. Copies the tokens after
        the base and, as when a row leaves, what stays of its group; returns the new order."""
        length = self.length(row)
        caches = over(self.new_cache(), base)
        restore(caches, [self.span(row, base.length, length)], self.checkpoint(row), length)
        mx.async_eval(ragged.arrays(caches))
        stay = self._leave([row]) if self._batch is None else self._batch.leave([row])
        order = [[*stay, row][i] for i in self._join([(caches, length)])]
        self._adapters = [self._adapters[i] for i in order]
        return order

    def length(self, row: int) -> int:
        """Tokens in the row's caches."""
        return self._batch.length(row) if self._batch is not None else self._lengths[row]

    def span(self, row: int, start: int, end: int) -> Span:
        """Views of tokens [start, end) in the row's sliceable caches."""
        if self._batch is not None:
            return Span(self._batch.pairs(row, start, end))
        return span_of(self._plain[row], start, end)

    def checkpoint(self, row: int) -> Checkpoint:
        """The row's other caches as they are now."""
        if self._batch is not None:
            return capture(self._batch.extract(row, self.new_cache(), states=True))
        return capture(self._plain[row])

    def reset(self) -> None:
        """All rows leave."""
        self._plain, self._lengths, self._batch = [], [], None
        self._adapters = []

    def _select(self, adapters: list[int]) -> None:
        """The next forward covers rows with these adapters."""
        if self._selection is not None:
            self._selection.begin(adapters)

    def _select_rows(self, start: int, stop: int) -> None:
        self._select(self._adapters[start:stop])

    def decode(self, tokens: mx.array) -> mx.array:
        """One token a row, int [rows] → logits [rows, vocabulary] of the next one, lazily."""
        if self._batch is not None:
            self._select(self._adapters)
            first = [] if self.starts else self._batch.rows_of_length(0)
            logits = self._batch.decode(
                self.model, tokens, together=self.together, covers=self._select_rows
            )
            for row in first:
                caches = self.new_cache()
                self._select_rows(row, row + 1)
                logits[row] = self.model(tokens[row : row + 1, None], cache=caches)[0, -1]
                self._batch.replace(row, caches)
            return logits
        self._lengths = [length + 1 for length in self._lengths]
        if len(self._plain) == 1:
            self._select(self._adapters)
            return self.model(tokens[:, None], cache=self._plain[0])[:, -1]
        each: list[mx.array] = []
        for row, cache in enumerate(self._plain):
            self._select_rows(row, row + 1)
            each.append(self.model(tokens[row : row + 1, None], cache=cache)[:, -1])
        return mx.concatenate(each)

    def decode_beside(
        self,
        tokens: mx.array,
        caches: LayerCaches,
        chunk: list[int],
        offset: int,
        adapter: int = NONE,
    ) -> mx.array:
        """Like `decode`, and computes `chunk` into a prompt's caches, which hold `offset` tokens,
        in the same forward: the weights are read once for both. Only where `mixes`."""
        if self._batch is None:
            self._batch = self._batch_of_plain()
        self._select(self._adapters + [adapter] * len(chunk))
        guest = Guest(ragged.leaves(caches), chunk, offset)
        logits = self._batch.decode(self.model, tokens, together=True, guests=[guest])
        mx.async_eval(ragged.arrays(caches))
        return logits

    def _batch_of_plain(self) -> RaggedBatch:
        batch = RaggedBatch(self.new_cache())
        batch.join(list(zip(self._plain, self._lengths, strict=True)))
        self._plain, self._lengths = [], []
        return batch

    @property
    def kv_bytes(self) -> int:
        plain = sum(layer.nbytes for cache in self._plain for layer in cache)
        return plain + (self._batch.nbytes if self._batch else 0)
