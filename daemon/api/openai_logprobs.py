"""Log probabilities as a chat's clients read them: OpenAI's of the answer, vLLM's of the prompt.

Sources: https://platform.openai.com/docs/api-reference/chat/object,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..protocol.events import ChosenLogprob, Echo


def logprob_object(chosen: ChosenLogprob) -> dict[str, Any]:
    """One entry of `logprobs.content`."""
    return {
        "token": chosen.token,
        "logprob": chosen.logprob,
        "bytes": list(chosen.token_bytes),
        "top_logprobs": [
            {"token": token, "logprob": logprob, "bytes": list(raw)}
            for token, raw, logprob in chosen.top
        ],
    }


def logprobs_object(logprobs: Sequence[ChosenLogprob]) -> dict[str, Any]:
    return {"content": [logprob_object(each) for each in logprobs], "refusal": None}


def prompt_logprobs_object(prompt: Echo) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: null for the first token, as nothing stands before it; then for
    each its own entry and those of the likeliest, by their ids. `rank` counts from 1, and is null
    for a token that is not among the likeliest that were asked for."""
    found: list[dict[str, Any] | None] = [None]
    for token, (own, *ids) in zip(prompt.logprobs, prompt.ids, strict=True):
        entries: dict[int, tuple[float, int | None, str]] = {
            own: (token.logprob, None, token.token)
        }
        for rank, (each, (text, _, logprob)) in enumerate(zip(ids, token.top, strict=True), 1):
            entries[each] = (logprob, rank, text)
        found.append(
            {
                str(each): {"logprob": logprob, "rank": rank, "decoded_token": text}
                for each, (logprob, rank, text) in entries.items()
            }
        )
    return found
