"""The rows of one request → what it did when. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from ..daemon.store.rows import UsageRow
from .numbers import count, rate


class Span(NamedTuple):
    """A part of the request's time."""

    name: str
    colour: str  # class of the stylesheet
    start_ms: float  # since the request arrived
    ms: float
    note: str = ""


class Timeline(NamedTuple):
    spans: list[Span]
    total_ms: float
    rounds: int  # more than one: tools were run between them


class Setting(NamedTuple):
    name: str
    value: str


def timeline(rows: Sequence[UsageRow]) -> Timeline:
    """`rows` in order of arrival; there is at least one."""
    first = rows[0].at_ms
    spans = [span for row in rows for span in _spans(row, row.at_ms - first)]
    for before, after in pairwise(rows):
        end = before.at_ms - first + before.duration_ms
        gap = after.at_ms - first - end
        if gap > 0:
            spans.append(Span("tools", "m1", end, gap))
    spans.sort(key=lambda span: span.start_ms)
    total = max((span.start_ms + span.ms for span in spans), default=0.0)
    return Timeline(spans, total, len(rows))


def _spans(row: UsageRow, start: float) -> Iterator[Span]:
    prepare = max(0.0, row.queue_ms - row.load_ms)
    if prepare:
        yield Span("prompt made, queued", "m8", start, prepare)
    if row.load_ms:
        yield Span("waited for the model", "m5", start + prepare, row.load_ms)
    given = start + row.queue_ms
    if row.ttft_ms is None:
        left = row.duration_ms - row.queue_ms
        if left > 0:
            # It may have waited for a row, or its prompt was being computed: nobody noted which.
            ended = row.error or row.finish_reason == "cancelled"
            yield Span("until it ended" if ended else "computed", "m4", given, left)
        return
    prefill = max(0.0, row.ttft_ms - row.queue_ms)
    computed = row.prompt_tokens - row.cached_tokens
    note = f"{count(computed)} {'token' if computed == 1 else 'tokens'}"
    if row.cached_tokens:
        note += f", {count(row.cached_tokens)} more from the cache"
    yield Span("prefill", "m4", given, prefill, note)
    decode = row.duration_ms - row.ttft_ms
    if decode > 0:
        note = f"{count(row.output_tokens)} {'token' if row.output_tokens == 1 else 'tokens'}"
        if row.output_tokens > 1:
            note += f", {rate((row.output_tokens - 1) * 1000 / decode)} a second"
        yield Span("decode", "m0", start + row.ttft_ms, decode, note)


def settings(row: UsageRow) -> list[Setting]:
    """What the client said about sampling."""
    try:
        said = msgspec.json.decode(row.sampling or "{}", type=dict[str, object])
    except msgspec.DecodeError:  # cut at the length that a text may have
        return []
    return [Setting(name, f"{value}") for name, value in said.items()]
