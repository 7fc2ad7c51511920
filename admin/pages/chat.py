"""`/admin/chat`: conversations with the models, kept in the database.

An answer is made in the background by `ChatRoom`; a page that looks on is sent it anew, as HTML,
whenever it has grown, and one without JavaScript loads itself again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...daemon.protocol.errors import BadRequest, FastMLXError, Overloaded
from ...daemon.store import chats
from ...daemon.store.chats import Attached, Chat, Message, Options
from ...daemon.store.database import StoreUnavailable
from ...daemon.tasks import chat_tree
from .. import chat_form
from ..attachments import Upload, read
from ..render import block_of, respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.chat_room import ChatRoom
    from ...daemon.tasks.front import Front

T = TypeVar("T")

LEAST_S = 0.1  # between two looks at an answer that grows
SHARE = 0.1  # of the time goes into rendering it, at most
ALIVE_S = 10.0  # a comment, so that a connection that ended is noticed


class Draft(dict[str, str]):
    """What was typed and not taken; "" for what was not."""

    def __missing__(self, name: str) -> str:
        return ""


def add(pages: Blueprint) -> None:
    @pages.get("/chat", name="chat")
    async def new(request: Request) -> HTTPResponse:
        """An empty conversation, and the list of the others."""
        return await _page(request, None)

    @pages.post("/chat", name="begin_chat")
    async def begin(request: Request) -> HTTPResponse:
        form = _form(request)
        try:
            options = chat_form.options(form)
            text, files = await _message(request, form)
            made = await _stored(_room(request).begin(options, text, files))
        except FastMLXError as error:
            return await _page(request, None, problem=error, draft=form)
        return redirect(f"/admin/chat/{made}#end", status=303)

    @pages.get("/chat/<chat:str>", name="one_chat")
    async def one(request: Request, chat: str) -> HTTPResponse:
        return await _page(request, chat)

    @pages.post("/chat/<chat:str>/say", name="say")
    async def say(request: Request, chat: str) -> HTTPResponse:
        """One more message, or with `message` another one in its place."""
        form = _form(request)
        try:
            text, files = await _message(request, form)
            instead_of = form.get("message")
            await _stored(_room(request).say(chat, text, files, instead_of=instead_of))
        except FastMLXError as error:
            return await _page(request, chat, problem=error, draft=form)
        return _back(chat)

    @pages.post("/chat/<chat:str>/again", name="answer_again")
    async def again(request: Request, chat: str) -> HTTPResponse:
        await _stored(_room(request).again(chat, _form(request).get("message")))
        return _back(chat)

    @pages.post("/chat/<chat:str>/choose", name="choose_branch")
    async def choose(request: Request, chat: str) -> HTTPResponse:
        await _stored(_room(request).choose(chat, _form(request).get("message", "")))
        return _back(chat)

    @pages.post("/chat/<chat:str>/stop", name="stop_answer")
    async def stop(request: Request, chat: str) -> HTTPResponse:
        await _room(request).stop(chat)
        return _back(chat)

    @pages.post("/chat/<chat:str>/settings", name="chat_settings")
    async def settings(request: Request, chat: str) -> HTTPResponse:
        form = _form(request)
        try:
            title = form.get("title", "").strip()[:200]
            await _stored(_room(request).change(chat, title, chat_form.options(form)))
        except BadRequest as error:
            return await _page(request, chat, problem=error, draft=form)
        return _back(chat)

    @pages.post("/chat/<chat:str>/delete", name="delete_chat")
    async def delete(request: Request, chat: str) -> HTTPResponse:
        await _stored(_room(request).forget(chat))
        return redirect("/admin/chat", status=303)

    @pages.get("/chat/<chat:str>/export.md", name="export_markdown")
    async def as_markdown(request: Request, chat: str) -> HTTPResponse:
        """What is shown."""
        found, messages = await _stored(_room(request).open(chat))
        turns = [shown.message for shown in chat_tree.path(messages, found.leaf)]
        text = chat_tree.as_markdown(found.title, turns)
        return _file(f"{found.id}.md", "text/markdown; charset=utf-8", text)

    @pages.get("/chat/<chat:str>/export.json", name="export_json")
    async def as_json(request: Request, chat: str) -> HTTPResponse:
        """Everything."""
        found, messages = await _stored(_room(request).open(chat))
        everything = msgspec.json.encode(found._asdict() | {"messages": messages})
        return _file(f"{found.id}.json", "application/json", msgspec.json.format(everything))

    @pages.get("/chat/<chat:str>/events", name="chat_events")
    async def events(request: Request, chat: str) -> None:
        """Server-sent events: `answer` with its HTML whenever it has grown, then `end`."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        response = await request.respond(content_type="text/event-stream", headers=headers)
        assert isinstance(response, HTTPResponse)
        sent = ""
        while (answering := _room(request).answering(chat)) is not None:
            changed = answering.changed
            began = time.perf_counter()
            html = block_of(
                "chat_answer.html", "body", {"message": answering.message, "open": True}
            )
            if html != sent:
                sent = html
                await response.send(_event("answer", html))
            await asyncio.sleep(max(LEAST_S, (time.perf_counter() - began) / SHARE))
            try:
                async with asyncio.timeout(ALIVE_S):
                    await changed.wait()
            except TimeoutError:
                await response.send(": still there\n\n")
        await response.send(_event("end", ""))
        await response.eof()


