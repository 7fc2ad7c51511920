"""POST /v1/completions, the older dialect that base models and benchmarks speak.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint

from ..protocol.errors import BadRequest
from ..protocol.requests import CompletionRequest, RequestMeta
from . import openai_fields as common
from .body import convert, is_null, one_of, read_json, refuse
from .keep_alive import KEPT, read_kept
from .openai_answer import Envelope, respond
from .openai_completions_answer import Best, CompletionAnswer, CompletionStream
from .openai_structured import STRUCTURED, read_structured

if TYPE_CHECKING:
    from sanic import Request
    from sanic.response import HTTPResponse

blueprint = Blueprint("openai_completions")

MAX_SEQUENCES = 256  # prompts × n
MAX_TOKENS = 16  # OpenAI's default of this endpoint
UNSUPPORTED = common.UNSUPPORTED | {
    "suffix": one_of(""),
    "prompt_embeds": is_null,
    "prompt_logprobs": is_null,  # echo with logprobs gives them
}


class CompletionFields(common.CommonFields, kw_only=True):
    prompt: Any
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None


class Completion(msgspec.Struct):
    """A request and how it wants to be answered."""

    request: CompletionRequest
    stream: bool
    include_usage: bool
    timings: bool
    best: Best | None = None


def read_completion(body: bytes, *, client: str | None = None) -> Completion:
    """The body of a POST as a request. Raises BadRequest."""
    raw = read_json(body)
    fields = convert(raw, CompletionFields)
    refuse(raw, UNSUPPORTED)
    n = common.choices(fields)
    tries = _tries(fields, n)
    if fields.logprobs is not None and not 0 <= fields.logprobs <= 20:
        raise BadRequest("logprobs must be between 0 and 20.", param="logprobs")
    prompts = read_prompts(fields.prompt)
    if len(prompts) * tries > MAX_SEQUENCES:
        raise BadRequest(
            f"{len(prompts)} prompts with {tries} answers each are more than {MAX_SEQUENCES} "
            "sequences.",
            param="prompt",
        )
    if fields.max_tokens is None:
        fields.max_tokens = MAX_TOKENS
    echo_only = bool(fields.echo) and fields.max_tokens == 0
    if echo_only:
        fields.max_tokens = 1  # with whose row the engine tells of the prompt
    stream = bool(fields.stream)
    structured = read_structured(raw)
    return Completion(
        request=CompletionRequest(
            model=common.check_model(fields.model),
            prompts=prompts,
            echo=bool(fields.echo),
            echo_only=echo_only,
            grammar=structured.grammar if structured else None,
            grammar_param=structured.param if structured else "",
            sampling=common.sampling(
                fields,
                logprobs=fields.logprobs is not None or tries > n,
                top_logprobs=fields.logprobs or 0,
                prompt_logprobs=fields.logprobs if fields.echo else None,
            ),
            n=tries,
            keep_alive_s=read_kept(raw),
            meta=RequestMeta(
                request_id=f"cmpl-{uuid.uuid4().hex}",
                dialect="openai_completions",
                client=client,
                stream=stream,
                counted=stream and common.counted(fields),
                priority=fields.priority or 0,
            ),
        ),
        stream=stream,
        include_usage=common.include_usage(fields),
        timings=bool(fields.timings_per_token),
        best=Best(n, tries, fields.logprobs is not None) if tries > n else None,
    )


def _tries(fields: CompletionFields, n: int) -> int:
    """How many answers to a prompt are generated, to return the `n` likeliest."""
    best_of = n if fields.best_of is None else fields.best_of
    if not n <= best_of <= common.MAX_CHOICES:
        raise BadRequest(
            f"best_of must be at least n, {n}, and at most {common.MAX_CHOICES}.", param="best_of"
        )
    if best_of > n and fields.stream:
        raise BadRequest("best_of greater than n cannot be streamed.", param="best_of")
    return best_of


def read_prompts(prompt: Any) -> list[str | list[int]]:
    """`prompt` in its four forms: text, token ids, a list of texts, a list of lists of ids."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if _are_tokens(prompt):
            return [prompt]
        if all(isinstance(each, str) or (_are_tokens(each) and each) for each in prompt):
            return prompt
    raise BadRequest(
        "prompt must be text, a list of token ids, or a list of one of these; none may be empty.",
        param="prompt",
    )


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and token >= 0 for token in value)


@blueprint.post(
    "/v1/completions",
    name="completions",
    ctx_body=CompletionFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(common.HARMLESS),
    ctx_raw=STRUCTURED + KEPT,
)
async def completions(request: Request) -> HTTPResponse | None:
    """OpenAI: how prompts go on."""
    front = request.app.ctx.front
    asked = read_completion(request.body, client=request.ip)
    envelope = Envelope.of(
        asked.request,
        front.version,
        usage=asked.include_usage,
        timings=asked.timings,
    )
    answer = CompletionStream(envelope) if asked.stream else CompletionAnswer(envelope, asked.best)
    begin = partial(front.generator.complete, asked.request)
    return await respond(request, begin, answer)
