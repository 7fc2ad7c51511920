"""How an engine keeps step with the others of its group; alone there is nobody to keep step with.

All ranks run the same code on the same messages, and join in the same collectives in the same
order. So whatever depends on time, or on the rounding of one machine, must go through here. Where
their parts of the model are of one size, so is what each keeps of prefixes, which then needs no
word: all of them keep, find and evict the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...protocol.wire import Load, Ready, Stats, ToEngine

if TYPE_CHECKING:
    import mlx.core as mx
    import mlx.nn as nn


class Lockstep:
    """Of an engine that is one process: everything is as this process has it."""

    alone = True  # there are no other ranks

    def load(self, load: Load) -> Load:
        """What of the front's wishes holds."""
        return load

    def join(self) -> None:
        """Meets the other ranks. mlx is imported by now."""

    def split(self, model: nn.Module, config: dict[str, Any]) -> None:
        """Leaves of the model's weights what is this rank's, before they are read. Raises
        ValueError where that cannot be."""

    def share(self, messages: list[ToEngine]) -> list[ToEngine]:
        """What rank 0 heard from the front: called before each step, there with its messages."""
        return messages

    def agree(self, value: float) -> float:
        """What rank 0 has in this place."""
        return value

    def first(self, tokens: mx.array) -> mx.array:
        """The tokens that rank 0 sampled, lazily."""
        return tokens

    def alike(self, words: list[str]) -> bool:
        """Whether all ranks have the same here."""
        return True

    def ready(self, ready: Ready) -> Ready:
        """Waits for the others' loads; rank 0's answer is what the front is told."""
        return ready

    def sum(self, stats: Stats) -> Stats:
        """The books of the ranks on this machine together."""
        return stats

    def stop(self) -> None:
        """Ends the other ranks; after Stop was shared."""
