"""What Sanic says while it answers reaches those who listen; where nobody does it costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from fastmlx.daemon.api.signals import QuietSignals
from sanic import Sanic


def told(listen: Callable[[Sanic, list[str]], None]) -> list[str]:
    """What the listeners of an application heard, when three things happened."""
    heard: list[str] = []

    async def tell() -> None:
        app = Sanic(f"t{uuid4().hex}", configure_logging=False, signal_router=QuietSignals())
        listen(app, heard)
        app.signalize(False)
        await app.dispatch("http.lifecycle.request", inline=True)
        await app.dispatch("http.lifecycle.handle", inline=True)
        await app.dispatch("test.said.now", inline=True, fail_not_found=False)

    asyncio.run(tell())
    return heard


@pytest.mark.parametrize("events", [[], ["test.said.now"], ["http.lifecycle.handle"]])
def test_who_listens_hears_what_it_asked_for_and_nothing_else(events: list[str]) -> None:
    def listen(app: Sanic, heard: list[str]) -> None:
        for event in events:

            @app.signal(event)
            async def hear(event: str = event) -> None:
                heard.append(event)

    assert told(listen) == events
