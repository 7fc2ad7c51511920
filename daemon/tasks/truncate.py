"""A conversation that is too long for the model, less its oldest turns.

    system …  | user … assistant … | user … assistant … | user, assistant + tools, assistant + tools
    stays       dropped first        then this            stays; then its older steps, not its last

Source: `truncation: auto` of https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Messages = list[dict[str, Any]]
_SYSTEM = ("system", "developer")


def reserve(max_tokens: int | None, context: int) -> int:
    """Tokens that are to be left for the answer."""
    return max(1, min(context // 8 if max_tokens is None else max_tokens, context // 4))


class Shorter:
    """The ways to shorten a conversation: `less(k)` has the k oldest parts dropped."""

    def __init__(self, messages: Messages) -> None:
        head = 0
        while head < len(messages) and messages[head].get("role") in _SYSTEM:
            head += 1
        turns: list[Messages] = []
        for message in messages[head:]:
            begins = message.get("role") == "user" and turns and not _asks(turns[-1])
            if not turns or begins:
                turns.append([])
            turns[-1].append(message)
        last = turns.pop() if turns else []
        asked = next((i for i, m in enumerate(last) if m.get("role") != "user"), len(last))
        steps: list[Messages] = []
        for message in last[asked:]:
            if not steps or message.get("role") == "assistant":
                steps.append([])
            steps[-1].append(message)
        self._head = messages[:head]
        self._turns = turns
        self._asked = last[:asked]
        self._steps = steps
        self.most = len(turns) + max(0, len(steps) - 1)

    def less(self, count: int) -> Messages:
        """`count` from 0 to `most`."""
        turns = self._turns[count:]
        steps = self._steps[max(0, count - len(self._turns)) :]
        return [*self._head, *_joined(turns), *self._asked, *_joined(steps)]


async def fitting(
    messages: Messages, tokens: Callable[[Messages], Awaitable[int]], most: int
) -> Messages:
    """The longest of the shorter conversations that has at most `most` tokens; the shortest when
    none has."""
    if await tokens(messages) <= most:
        return messages
    ways = Shorter(messages)
    too_few, enough = 0, ways.most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if await tokens(ways.less(middle)) <= most:
            enough = middle
        else:
            too_few = middle
    return ways.less(enough)


def _asks(turn: Messages) -> bool:
    """Nothing but messages of the user yet."""
    return all(message.get("role") == "user" for message in turn)


def _joined(parts: list[Messages]) -> Messages:
    return [message for part in parts for message in part]
