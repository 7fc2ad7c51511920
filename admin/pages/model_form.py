"""`/admin/models/NAME/edit` and `/admin/add-model`: an entry of config.yaml as a form."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.document import Problem
from ...config.edit import EditError, Keys, renamed, written
from ...config.errors import ConfigError
from ...config.save import FileChanged, current_text
from ...config.settings import ModelSpec
from ...daemon.hub.discover import survey
from ...daemon.text.model_text import REASONING_PARSERS, TOOL_PARSERS
from ..editing import (
    Form,
    Problems,
    Sent,
    changed_form,
    empty_form,
    form_of,
    returned,
    sent,
    submit,
    wanted_changes,
)
from ..fields import fields_of, groups_of, inherited
from ..render import respond, wanted_block
from .models import address_of, declared_name

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

GROUPS, FIELDS = groups_of(ModelSpec), fields_of(ModelSpec)
PREFILLED = ("path", "revision", "kind")  # by links to the empty form


def add(pages: Blueprint) -> None:
    @pages.get("/models/<name:path>/edit", name="edit_model")
    async def edit(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = declared_name(front, name)
        if wanted_block(request, ("banner",)):
            return respond(request, "model_form.html", "banner", {})
        try:
            text = await asyncio.to_thread(current_text, front.config.path)
            form = form_of(GROUPS, ("models", model), text, front.config.path)
        except (Problem, ConfigError) as error:
            return _page(request, model, model, None, 200, str(error))
        return _page(request, model, model, form, 200)

    @pages.post("/models/<name:path>/edit", name="save_model")
    async def save(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = declared_name(front, name)
        came = sent(request.get_form(keep_blank_values=True), FIELDS)
        called = _called(request) or model
        above: Keys = ("models", model)
        try:
            outcome = await _save(front, came, model, called)
            if outcome is None:
                return redirect(address_of(called), status=303)
            text = await asyncio.to_thread(current_text, front.config.path)
            form, status = returned(front, came, outcome, GROUPS, above, text)
        except (ConfigError, OSError) as error:
            return _page(request, model, called, None, 409, str(error))
        return _page(request, model, called, form, status)

    @pages.get("/add-model", name="add_model")
    async def new(request: Request) -> HTTPResponse:
        """With `?path=` the form; without it, where models may come from."""
        front: Front = request.app.ctx.front
        path = request.args.get("path", "").strip()
        if wanted_block(request, ("banner",)):
            return respond(request, "add_model.html", "banner", {})
        if not path:
            found = await survey(front.config.settings)
            values = {
                "found": [each for each in found.candidates if each.declared is None],
                "problems": found.problems,
                "limit_bytes": front.supervisor.memory_limit_bytes,
            }
            return respond(request, "add_model.html", None, values)
        name = request.args.get("name", "").strip() or _name_for(front, path)
        values = {key: request.args.get(key, "").strip() for key in PREFILLED}
        try:
            text = await asyncio.to_thread(current_text, front.config.path)
        except ConfigError as error:
            return _page(request, None, name, None, 409, str(error))
        return _page(request, None, name, empty_form(GROUPS, text, values), 200)

    @pages.post("/add-model", name="save_new_model")
    async def create(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        came = sent(request.get_form(keep_blank_values=True), FIELDS)._replace(was={})
        name = _called(request)
        try:
            outcome = await _create(front, came, name)
            if outcome is None:
                return redirect(address_of(name), status=303)
            text = await asyncio.to_thread(current_text, front.config.path)
        except (ConfigError, OSError) as error:
            return _page(request, None, name, None, 409, str(error))
        blank = empty_form(GROUPS, text, {})
        is_late = isinstance(outcome, FileChanged)
        problems = Problems({}, []) if is_late else outcome
        form = changed_form(blank, came, problems, is_late=is_late, text=text)
        return _page(request, None, name, replace(form, theirs={}), 409 if is_late else 422)


async def _save(front: Front, came: Sent, model: str, called: str) -> Problems | FileChanged | None:
    above: Keys = ("models", called)
    if called == model:
        return await submit(front, came, wanted_changes(came, above, GROUPS), above, GROUPS)
    return await submit(
        front,
        came,
        wanted_changes(came, above, GROUPS),
        above,
        GROUPS,
        first=lambda text: renamed(text, ("models", model), called),
    )


async def _create(front: Front, came: Sent, name: str) -> Problems | FileChanged | None:
    if not name:
        return Problems({"": ["The model needs a name."]}, [])
    above: Keys = ("models", name)

    def is_new(text: str) -> str:
        if name in (written(text).get("models") or {}):
            raise EditError(f"There is a model {name} already.")
        return text

    wanted = wanted_changes(came, above, GROUPS)
    return await submit(front, came, wanted, above, GROUPS, first=is_new)


def _called(request: Request) -> str:
    form = request.get_form(keep_blank_values=True)
    return str(form.get("name", "")).strip() if form else ""


def _name_for(front: Front, path: str) -> str:
    """A free name that looks like the path: Qwen3-8B-4bit → qwen3-8b-4bit."""
    last = path.rstrip("/").rpartition("/")[2].removeprefix("builtin:").lower()
    base = re.sub(r"[^a-z0-9._+@-]+", "-", last).strip("-._+@") or "model"
    name, number = base, 2
    while front.config.settings.find(name) is not None:
        name, number = f"{base}-{number}", number + 1
    return name


def _page(
    request: Request,
    model: str | None,
    called: str,
    form: Form | None,
    status: int,
    problem: str | None = None,
) -> HTTPResponse:
    front: Front = request.app.ctx.front
    values: dict[str, Any] = {
        "model": model,
        "called": called,
        "inherited": inherited(FIELDS, front.config.settings.defaults),
        "form": form,
        "problem": problem,
        "suggestions": {
            "tool_parser": ["auto", "none", *TOOL_PARSERS.names()],
            "reasoning_parser": ["auto", "none", *REASONING_PARSERS.names()],
        },
    }
    return respond(request, "model_form.html", None, values, status)
