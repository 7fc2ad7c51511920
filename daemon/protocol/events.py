"""What a running request tells its dialect. `index` is the choice's number.

Order for every index: perhaps an `Echo`, any number of deltas, then one `Finished`. Before the
first generated token: one `Prefilled`. After all choices: one `Usage`. `McpCall` comes only in
answers to requests that asked for tools of MCP servers, anywhere before `Finished`; `Counted` only
where `RequestMeta.counted` says so, before every other event.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls"]


class TokenLogprob(msgspec.Struct, array_like=True, frozen=True):
    """A token of the vocabulary with its log probability under the model (before temperature
    and filters, after nothing: the raw distribution, as OpenAI and vLLM report it)."""

    token_id: int
    logprob: float


class ChosenLogprob(msgspec.Struct, frozen=True):
    """A token of the output, or of the prompt: its text, raw bytes, log probability and the
    likeliest alternatives."""

    token: str
    token_bytes: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


class Prefilled(msgspec.Struct, tag=True, frozen=True):
    """The prompt is computed and the first token is there. `cached_tokens` is known of the choice
    whose token it is; Usage has the sum."""

    prompt_tokens: int
    cached_tokens: int = 0


class Echo(msgspec.Struct, tag=True, frozen=True):
    """The prompt of a completion, before its answer. Of its log probabilities, if asked for, the
    first token has none: nothing stands before it."""

    index: int
    text: str
    first: str | None = None  # text of the first token; None: no log probabilities
    logprobs: tuple[ChosenLogprob, ...] = ()  # of the others
    ids: tuple[tuple[int, ...], ...] = ()  # of each of the others, then of its `top`


class TextDelta(msgspec.Struct, tag=True, frozen=True, gc=False):
    """Text of the answer. `logprobs` belongs to the tokens that made this text."""

    index: int
    text: str
    logprobs: tuple[ChosenLogprob, ...] = ()


class ReasoningDelta(msgspec.Struct, tag=True, frozen=True):
    """Text of the model's thinking."""

    index: int
    text: str


class ToolCallStarted(msgspec.Struct, tag=True, frozen=True):
    """A tool call begins; `call` counts within the choice from 0."""

    index: int
    call: int
    id: str
    name: str


class ToolCallArguments(msgspec.Struct, tag=True, frozen=True):
    """A piece of the JSON text of the arguments; the pieces of a call join to valid JSON."""

    index: int
    call: int
    arguments: str


class McpCall(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A tool of an MCP server, called by the daemon for the model: told when it begins (`running`)
    and when it has ended. `skipped`: it was not run, `output` says why."""

    index: int
    id: str
    server: str
    name: str  # as the server calls it
    arguments: str  # JSON text
    round: int  # counts from 1
    status: Literal["running", "completed", "failed", "skipped"]
    output: str = ""  # what the model reads
    duration_s: float = 0.0


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The choice is complete. `stop` is the stop string that matched, if one did."""

    index: int
    reason: FinishReason
    stop: str | None = None


class Usage(msgspec.Struct, tag=True, frozen=True):
    """The books of the whole request; the last event. Times in seconds."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    queue_s: float = 0.0
    ttft_s: float = 0.0
    duration_s: float = 0.0


class Counted(msgspec.Struct, tag=True, frozen=True):
    """The books so far, of all that the next event tells included."""

    usage: Usage


ChoiceEvent = Echo | TextDelta | ReasoningDelta | ToolCallStarted | ToolCallArguments | Finished
Event = ChoiceEvent | Prefilled | Usage | Counted | McpCall
