"""The response object: what a request gets back, whole or nested in the events of a stream.

All fields are there, null or not: clients' types require them.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from typing import Any, Literal

from ..protocol.events import Usage
from .responses_fields import Asked

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Response = dict[str, Any]


def response_object(asked: Asked) -> Response:
    """As it is before anything was generated."""
    fields = asked.fields
    reasoning, text = fields.reasoning, fields.text
    return {
        "id": asked.response_id,
        "object": "response",
        "created_at": int(asked.created_at),
        "completed_at": None,
        "status": "in_progress",
        "background": bool(fields.background),
        "error": None,
        "incomplete_details": None,
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "model": fields.model,
        "output": [],
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "previous_response_id": fields.previous_response_id,
        "conversation": {"id": asked.conversation} if asked.conversation else None,
        "prompt": None,
        "prompt_cache_key": fields.prompt_cache_key,
        "prompt_cache_retention": fields.prompt_cache_retention,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": _summary(asked),
        },
        "safety_identifier": fields.safety_identifier,
        "service_tier": "default",
        "store": asked.store,
        "temperature": 1.0 if fields.temperature is None else fields.temperature,
        "text": {
            "format": (text and text.format) or {"type": "text"},
            "verbosity": (text and text.verbosity) or "medium",
        },
        "tool_choice": fields.tool_choice or "auto",
        "tools": fields.tools or [],
        "top_logprobs": fields.top_logprobs or 0,
        "top_p": 1.0 if fields.top_p is None else fields.top_p,
        "presence_penalty": fields.presence_penalty or 0.0,
        "frequency_penalty": fields.frequency_penalty or 0.0,
        "truncation": fields.truncation or "disabled",
        "usage": None,
        "user": fields.user,
        "metadata": fields.metadata or {},
    }


def _summary(asked: Asked) -> str | None:
    reasoning = asked.fields.reasoning
    return (reasoning.summary or reasoning.generate_summary) if reasoning else None


def wants_summary(asked: Asked) -> bool:
    """Whether thinking is told as a summary, not as the text that it is."""
    return _summary(asked) is not None


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
