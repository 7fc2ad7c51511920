"""`/admin/config`: the file as text, to be edited; what is wrong with it, and what the daemon made
of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.errors import ConfigError
from ...config.lines import newline_of
from ...config.load import check
from ...config.save import FileChanged, current_text, fingerprint, save
from ...config.settings import Settings
from ..differences import DiffLine
from ..editing import in_force, texts
from ..render import respond, wanted_block
from ..source import excerpt, split

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front
    from ..source import SourceLine


class Mistake(NamedTuple):
    """An error of the text, and where to look at."""

    error: ConfigError
    line: SourceLine | None
    place: int  # characters before it in the text, as a textarea counts them


class Editor(NamedTuple):
    """The textarea and what is said about its content."""

    text: str
    base: str  # fingerprint of the text that is edited
    is_checked: bool = False  # `mistakes` are of this text
    mistakes: tuple[Mistake, ...] = ()
    is_late: bool = False  # the file was changed since
    is_merged: bool = False  # and the text holds that change already
    diff: tuple[DiffLine, ...] = ()
    problem: str | None = None  # why there is no text, or why it was not saved


def add(pages: Blueprint) -> None:
    @pages.get("/config", name="config")
    async def config(request: Request) -> HTTPResponse:
        """A page, or the same as JSON for `Accept: application/json`."""
        front: Front = request.app.ctx.front
        if _wants_json(request.headers.get("accept", "")):
            content = msgspec.json.encode(front.status()["config"])
            return HTTPResponse(content, content_type="application/json")
        block = wanted_block(request, ("banner", "source"))
        values: dict[str, Any] = {}
        if block != "banner":
            state = front.config
            values["source"] = await asyncio.to_thread(excerpt, state.path, state.error)
        if block is None:
            values["editor"] = await _opened(front)
        return respond(request, "config.html", block, values)

    @pages.post("/config", name="save_config")
    async def save_text(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        typed, base = _sent(request)
        path = front.config.path
        try:
            now = await asyncio.to_thread(current_text, path)
            if fingerprint(now) != base:
                raise FileChanged(now)
            found = check(typed, path)
            if not isinstance(found, Settings):
                editor = Editor(typed, base, True, _mistakes(typed, found))
                return await _page(request, editor, 422)
            await asyncio.to_thread(save, path, base, as_in_file(typed, now))
        except FileChanged as late:
            return await _page(request, _late(front, typed, base, late.text), 409)
        except (ConfigError, OSError) as error:
            return await _page(request, Editor(typed, base, problem=str(error)), 409)
        await in_force(front, found)
        return redirect("/admin/config", status=303)

    @pages.post("/config/check", name="check_config")
    async def check_text(request: Request) -> HTTPResponse:
        """What is wrong with the text of the form; nothing is saved."""
        front: Front = request.app.ctx.front
        typed, base = _sent(request)
        found = check(typed, front.config.path)
        mistakes = () if isinstance(found, Settings) else _mistakes(typed, found)
        editor = Editor(typed, base, True, mistakes)
        try:
            now = await asyncio.to_thread(current_text, front.config.path)
        except ConfigError as error:
            editor = editor._replace(problem=str(error))
        else:
            if fingerprint(now) != base:
                diff = tuple(texts.since(base, now))
                editor = editor._replace(is_late=True, diff=diff)
        if wanted_block(request, ("check",)):
            values = {"editor": editor}
            return respond(request, "config_check.html", None, values)
        return await _page(request, editor, 200)


async def _opened(front: Front) -> Editor:
    try:
        text = await asyncio.to_thread(current_text, front.config.path)
    except ConfigError as error:
        return Editor("", "", problem=str(error))
    return Editor(_as_typed(text), texts.keep(text))


def _sent(request: Request) -> tuple[str, str]:
    """(what was typed, the fingerprint of what was edited)."""
    form = request.get_form(keep_blank_values=True) or {}
    return _as_typed(str(form.get("text", ""))), str(form.get("base", ""))


def as_in_file(typed: str, now: str) -> str:
    """`typed` with the line ends and the byte order mark that the file has."""
    mark = "\ufeff" if now.startswith("\ufeff") else ""
    return mark + (typed.replace("\n", "\r\n") if newline_of(now) == "\r\n" else typed)


def _late(front: Front, typed: str, base: str, now: str) -> Editor:
    """The text that was too late with the other's change in it, where that can be; else saving it
    again is saving over what is shown."""
    both = texts.merged(base, as_in_file(typed, now), now)
    text = typed if both is None else _as_typed(both)
    found = check(text, front.config.path)
    mistakes = () if isinstance(found, Settings) else _mistakes(text, found)
    diff = tuple(texts.since(base, now))
    return Editor(text, texts.keep(now), True, mistakes, True, both is not None, diff)


def _as_typed(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _mistakes(text: str, errors: list[ConfigError]) -> tuple[Mistake, ...]:
    lines = text.split("\n")
    found: list[Mistake] = []
    for error in errors:
        line, place = None, 0
        if error.line is not None and error.column is not None and error.line <= len(lines):
            line = split(error.line, lines[error.line - 1], error.column)
            place = sum(len(each) + 1 for each in lines[: error.line - 1]) + error.column - 1
        found.append(Mistake(error, line, place))
    return tuple(found)


async def _page(request: Request, editor: Editor, status: int) -> HTTPResponse:
    front: Front = request.app.ctx.front
    state = front.config
    source = await asyncio.to_thread(excerpt, state.path, state.error)
    values = {"editor": editor, "source": source, "here": "/admin/config"}
    return respond(request, "config.html", None, values, status)


def _wants_json(accept: str) -> bool:
    kinds = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    return "application/json" in kinds and "text/html" not in kinds
