"""The books of a request as OpenAI's clients read them, and as llama-server's do."""

from __future__ import annotations

from typing import Any

from ..protocol.events import Usage


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage`: https://platform.openai.com/docs/api-reference/chat/object"""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            # Of `prediction`, which is not drafted from.
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def timings_object(usage: Usage) -> dict[str, float]:
    """llama-server's `timings`: milliseconds and tokens per second. Waiting is not prefill:
    `queue_ms` ends and `prompt_ms` begins when the request left the last queue."""
    prompt_ms = max(0.0, usage.ttft_s - usage.queue_s) * 1000
    predicted_ms = max(0.0, usage.duration_s - usage.ttft_s) * 1000
    prompt_n = usage.prompt_tokens - usage.cached_tokens
    return {
        "queue_ms": round(usage.queue_s * 1000, 3),
        "cache_n": usage.cached_tokens,
        "prompt_n": prompt_n,
        "prompt_ms": round(prompt_ms, 3),
        "prompt_per_token_ms": _ratio(prompt_ms, prompt_n),
        "prompt_per_second": _ratio(prompt_n * 1000, prompt_ms),
        "predicted_n": usage.output_tokens,
        "predicted_ms": round(predicted_ms, 3),
        "predicted_per_token_ms": _ratio(predicted_ms, usage.output_tokens),
        "predicted_per_second": _ratio(usage.output_tokens * 1000, predicted_ms),
    }


def _ratio(a: float, b: float) -> float:
    return round(a / b, 3) if b else 0.0
