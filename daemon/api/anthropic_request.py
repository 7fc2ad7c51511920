"""The body of POST /v1/messages and /v1/messages/count_tokens → `ChatRequest`.

Source: https://platform.claude.com/docs/en/api/messages/create
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Literal, NamedTuple

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar
from ..protocol.requests import ChatRequest, RequestMeta, SamplingRequest
from ..text.effort import DO_NOT_THINK, THINK
from .anthropic_blocks import has_cache_marks, read_messages, read_tools
from .anthropic_edits import Edit, read_edits
from .anthropic_mcp import McpServer, McpServerFields, read_servers
from .body import convert, is_null, read_json, refuse
from .keep_alive import read_kept
from .openai_fields import MAX_STOP_LENGTH, MAX_STOPS, check_model


def _runs_no_code(container: Any) -> bool:
    """There is none to go on in, so that its id is of no consequence; skills would need one."""
    if isinstance(container, dict):
        return not container.get("skills")
    return container is None or isinstance(container, str)


# Known fields that would change the answer; the test accepts the values that would not.
UNSUPPORTED = {
    "compaction": is_null,
    "container": _runs_no_code,  # where Anthropic's servers run code
    "thread": is_null,
}
# Known fields that change no answer: marks for the maker's books, hints of what may be faster, and
# what is tried when a model declines.
HARMLESS = frozenset(
    {
        "billing_policy",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "metadata",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)


class MessagesFields(msgspec.Struct, kw_only=True):
    """The fields that we carry out (`cache_control` wherever it stands); see UNSUPPORTED for those
    that we refuse and HARMLESS for known ones that change nothing. All others (safeguards, and next
    month's) are accepted."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    mcp_servers: list[McpServerFields] | None = None
    context_management: dict[str, Any] | None = None


class Asked(msgspec.Struct):
    """A request and how it wants to be answered."""

    request: ChatRequest
    stream: bool
    hide_thinking: bool
    servers: list[McpServer]  # to be found among those that are declared
    edits: list[Edit]  # to be carried out before


def read_request(body: bytes, *, client: str | None = None, counting: bool = False) -> Asked:
    """Raises BadRequest. `counting`: of a request for count_tokens, which says less."""
    raw = read_json(body)
    fields = convert(raw, MessagesFields)
    refuse(raw, UNSUPPORTED)
    if fields.max_tokens is None and not counting:
        raise BadRequest("max_tokens: this field is required.", param="max_tokens")
    tools = read_tools(fields.tools)
    grammar, grammar_param = _format(fields)
    servers = read_servers(fields.mcp_servers, fields.tools)
    choice = _tool_choice(fields.tool_choice, tools, loose=bool(servers))
    prefill = _is_prefill(fields.messages)
    stream = bool(fields.stream)
    thinking = fields.thinking or {}
    return Asked(
        request=ChatRequest(
            model=check_model(fields.model),
            messages=read_messages(fields.system, fields.messages),
            tools=tools,
            tool_choice=choice.kind,
            tool_name=choice.name,
            grammar=grammar,
            grammar_param=grammar_param,
            chat_template_kwargs=_template_kwargs(fields),
            chat_template_defaults={} if thinking else DO_NOT_THINK,
            thinking_budget=_thinking_budget(thinking),
            parallel_tool_calls=(fields.tool_choice or {}).get("disable_parallel_tool_use")
            is not True,
            keep_prefix=has_cache_marks(raw),
            add_generation_prompt=not prefill,
            continue_final_message=prefill,
            sampling=SamplingRequest(
                temperature=fields.temperature,
                top_p=fields.top_p,
                top_k=fields.top_k,
                max_tokens=fields.max_tokens,
                stop=_stops(fields.stop_sequences),
            ),
            keep_alive_s=read_kept(raw),
            meta=RequestMeta(
                request_id=f"msg_{uuid.uuid4().hex}",
                dialect="anthropic_messages",
                client=client,
                stream=stream,
            ),
        ),
        stream=stream,
        hide_thinking=thinking.get("display") == "omitted",
        servers=servers,
        edits=read_edits(fields.context_management),
    )


def _template_kwargs(fields: MessagesFields) -> dict[str, Any]:
    kwargs: dict[str, Any] = {}
    match fields.thinking:
        case {"type": "enabled" | "adaptive"}:
            kwargs |= THINK
        case {"type": "disabled"}:
            kwargs |= DO_NOT_THINK
    effort = (fields.output_config or {}).get("effort")
    if isinstance(effort, str):
        kwargs["reasoning_effort"] = effort
    return kwargs


def _format(fields: MessagesFields) -> tuple[Grammar | None, str]:
    """What the answer must look like, and the field that says so; `output_format` is the older."""
    where, given = "output_config.format", (fields.output_config or {}).get("format")
    if given is None:
        where, given = "output_format", fields.output_format
    match given:
        case None | {"type": "text"}:
            return None, ""
        case {"type": "json_schema", "schema": dict(schema)}:
            return Grammar("json_schema", json.dumps(schema)), f"{where}.schema"
    raise BadRequest(f"{where}: json_schema with a schema (an object) is required.", param=where)


def _thinking_budget(thinking: dict[str, Any]) -> int | None:
    """`budget_tokens` of enabled thinking; adaptive thinking has no bound of its own."""
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or budget is None:
        return None
    if type(budget) is not int or budget < 1:
        param = "thinking.budget_tokens"
        raise BadRequest(f"{param}: a number of tokens, at least 1, is required.", param=param)
    return budget


class _ToolChoice(NamedTuple):
    kind: Literal["auto", "none", "required"]
    name: str | None = None


def _tool_choice(
    choice: dict[str, Any] | None, tools: list[dict[str, Any]], *, loose: bool
) -> _ToolChoice:
    """`loose`: there are tools of MCP servers, too, whose names the loop knows."""
    kind = (choice or {}).get("type", "auto")
    if kind in ("auto", "none"):
        return _ToolChoice(kind)
    if kind not in ("any", "tool"):
        raise BadRequest(
            "tool_choice.type must be auto, any, tool or none.", param="tool_choice.type"
        )
    if not tools and not loose:
        raise BadRequest("tool_choice needs tools.", param="tool_choice")
    if kind == "any":
        return _ToolChoice("required")
    name = (choice or {}).get("name")
    known = any(tool["function"]["name"] == name for tool in tools)
    if not known and not (loose and isinstance(name, str)):
        raise BadRequest(
            f"tool_choice.name: there is no tool '{str(name)[:100]}'.", param="tool_choice.name"
        )
    return _ToolChoice("required", name)


def _is_prefill(messages: list[dict[str, Any]]) -> bool:
    """Whether the last message is the beginning of the answer: the assistant's, of text alone."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant":
        return False
    content = last.get("content")
    if isinstance(content, str):
        return bool(content)
    if not isinstance(content, list) or not content:
        return False
    kinds = [block.get("type") for block in content if isinstance(block, dict)]
    return "text" in kinds and not {"tool_use", "mcp_tool_use"}.intersection(kinds)


def _stops(stops: list[str] | None) -> tuple[str, ...]:
    if stops and (len(stops) > MAX_STOPS or max(map(len, stops)) > MAX_STOP_LENGTH):
        raise BadRequest(
            f"stop_sequences: at most {MAX_STOPS} texts of up to {MAX_STOP_LENGTH} characters are "
            "accepted.",
            param="stop_sequences",
        )
    return tuple(text for text in stops or () if text)
