"""`/admin/cache`: what prompts have left in memory and on disk, and of what use that was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...daemon.store import queries
from ...daemon.store.database import StoreUnavailable
from ...daemon.store.rows import Timeline
from ...daemon.tasks import cache
from ..activity import (
    DEFAULT_RANGE,
    RANGES,
    Range,
    axis_label,
    bucket_label,
    span_start_ms,
)
from ..model_row import colour
from ..numbers import count
from ..plot import Line, Plot, plot
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.store.store import Store
    from ...daemon.tasks.front import Front

CACHED, COMPUTED = colour(0), colour(2)


class Use(NamedTuple):
    """Prompt tokens of a span."""

    prompt_tokens: int
    cached_tokens: int
    plot: Plot | None  # None: there were no requests


def add(pages: Blueprint) -> None:
    @pages.get("/cache", name="cache")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        chosen = RANGES.get(request.args.get("range", ""), RANGES[DEFAULT_RANGE])
        block = wanted_block(request, ("banner", "cache"))
        values: dict[str, Any] = {"here": f"/admin/cache?range={chosen.key}"}
        if block != "banner":
            use, problem = await _use(front.store, chosen)
            values |= {
                "books": await cache.books(front),
                "use": use,
                "use_problem": problem,
                "ranges": list(RANGES.values()),
                "chosen": chosen,
                "legend": (("from the cache", CACHED), ("computed", COMPUTED)),
            }
        return respond(request, "cache.html", block, values)

    @pages.post("/cache/clear", name="clear_cache")
    async def clear(request: Request) -> HTTPResponse:
        """Of the model in the form, or of all; in both tiers. A click without JavaScript comes
        back to the page."""
        model = request.form.get("model") if request.form else None
        await cache.clear(request.app.ctx.front, model or None)
        return redirect("/admin/cache", status=303)


async def _use(store: Store, chosen: Range) -> tuple[Use | None, str | None]:
    """(use, None), or (None, why there are no figures)."""
    start_ms = span_start_ms(chosen, int(time.time() * 1000))
    try:
        timeline = await store.read(queries.timeline, start_ms, chosen.bucket_ms, chosen.buckets)
    except StoreUnavailable as error:
        return None, str(error)
    return draw(timeline, chosen), None


def draw(timeline: Timeline, chosen: Range) -> Use:
    """All models together: what came from the cache, and what was computed."""
    buckets = range(timeline.buckets)
    asked = [sum(series.prompt_tokens[i] for series in timeline.series) for i in buckets]
    cached = [sum(series.cached_tokens[i] for series in timeline.series) for i in buckets]
    if not any(asked):
        return Use(0, 0, None)
    starts = [timeline.start_ms + i * timeline.bucket_ms for i in buckets]
    lines = [
        Line("from the cache", CACHED, cached),
        Line("computed", COMPUTED, [max(0, a - c) for a, c in zip(asked, cached, strict=True)]),
    ]
    drawn = plot(
        f"Prompt tokens {chosen.per}",
        lines,
        [bucket_label(at, timeline.bucket_ms) for at in starts],
        [axis_label(at, chosen) for at in starts],
        count,
    )
    return Use(sum(asked), sum(cached), drawn)
