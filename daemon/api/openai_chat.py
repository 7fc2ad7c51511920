"""POST /v1/chat/completions.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from sanic import Blueprint

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest, McpWanted, RequestMeta
from . import openai_fields as common
from .body import convert, is_null, one_of, read_json, refuse
from .completions_keeper import CompletionKeeper, Keep, read_keep
from .keep_alive import KEPT, read_kept
from .openai_answer import Envelope, respond
from .openai_chat_answer import ChatAnswer, ChatStream
from .openai_custom import names_of, patterns_of
from .openai_messages import read_messages, read_tools
from .openai_structured import STRUCTURED, read_structured
from .openai_thinking import MAX_LEVEL, ThinkingFields, read_thinking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sanic import Request
    from sanic.response import HTTPResponse

    from ..protocol.events import Event
    from ..protocol.tap import Tap

blueprint = Blueprint("openai_chat")

UNSUPPORTED = common.UNSUPPORTED | {
    "functions": one_of([]),
    "function_call": one_of("none", "auto"),
    "audio": is_null,
    "moderation": is_null,
    "modalities": one_of(["text"], []),
    "web_search_options": is_null,
    "echo": one_of(False),
    "best_of": one_of(1),
    "chat_template": is_null,
    "documents": one_of([]),
}
HARMLESS = common.HARMLESS | {"prediction"}  # what the answer will be nearly like: saves time


class ChatFields(ThinkingFields, kw_only=True):
    """The fields of the body that this dialect carries out; see UNSUPPORTED for those that it
    refuses and HARMLESS for known ones that change nothing. Any other is accepted."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None  # vLLM's; of an answer that is not streamed
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    mcp: bool | list[str] | None = None  # ours: tools of all MCP servers, or of these
    verbosity: str | None = None  # for templates that know the word
    service_tier: str | None = None  # all are served alike, and told so
    store: bool | None = None
    metadata: dict[str, Any] | None = (
        None  # of what is kept; without `store` a mark like the others
    )


class Chat(msgspec.Struct):
    """A request and how it wants to be answered."""

    request: ChatRequest
    stream: bool
    include_usage: bool
    timings: bool
    reasoning: bool  # show the thinking
    tiered: bool  # the client asked for a service tier
    keep: Keep | None
    custom: frozenset[str]  # tools whose calls are texts


def read_chat(body: bytes, *, client: str | None = None) -> Chat:
    """The body of a POST as a request. Raises BadRequest; ranges of the sampling fields are
    checked later, by the task."""
    raw = read_json(body)
    fields = convert(raw, ChatFields)
    refuse(raw, UNSUPPORTED)
    choice, tools = _tool_choice(fields, read_tools(fields.tools))
    structured = read_structured(raw)
    thinking = read_thinking(fields)
    continues = _continues(fields)
    stream = bool(fields.stream)
    return Chat(
        request=ChatRequest(
            model=common.check_model(fields.model),
            messages=read_messages(fields.messages),
            tools=tools,
            tool_choice=choice.kind,
            tool_name=choice.name,
            input_patterns=patterns_of(fields.tools),
            grammar=structured.grammar if structured else None,
            grammar_param=structured.param if structured else "",
            chat_template_kwargs=_verbosity(fields) | thinking.kwargs,
            thinking_budget=thinking.budget,
            parallel_tool_calls=fields.parallel_tool_calls is not False,
            add_generation_prompt=not continues and fields.add_generation_prompt is not False,
            continue_final_message=continues,
            sampling=_sampling(fields),
            n=common.choices(fields),
            keep_alive_s=read_kept(raw),
            mcp=_mcp(fields),
            meta=RequestMeta(
                request_id=f"chatcmpl-{uuid.uuid4().hex}",
                dialect="openai_chat",
                client=client,
                stream=stream,
                counted=stream and common.counted(fields),
                priority=fields.priority or 0,
            ),
        ),
        stream=stream,
        include_usage=common.include_usage(fields),
        timings=bool(fields.timings_per_token),
        reasoning=thinking.shown,
        tiered=fields.service_tier is not None,
        keep=read_keep(raw),
        custom=names_of(fields.tools),
    )


def _verbosity(fields: ChatFields) -> dict[str, Any]:
    said = fields.verbosity
    if said is not None and len(said) > MAX_LEVEL:
        raise BadRequest("verbosity must be a level, as low.", param="verbosity")
    return {"verbosity": said} if said else {}


