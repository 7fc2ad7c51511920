"""The bodies of POST /api/chat and /api/generate → `ChatRequest` or `CompletionRequest`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest, CompletionRequest, RequestMeta
from .body import convert, is_null, one_of, read_json, refuse
from .keep_alive import read_keep_alive
from .ollama_fields import (
    Options,
    model_name,
    read_format,
    read_options,
    read_think,
    sampling,
)
from .ollama_messages import check_images, read_messages, read_tools

if TYPE_CHECKING:
    from ...config.settings import Settings


class CommonFields(msgspec.Struct, kw_only=True):
    """What chat and generate both understand."""

    model: str
    stream: bool | None = None  # true unless said otherwise
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None
    format: Any = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None  # leave out the oldest turns of what is too long; else an error


class OllamaChatFields(CommonFields, kw_only=True):
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] | None = None


class OllamaGenerateFields(CommonFields, kw_only=True):
    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: list[Any] | None = None


# Known fields that we cannot honour; the test accepts the values that ask for nothing.
CHAT_UNSUPPORTED = {"shift": one_of(False)}  # an answer ends where the context does
UNSUPPORTED = CHAT_UNSUPPORTED | {
    "suffix": one_of(""),
    "template": one_of(""),
    "context": one_of([]),
    "width": is_null,
    "height": is_null,
    "steps": is_null,
}


class Asked(msgspec.Struct):
    """A request and how it wants to be answered."""

    model: str  # as the client named it
    served: str  # as config.yaml may know it
    request: ChatRequest | CompletionRequest | None  # None: only load or unload the model
    options: Options
    thinks: bool  # the client counts on thinking
    stream: bool
    keep_alive_s: float | None
    truncate: bool


def read_chat(body: bytes, settings: Settings, *, client: str | None = None) -> Asked:
    """Raises BadRequest; ranges of the options are checked later, by the task."""
    raw = read_json(body)
    fields = convert(raw, OllamaChatFields)
    refuse(raw, CHAT_UNSUPPORTED)
    asked = _asked(fields, settings)
    if fields.messages:
        messages, tools = read_messages(fields.messages), read_tools(fields.tools)
        asked.request = _chat(asked, fields, messages, tools, client)
    return asked


def read_generate(body: bytes, settings: Settings, *, client: str | None = None) -> Asked:
    """Raises BadRequest. A prompt is the user's turn of a chat, unless it is `raw`."""
    raw = read_json(body)
    fields = convert(raw, OllamaGenerateFields)
    refuse(raw, UNSUPPORTED)
    check_images(fields.images, "images")
    asked = _asked(fields, settings)
    if not fields.prompt:
        return asked
    if fields.raw:
        if fields.system:
            raise BadRequest("system: a raw prompt has no place for it.", param="system")
        asked.request = CompletionRequest(
            model=asked.served,
            prompts=[fields.prompt],
            grammar=read_format(fields.format),
            grammar_param="format",
            sampling=sampling(asked.options, fields.logprobs, fields.top_logprobs),
            keep_alive_s=asked.keep_alive_s,
            meta=_meta(asked, client),
        )
        return asked
    messages = [{"role": "user", "content": fields.prompt}]
    if fields.system:
        messages.insert(0, {"role": "system", "content": fields.system})
    asked.request = _chat(asked, fields, messages, [], client)
    return asked


def _asked(fields: CommonFields, settings: Settings) -> Asked:
    return Asked(
        model=fields.model,
        served=model_name(settings, fields.model),
        request=None,
        options=read_options(fields.options),
        thinks=bool(fields.think),
        stream=fields.stream is not False,
        keep_alive_s=read_keep_alive(fields.keep_alive),
        truncate=fields.truncate is True,
    )


def _chat(
    asked: Asked,
    fields: CommonFields,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    client: str | None,
) -> ChatRequest:
    prefill = messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls")
    return ChatRequest(
        model=asked.served,
        messages=messages,
        tools=tools,
        grammar=read_format(fields.format),
        grammar_param="format",
        chat_template_kwargs=read_think(fields.think),
        add_generation_prompt=not prefill,
        continue_final_message=prefill,
        sampling=sampling(asked.options, fields.logprobs, fields.top_logprobs),
        keep_alive_s=asked.keep_alive_s,
        meta=_meta(asked, client),
    )


def _meta(asked: Asked, client: str | None) -> RequestMeta:
    return RequestMeta(
        request_id=f"ollama-{uuid.uuid4().hex}",
        dialect="ollama",
        client=client,
        stream=asked.stream,
    )
