"""`/admin/service`: the daemon, who keeps it alive, and restarting it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.errors import ConfigError
from ...config.load import load_file
from ...daemon.protocol.errors import BadRequest, Conflict
from ...launchd.runner import CommandFailed
from ...launchd.service import for_this_machine
from ..render import respond, wanted_block
from ..service import look, restart_soon, verb_soon

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

HERE = "/admin/service"


def add(pages: Blueprint) -> None:
    @pages.get("/service", name="service")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        block = wanted_block(request, ("banner", "service"))
        values = {"pid": os.getpid(), "python": sys.executable, "python_version": sys.version}
        if block != "banner":
            values["seen"] = await asyncio.to_thread(look, front.home)
            values["service_url"] = _service_url(front)
        return respond(request, "service.html", block, values)

    @pages.post("/service/restart", name="restart_service")
    async def restart(request: Request) -> HTTPResponse:
        _check_config(request.app.ctx.front)
        restart_soon()
        return respond(request, "farewell.html", None, {"what": "restart"})

    @pages.post("/service/install", name="install_service")
    async def install(request: Request) -> HTTPResponse:
        """What runs in a terminal ends, and the service takes its place."""
        front: Front = request.app.ctx.front
        _check_config(front)
        seen = await asyncio.to_thread(look, front.home)
        if not seen.answers:
            raise BadRequest(seen.state.detail if seen.state is not None else seen.problem or "")
        verb_soon(front.home, seen, "install", "--replace")
        return respond(
            request, "farewell.html", None, {"what": "install", "to": _service_url(front)}
        )

    @pages.post("/service/uninstall", name="uninstall_service")
    async def uninstall(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        seen = await asyncio.to_thread(look, front.home)
        if seen.is_ours:
            verb_soon(front.home, seen, "uninstall")
            return respond(request, "farewell.html", None, {"what": "uninstall"})
        try:
            await asyncio.to_thread(lambda: for_this_machine().uninstall())
        except CommandFailed as error:
            raise Conflict(str(error)) from error
        return redirect(HERE, status=303)


def _service_url(front: Front) -> str:
    """Where an installed service answers: what this run was told beside the file does not count."""
    server = front.config.settings.server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def _check_config(front: Front) -> None:
    """What could not start again is not stopped. Raises BadRequest."""
    try:
        load_file(front.home.config)
    except ConfigError as error:
        raise BadRequest(f"Nothing was restarted: {error}") from error
