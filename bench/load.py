"""A load generator that costs little: one loop over raw sockets, time stamps now, parsing when all
is over.

Every client connects, asks for a chat completion, reads to the end, and does it again.
Connections are not reused, so that servers with and without keep-alive are asked alike.
"""

from __future__ import annotations

import bisect
import itertools
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
from report import percentile

# Prompts differ from their first word on: a prefix cache finds only the template's first tokens.
_TOPICS = ("rivers", "bridges", "kettles", "lanterns", "harbours", "violins", "orchards", "maps")


@dataclass(frozen=True)
class Plan:
    """What every client does: `requests` one after the other, `tokens` output tokens each."""

    model: str
    clients: int
    requests: int
    tokens: int
    sampling: dict[str, Any] = field(default_factory=lambda: {"temperature": 0.0})
    salt: int = 0  # another salt, other prompts
    stream: bool = True

    def prompt(self, client: int, number: int) -> str:
        serial = (self.salt * 1000 + number) * 1000 + client
        topic = _TOPICS[serial % len(_TOPICS)]
        return f"{serial}: tell me a long story about {topic} and {serial * 7919 % 100_003} cats."

    def body(self, client: int, number: int) -> bytes:
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.prompt(client, number)}],
            "max_tokens": self.tokens,
            "ignore_eos": True,
            **self.sampling,
        }
        if self.stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        return msgspec.json.encode(request)


@dataclass(frozen=True)
class Measured:
    """What the clients saw. Times in seconds."""

    seconds: float  # from the first request to the last byte
    output_tokens: int  # as the servers' usage says
    ttft_s: Sequence[float]  # connect to first text (whole answer, if not streamed), one a request
    itl_s: Sequence[float]  # gaps between chunks with text
    errors: Sequence[str]

    @property
    def tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds

    def ttft_ms(self, percent: float) -> float:
        return percentile(self.ttft_s, percent) * 1000

    def itl_ms(self, percent: float) -> float:
        return percentile(self.itl_s, percent) * 1000


class _Answer:
    """One request on one connection; keeps all bytes and when they came."""

    __slots__ = ("data", "ends", "error", "started", "times")

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.data = bytearray()
        self.ends: list[int] = []  # size of `data` after each read
        self.times: list[float] = []
        self.error: str | None = None


class _Client:
    """Its requests one after the other: one connection, and so one socket, each."""

    def __init__(
        self, selector: selectors.BaseSelector, address: Any, requests: list[bytes]
    ) -> None:
        self._selector = selector
        self._address = address  # as socket.getaddrinfo gives it
        self._requests = iter(requests)
        self._socket: socket.socket | None = None
        self._unsent = memoryview(b"")
        self.answers: list[_Answer] = []

    def ask(self) -> bool:
        """The next request begins; False when there are no more."""
        request = next(self._requests, None)
        if request is None:
            return False
        self.answers.append(_Answer())
        self._unsent = memoryview(request)
        self._socket = asking = socket.socket(self._address[0], socket.SOCK_STREAM)
        asking.setblocking(False)
        asking.connect_ex(self._address[4])
        self._selector.register(asking, selectors.EVENT_WRITE, self)
        return True

    def ready(self) -> bool:
        """Something can be written or read; whether the answer is over."""
        asking, answer = self._socket, self.answers[-1]
        assert asking is not None
        try:
            if self._unsent:
                self._unsent = self._unsent[asking.send(self._unsent) :]
                if not self._unsent:
                    self._selector.modify(asking, selectors.EVENT_READ, self)
                return False
            data = asking.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError as error:
            answer.error = str(error)
            data = b""
        if data:
            answer.times.append(time.perf_counter())
            answer.data += data
            answer.ends.append(len(answer.data))
            return False
        self._close()
        return True

    def give_up(self) -> None:
        self.answers[-1].error = "no complete answer in time"
        self._close()

    def _close(self) -> None:
        assert self._socket is not None
        self._selector.unregister(self._socket)
        self._socket.close()


