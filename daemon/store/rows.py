"""What the store remembers of every request, and the small values its queries answer with.

Nothing here holds a text of a prompt or of an answer, and nothing may be added that does.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One finished request, whatever its end. Times: `_ms` milliseconds."""

    at_ms: int  # Unix time at which the request arrived
    request_id: str
    model: str  # the declared name, not the alias that was asked for
    dialect: str  # "openai_chat", "openai_completions", …
    key: str | None = None  # name of the API key, never the key
    client: str | None = None  # address or user agent of the caller
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, found in the prefix cache
    output_tokens: int = 0  # reasoning included
    reasoning_tokens: int = 0
    queue_ms: float = 0.0  # arrival until it left the last queue, the engine's
    load_ms: float = 0.0  # of that: waited for the model to be loaded
    ttft_ms: float | None = None  # arrival until the first output token; None when none came
    duration_ms: float = 0.0  # arrival until the last byte
    finish_reason: str | None = None  # stop, length, tool_calls, cancelled (client went away)
    error: str | None = None  # "code: message" as the client saw it
    stream: bool = False
    sampling: str | None = None  # what the client asked for, as a JSON object of numbers


class Totals(NamedTuple):
    """Sums over the requests of a span."""

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class Used(NamedTuple):
    """What one API key had of one model in one span."""

    start_ms: int  # of the span
    model: str
    key: str  # its name; "" for requests without a key
    totals: Totals


class Series(NamedTuple):
    """One model over time; every tuple has one number per bucket of its `Timeline`."""

    model: str
    requests: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    cached_tokens: tuple[int, ...]


class Timeline(NamedTuple):
    """Models over time: bucket i covers [start_ms + i·bucket_ms, start_ms + (i+1)·bucket_ms)."""

    start_ms: int
    bucket_ms: int
    buckets: int
    series: tuple[Series, ...]  # in order of name; models without a request are left out


class Percentiles(NamedTuple):
    """Of a measured time in milliseconds, by nearest rank; None when nothing was measured."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    samples: int


class Latency(NamedTuple):
    """What clients wait for."""

    ttft: Percentiles  # until the first token
    itl: Percentiles  # a request's mean time between tokens


class Mark(NamedTuple):
    """A place in the log of requests, which is in order of arrival."""

    at_ms: int
    id: int


class Filters(NamedTuple):
    """Which requests of the log; None: any."""

    model: str | None = None
    dialect: str | None = None
    key: str | None = None
    status: str | None = None  # "ok", "error" or "cancelled"
    id: str | None = None  # what its id begins with
    since_ms: int | None = None
    until_ms: int | None = None  # not included


class Page(NamedTuple):
    """Some requests, the last to arrive first."""

    rows: list[UsageRow]
    older: Mark | None  # to ask for the next page with; None at the end
