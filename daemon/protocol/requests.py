"""What a client asked, free of its dialect.

A dialect module in `daemon.api` turns bytes into one of these; `daemon.tasks` carries it out.
None means "not said": the model's defaults apply (`SamplingRequest.resolve` in tasks).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .caller import current_key
from .grammar import Grammar


class SamplingRequest(msgspec.Struct, kw_only=True):
    """Sampling fields as the client gave them; None where it said nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    prompt_logprobs: int | None = None  # so many of the likeliest beside each token of the prompt


class RequestMeta(msgspec.Struct, kw_only=True):
    """Who asks and through which door; ends up in the usage row."""

    request_id: str  # e.g. "chatcmpl-…"
    dialect: str  # "openai_chat", "openai_completions", …
    key: str | None = msgspec.field(default_factory=current_key)  # name of the API key
    client: str | None = None  # peer address
    stream: bool = False  # answered event by event
    counted: bool = False  # the books so far are told before every event
    priority: int = 0  # in the queue; smaller comes first


class McpWanted(msgspec.Struct, kw_only=True):
    """Tools of MCP servers that the daemon runs itself when the model calls them."""

    servers: tuple[str, ...] | None = None  # None: all that are connected
    allowed: dict[str, tuple[str, ...]] = {}  # server → its only tools that may be called
    denied: dict[str, tuple[str, ...]] = {}  # server → tools that may not
    max_calls: int | None = None  # of all tools together; None: as many as the rounds have


class InputPattern(msgspec.Struct, frozen=True):
    """What the one text that a custom tool takes must match."""

    regex: str  # in Rust's syntax; all of the text must match it
    param: str  # the field that asked for it


class ChatRequest(msgspec.Struct, kw_only=True):
    """A conversation to be continued.

    `messages` and `tools` are in the shape of OpenAI's chat API (role, content as string or list of
    text parts, tool_calls, tool_call_id …), which is what chat templates expect.
    """

    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    tool_choice: Literal["auto", "none", "required"] = "auto"
    tool_name: str | None = None  # with "required": this one
    input_patterns: dict[str, InputPattern] = {}  # of custom tools, by name
    grammar: Grammar | None = None  # of the answer
    grammar_param: str = ""  # the field that asked for it
    chat_template_kwargs: dict[str, Any] = {}
    chat_template_defaults: dict[str, Any] = {}  # where neither kwargs nor the model's entry says
    thinking_budget: int | None = None  # tokens; then the thinking is ended
    parallel_tool_calls: bool = True  # False: at most one call an answer
    keep_prefix: bool = False  # the client says that it will send this prompt again
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    sampling: SamplingRequest
    n: int = 1
    keep_alive_s: float | None = None  # how long the model stays afterwards; None: idle timeout
    mcp: McpWanted | None = None  # see tasks.mcp_loop; `tools` are the client's own
    meta: RequestMeta


class CompletionRequest(msgspec.Struct, kw_only=True):
    """Plain continuation of prompts. Each prompt is text or token ids; choices are numbered
    prompt-major: choice index = prompt index * n + i."""

    model: str
    prompts: list[str | list[int]]
    echo: bool = False
    echo_only: bool = False  # with `echo`: nothing is added to the prompt
    grammar: Grammar | None = None
    grammar_param: str = ""
    sampling: SamplingRequest
    n: int = 1
    keep_alive_s: float | None = None
    meta: RequestMeta


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """One vector of each input, which is text or token ids."""

    model: str
    inputs: list[str | list[int]]
    dimensions: int | None = None  # the first ones of each vector; None: all
    truncate: bool = False  # inputs that are longer than the context are cut, not refused
    keep_alive_s: float | None = None
    meta: RequestMeta


class ScoreRequest(msgspec.Struct, kw_only=True):
    """How well the two texts of each pair fit: a query and a document."""

    model: str
    pairs: list[tuple[str, str]]
    instruction: str | None = None  # what fitting means; None: the model's own
    truncate: bool = False  # documents that do not fit are cut, not refused
    max_document_tokens: int | None = None  # more of a document are not read
    raw: bool = False  # log-odds instead of numbers from 0 to 1
    keep_alive_s: float | None = None
    meta: RequestMeta