def run(url: str, plan: Plan, *, timeout_s: float = 300.0) -> Measured:
    """Carries out the plan against the server at `url`. What is not complete after `timeout_s` is
    an error."""
    address = urlsplit(url)
    assert address.hostname is not None
    host, port = address.hostname, address.port or 80
    target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    requests = [
        [_http(host, port, plan.body(client, number)) for number in range(plan.requests)]
        for client in range(plan.clients)
    ]
    with selectors.DefaultSelector() as selector:
        clients = [_Client(selector, target, messages) for messages in requests]
        start = time.perf_counter()
        _drive(selector, clients, start + timeout_s)
    answers = [answer for client in clients for answer in client.answers]
    end = max((answer.times[-1] for answer in answers if answer.times), default=start)
    return _measured(answers, plan, end - start)


def _drive(selector: selectors.BaseSelector, clients: list[_Client], deadline: float) -> None:
    asking = sum([client.ask() for client in clients])
    while asking:
        left_s = deadline - time.perf_counter()
        if left_s <= 0:
            for key in list(selector.get_map().values()):
                key.data.give_up()
            return
        for key, _ in selector.select(left_s):
            if key.data.ready() and not key.data.ask():
                asking -= 1


def _http(host: str, port: int, body: bytes) -> bytes:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {host}:{port}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


# ---- after the clock has stopped


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Usage(msgspec.Struct):
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


_chunk = msgspec.json.Decoder(_Chunk)


def _measured(answers: list[_Answer], plan: Plan, seconds: float) -> Measured:
    ttft_s: list[float] = []
    itl_s: list[float] = []
    errors: list[str] = []
    output_tokens = 0
    for answer in answers:
        error, tokens, times = answer.error, 0, []
        if error is None:
            parse = _parsed if plan.stream else _parsed_whole
            error, tokens, times = parse(answer)
        if error is None and tokens != plan.tokens:
            error = f"{tokens} tokens instead of {plan.tokens}"
        if error is not None:
            errors.append(error)
        output_tokens += tokens
        if times:
            ttft_s.append(times[0] - answer.started)
            itl_s += [later - earlier for earlier, later in itertools.pairwise(times)]
    return Measured(seconds, output_tokens, ttft_s, itl_s, errors)


def _parsed(answer: _Answer) -> tuple[str | None, int, list[float]]:
    """(error, output tokens, when each chunk with text had arrived)."""
    data = bytes(answer.data)
    if b" 200 " not in data[:16]:
        return data[:400].decode(errors="replace") or "no answer", 0, []
    tokens = 0
    times: list[float] = []
    position = 0
    while (position := data.find(b"data: {", position)) >= 0:
        end = data.index(b"\n", position)
        try:
            chunk = _chunk.decode(data[position + 6 : end])
        except msgspec.DecodeError as error:
            return f"{error}: {data[position:end]!r}", tokens, times
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
        if any(_has_text(choice.delta) for choice in chunk.choices):
            times.append(answer.times[bisect.bisect_left(answer.ends, end)])
        position = end
    return None, tokens, times


def _parsed_whole(answer: _Answer) -> tuple[str | None, int, list[float]]:
    """The same of an answer that is not streamed."""
    data = bytes(answer.data)
    if b" 200 " not in data[:16]:
        return data[:400].decode(errors="replace") or "no answer", 0, []
    try:
        # From brace to brace: the body may be one chunk of chunked encoding.
        usage = _chunk.decode(data[data.find(b"{") : data.rfind(b"}") + 1]).usage
    except msgspec.DecodeError as error:
        return f"{error}: {data!r}", 0, []
    return None, usage.completion_tokens if usage else 0, answer.times[-1:]


def _has_text(delta: _Delta) -> bool:
    return bool(delta.content or delta.reasoning or delta.reasoning_content)
