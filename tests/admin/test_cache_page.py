"""`/admin/cache`: what the prefix cache holds, and the buttons that empty it."""

from __future__ import annotations

import re

import httpx
from fastmlx.admin.activity import RANGES
from fastmlx.admin.pages.cache import draw
from fastmlx.daemon.store.rows import Series, Timeline
from live import LiveDaemon


def ask(front: LiveDaemon, text: str) -> None:
    front.openai().completions.create(model="tiny", prompt=text, max_tokens=2, temperature=0)


def test_it_shows_models_tiers_and_prefixes_and_clears_without_javascript(
    front: LiveDaemon, http: httpx.Client
):
    for _ in range(2):
        ask(front, "<b>Once</b> upon a time there was a cache. " * 8)
    front.wait_until(lambda: "&lt;b&gt;Once" in http.get("/admin/cache").text)
    page = http.get("/admin/cache").text
    assert "<b>Once" not in page
    for said in ("In memory", "On disk", "Written today", "From the cache", "Prefix cache"):
        assert said in page
    assert re.search(r'aria-current="page">Cache<', page)
    front.wait_until(lambda: "from the cache" in http.get("/admin/cache").text)
    pressed = http.post("/admin/cache/clear", data={"model": "tiny"})
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/admin/cache")
    front.wait_until(lambda: "&lt;b&gt;Once" not in http.get("/admin/cache").text)
    assert http.post("/admin/cache/clear").status_code == 303


def test_a_fragment_is_the_block_alone_and_costs_nothing_when_nothing_changed(
    front: LiveDaemon, http: httpx.Client
):
    asked = {"hx-request": "true", "hx-target": "cache"}
    block = http.get("/admin/cache?range=24h", headers=asked)
    assert block.text.startswith('<div id="cache"')
    assert "<html" not in block.text
    again = http.get(
        "/admin/cache?range=24h", headers={**asked, "if-none-match": block.headers["etag"]}
    )
    assert again.status_code == 304


def test_only_our_own_pages_may_clear(http: httpx.Client):
    foreign = http.post("/admin/cache/clear", headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    unknown = http.post("/admin/cache/clear", data={"model": "<i>nobody</i>"})
    assert unknown.status_code == 404
    assert "&lt;i&gt;nobody" in unknown.text


def test_tokens_from_the_cache_and_computed_ones_add_up():
    chosen = RANGES["1h"]
    zeros = (0,) * 60
    asked = (*zeros[:-2], 100, 50)
    cached = (*zeros[:-2], 0, 40)
    series = tuple(Series(name, zeros, asked, zeros, cached) for name in "ab")
    use = draw(Timeline(0, chosen.bucket_ms, chosen.buckets, series), chosen)
    assert (use.prompt_tokens, use.cached_tokens) == (300, 80)
    assert use.plot is not None
    assert len(use.plot.stacks) == 2
    assert draw(Timeline(0, chosen.bucket_ms, chosen.buckets, ()), chosen).plot is None
