"""From what the client said to what the sampler does: ranges, defaults, room in the context."""

from __future__ import annotations

import json
import math
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..protocol.errors import BadRequest, ContextTooLong
from ..protocol.requests import SamplingRequest
from ..protocol.sampling import Sampling

if TYPE_CHECKING:
    from ...config.settings import SamplingDefaults

MAX_TOP_LOGPROBS = 20
MAX_STOP_TOKENS = 1024
MAX_STOP_TEXT = 16_384  # characters of all stop strings: of each becomes an object that stays
MAX_LOGIT_BIAS = 4096
MAX_TOKENS = 2**31 - 1
SEED_BITS = 63
BAN = -10_000.0  # a logit bias: below all that is, and a number in float16

# field → (least, most, least is allowed); None is no bound
RANGES: dict[str, tuple[float | None, float | None, bool]] = {
    "temperature": (0, 100, True),
    "top_p": (0, 1, False),
    "top_k": (-1, MAX_TOKENS, True),  # -1 and 0 keep all, as in vLLM
    "min_p": (0, 1, True),
    "repetition_penalty": (0, 100, False),
    "presence_penalty": (-2, 2, True),
    "frequency_penalty": (-2, 2, True),
    "seed": (-(2**63), 2**64 - 1, True),
    "max_tokens": (1, MAX_TOKENS, True),
    "min_tokens": (0, MAX_TOKENS, True),
    "top_logprobs": (0, MAX_TOP_LOGPROBS, True),
    "prompt_logprobs": (0, MAX_TOP_LOGPROBS, True),
}


def check(request: SamplingRequest) -> None:
    """Raises BadRequest, with `param`, for a value outside its range; NaN is outside all."""
    for name, (least, most, closed) in RANGES.items():
        value = getattr(request, name)
        if value is None:
            continue
        low = least is None or value > least or (closed and value == least)
        high = most is None or value <= most
        if not (low and high and math.isfinite(value)):
            raise BadRequest(f"{name} {_range(least, most, closed)}, not {value}.", param=name)
    bias = request.logit_bias or {}
    if len(bias) > MAX_LOGIT_BIAS:
        raise BadRequest(f"logit_bias has more than {MAX_LOGIT_BIAS} tokens.", param="logit_bias")
    if not all(-100 <= value <= 100 for value in bias.values()):
        raise BadRequest("logit_bias: values must be between -100 and 100.", param="logit_bias")
    if sum(map(len, request.stop)) > MAX_STOP_TEXT:
        raise BadRequest(
            f"stop: the strings have more than {MAX_STOP_TEXT:,} characters together.", param="stop"
        )
    if len(request.stop_token_ids) > MAX_STOP_TOKENS:
        raise BadRequest(
            f"stop_token_ids has more than {MAX_STOP_TOKENS} tokens.", param="stop_token_ids"
        )
    if request.max_tokens is not None and (request.min_tokens or 0) > request.max_tokens:
        raise BadRequest("min_tokens is greater than max_tokens.", param="min_tokens")


def _range(least: float | None, most: float | None, closed: bool) -> str:
    low = "at least" if closed else "greater than"
    if most is None:
        return f"must be {low} {least}"
    return f"must be {low} {least} and at most {most}"


def check_vocabulary(request: SamplingRequest, vocab_size: int) -> None:
    """Raises BadRequest for a token id that the model does not have."""
    for param, tokens in (
        ("logit_bias", request.logit_bias or ()),
        ("stop_token_ids", request.stop_token_ids),
    ):
        for token in tokens:
            if not 0 <= token < vocab_size:
                raise BadRequest(
                    f"{param}: there is no token {token}; the vocabulary ends at {vocab_size - 1}.",
                    param=param,
                )


def ban(request: SamplingRequest, token: int | None) -> SamplingRequest:
    """The same, but the token does not come, whatever else is asked of it."""
    if token is None:
        return request
    return msgspec.structs.replace(request, logit_bias=(request.logit_bias or {}) | {token: BAN})


class GenerationConfig(NamedTuple):
    """The sampling that the model's makers recommend: its generation_config.json."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @classmethod
    def load(cls, folder: Path) -> GenerationConfig:
        """Whatever of the file is usable; nothing when there is none or it is broken, as its
        values are only advice."""
        try:
            found = json.loads((folder / "generation_config.json").read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict) or found.get("do_sample") is False:
            return cls()
        usable: dict[str, Any] = {}
        for name in cls._fields:
            value = found.get(name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            with suppress(BadRequest, ValueError, OverflowError):
                advice = {name: int(value) if name == "top_k" else float(value)}
                check(msgspec.convert(advice, SamplingRequest))
                usable |= advice
        return cls(**usable)


def room(prompt_tokens: int, context: int) -> int:
    """Output tokens that still fit, at least 1. Raises ContextTooLong."""
    if prompt_tokens >= context:
        raise ContextTooLong(
            f"This model's maximum context length is {context} tokens, but the prompt has "
            f"{prompt_tokens} tokens. Please shorten it.",
            param="messages",
            num_tokens=prompt_tokens,
            context=context,
        )
    return context - prompt_tokens


def resolve(
    request: SamplingRequest,
    declared: SamplingDefaults,
    recommended: GenerationConfig,
    *,
    room: int,
    eos_token_ids: frozenset[int],
    choice: int,
    seed: int,
) -> Sampling:
    """One choice's sampling. First that says something: the request, the model's entry in
    config.yaml, its generation_config.json, neutral.

    `max_tokens` is cut to the `room` left in the context, not refused: agents ask for far more
    than they need. Choices differ in their seeds: `seed + choice`.
    """

    def first(name: str, neutral: Any) -> Any:
        for source in (request, declared, recommended):
            value = getattr(source, name, None)
            if value is not None:
                return value
        return neutral

    max_tokens = min(first("max_tokens", room), room)
    ends = () if request.ignore_eos else sorted(eos_token_ids)
    return Sampling(
        temperature=first("temperature", 1.0),
        top_p=first("top_p", 1.0),
        top_k=max(0, first("top_k", 0)),
        min_p=first("min_p", 0.0),
        repetition_penalty=first("repetition_penalty", 1.0),
        presence_penalty=first("presence_penalty", 0.0),
        frequency_penalty=first("frequency_penalty", 0.0),
        logit_bias=request.logit_bias or {},
        seed=(seed + choice) % 2**SEED_BITS,
        max_tokens=max_tokens,
        min_tokens=min(request.min_tokens or 0, max_tokens),
        stop_token_ids=tuple(dict.fromkeys((*ends, *request.stop_token_ids))),
        top_logprobs=request.top_logprobs if request.logprobs else -1,
        prompt_logprobs=-1 if request.prompt_logprobs is None else request.prompt_logprobs,
    )


def choose_seed(request: SamplingRequest, declared: SamplingDefaults) -> int:
    """The request's seed, the model's, or one drawn now: a replay then yields the same tokens."""
    if request.seed is not None:
        return request.seed
    if declared.seed is not None:
        return declared.seed
    return secrets.randbits(SEED_BITS)
