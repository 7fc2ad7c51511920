"""What the engine tells about requests: why one cannot run, and log probabilities as lists."""

from __future__ import annotations

from ..protocol.events import TokenLogprob
from ..protocol.wire import Generate
from .sampler import Sampled
from .sequence import Sequence


def fault_of(
    request: Generate,
    *,
    vocab_size: int,
    num_adapters: int,
    max_kv_tokens: int | None,
    grammars: bool,
) -> str | None:
    """Why the request cannot run, or None."""
    if not request.prompt:
        return "the prompt is empty"
    if not (min(request.prompt) >= 0 and max(request.prompt) < vocab_size):
        return f"token ids must be from 0 to {vocab_size - 1}"
    if not 0 <= request.adapter <= num_adapters:
        return f"there is no adapter number {request.adapter}"
    if len(request.output) >= request.sampling.max_tokens:
        return "max_tokens are already generated"
    needed = len(request.prompt) + len(request.output)
    if max_kv_tokens is not None and needed > max_kv_tokens:
        return too_long(needed, max_kv_tokens)
    if request.grammar is not None and not grammars:
        return "this engine has no tokenizer for grammars"
    return None


def too_long(needed: int, limit: int | None) -> str:
    """For a sequence of so many tokens that passes the limit by itself."""
    return (
        f"the request needs a KV cache of {needed} tokens; the memory that is left beside the "
        f"model holds {limit}"
    )


def logprob_lists(rows: list[Sequence], sampled: Sampled) -> dict[int, list[list[TokenLogprob]]]:
    """Row → [[the chosen token, then the likeliest]], for the rows that asked."""
    logprobs = sampled.logprobs
    if logprobs is None:
        return {}
    tokens: list[int] = sampled.tokens.tolist()  # type: ignore[assignment]
    chosen: list[float] = logprobs.chosen.tolist()  # type: ignore[assignment]
    ids: list[list[int]] = logprobs.top_ids.tolist() if logprobs.top_ids is not None else []  # type: ignore[assignment]
    top: list[list[float]] = logprobs.top.tolist() if logprobs.top is not None else []  # type: ignore[assignment]
    result: dict[int, list[list[TokenLogprob]]] = {}
    for k, row in enumerate(logprobs.rows):
        count = rows[row].sampling.top_logprobs
        likeliest = list(map(TokenLogprob, ids[k][:count], top[k][:count])) if count else []
        result[row] = [[TokenLogprob(tokens[row], chosen[k]), *likeliest]]
    return result
