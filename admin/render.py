"""Templates → answers: a whole page, or the one block of it that htmx asks for again.

A page refreshes itself in blocks. `{% call live("models", 2) %}` wraps a block's content in an
element that asks for the page's own address every 2 s; the header HX-Target names the block, the
answer is that element again, and it replaces the old one. Polling rather than server-sent events:
what is unchanged costs one 304 without a body (about a millisecond here, see tests), no connection
stays open to hold up a restart, and a page finds its way back by itself when the daemon returns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from sanic import Request
from sanic.response import HTTPResponse

from ..daemon.protocol import caller
from ..daemon.protocol.caller import Scope
from . import numbers
from .markdown import to_html
from .nav import NAV
from .session import signed_in
from .static_files import address

if TYPE_CHECKING:
    from ..daemon.tasks.front import Front

HTMX_CONFIG = msgspec.json.encode(
    {
        "includeIndicatorStyles": False,  # an inline <style>, which our policy forbids
        "allowEval": False,
        "allowScriptTags": False,
        "selfRequestsOnly": True,
        "historyCacheSize": 0,  # addresses are replaced, never pushed
        "refreshOnHistoryMiss": True,
        "responseHandling": [
            {"code": "(204|304)", "swap": False},
            {"code": "[23]..", "swap": True},
            {"code": "[45]..", "swap": False, "error": True},
        ],
    }
).decode()


def wanted_block(request: Request, blocks: tuple[str, ...]) -> str | None:
    """Which of the page's blocks htmx asks for; None for the whole page."""
    if request.headers.get("hx-request") != "true":
        return None
    target = request.headers.get("hx-target", "")
    return target if target in blocks else None


def respond(
    request: Request, template: str, block: str | None, values: dict[str, Any], status: int = 200
) -> HTTPResponse:
    """The page, or one block of it: 304 when the browser shows that state already."""
    front: Front = request.app.ctx.front
    etags: dict[str, str] = {}
    # Who may not see the dashboard still gets its sign-in page, and pages of errors: without a word
    # about this server.
    values = {
        "front": front,
        # What answers a POST cannot be asked for again; its banner is that of any page.
        "here": request.path if request.method == "GET" else "/admin/",
        "may_see": caller.current().may(Scope.ADMIN),
        "signed_in": signed_in(request),
        **values,
        "etags": etags,
    }
    page = _environment.get_template(template)
    # Every page has this block, and a whole page put into it would be there twice.
    if block is None and status < 400 and values["may_see"]:
        block = wanted_block(request, ("banner",))
    if block is None:
        return HTTPResponse(page.render(values), status, content_type="text/html; charset=utf-8")
    holder = page if block in page.blocks else _environment.get_template("base.html")
    body = "".join(holder.blocks[block](page.new_context(values)))
    headers = {"etag": etags[block]}
    if request.headers.get("if-none-match") == etags[block]:
        return HTTPResponse(status=304, headers=headers)
    return HTTPResponse(body, status, headers, content_type="text/html; charset=utf-8")


def block_of(template: str, block: str, values: dict[str, Any]) -> str:
    """One block by itself, without a page around it."""
    page = _environment.get_template(template)
    return "".join(page.blocks[block](page.new_context(values)))


@pass_context
def live(context: Context, block: str, every_s: int, caller: Callable[[], Markup]) -> Markup:
    """The element around a block's content that keeps it fresh.

    It carries its own version as If-None-Match, so the browser's cache stays out of it.
    """
    content = caller()
    etag = f'"{hashlib.blake2b(content.encode(), digest_size=9).hexdigest()}"'
    context["etags"][block] = etag
    headers = msgspec.json.encode({"If-None-Match": etag}).decode()
    return Markup(
        '<div id="{block}" data-live hx-get="{here}" hx-trigger="every {every}s, look"'
        ' hx-target="this" hx-swap="outerHTML" hx-headers="{headers}">{content}</div>'
    ).format(block=block, here=context["here"], every=every_s, headers=headers, content=content)


def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in (
        "size",
        "count",
        "counted",
        "rate",
        "duration",
        "milliseconds",
        "percent",
        "clock",
        "iso",
        "moment",
    ):
        environment.filters[name] = getattr(numbers, name)
    environment.filters["markdown"] = lambda text, coloured: to_html(text, coloured=coloured)
    environment.filters["segment"] = lambda text: quote(text, safe="")
    environment.globals.update(live=live, static=address, htmx_config=HTMX_CONFIG, nav=NAV, len=len)
    return environment


_environment = _make_environment()