def _file(name: str, kind: str, body: bytes | str) -> HTTPResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return HTTPResponse(body, headers=headers, content_type=kind)


def _event(name: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\n{lines}\n"


def _room(request: Request) -> ChatRoom:
    return request.app.ctx.front.chat_room


def _back(chat: str) -> HTTPResponse:
    return redirect(f"/admin/chat/{chat}#end", status=303)


async def _stored(work: Awaitable[T]) -> T:
    """Raises Overloaded instead of StoreUnavailable."""
    try:
        return await work
    except StoreUnavailable as error:
        raise Overloaded(str(error)) from error


def _form(request: Request) -> dict[str, str]:
    form = request.form
    return {key: str(values[0]) for key, values in form.items()} if form else {}


async def _message(request: Request, form: dict[str, str]) -> tuple[str, list[Attached]]:
    """Raises BadRequest for files that cannot be read."""
    given = request.files.getlist("files") if request.files else None
    uploads = [Upload(each.name, each.type or "", each.body) for each in given or () if each.name]
    files = [await asyncio.to_thread(read, upload) for upload in uploads]
    text = form.get("text", "").replace("\r\n", "\n").strip()
    return text, files


async def _page(
    request: Request,
    identity: str | None,
    *,
    problem: FastMLXError | None = None,
    draft: dict[str, str] | None = None,
) -> HTTPResponse:
    front: Front = request.app.ctx.front
    room = front.chat_room
    chat: Chat | None = None
    messages: list[Message] = []
    words = request.args.get("words", "")
    if identity is not None:
        chat, messages = await _stored(room.open(identity))
    listed = await _stored(front.store.read(chats.headings, words))
    answering = room.answering(identity) if identity is not None else None
    models = list(front.config.settings.models)
    asked = request.args.get("model", "")
    first = asked if asked in models else next(iter(models), "")
    options = chat.options if chat is not None else Options(first)
    values: dict[str, Any] = {
        "chat": chat,
        "shown": chat_tree.path(messages, chat.leaf) if chat is not None else [],
        "chats": listed,
        "words": words,
        "models": models if options.model in models else [*models, options.model],
        "options": options,
        "answering": answering.message.id if answering is not None else None,
        "problem": problem,
        "draft": Draft(draft or {}),
    }
    block = wanted_block(request, ("banner",))
    return respond(request, "chat.html", block, values, 200 if problem is None else problem.status)
