"""The button that gives up a request which runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front


def add(pages: Blueprint) -> None:
    @pages.post("/running/<number:int>/cancel", name="cancel_running")
    async def cancel(request: Request, number: int) -> HTTPResponse:
        """One that has ended meanwhile is no error: it is what was wanted."""
        front: Front = request.app.ctx.front
        front.running.cancel(number)
        return redirect("/admin/", status=303)
