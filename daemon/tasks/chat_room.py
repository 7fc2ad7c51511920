"""The conversations of the dashboard: an answer is made in the background, whoever looks on."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from ..protocol.errors import BadRequest, Conflict, FastMLXError, ModelNotFound
from ..protocol.events import Event, Finished, McpCall, ReasoningDelta, TextDelta, Usage
from ..protocol.requests import ChatRequest, McpWanted, RequestMeta
from ..store import chats
from ..store.chats import Attached, Chat, Facts, Message, Options, ToolUse
from ..store.database import StoreUnavailable
from ..store.store import Store
from . import chat_tree

log = logging.getLogger(__name__)

# A conversation of which nothing is saved for longer than this could be lost with the daemon.
SAVE_S = 2.0


class Answering:
    """An answer that is being made. `changed` is set after each change and replaced."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.stopping = False

    def note(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def take(self, event: Event) -> None:
        message = self.message
        match event:
            case TextDelta(text=text):
                message.text += text
            case ReasoningDelta(text=text):
                message.reasoning += text
            case McpCall():
                use = ToolUse(
                    event.id, event.server, event.name, event.arguments, event.status, event.output
                )
                message.tools = [each for each in message.tools if each.id != use.id] + [use]
            case Finished(reason=reason):
                message.finish = reason
            case Usage():
                message.facts = Facts(
                    event.prompt_tokens,
                    event.cached_tokens,
                    event.output_tokens,
                    event.ttft_s,
                    event.duration_s,
                )
            case _:
                return
        self.note()


class ChatRoom:
    """All conversations of one daemon."""

    def __init__(
        self, store: Store, ask: Callable[[ChatRequest], AsyncGenerator[Event, None]]
    ) -> None:
        """`ask` carries a request out, as `Front.chat` does."""
        self._store = store
        self._ask = ask
        self._answers: dict[str, Answering] = {}  # by the conversation's id
        # What one change has read must hold until it is written.
        self._changing = asyncio.Lock()

    def answering(self, identity: str) -> Answering | None:
        """The answer that is being made in this conversation, if one is."""
        return self._answers.get(identity)

    async def open(self, identity: str) -> tuple[Chat, list[Message]]:
        """A conversation and all its messages, the one that is being made among them.

        Raises ModelNotFound (404) when there is none, StoreUnavailable."""
        chat = await self._store.read(chats.chat, identity)
        if chat is None:
            raise ModelNotFound("There is no such conversation.")
        messages = await self._store.read(chats.messages, identity)
        answer = self._answers.get(identity)
        if answer is not None:
            saved = [each for each in messages if each.id != answer.message.id]
            messages = [*saved, answer.message]
        return chat, messages

    async def begin(self, options: Options, text: str, files: list[Attached]) -> str:
        """A new conversation with its first message; returns its id."""
        title = chat_tree.title_of(text, [file.name for file in files])
        chat = Chat(f"chat-{uuid.uuid4().hex}", title, _now_ms(), None, options)
        await self._say(chat, None, text, files, [])
        return chat.id

    async def say(
        self, identity: str, text: str, files: list[Attached], *, instead_of: str | None = None
    ) -> None:
        """One more message at the end, or beside another one of the user; it is answered."""
        async with self._changing:
            chat, messages = await self._free(identity)
            parent = chat.leaf
            if instead_of is not None:
                edited = _find(messages, instead_of, "user")
                parent, files = edited.parent, files or edited.files
            await self._say(chat, parent, text, files, messages)

    async def again(self, identity: str, message: str | None = None) -> None:
        """One more answer beside this one; or, without one, an answer to the last message."""
        async with self._changing:
            chat, messages = await self._free(identity)
            parent = chat.leaf
            if message is not None:
                parent = _find(messages, message, "assistant").parent
            if parent is None:
                raise Conflict("There is nothing to answer.")
            await self._answer(chat, _find(messages, parent, "user"), messages, [])

    async def choose(self, identity: str, message: str) -> None:
        """The conversation goes on through this message."""
        async with self._changing:
            chat, messages = await self._free(identity)
            if not any(each.id == message for each in messages):
                raise ModelNotFound("There is no such message.")
            await self._put(chat._replace(leaf=chat_tree.leaf_under(messages, message)), [])

    async def change(self, identity: str, title: str, options: Options) -> None:
        """Another name, and other settings for the answers to come."""
        async with self._changing:
            chat, _ = await self.open(identity)
            await self._put(chat._replace(title=title or chat.title, options=options), [])

    async def forget(self, identity: str) -> None:
        async with self._changing:
            await self.stop(identity)
            await self._store.change(chats.forget, identity)

    async def stop(self, identity: str) -> None:
        """Ends the answer that is being made; what there is of it stays."""
        answer = self._answers.get(identity)
        if answer is not None and answer.task is not None:
            if not answer.stopping:  # a second time would keep it from being saved
                answer.stopping = True
                answer.task.cancel()
            await asyncio.wait({answer.task})

    async def close(self) -> None:
        """Ends them all, at the daemon's end."""
        await asyncio.gather(*(self.stop(identity) for identity in list(self._answers)))

    # ----

    async def _free(self, identity: str) -> tuple[Chat, list[Message]]:
        if identity in self._answers:
            raise Conflict("An answer is still being written: stop it first.")
        return await self.open(identity)

    async def _say(
        self,
        chat: Chat,
        parent: str | None,
        text: str,
        files: list[Attached],
        messages: list[Message],
    ) -> None:
        if not (text or files):
            raise BadRequest("The message is empty.", param="text")
        message = Message(_new_id(), parent, "user", _now_ms(), text=text, files=files)
        await self._answer(chat, message, [*messages, message], [message])

    async def _answer(
        self, chat: Chat, asked: Message, messages: list[Message], new: list[Message]
    ) -> None:
        """Begins the answer to `asked`; `new` is what is not written yet."""
        turns = [shown.message for shown in chat_tree.path(messages, asked.id)]
        model = chat.options.model
        created_ms = max(_now_ms(), asked.created_ms + 1)  # the order of messages is that of time
        message = Message(_new_id(), asked.id, "assistant", created_ms, model=model)
        answer = self._answers[chat.id] = Answering(message)
        try:
            moved = chat._replace(leaf=message.id, updated_ms=created_ms)
            await self._put(moved, [*new, message])
        except BaseException:  # a browser that has gone cancels this
            del self._answers[chat.id]
            raise
        request = ChatRequest(
            model=model,
            messages=chat_tree.prompt(chat.options, turns),
            sampling=chat_tree.sampling(chat.options),
            mcp=McpWanted() if chat.options.use_tools else None,
            meta=RequestMeta(
                request_id=f"chat-{uuid.uuid4().hex}", dialect="dashboard", stream=True
            ),
        )
        answer.task = asyncio.create_task(self._make(chat.id, answer, request), name=chat.id)

    async def _put(self, chat: Chat, new: list[Message]) -> None:
        """Returns when it is written or was refused, also when it is cancelled: a thread does it,
        which cannot be stopped, and the next change must not begin before."""
        writing = asyncio.ensure_future(self._store.change(chats.put, chat, new))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise

    async def _make(self, identity: str, answer: Answering, request: ChatRequest) -> None:
        message = answer.message
        saved_s = time.monotonic()
        try:
            async with aclosing(self._ask(request)) as events:
                async for event in events:
                    answer.take(event)
                    if time.monotonic() - saved_s > SAVE_S:
                        saved_s = time.monotonic()
                        await self._save(identity, message)
        except FastMLXError as error:
            message.error = error.message
        except asyncio.CancelledError:
            message.finish = "stopped"
        except Exception:
            log.exception("an answer in the dashboard failed")
            message.error = "Something went wrong; the log says more."
        finally:
            try:
                await self._save(identity, message)
            finally:
                del self._answers[identity]
                answer.note()

    async def _save(self, identity: str, message: Message) -> None:
        try:
            await self._store.change(chats.put_message, identity, msgspec.structs.replace(message))
        except StoreUnavailable as error:
            log.warning("an answer in the dashboard is not saved: %s", error)


def _find(messages: list[Message], identity: str, role: str) -> Message:
    for message in messages:
        if message.id == identity and message.role == role:
            return message
    raise ModelNotFound("There is no such message.")


def _new_id() -> str:
    return uuid.uuid4().hex


def _now_ms() -> int:
    return int(time.time() * 1000)
