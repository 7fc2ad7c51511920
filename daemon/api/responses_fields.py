"""The body of POST /v1/responses, checked: what it asks for, and the `ChatRequest` of it.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest, RequestMeta, SamplingRequest
from ..text.effort import KEY
from .body import convert, in_full, is_null, one_of, refuse
from .keep_alive import read_kept
from .keeping import check_metadata
from .openai_fields import SamplingFields, check_model
from .openai_thinking import MAX_LEVEL
from .responses_format import (
    demanded_tool,
    grammar_of,
    input_patterns,
    order_to_write,
    read_format,
)
from .responses_input import Item, Message, read_items
from .responses_mcp import wanted
from .responses_tools import Choice, Tools, read_choice, read_tools

DIALECT = "openai_responses"
# Known fields that would change the answer; the test accepts the values that would not.
UNSUPPORTED = {
    "prompt": is_null,  # a template that is kept at OpenAI
    "moderation": is_null,
    "context_management": one_of([]),
    "stream_options": in_full,
}
# Known fields that change no answer, beside those that the response object shows again.
HARMLESS = frozenset(
    {
        "access_programs",
        "background_options",  # how late the answer may be: here it is made at once
        "image",  # of tools that make pictures, which run at OpenAI alone
        "prompt_cache_options",
    }
)


class ReasoningFields(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None  # its older name


class TextFields(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesFields(SamplingFields, kw_only=True):
    """The fields that we carry out or show again; see UNSUPPORTED for those that we refuse and
    HARMLESS for known ones that change nothing. Any other (client_metadata …) is accepted."""

    model: str
    input: str | list[Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    generate: bool | None = None  # WebSocket: false prepares the prompt, and that is all
    include: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None  # of tools that the server runs: MCP's
    reasoning: ReasoningFields | None = None
    text: TextFields | None = None
    truncation: str | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    top_logprobs: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # vLLM's


class Asked(msgspec.Struct, kw_only=True):
    """A request, and how it wants to be answered."""

    fields: ResponsesFields
    mark: str  # of the response: hexadecimal digits
    created_at: float  # seconds since the epoch
    items: list[Item]  # of the input
    tools: Tools
    choice: Choice
    conversation: str | None
    keep_alive_s: float | None = None

    @property
    def response_id(self) -> str:
        return f"resp_{self.mark}"

    @property
    def store(self) -> bool:
        return self.fields.store is not False

    def includes(self, what: str) -> bool:
        return what in (self.fields.include or ())


def read_asked(raw: Mapping[str, Any]) -> Asked:
    """Raises BadRequest; ranges of the sampling fields are checked later, by the task."""
    fields = convert(raw, ResponsesFields)
    refuse(raw, UNSUPPORTED)
    check_model(fields.model)
    _check(fields)
    mark = uuid.uuid4().hex
    tools = read_tools(fields.tools)
    asked = Asked(
        fields=fields,
        mark=mark,
        created_at=time.time(),
        items=read_items(fields.input, mark=mark),
        tools=tools,
        choice=read_choice(fields.tool_choice, tools),
        conversation=_conversation(fields.conversation),
        keep_alive_s=read_kept(raw),
    )
    read_format(fields.text and fields.text.format)
    if fields.input is None and not (fields.previous_response_id or asked.conversation):
        raise BadRequest("input: this field is required.", param="input")
    return asked


def _check(fields: ResponsesFields) -> None:
    for name in ("max_output_tokens", "max_tool_calls"):
        value = getattr(fields, name)
        if value is not None and value < 1:
            raise BadRequest(f"{name} must be at least 1.", param=name)
    if fields.truncation not in (None, "auto", "disabled"):
        raise BadRequest("truncation must be auto or disabled.", param="truncation")
    check_metadata(fields.metadata)
    if fields.background and fields.store is False:
        raise BadRequest("background needs store.", param="background")
    if fields.previous_response_id and fields.conversation:
        raise BadRequest(
            "previous_response_id and conversation exclude each other.",
            param="previous_response_id",
        )


def _conversation(given: str | dict[str, Any] | None) -> str | None:
    if isinstance(given, dict):
        given = given.get("id")
        if not isinstance(given, str):
            raise BadRequest("conversation.id must be a string.", param="conversation.id")
    return given or None


def chat_request(
    asked: Asked, messages: list[Message], *, client: str | None, stream: bool
) -> ChatRequest:
    """`messages`: of the whole conversation, less the instructions. Raises BadRequest."""
    fields = asked.fields
    if fields.instructions:
        messages = [{"role": "system", "content": fields.instructions}, *messages]
    if not messages:
        raise BadRequest("input: there is nothing to answer to.", param="input")
    choice, demand = asked.choice, read_format(fields.text and fields.text.format)
    if (tool := demanded_tool(choice)) is not None:
        functions = [each["function"] for each in choice.tools.offered]
        (chosen,) = [each for each in functions if each["name"] == choice.name]
        messages = [*messages, order_to_write(tool, chosen["description"])]
        choice, demand = Choice("none", None, choice.tools), grammar_of(tool)
    patterns = input_patterns(choice.tools) if tool is None else {}
    return ChatRequest(
        model=fields.model,
        messages=messages,
        tools=choice.tools.offered,
        tool_choice=choice.kind,
        tool_name=choice.name,
        input_patterns=patterns,
        grammar=demand.grammar,
        grammar_param=demand.param,
        chat_template_kwargs=_template_kwargs(fields),
        parallel_tool_calls=fields.parallel_tool_calls is not False,
        mcp=wanted(choice.tools.servers, fields.max_tool_calls),
        sampling=_sampling(asked),
        keep_alive_s=asked.keep_alive_s,
        meta=RequestMeta(
            request_id=asked.response_id, dialect=DIALECT, client=client, stream=stream
        ),
    )


def _template_kwargs(fields: ResponsesFields) -> dict[str, Any]:
    effort = fields.reasoning.effort if fields.reasoning else None
    if effort is not None and len(effort) > MAX_LEVEL:
        raise BadRequest("reasoning.effort must be a level, as low.", param="reasoning.effort")
    verbosity = fields.text.verbosity if fields.text else None
    if verbosity is not None and len(verbosity) > MAX_LEVEL:
        raise BadRequest("text.verbosity must be a level, as low.", param="text.verbosity")
    said = {KEY: effort, "verbosity": verbosity}
    return {name: level for name, level in said.items() if level} | (
        fields.chat_template_kwargs or {}
    )


def _sampling(asked: Asked) -> SamplingRequest:
    fields = asked.fields
    logprobs = asked.includes("message.output_text.logprobs") or bool(fields.top_logprobs)
    return fields.request(
        max_tokens=fields.max_output_tokens,
        logprobs=logprobs,
        top_logprobs=(fields.top_logprobs or 0) if logprobs else 0,
    )
