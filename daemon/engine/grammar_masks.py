"""The masks of a step, for all rows that have a grammar, in parallel."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .logits import Allowed
from .sequence import Sequence, Status
from .threads import Threads

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from .grammar import GrammarState


class GrammarMasks:
    def __init__(self, *, together: bool = False) -> None:
        """`together`: other ranks find the same masks, and must not be given up on alone."""
        self._threads = Threads(patient=together)

    def of(
        self, running: Rows[Sequence], vocab_size: int
    ) -> tuple[Allowed | None, list[tuple[Sequence, str]]]:
        """What the rows of `running` with a grammar may say next, None when there is no such row;
        and those that cannot go on, with the reason."""
        rows = [
            (i, sequence, sequence.grammar)
            for i, sequence in enumerate(running)
            if sequence.grammar is not None and sequence.status is not Status.FINISHED
        ]
        words = self.fill([state for _, _, state in rows], vocab_size)
        good = [k for k, (_, _, state) in enumerate(rows) if state.error is None]
        failed = [
            (sequence, f"the grammar cannot be followed: {state.error}")
            for _, sequence, state in rows
            if state.error is not None
        ]
        return (Allowed([rows[k][0] for k in good], words[good]) if good else None), failed

    def fill(self, states: list[GrammarState], vocab_size: int) -> np.ndarray[Any, Any]:
        """uint32 [len(states), ceil(vocab_size / 32)]: bit i % 32 of word i // 32 is set where the
        row may choose token i. Rows with an `error` afterwards have no meaning."""
        masks = np.zeros((len(states), (vocab_size + 31) // 32), dtype=np.uint32)
        asked = [i for i, state in enumerate(states) if state.asks_matcher]
        late = self._threads.run([partial(_compute, states[i].matcher, masks[i]) for i in asked])
        for number in late:
            states[asked[number]].error = "it takes too long to find what may come next"
        for state, words in zip(states, masks, strict=True):
            state.finish_mask(words)
        return masks


def _compute(matcher: LLMatcher, words: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
    matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
