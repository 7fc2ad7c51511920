"""An answer in the dashboard, from the events of its request to what is kept and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import NoneType

import pytest
from fastmlx.admin.render import block_of
from fastmlx.daemon.protocol.errors import BadRequest, Conflict, EngineDied, ModelNotFound
from fastmlx.daemon.protocol.events import (
    Event,
    Finished,
    McpCall,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    Usage,
)
from fastmlx.daemon.protocol.requests import ChatRequest
from fastmlx.daemon.store.chats import Attached, Options
from fastmlx.daemon.store.store import Store
from fastmlx.daemon.tasks.chat_room import ChatRoom

CALL = {"index": 0, "id": "c1", "server": "sums", "name": "add", "arguments": "{}", "round": 1}
EVENTS: list[Event] = [
    Prefilled(30, 20),
    ReasoningDelta(0, "Let me *see*."),
    McpCall(**CALL, status="running"),
    McpCall(**CALL, status="completed", output="<4>"),
    TextDelta(0, "It is "),
    TextDelta(0, "**four**."),
    Finished(0, "stop"),
    Usage(30, 12, cached_tokens=20, ttft_s=0.5, duration_s=1.5),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "fastmlx.db")
    assert store.flush(20)
    yield store
    store.close()


async def settled(room: ChatRoom, chat: str) -> None:
    while (answer := room.answering(chat)) is not None:
        await answer.changed.wait()


async def test_thinking_tools_text_and_what_it_took_are_kept_and_shown(store: Store):
    asked: list[ChatRequest] = []

    async def ask(request: ChatRequest) -> AsyncGenerator[Event, None]:
        asked.append(request)
        for event in EVENTS:
            yield event
            await asyncio.sleep(0)

    room = ChatRoom(store, ask)
    options = Options("m", system="Be brief.", temperature=0.5, use_tools=True)
    file = Attached("a.txt", "2 + 2")
    chat = await room.begin(options, "What is it?", [file])
    await settled(room, chat)
    (request,) = asked
    assert request.mcp is not None
    assert request.sampling.temperature == 0.5
    assert request.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": '<file name="a.txt">\n2 + 2\n</file>\n\nWhat is it?'},
    ]
    found, messages = await ChatRoom(store, ask).open(chat)  # as after a restart
    answer = messages[-1]
    assert (found.title, found.leaf) == ("What is it?", answer.id)
    assert (answer.text, answer.reasoning) == ("It is **four**.", "Let me *see*.")
    assert [(tool.name, tool.status, tool.output) for tool in answer.tools] == [
        ("add", "completed", "<4>")
    ]
    assert answer.facts is not None
    assert answer.facts.tokens_per_s == 11.0

    shown = block_of("chat_answer.html", "body", {"message": answer, "open": False})
    assert "<strong>four</strong>" in shown
    assert '<details class="thinking">' in shown
    assert "<em>see</em>" in shown
    assert "<code>add</code>" in shown
    assert "&lt;4&gt;" in shown


async def test_an_error_stands_under_what_there_was_and_the_next_try_beside_it(store: Store):
    tries = 0

    async def ask(request: ChatRequest) -> AsyncGenerator[Event, None]:
        nonlocal tries
        tries += 1
        yield TextDelta(0, f"try {tries}")
        if tries == 1:
            raise EngineDied("The engine died twice.")
        yield Finished(0, "stop")

    room = ChatRoom(store, ask)
    chat = await room.begin(Options("m"), "Hello", [])
    await settled(room, chat)
    _, messages = await room.open(chat)
    assert (messages[1].text, messages[1].error) == ("try 1", "The engine died twice.")
    await room.again(chat, messages[1].id)
    await settled(room, chat)
    found, messages = await room.open(chat)
    assert [message.text for message in messages] == ["Hello", "try 1", "try 2"]
    assert found.leaf == messages[2].id
    with pytest.raises(ModelNotFound):
        await room.again(chat, "nonsense")
    await room.forget(chat)
    with pytest.raises(ModelNotFound):
        await room.open(chat)


async def begun(store: Store) -> tuple[ChatRoom, str]:
    """A conversation whose answer says one word and goes on for ever."""

    async def ask(request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield TextDelta(0, "and")
        await asyncio.Event().wait()

    room = ChatRoom(store, ask)
    chat = await room.begin(Options("m"), "On", [])
    answer = room.answering(chat)
    assert answer is not None
    while not answer.message.text:
        await answer.changed.wait()
    return room, chat


async def test_an_answer_that_is_stopped_twice_is_saved_and_frees_its_conversation(store: Store):
    room, chat = await begun(store)
    await asyncio.gather(room.stop(chat), room.stop(chat), room.stop(chat))
    _, messages = await room.open(chat)
    assert (messages[1].text, messages[1].finish) == ("and", "stopped")
    await room.again(chat, messages[1].id)
    await room.close()


async def test_a_browser_that_goes_while_its_words_are_kept_leaves_a_free_conversation(
    store: Store,
):
    room, chat = await begun(store)
    await room.stop(chat)
    _, messages = await room.open(chat)
    saying = asyncio.create_task(room.again(chat, messages[1].id))
    while room.answering(chat) is None and not saying.done():  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0)
    saying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saying
    assert room.answering(chat) is None
    await room.say(chat, "more", [])
    await room.close()


async def test_what_is_changed_at_once_is_all_kept(store: Store):
    """Each reads the conversation and writes it: none may write what another had read before."""

    async def ask(request: ChatRequest) -> AsyncGenerator[Event, None]:
        await go.wait()
        yield TextDelta(0, "yes")
        yield Finished(0, "stop")

    go = asyncio.Event()
    go.set()
    room = ChatRoom(store, ask)
    chat = await room.begin(Options("m"), "Hello", [])
    for number in range(5):
        await settled(room, chat)
        before, _ = await room.open(chat)
        assert before.leaf is not None
        go.clear()
        done = await asyncio.gather(
            room.change(chat, f"title {number}", Options("m", seed=number)),
            room.say(chat, f"say {number}", []),
            room.say(chat, f"also {number}", []),  # a second click
            room.choose(chat, before.leaf),
            return_exceptions=True,
        )
        go.set()
        assert [type(each) for each in done] == [NoneType, NoneType, Conflict, Conflict]
        found, messages = await room.open(chat)
        assert (found.title, found.options.seed) == (f"title {number}", number)
        assert [message.text for message in messages if message.role == "user"][1:] == [
            f"say {each}" for each in range(number + 1)
        ]
        assert (messages[-1].id, messages[-1].role) == (found.leaf, "assistant")
    _, messages = await room.open(chat)
    with pytest.raises(BadRequest, match="empty"):
        await room.say(chat, "", [], instead_of=messages[0].id)
    await room.close()


async def test_one_answer_at_a_time_and_none_is_left_at_the_end(store: Store):
    room, chat = await begun(store)
    with pytest.raises(Conflict, match="stop it first"):
        await room.say(chat, "more", [])
    await room.close()
    assert room.answering(chat) is None
    _, messages = await room.open(chat)
    assert (messages[1].text, messages[1].finish) == ("and", "stopped")
