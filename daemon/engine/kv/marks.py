"""Where a prompt's prefill stops for a moment to keep a checkpoint. Pure.

Caches that cannot be cut (recurrent states, rotating windows) serve another prompt only at a
position where they were kept. The next prompt most likely shares

- system and tools, which end with the first message;
- everything up to one of the last messages, where a template changed what came later;
- the whole prompt.

Of a long message whose end nobody knows every INTERVAL-th position is kept as well.
"""

from __future__ import annotations

from collections.abc import Collection

INTERVAL = 2048  # tokens
MOST_TOKENS = 4096  # in a node: what leaves at once, and what a split copies
LAST_MESSAGES = 3
MOST_MESSAGES = 64
OPENING = 16  # tokens that a template may put before an answer
LEAST_BESIDE = 512  # tokens beside whose forward a small one does not count
LEAST_GAP = 64  # tokens that a checkpoint must save


def marks(
    prompt: list[int],
    end: int,
    end_of_turn: Collection[int],
    *,
    interval: int = INTERVAL,
) -> list[int]:
    """Positions in (0, end], ascending, `end` among them: tokens [0, position) are computed there.

    `end_of_turn` are the ids that close a message; `end` is where the prefill ends.
    """
    closing = [i + 1 for i, token in enumerate(prompt[:end]) if token in end_of_turn]
    wished = {*closing[:1], *closing[-LAST_MESSAGES:]}
    wished.update(range(interval, end, interval))
    chosen: list[int] = []
    last, least_gap = end, min(LEAST_GAP, interval // 2)
    for position in sorted(wished, reverse=True):
        # The nearer to the end, the more it saves: of two neighbours the later one stays.
        if last - position >= least_gap and position >= least_gap:
            chosen.append(position)
            last = position
    return [*reversed(chosen), end] if end > 0 else []


def at_last_end(hit: int, match: int, node_end: int, end: int) -> bool:
    """Whether a prompt of `end` tokens, `hit` of which were restored, is also kept where its last
    message ends, before the template opens the answer: that costs a small forward.

    So where much is computed anyway; and where the `match` with an earlier prompt ended within such
    an opening (its node goes on to `node_end`), because the template opens old answers otherwise.
    """
    return end - hit >= LEAST_BESIDE or (hit + 1 < match < node_end <= match + OPENING)


def last_end(prompt: list[int], end: int, end_of_turn: Collection[int]) -> int:
    """The position after the last message that ends within the first `end` tokens; or 0."""
    return next((i + 1 for i in range(end - 1, -1, -1) if prompt[i] in end_of_turn), 0)


def candidates(
    prompt: list[int], end: int, end_of_turn: Collection[int], *, interval: int = INTERVAL
) -> list[int]:
    """Where checkpoints of earlier prompts and answers that begin like this one may lie: after
    each message, or after the few tokens with which a template opens the next one."""
    closing = [i + 1 for i, token in enumerate(prompt[:end]) if token in end_of_turn]
    found = {end, *range(interval, end, interval)}
    for position in (*closing[:1], *closing[-MOST_MESSAGES:]):
        found.update(range(position, min(position + OPENING, end) + 1))
    return sorted(found)


def stops(start: int, end: int, checkpoints: Collection[int]) -> list[int]:
    """Where the nodes of (start, end] end: at checkpoints, and before they grow too long."""
    found: list[int] = []
    position = start
    for stop in sorted({end, *(p for p in checkpoints if start < p < end)}):
        while stop - position > MOST_TOKENS:
            position += MOST_TOKENS
            found.append(position)
        position = stop
        found.append(stop)
    return found
