"""The fields that OpenAI's chat and completions have in common, with vLLM's extensions.

Sources: https://platform.openai.com/docs/api-reference/chat/create,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.requests import SamplingRequest
from .body import in_full, is_null, one_of

MAX_CHOICES = 16
MAX_STOPS = 1024
MAX_STOP_LENGTH = 4096  # characters
MAX_NAME_LENGTH = 512  # of a model, in characters


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None  # vLLM: in every chunk; needs include_usage


class SamplingFields(msgspec.Struct, kw_only=True):
    """How tokens are chosen, as all three dialects say it (Responses, too); None where the client
    said nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None

    def request(self, **more: Any) -> SamplingRequest:
        """The same free of the dialect, with the fields that only some have."""
        said = {name: getattr(self, name) for name in SamplingFields.__struct_fields__}
        said |= {"ignore_eos": bool(self.ignore_eos)}
        return SamplingRequest(**said | more)


class CommonFields(SamplingFields, kw_only=True):
    """What both dialects understand; None where the client said nothing."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    priority: int | None = None  # vLLM: in the queue; smaller comes first
    timings_per_token: bool | None = None  # llama-server: a `timings` object beside `usage`


# Known fields that would change the answer; the test accepts the values that would not.
UNSUPPORTED: dict[str, Callable[[Any], bool]] = {
    "use_beam_search": one_of(False),
    "length_penalty": one_of(1, 1.0),
    "allowed_token_ids": is_null,
    "bad_words": one_of([]),
    "include_stop_str_in_output": one_of(False),
    "skip_special_tokens": one_of(True),
    "truncate_prompt_tokens": is_null,
    "return_token_ids": one_of(False),
    "return_tokens_as_token_ids": one_of(False),
    "stream_options": in_full,
}
# Known fields that change no answer: marks for the maker's books, hints of what may be faster or
# cheaper.
HARMLESS = frozenset(
    {
        "prompt_cache_key",  # the longest known beginning of a prompt is found without it
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)


def choices(fields: CommonFields) -> int:
    """`n`. Raises BadRequest outside 1 … MAX_CHOICES."""
    n = 1 if fields.n is None else fields.n
    if not 1 <= n <= MAX_CHOICES:
        raise BadRequest(f"n must be between 1 and {MAX_CHOICES}, not {n}.", param="n")
    return n


def check_model(name: str) -> str:
    """Raises BadRequest for a name that cannot be one, so that no error has to quote it."""
    if not name or len(name) > MAX_NAME_LENGTH:
        raise BadRequest("model must be the name of a declared model.", param="model")
    return name


def include_usage(fields: CommonFields) -> bool:
    """Whether the stream ends with a chunk of usage."""
    return bool(fields.stream_options and fields.stream_options.include_usage)


def counted(fields: CommonFields) -> bool:
    """Whether every chunk of the stream has the usage so far."""
    options = fields.stream_options
    return include_usage(fields) and bool(options and options.continuous_usage_stats)


def sampling(
    fields: CommonFields, *, logprobs: bool, top_logprobs: int, prompt_logprobs: int | None = None
) -> SamplingRequest:
    """The sampling fields free of the dialect. Shapes are checked here, ranges in
    `tasks.sampling`, where the other dialects' requests pass too."""
    return fields.request(
        logit_bias=_logit_bias(fields.logit_bias),
        max_tokens=fields.max_tokens,
        stop=_stops(fields.stop),
        stop_token_ids=tuple(fields.stop_token_ids or ()),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > MAX_STOPS:
        raise BadRequest(
            f"stop has {len(stops)} strings; at most {MAX_STOPS} are accepted.", param="stop"
        )
    for text in stops:
        if len(text) > MAX_STOP_LENGTH:
            raise BadRequest(
                f"stop: a string has {len(text)} characters; the limit is {MAX_STOP_LENGTH}.",
                param="stop",
            )
    return tuple(text for text in stops if text)  # "" would stop at once; clients mean "none"


def _logit_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    if not bias:
        return None
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise BadRequest(
            "logit_bias: the keys must be token ids, written as numbers.", param="logit_bias"
        ) from None
