"""`/admin/settings`: everything of config.yaml but the models, as a form."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.document import Problem
from ...config.errors import ConfigError
from ...config.save import current_text
from ...config.settings import Settings
from ..editing import form_of, returned, sent, submit, wanted_changes
from ..fields import fields_of, groups_of
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

ELSEWHERE = ("models",)  # on a page of its own


def add(pages: Blueprint) -> None:
    own, *sections = groups_of(Settings, ELSEWHERE)
    groups, fields = (*sections, own), fields_of(Settings, ELSEWHERE)

    @pages.get("/settings", name="settings")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        block = wanted_block(request, ("banner",))
        values: dict[str, Any] = {"form": None, "problem": None, "saved": "saved" in request.args}
        if block is None:
            try:
                text = await asyncio.to_thread(current_text, front.config.path)
                values["form"] = form_of(groups, (), text, front.config.path)
            except Problem as problem:
                values["problem"] = problem.message
            except ConfigError as error:
                values["problem"] = str(error)
        return respond(request, "settings.html", block, values)

    @pages.post("/settings", name="save_settings")
    async def save(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        came = sent(request.get_form(keep_blank_values=True), fields)
        values: dict[str, Any] = {"form": None, "problem": None, "saved": "saved" in request.args}
        try:
            outcome = await submit(front, came, wanted_changes(came, (), groups), (), groups)
            if outcome is None:
                return redirect("/admin/settings?saved=1", status=303)
            text = await asyncio.to_thread(current_text, front.config.path)
            values["form"], status = returned(front, came, outcome, groups, (), text)
        except (ConfigError, OSError) as error:
            values["problem"], status = str(error), 409
        return respond(request, "settings.html", None, values, status)
