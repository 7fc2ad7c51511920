"""The requests that run now: how far each has come, and how one is given up from a page."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ..protocol import wire
from ..supervisor.rate import Rate

if TYPE_CHECKING:
    from .books import Books


class Phase(StrEnum):
    PREPARING = "preparing"  # its prompt is made
    LOADING = "loading"  # it waits for its model
    WAITING = "waiting"  # for a row of its engine's batch
    PREFILL = "prefill"
    DECODE = "decode"
    COMPUTING = "computing"  # vectors or scores, which come at once
    TOOLS = "tools"  # of MCP servers, which the daemon runs for it


class RunningRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One of them; counts are of all its sequences together."""

    number: int  # by which it can be cancelled
    request_id: str
    model: str
    dialect: str
    key: str | None
    at_ms: int  # Unix time at which it arrived
    elapsed_s: float
    phase: Phase
    position: int | None = None  # while it waits for a row: 1 is the next
    prompt_tokens: int = 0  # 0 while they are not counted
    cached_tokens: int = 0
    prefilled_tokens: int = 0  # the cached ones among them
    eta_s: float | None = None  # until the prompt is computed; None: not known (yet)
    output_tokens: int = 0
    max_tokens: int | None = None
    tokens_per_s: float | None = None  # since the first token


class RunningRequests:
    """Tasks enter what they do and take it out again. Use it from one event loop only."""

    def __init__(self) -> None:
        self._books: dict[int, Books] = {}
        self._last = 0
        self._prefill: dict[str, tuple[int, Rate]] = {}  # by model: tokens so far, and how fast

    def add(self, books: Books) -> None:
        self._last += 1
        books.number = self._last
        self._books[books.number] = books

    def remove(self, books: Books) -> None:
        self._books.pop(books.number, None)

    def cancel(self, number: int) -> bool:
        """The client gets the error RequestCancelled. False: it had ended already."""
        books = self._books.get(number)
        if books is None:
            return False
        books.give_up()
        return True

    def look(self) -> list[RunningRequest]:
        """In order of arrival."""
        stats = {
            books.lease.name: said
            for books in self._books.values()
            if books.lease is not None and (said := books.lease.stats) is not None
        }
        rates = {name: self._rate(name, said) for name, said in stats.items()}
        waits: dict[str, int] = {}  # requests of a model that wait for a row, so far
        return [
            _look(books, stats, rates, waits, time.time() * 1000) for books in self._books.values()
        ]

    def _rate(self, model: str, stats: wire.Stats) -> float:
        """Prompt tokens per second, as far as somebody looks."""
        before, rate = self._prefill.get(model, (stats.prompt_tokens, Rate()))
        if stats.prompt_tokens < before:  # an engine that started again
            rate = Rate()
        rate.add(max(0, stats.prompt_tokens - before))
        self._prefill[model] = (stats.prompt_tokens, rate)
        return rate.per_s()


def _look(
    books: Books,
    stats: dict[str, wire.Stats],
    rates: dict[str, float],
    waits: dict[str, int],
    now_ms: float,
) -> RunningRequest:
    usage = books.usage()
    seen = RunningRequest(
        number=books.number,
        request_id=books.meta.request_id,
        model=books.model,
        dialect=books.meta.dialect,
        key=books.meta.key,
        at_ms=books.at_ms,
        elapsed_s=max(0.0, (now_ms - books.at_ms) / 1000),
        phase=Phase.PREPARING,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        max_tokens=books.max_tokens,
    )
    change = msgspec.structs.replace
    if books.runs_tools:
        return change(seen, phase=Phase.TOOLS)
    if books.lease is None:
        return change(seen, phase=Phase.LOADING) if books.leasing else seen
    if usage.ttft_s:
        since_s = usage.duration_s - usage.ttft_s
        rate = (usage.output_tokens - 1) / since_s if since_s > 0.2 else None
        return change(seen, phase=Phase.DECODE, tokens_per_s=rate)
    if not books.sequences:
        return change(seen, phase=Phase.COMPUTING)
    name = books.lease.name
    said = stats.get(name)
    mine = set(books.sequences)
    prefills = list(_known(said.prefills, mine)) if said is not None else []
    if not any(prefill.id in mine for prefill in prefills):
        # It speaks between steps, and the first part of a long prompt is a long one.
        was_idle = said is None or said.running == said.waiting == 0
        if was_idle and name not in waits:
            waits[name] = 0
            return change(seen, phase=Phase.PREFILL)
        waits[name] = waits.get(name, 0) + 1
        return change(seen, phase=Phase.WAITING, position=waits[name])
    own = [prefill for prefill in prefills if prefill.id in mine]
    left = sum(prefill.total - prefill.done for prefill in prefills)
    return change(
        seen,
        phase=Phase.PREFILL,
        prefilled_tokens=sum(prefill.done for prefill in own),
        prompt_tokens=max(usage.prompt_tokens, sum(prefill.total for prefill in own)),
        eta_s=left / rates[name] if rates.get(name) else None,
    )


def _known(prefills: Iterable[wire.Prefill], mine: set[int]) -> Iterator[wire.Prefill]:
    """Those up to the last one of mine: what has to be computed before all mine are."""
    prefills = list(prefills)
    last = max((i for i, prefill in enumerate(prefills) if prefill.id in mine), default=-1)
    yield from prefills[: last + 1]
