"""From the rows of a sequence to its events, asked for or by the short way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.protocol.events import Event, Finished, Prefilled, TextDelta
from fastmlx.daemon.protocol.requests import RequestMeta
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.tap import Tap
from fastmlx.daemon.protocol.wire import Generate, TokenRow
from fastmlx.daemon.supervisor.fair import ANYBODY
from fastmlx.daemon.supervisor.generation import Generation
from fastmlx.daemon.tasks.books import Books
from fastmlx.daemon.tasks.rows import one
from fastmlx.daemon.text.model_text import ModelText
from fastmlx.daemon.text.stream import TextStream


@pytest.fixture
def text(tiny_model: Callable[..., Path]) -> ModelText:
    folder = tiny_model("qwen3")
    return ModelText.load(folder, ModelSpec(path=str(folder)))


class Told:
    """A sequence, what was asked for of it, and what its tap wrote, in one order."""

    def __init__(
        self,
        text: ModelText,
        *,
        stop: tuple[str, ...] = (),
        encode: Callable[[Event], bytes] | None = None,
    ) -> None:
        self.said: list[tuple[str, Event | bytes]] = []
        self.tap = Tap(encode or (lambda event: str(getattr(event, "text", event)).encode()))
        self.aborted: list[int] = []
        self.generation = Generation(
            Generate(7, [1], Sampling(max_tokens=9)),
            lambda generation: self.aborted.append(generation.id),
            ANYBODY,
        )
        self.books = Books("m", RequestMeta(request_id="r", dialect="d"))
        stream = TextStream(0, text, stop=stop)
        self._events = one(self.generation, stream, self.books, self.tap)

    def open(self) -> None:
        self.tap.write = self._take

    def _take(self, frame: bytes) -> bool:
        self.said.append(("written", frame))
        return False

    async def listen(self) -> None:
        async for event in self._events:
            self.said.append(("asked", event))

    async def push(self, token: int, finish: str | None = None) -> None:
        self.generation.push(TokenRow(7, [token], finish))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_an_open_tap_takes_what_comes_between_the_first_and_the_last_row(
    text: ModelText,
) -> None:
    (a,), (b,), (c,), (d,) = map(text.tokenizer.encode, "abcd")
    told = Told(text)
    listening = asyncio.create_task(told.listen())
    await asyncio.sleep(0)
    await told.push(a)
    await told.push(b)  # not open yet
    told.open()
    await told.push(c)
    told.generation.push(TokenRow(7, [c]))
    told.tap.write = None  # its reader lags behind
    await told.push(d)
    told.open()
    await told.push(d, "length")
    await listening
    assert told.said == [
        ("asked", Prefilled(0, 0)),
        ("asked", TextDelta(0, "a")),
        ("asked", TextDelta(0, "b")),
        ("written", b"c"),
        ("written", b"c"),
        ("asked", TextDelta(0, "d")),
        ("asked", TextDelta(0, "d")),
        ("asked", Finished(0, "length")),
    ]
    assert told.books.finish_reason == "length"
    assert not told.aborted


async def test_a_stop_string_that_a_tap_takes_ends_the_sequence(text: ModelText) -> None:
    (a,), (b,) = map(text.tokenizer.encode, "ab")
    told = Told(text, stop=("b",))
    told.open()
    listening = asyncio.create_task(told.listen())
    await asyncio.sleep(0)
    await told.push(a)
    await told.push(b)
    await listening
    assert told.said[-1] == ("written", str(Finished(0, "stop", "b")).encode())
    assert told.books.finish_reason == "stop"
    assert told.aborted == [7]


async def test_what_fails_behind_a_tap_fails_its_own_request(text: ModelText) -> None:
    def encode(_: Event) -> bytes:
        raise ValueError("no frame for that")

    (a,), (b,) = map(text.tokenizer.encode, "ab")
    told = Told(text, encode=encode)
    told.open()
    listening = asyncio.create_task(told.listen())
    await asyncio.sleep(0)
    await told.push(a)
    await told.push(b)
    with pytest.raises(ValueError, match="no frame for that"):
        await listening
    assert told.aborted == [7]
