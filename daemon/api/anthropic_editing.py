"""The edits of `context_management`, carried out: what decides is in `anthropic_edits`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .anthropic_edits import (
    ClearThinking,
    Edit,
    clear_thinking,
    clear_tool_uses,
    is_due,
    turns_kept,
)

if TYPE_CHECKING:
    from ..protocol.requests import ChatRequest
    from ..tasks.generate import Generator


async def edited(
    generator: Generator, request: ChatRequest, edits: Sequence[Edit]
) -> tuple[ChatRequest, list[dict[str, Any]], int]:
    """(the request that is left, `applied_edits`, tokens of the prompt before). Raises
    FastMLXError."""
    before = tokens = await generator.count(request)
    applied: list[dict[str, Any]] = []
    # Thinking first, whatever their order: what is counted then is what stays.
    for edit in sorted(edits, key=lambda edit: not isinstance(edit, ClearThinking)):
        if isinstance(edit, ClearThinking):
            cleared = clear_thinking(request.messages, turns_kept(edit) or 1)
            told, least = "cleared_thinking_turns", 0
        elif is_due(edit, tokens, request.messages):
            cleared = clear_tool_uses(request.messages, edit)
            told = "cleared_tool_uses"
            least = edit.clear_at_least.value if edit.clear_at_least else 0
        else:
            continue
        if not cleared.number:
            continue
        shorter = msgspec.structs.replace(request, messages=cleared.messages)
        left = await generator.count(shorter)
        if tokens - left < least:
            continue
        applied.append(
            {"type": edit.type, told: cleared.number, "cleared_input_tokens": max(tokens - left, 0)}
        )
        request, tokens = shorter, left
    return request, applied, before
