"""`/admin/models/NAME`: a model's card, and how it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from ...daemon.hub.catalog import HUB_ID
from ...daemon.protocol.errors import ModelFailed
from ...daemon.store.database import StoreUnavailable
from ...daemon.store.speed import Speed, speed
from ...daemon.tasks import cache
from ...daemon.tasks.card import card
from ..model_row import model_rows
from ..render import respond, wanted_block
from .models import declared_name

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front
    from ..actions import Actions


def add(pages: Blueprint, actions: Actions) -> None:
    @pages.get("/models/<name:str>", name="model")
    async def page(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = declared_name(front, name)
        block = wanted_block(request, ("banner", "now"))
        values: dict[str, Any] = {"name": model, "spec": front.config.settings.models[model]}
        if block != "banner":
            values |= await _now(front, actions, model)
        if block is None:
            values |= await _card(front, model)
        return respond(request, "model.html", block, values)


async def _now(front: Front, actions: Actions, name: str) -> dict[str, Any]:
    models = front.supervisor.status()
    rows = model_rows(models, front.config.settings.models, {name: actions.failure(name)})
    try:
        lately = await front.store.read(speed, name)
    except StoreUnavailable:
        lately = Speed(0, None, None)
    books = await cache.books(front)
    return {
        "row": next((row for row in rows if row.model.name == name), None),
        "speed": lately,
        "cache": next((each for each in books.models if each.name == name), None),
    }


async def _card(front: Front, name: str) -> dict[str, Any]:
    spec = front.config.settings.models[name]
    limit_bytes = front.supervisor.memory_limit_bytes
    try:
        return {"card": await asyncio.to_thread(card, spec, limit_bytes), "card_problem": None}
    except ModelFailed as error:
        could_be_fetched = bool(HUB_ID.fullmatch(spec.path)) and not front.downloads.of(spec.path)
        return {"card": None, "card_problem": error.message, "download": could_be_fetched}
