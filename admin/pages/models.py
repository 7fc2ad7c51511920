"""`/admin/models`: what is declared, and the buttons of a model. They are forms: a click without
JavaScript comes back to the page that it was made on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.document import Problem
from ...config.edit import Change, edited
from ...config.errors import ConfigError
from ...config.plain import source_of
from ...config.save import current_text
from ...daemon.protocol.errors import ModelNotFound
from ...daemon.tasks.lookup import find_model
from ..activity import DEFAULT_RANGE, RANGES
from ..editing import change_now
from ..model_row import model_rows
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front
    from ..actions import Actions


def add(pages: Blueprint, actions: Actions) -> None:
    @pages.get("/models", name="models")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        block = wanted_block(request, ("banner", "models"))
        values = {}
        if block != "banner":
            declared = front.config.settings.models
            models = front.supervisor.status()
            failures = {model.name: actions.failure(model.name) for model in models}
            values = {
                "rows": model_rows(models, declared, failures),
                "specs": declared,
                "limit_bytes": front.supervisor.memory_limit_bytes,
                "used_bytes": sum(model.memory_bytes for model in models),
            }
        return respond(request, "models.html", block, values)

    @pages.post("/models/<name:path>/load", name="load")
    async def load(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = find_model(front.config.settings, unquote(name)).name
        await actions.start(model, front.supervisor.load(model))
        return _back(request, model)

    @pages.post("/models/<name:path>/unload", name="unload")
    async def unload(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = find_model(front.config.settings, unquote(name)).name
        await actions.start(model, front.supervisor.unload(model))
        return _back(request, model)

    @pages.post("/models/<name:path>/pin", name="pin")
    async def pin(request: Request, name: str) -> HTTPResponse:
        """`pinned` in the form: true or false."""
        front: Front = request.app.ctx.front
        model = declared_name(front, name)
        pinned = bool(request.form) and request.form.get("pinned") == "true"
        change = Change(("models", model, "pinned"), True if pinned else None)
        await change_now(front, lambda text: edited(text, [change]))
        return _back(request, model)

    @pages.get("/models/<name:path>/remove", name="confirm_remove")
    async def confirm(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = declared_name(front, name)
        if wanted_block(request, ("banner",)):
            return respond(request, "model_remove.html", "banner", {})
        source = await asyncio.to_thread(_source, front.config.path, model)
        status = next(each for each in front.supervisor.status() if each.name == model)
        values = {"model": status, "source": source}
        return respond(request, "model_remove.html", None, values)

    @pages.post("/models/<name:path>/remove", name="remove")
    async def remove(request: Request, name: str) -> HTTPResponse:
        """The entry goes from config.yaml; files stay."""
        front: Front = request.app.ctx.front
        change = Change(("models", declared_name(front, name)), None)
        await change_now(front, lambda text: edited(text, [change]))
        return redirect("/admin/models", status=303)


def _source(path: Path, model: str) -> str | None:
    """How the entry is written; None when it cannot be shown."""
    try:
        return source_of(current_text(path).removeprefix("\ufeff"), ("models", model))
    except (ConfigError, Problem):
        return None


def declared_name(front: Front, segment: str) -> str:
    """The entry of config.yaml that a part of an address names. Raises ModelNotFound."""
    name = unquote(segment)
    if name not in front.config.settings.models:
        raise ModelNotFound(f"There is no model '{name[:200]}' in {front.config.path.name}.")
    return name


def address_of(model: str) -> str:
    return f"/admin/models/{quote(model, safe='')}"


def _back(request: Request, model: str) -> HTTPResponse:
    """303: the browser GETs the page, and reloading it does not press the button again."""
    on = request.args.get("on")
    if on == "models":
        return redirect("/admin/models", status=303)
    if on == "card":
        return redirect(address_of(model), status=303)
    chosen = request.args.get("range", "")
    suffix = f"?range={chosen}" if chosen in RANGES and chosen != DEFAULT_RANGE else ""
    return redirect(f"/admin/{suffix}", status=303)
