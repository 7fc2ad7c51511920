"""The server-side tool loop, as far as it decides: what goes to the client, what is run, and when
the turn ends. Pure; `mcp_loop` does it.

A round is one generation. Calls of MCP tools are kept back from the client, which could not carry
them out; all else goes through. After the round:

    there is no call of ours                           end, as the model ended
    a call of the client's own tools is among them     end: the client's turn; ours are skipped
    cut off; or its tokens, calls or rounds are up     end with "length"; ours are skipped
    otherwise                                          run ours, and go on with what they said
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from ..protocol.events import (
    Event,
    Finished,
    FinishReason,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)

CLIENTS_TURN = "not run: the answer ends with a call of the client's own tools"
ROUNDS_UP = "not run: the answer had as many rounds of tools as mcp.max_rounds allows"
CALLS_UP = "not run: the answer may not have that many calls"
TOKENS_UP = "not run: the answer has as many tokens as the request allows"


class Call(NamedTuple):
    """A call that the model made, whole."""

    id: str
    function: str
    arguments: str  # JSON text


class Next(NamedTuple):
    """What follows a round. With `reason` the turn ends so, and `skipped` says why not all calls
    were run; without, they are to be run."""

    reason: FinishReason | None
    skipped: str = ""


class Round:
    """One generation while it runs. `ours` are the functions that the daemon carries out. With
    `apart` earlier rounds have said something, and a paragraph begins with the next text."""

    def __init__(self, number: int, ours: Collection[str], *, apart: bool = False) -> None:
        self.number = number  # from 1
        self.usage = Usage(prompt_tokens=0, output_tokens=0)
        self._ours = ours
        self._apart = apart
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[tuple[ToolCallStarted, list[str]]] = []
        self._finished = Finished(0, "stop")
        self._theirs: dict[int, int] = {}  # number of a client's call → as the client sees it

    def take(self, event: Event) -> Event | None:
        """An event of the generator → what the client gets at once, if anything."""
        match event:
            case TextDelta():
                self._text.append(event.text)
                if self._apart and event.text.strip():
                    self._apart = False
                    return msgspec.structs.replace(event, text=f"\n\n{event.text}")
            case ReasoningDelta():
                self._reasoning.append(event.text)
            case ToolCallStarted():
                self._calls.append((event, []))
                if event.name in self._ours:
                    return None
                self._theirs[event.call] = number = len(self._theirs)
                return msgspec.structs.replace(event, call=number)
            case ToolCallArguments():
                self._calls[event.call][1].append(event.arguments)
                number = self._theirs.get(event.call)
                return None if number is None else msgspec.structs.replace(event, call=number)
            case Finished():
                self._finished = event
                return None
            case Usage():
                self.usage = event
                return None
            case Prefilled():
                return event if self.number == 1 else None
        return event

    @property
    def calls(self) -> list[Call]:
        """Of the functions that are ours."""
        return [
            Call(started.id, started.name, "".join(arguments))
            for started, arguments in self._calls
            if started.name in self._ours
        ]

    @property
    def said(self) -> bool:
        """Whether there was text."""
        return any(text.strip() for text in self._text)

    @property
    def stop(self) -> str | None:
        return self._finished.stop

    def next(
        self, *, max_rounds: int, tokens_left: int | None, calls_left: int | None = None
    ) -> Next:
        """After the last event. What is left of what the request allows; None: no limit."""
        reason = self._finished.reason
        if not self.calls:
            return Next(reason)
        if self._theirs:
            return Next(reason, CLIENTS_TURN)
        if reason == "length" or (tokens_left is not None and tokens_left < 1):
            return Next("length", TOKENS_UP)
        if calls_left is not None and len(self.calls) > calls_left:
            return Next("length", CALLS_UP)
        if self.number > max_rounds:
            return Next("length", ROUNDS_UP)
        return Next(None)

    def message(self) -> dict[str, Any]:
        """What the model said, in the shape of OpenAI's chat API."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._text),
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function, "arguments": call.arguments or "{}"},
                }
                for call in self.calls
            ],
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        return message


def tool_message(call: Call, output: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call.id, "name": call.function, "content": output}


def total(usages: list[Usage], duration_s: float) -> Usage:
    """The books of all rounds as one; the times to the first token are the first round's."""
    first = usages[0]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        queue_s=first.queue_s,
        ttft_s=first.ttft_s,
        duration_s=duration_s,
    )
