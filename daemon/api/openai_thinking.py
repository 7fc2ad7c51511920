"""What chat requests say of thinking: OpenAI's `reasoning_effort`, and what others call its switch
and its budget.

Sources: https://platform.openai.com/docs/api-reference/chat/create,
https://docs.vllm.ai/en/latest/features/reasoning_outputs.html,
https://openrouter.ai/docs/use-cases/reasoning-tokens, https://api-docs.deepseek.com/guides/thinking_mode
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ..protocol.errors import BadRequest
from ..text.effort import DO_NOT_THINK, KEY, THINK
from .openai_fields import CommonFields

MAX_LEVEL = 64  # characters


class Reasoning(msgspec.Struct):
    """OpenRouter's object."""

    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class Switch(msgspec.Struct):
    """DeepSeek's and Z.ai's object, and Anthropic's."""

    type: str | None = None
    budget_tokens: int | None = None


class ThinkingFields(CommonFields, kw_only=True):
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Switch | None = None
    enable_thinking: bool | None = None  # Qwen's API
    thinking_token_budget: int | None = None  # vLLM
    thinking_budget: int | None = None  # Qwen's API
    reasoning_budget_tokens: int | None = None
    reasoning_max_tokens: int | None = None
    include_reasoning: bool | None = None  # vLLM
    chat_template_kwargs: dict[str, Any] | None = None


class Thinking(NamedTuple):
    """Variables of the chat template, and tokens."""

    kwargs: dict[str, Any]
    budget: int | None
    shown: bool = True


def read_thinking(fields: ThinkingFields) -> Thinking:
    """Raises BadRequest. A budget of 0 is no thinking, -1 no bound."""
    param, budget = _budget(fields)
    if budget is not None and budget < -1:
        raise BadRequest(f"{param} must be at least 0, or -1 for no bound.", param=param)
    nested = fields.reasoning or Reasoning()
    kwargs: dict[str, Any] = {}
    on = _first(
        fields.enable_thinking,
        nested.enabled,
        {"enabled": True, "adaptive": True, "disabled": False}.get(
            (fields.thinking and fields.thinking.type) or ""
        ),
    )
    if on is not None:
        kwargs |= THINK if on else DO_NOT_THINK
    effort = _first(fields.reasoning_effort, nested.effort)
    if effort is not None:
        if len(effort) > MAX_LEVEL:
            raise BadRequest("reasoning_effort must be a level, as low.", param=KEY)
        kwargs[KEY] = effort
    if budget == 0:
        kwargs[KEY] = "none"
    kwargs |= fields.chat_template_kwargs or {}
    shown = fields.include_reasoning is not False and nested.exclude is not True
    return Thinking(kwargs, budget if budget and budget > 0 else None, shown)


def _budget(fields: ThinkingFields) -> tuple[str, int | None]:
    said = {
        "thinking_token_budget": fields.thinking_token_budget,
        "thinking_budget": fields.thinking_budget,
        "reasoning_budget_tokens": fields.reasoning_budget_tokens,
        "reasoning_max_tokens": fields.reasoning_max_tokens,
        "reasoning.max_tokens": fields.reasoning and fields.reasoning.max_tokens,
        "thinking.budget_tokens": fields.thinking and fields.thinking.budget_tokens,
    }
    return next(((name, value) for name, value in said.items() if value is not None), ("", None))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
