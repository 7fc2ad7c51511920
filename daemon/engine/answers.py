"""Why a request cannot run."""

from __future__ import annotations

from ..protocol.wire import Generate


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
