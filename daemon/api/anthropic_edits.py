"""Anthropic's context editing: what is left out of a conversation that grew long. Pure.

    clear_thinking_20251015     the thinking of all turns but the last ones
    clear_tool_uses_20250919    what tools said, but for the last calls, once a limit is passed

Source: https://platform.claude.com/docs/en/build-with-claude/context-editing
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ..protocol.errors import BadRequest
from .body import convert

Message = dict[str, Any]
PLACEHOLDER = "[cleared to save context]"
DEFAULT_TRIGGER = 100_000  # tokens of the prompt
DEFAULT_KEEP = 3  # tool uses
MAX_EDITS = 16  # for each of which the prompt may be made anew


class _Amount(msgspec.Struct):
    type: Literal["input_tokens", "tool_uses", "thinking_turns", "all"]
    value: int = 0


class ClearToolUses(msgspec.Struct):
    """Fields as in the body."""

    type: str
    trigger: _Amount | None = None
    keep: _Amount | None = None
    clear_at_least: _Amount | None = None
    exclude_tools: list[str] | None = None
    clear_tool_inputs: bool | list[str] | None = None  # of all tools, or of these


class ClearThinking(msgspec.Struct):
    """Fields as in the body."""

    type: str
    keep: _Amount | str | None = None


Edit = ClearToolUses | ClearThinking


class Cleared(NamedTuple):
    messages: list[Message]
    number: int  # of turns, or tool uses


def read_edits(context_management: Any) -> list[Edit]:
    """Those that may leave something out; the unknown ones of next month are passed over. Raises
    BadRequest."""
    where = "context_management.edits"
    edits = context_management.get("edits") if isinstance(context_management, dict) else None
    if isinstance(edits, list) and len(edits) > MAX_EDITS:
        raise BadRequest(f"{where}: at most {MAX_EDITS} are accepted.", param=where)
    found: list[Edit] = []
    for number, edit in enumerate(edits if isinstance(edits, list) else ()):
        kind = str(edit.get("type")) if isinstance(edit, dict) else ""
        if kind.startswith("compact_"):
            raise BadRequest(
                f"{where}.{number}: fastmlx does not summarise conversations by itself; the "
                "clear_… edits are supported.",
                param=f"{where}.{number}",
            )
        if kind.startswith("clear_thinking_"):
            made = convert(edit, ClearThinking)
            if turns_kept(made) is not None:
                found.append(made)
        elif kind.startswith("clear_tool_uses_"):
            found.append(convert(edit, ClearToolUses))
    return found


def turns_kept(edit: ClearThinking) -> int | None:
    """Turns whose thinking stays; None: all."""
    match edit.keep:
        case None:
            return 1
        case _Amount(type="thinking_turns", value=value) if value > 0:
            return value
        case "all" | _Amount(type="all"):
            return None
    where = "context_management.edits.keep"
    raise BadRequest(f"{where} must be all, or thinking_turns of at least 1.", param=where)


def clear_thinking(messages: Sequence[Message], keep: int) -> Cleared:
    """A turn is what the model says up to the user's next message, tool calls included."""
    turns: list[list[int]] = []  # places of messages with thinking
    new = True
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("reasoning_content"):
            if new:
                turns.append([])
            turns[-1].append(place)
            new = False
        elif message["role"] == "user":
            new = True
    gone = {place for turn in turns[: len(turns) - keep] for place in turn}
    made = [
        {key: value for key, value in message.items() if key != "reasoning_content"}
        if place in gone
        else message
        for place, message in enumerate(messages)
    ]
    return Cleared(made, max(len(turns) - keep, 0))


def is_due(edit: ClearToolUses, num_tokens: int, messages: Sequence[Message]) -> bool:
    """Whether the conversation has passed the edit's trigger."""
    trigger = edit.trigger or _Amount("input_tokens", DEFAULT_TRIGGER)
    if trigger.type == "input_tokens":
        return num_tokens > trigger.value
    return sum(message["role"] == "tool" for message in messages) > trigger.value


def clear_tool_uses(messages: Sequence[Message], edit: ClearToolUses) -> Cleared:
    """The results of tools, oldest first; the calls stay, without arguments if that is asked."""
    kept = DEFAULT_KEEP if edit.keep is None else max(edit.keep.value, 0)
    spared = frozenset(edit.exclude_tools or ())
    results = [place for place, message in enumerate(messages) if message["role"] == "tool"]
    gone = {
        place
        for place in results[: len(results) - kept]
        if messages[place].get("name") not in spared and messages[place]["content"] != PLACEHOLDER
    }
    calls = {messages[place]["tool_call_id"] for place in gone}
    inputs = edit.clear_tool_inputs
    bared = frozenset(inputs) if isinstance(inputs, list) else None  # None: of all tools
    made: list[Message] = []
    for place, message in enumerate(messages):
        if place in gone:
            message = message | {"content": PLACEHOLDER}
        elif inputs and message.get("tool_calls"):
            bare = [_bare(call, calls, bared) for call in message["tool_calls"]]
            message = message | {"tool_calls": bare}
        made.append(message)
    return Cleared(made, len(gone))


def _bare(
    call: dict[str, Any], cleared: Collection[str], tools: Collection[str] | None
) -> dict[str, Any]:
    function = call["function"]
    if call["id"] not in cleared or not (tools is None or function["name"] in tools):
        return call
    return call | {"function": function | {"arguments": "{}"}}
