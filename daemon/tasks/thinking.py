"""A thinking budget that holds: when it is used up, the end of the thinking is put into the output.

A request is its tokens, so this needs no help from the engine. The sequence is given up and started
again as prompt + output so far + the tokens that end the thinking, as a replay would start it; the
prompt and what was thought come from the prefix cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from ..protocol.wire import TokenRow

if TYPE_CHECKING:
    from ..supervisor.generation import Generation
    from ..text.stream import TextStream


class Budgeted(AsyncIterator[TokenRow]):
    """Rows of a sequence, as its Generation; for one consumer, who gives each row to `stream`
    before it asks for the next. `generate` starts the sequence anew with the output given."""

    def __init__(
        self, generate: Callable[[list[int]], Generation], stream: TextStream, end: list[int]
    ) -> None:
        self._generate = generate
        self._generation = generate([])
        self._stream = stream
        self._end = end  # tokens
        self._taken: list[int] = []
        self._error: Exception | None = None

    @property
    def id(self) -> int:
        """Of the sequence that runs now."""
        return self._generation.id

    async def __anext__(self) -> TokenRow:
        if self._error is not None:
            raise self._error
        if self._stream.over_budget:
            return self._end_thinking()
        row = await anext(self._generation)
        self._taken += row.tokens
        return row

    def abort(self) -> None:
        """As `Generation.abort`."""
        self._generation.abort()

    def give_up(self, error: Exception) -> None:
        """As `Generation.give_up`."""
        self._error = error
        self._generation.give_up(error)

    def _end_thinking(self) -> TokenRow:
        """Tokens behind the budget that were already there are dropped."""
        self._generation.abort()
        self._stream.over_budget = False
        seen = self._taken[: self._stream.output_tokens]
        self._generation = self._generate([*seen, *self._end])
        return TokenRow(self._generation.id, self._end)
