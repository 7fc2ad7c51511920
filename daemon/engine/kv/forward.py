"""What one forward of a batch covers, and the masks that belong to it.

The batch sets it up before each step; its layers ask while the model calls them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask

from .groups import Group


class Guest(NamedTuple):
    """A chunk of a prompt that takes part in a decode step: its tokens are rows of their own in the
    linear layers, and one causal sequence in attention."""

    leaves: list[Any]  # the prompt's own caches, in the order of the batch's leaves
    tokens: list[int]
    offset: int  # tokens in the caches before


class Forward:
    """The rows of the `active` groups, in their order, and then the guests' tokens."""

    def __init__(self) -> None:
        self.groups: list[Group] = []  # all of the batch
        self.active: list[int] = []  # those that this forward covers
        self.guests: list[Guest] = []  # chunks of prompts that it covers beside them
        self.offsets = mx.array([], dtype=mx.int32)  # positions, one a row
        self._masks: dict[tuple[int, int | None, int | None], Any] = {}

    def begin(self, guests: list[Guest]) -> None:
        """A new step."""
        self.guests = guests
        self._masks.clear()

    def mask(self, group: Group, window: int | None, window_size: int | None) -> mx.array | None:
        """Bool [rows, 1, 1, columns] over what `group.visible(window)` shows, made once a step.
        `window_size` narrows it further, for models that window a full cache themselves."""
        first, end = group.visible(window)
        width = end - first
        narrowed = window_size is not None and window_size < width
        if not narrowed and not group.padded(window):
            return None
        key = (id(group), window, window_size)
        if key not in self._masks:
            reach = min(width, window_size or width)
            held = [group.held(window, length) for length in group.lengths]
            starts = [width - min(length + 1, reach) for length in held]
            mask = mx.arange(width) >= mx.array(starts)[:, None]
            self._masks[key] = mask[:, None, None]
        return self._masks[key]

    def base_mask(self, group: Group, first: int, end: int, window_size: int) -> mx.array | None:
        """Bool [rows, 1, 1, columns] over tokens [first, end) of the group's base, for models that
        window a full cache themselves."""
        starts = [length + 1 - window_size for length in group.lengths]
        if max(starts) <= first:
            return None
        return (mx.arange(first, end) >= mx.array(starts)[:, None])[:, None, None]

    def guest_mask(self, guest: Guest, window: int | None, window_size: int | None) -> Any:
        """The mask of a chunk, as mlx-lm's caches make it before they are updated: "causal", an
        array bool [tokens, columns], or None."""
        count, offset = len(guest.tokens), guest.offset
        if window is not None:
            offset = min(window - 1, offset)
            window_size = window_size or window
        if window_size is None or offset + count <= window_size:
            return "causal" if count > 1 else None
        key = (id(guest), window, window_size)
        if key not in self._masks:
            self._masks[key] = create_causal_mask(count, offset, window_size=window_size)
        return self._masks[key]

    @property
    def mixed(self) -> bool:
        """Whether the running forward covers more than the rows of one group, or a base."""
        based = any(self.groups[number].base is not None for number in self.active)
        return based or len(self.active) + len(self.guests) > 1

    # ---- what state layers ask during a forward

    @property
    def all_active(self) -> bool:
        return len(self.active) == len(self.groups)

    @property
    def last_active(self) -> bool:
        return self.active[-1] == len(self.groups) - 1

    @property
    def active_rows(self) -> tuple[int, int]:
        """Rows [start, stop) of the one active group."""
        start = sum(group.rows for group in self.groups[: self.active[0]])
        return start, start + self.groups[self.active[0]].rows