def _sampling(fields: ChatFields):
    if fields.max_completion_tokens is not None:
        fields.max_tokens = fields.max_completion_tokens
    if fields.top_logprobs and not fields.logprobs:
        raise BadRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
    return common.sampling(
        fields,
        logprobs=bool(fields.logprobs),
        top_logprobs=fields.top_logprobs or 0,
        prompt_logprobs=_prompt_logprobs(fields),
    )


def _prompt_logprobs(fields: ChatFields) -> int | None:
    wanted = fields.prompt_logprobs
    if wanted is None:
        return None
    if fields.stream or fields.mcp:
        what = "a stream" if fields.stream else "tools of MCP servers"
        raise BadRequest(f"prompt_logprobs does not go with {what}.", param="prompt_logprobs")
    return wanted


class _ToolChoice(NamedTuple):
    kind: Literal["auto", "none", "required"]
    name: str | None = None


_Tools = list[dict[str, Any]]


def _tool_choice(fields: ChatFields, tools: _Tools) -> tuple[_ToolChoice, _Tools]:
    """The choice, and the tools that may be called."""
    choice: Any = fields.tool_choice
    match choice:
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(allowed), **rest}}:
            names = {_name(each) for each in allowed}
            tools = [tool for tool in tools if tool["function"]["name"] in names]
            choice = rest.get("mode", "auto")
    if choice is None or choice in ("auto", "none"):
        return _ToolChoice("none" if choice == "none" else "auto"), tools
    if not tools and not fields.mcp:
        raise BadRequest("tool_choice needs tools.", param="tool_choice")
    if choice == "required":
        return _ToolChoice("required"), tools
    name = _name(choice)
    if name is None:
        raise BadRequest(
            "tool_choice must be auto, none, required or name a tool.", param="tool_choice"
        )
    known = any(tool["function"]["name"] == name for tool in tools)
    if not known and not fields.mcp:  # the loop knows the names of its tools
        raise BadRequest(
            f"tool_choice: there is no tool '{name[:100]}'.", param="tool_choice.function.name"
        )
    return _ToolChoice("required", name), tools


def _name(choice: Any) -> str | None:
    """Of the function or custom tool that is named."""
    match choice:
        case {"function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return name
    return None


def _mcp(fields: ChatFields) -> McpWanted | None:
    if not fields.mcp:
        return None
    return McpWanted(servers=None if fields.mcp is True else tuple(fields.mcp))


def _continues(fields: ChatFields) -> bool:
    """Whether the answer goes on with the last message: vLLM's field says so, or a mark of that
    message, DeepSeek's and Mistral's `prefix` or Moonshot's `partial`."""
    last = fields.messages[-1] if fields.messages else {}
    marked = last.get("prefix") is True or last.get("partial") is True
    if not fields.continue_final_message:
        return marked and last.get("role") == "assistant"
    if fields.add_generation_prompt:
        raise BadRequest(
            "continue_final_message and add_generation_prompt exclude each other.",
            param="continue_final_message",
        )
    if last and last.get("role") != "assistant":
        raise BadRequest(
            "continue_final_message needs a last message of the assistant.",
            param="continue_final_message",
        )
    return True


@blueprint.post(
    "/v1/chat/completions",
    name="chat",
    ctx_body=ChatFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(HARMLESS),
    ctx_raw=STRUCTURED + KEPT,
)
async def chat(request: Request) -> HTTPResponse | None:
    """OpenAI: the next message of a chat."""
    front = request.app.ctx.front
    asked = read_chat(request.body, client=request.ip)
    envelope = Envelope.of(
        asked.request,
        front.version,
        usage=asked.include_usage,
        timings=asked.timings,
        reasoning=asked.reasoning,
        tiered=asked.tiered,
        custom=asked.custom,
    )
    answer = ChatStream(envelope) if asked.stream else ChatAnswer(envelope)

    def begin(tap: Tap | None) -> AsyncGenerator[Event, None]:
        if asked.keep is None:
            return front.chat(asked.request, tap)
        keeper: CompletionKeeper = request.app.ctx.completions  # sees all events
        events = front.chat(asked.request)
        return keeper.keeping(events, ChatAnswer(envelope), asked.keep, str(request.id))

    return await respond(request, begin, answer)
