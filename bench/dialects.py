"""What do other dialects cost the front, beside plain chat?

The same streams of tokens, from the engine without a model that bench/front.py has, asked for in
each dialect with nothing else different. CPU time of the front's process per token: streams of many
tokens less streams of few, so that what a request costs once does not count.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import models
import msgspec
from front import FEW_TOKENS, Process, front_process
from report import Report, arguments, median

STREAMS = 32
AIM = 1.15  # of plain chat
STEP_MS = 20.0


class Dialect(NamedTuple):
    path: str
    body: Callable[[int], dict[str, Any]]  # with so many output tokens
    piece: bytes  # in every frame of text
    end: bytes  # of the whole stream


def _chat(tokens: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": tokens}


DIALECTS = {
    "chat": Dialect(
        "/v1/chat/completions", _chat, b'"delta":{"content":"', b"data: [DONE]\n\n\r\n0\r\n\r\n"
    ),
    "completions": Dialect(
        "/v1/completions",
        lambda tokens: {"prompt": "Hello", "max_tokens": tokens},
        b'"text":"',
        b"data: [DONE]\n\n\r\n0\r\n\r\n",
    ),
    "messages": Dialect(
        "/v1/messages", _chat, b'"type":"text_delta"', b'"message_stop"}\n\n\r\n0\r\n\r\n'
    ),
    "responses": Dialect(
        "/v1/responses",
        lambda tokens: {"input": "Hello", "max_output_tokens": tokens, "store": False},
        b'"type":"response.output_text.delta"',
        b"\n\n\r\n0\r\n\r\n",
    ),
    "ollama": Dialect(
        "/api/chat",
        lambda tokens: {
            "messages": [{"role": "user", "content": "Hello"}],
            "options": {"num_predict": tokens},
        },
        b'"done":false',
        b"\n\r\n0\r\n\r\n",
    ),
}


def read(url: str, dialect: Dialect, tokens: int, pieces: list[int]) -> None:
    """One stream to its end; `pieces` gets its number of frames with text."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    body = msgspec.json.encode({"model": "bench", "stream": True} | dialect.body(tokens))
    head = f"POST {dialect.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    received = bytearray()
    with socket.create_connection((host, port), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        while not received.endswith(dialect.end):
            data = connection.recv(1 << 16)
            if not data:
                raise RuntimeError(f"{dialect.path} ended early: {bytes(received[-300:])!r}")
            received += data
    pieces.append(received.count(dialect.piece))


def cpu_s(front: Process, dialect: Dialect, streams: int, tokens: int) -> float:
    """CPU seconds of the front for so many streams at once."""
    pieces: list[int] = []
    readers = [
        threading.Thread(target=read, args=(front.url, dialect, tokens, pieces))
        for _ in range(streams)
    ]
    before_s = front.cpu_s()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    used_s = front.cpu_s() - before_s
    if len(pieces) < streams or min(pieces) < tokens // 2:
        raise RuntimeError(f"{dialect.path}: streams were cut short: {pieces}")
    return used_s


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200, help="of each stream")
    parser.add_argument("--streams", type=int, default=STREAMS)
    options = parser.parse_args()
    rounds, tokens, streams = options.rounds, options.tokens, options.streams
    if options.quick:
        rounds, tokens, streams = 1, 20, 2
    folder = models.folder_of("smallest" if options.quick else "small")
    report = Report(
        f"CPU time of the front per token at {streams} streams (medians of {rounds} rounds)",
        ("dialect", "µs/token", "aim", "µs/token ÷ chat"),
        BLAS,
        options.quick,
    )
    us: dict[str, list[float]] = {name: [] for name in DIALECTS}
    with front_process(folder, STEP_MS) as front:
        for dialect in DIALECTS.values():  # not timed: templates, first connections
            cpu_s(front, dialect, streams, FEW_TOKENS)
        for _ in range(rounds):
            for name, dialect in DIALECTS.items():
                few_s = cpu_s(front, dialect, streams, FEW_TOKENS)
                many_s = cpu_s(front, dialect, streams, FEW_TOKENS + tokens)
                us[name].append((many_s - few_s) / (streams * tokens) * 1e6)
    chat = median(us["chat"])
    for name, measured in us.items():
        report.add(name, median(measured), AIM, median(measured) / chat)
    report.finish(options.json)


if __name__ == "__main__":
    main()
