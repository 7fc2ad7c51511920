"""Requests that want the server to fetch what they name, or to compute for ever."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveDaemon
from traffic import KINDS, ask

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES, OLLAMA = "/v1/responses", "/api/chat"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def http(daemon: LiveDaemon) -> Iterator[httpx.Client]:
    with daemon.http() as http:
        yield http


# ---- what is only named


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """Listens; whoever connects has followed an address that a client gave."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        yield trap


def asks_for(url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of every dialect that may name something to be fetched."""

    def messages(*parts: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": [*parts]}]}

    def said(part: dict[str, Any]) -> dict[str, Any]:
        return {"input": [{"role": "user", "content": [part]}]}

    source = {"type": "url", "url": url}
    schema = {"type": "object", "properties": {"a": {"$ref": f"{url}#/$defs/a"}}}
    yield CHAT, messages({"type": "image_url", "image_url": {"url": url}})
    yield CHAT, messages({"type": "video_url", "video_url": {"url": url}})
    yield CHAT, messages({"type": "audio_url", "audio_url": {"url": url}})
    yield CHAT, messages({"type": "input_audio", "input_audio": {"data": url, "format": "wav"}})
    yield CHAT, messages({"type": "file", "file": {"file_url": url}})
    yield CHAT, {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    yield CHAT, {"response_format": {"type": "json_object", "schema": schema}}
    yield COMPLETIONS, {"prompt": "x", "guided_json": schema}
    yield MESSAGES, messages({"type": "image", "source": source})
    yield MESSAGES, messages({"type": "document", "source": source})
    yield RESPONSES, said({"type": "input_image", "image_url": url})
    yield RESPONSES, said({"type": "input_file", "file_url": url})
    yield RESPONSES, said({"type": "input_audio", "input_audio": {"data": url}})
    yield (
        RESPONSES,
        {
            "input": "x",
            "tools": [{"type": "mcp", "server_label": "sums", "server_url": url}],
        },
    )
    yield OLLAMA, {"messages": [HELLO[0] | {"images": [url]}]}
    yield "/api/generate", {"prompt": "x", "images": [url]}
    yield "/api/pull", {"model": url}
    yield "/api/pull", {"model": url.removeprefix("http://") + "/library/x"}


def test_nothing_that_a_request_names_is_fetched(http: httpx.Client, trap: socket.socket) -> None:
    host, port = trap.getsockname()
    for path, fields in asks_for(f"http://{host}:{port}"):
        body = {"model": "tiny", "max_tokens": 3} | fields
        if path in (CHAT, MESSAGES, OLLAMA):
            body = {"messages": HELLO} | body
        answer = http.post(path, json=body)
        assert answer.status_code == 400, (path, fields, answer.text)
        assert "error" in answer.json()
    with pytest.raises(BlockingIOError):
        trap.accept()


def test_a_picture_in_the_result_of_a_tool_is_left_out_and_not_fetched(
    http: httpx.Client, trap: socket.socket
) -> None:
    host, port = trap.getsockname()
    source = {"type": "url", "url": f"http://{host}:{port}/x.png"}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": source}],
    }
    messages = [
        *HELLO,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    answer = http.post(MESSAGES, json={"model": "tiny", "max_tokens": 3, "messages": messages})
    assert answer.status_code == 200, answer.text
    with pytest.raises(BlockingIOError):
        trap.accept()


# ---- what would take for ever


def doubling(levels: int, *, by: str = "") -> dict[str, Any]:
    """A small schema of 2 ** levels parts."""

    def twice(ref: dict[str, Any]) -> dict[str, Any]:
        if by:
            return {by: [ref, ref]}
        return {"type": "object", "properties": {"a": ref, "b": ref}, "required": ["a", "b"]}

    names = {f"d{n}": twice({"$ref": f"#/$defs/d{n - 1}"}) for n in range(1, levels)}
    return {"$defs": names | {"d0": {"type": "string"}}, "$ref": f"#/$defs/d{levels - 1}"}


def crossed(levels: int) -> dict[str, Any]:
    """Alternatives that have all to be true: their product."""
    any_of = [
        {
            "anyOf": [
                {"type": "object", "properties": {f"{n}{side}{k}": {"type": "integer"}}}
                for side in "abc"
                for k in range(3)
            ]
        }
        for n in range(levels)
    ]
    return {"allOf": any_of}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


LOOP = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}
SCHEMAS: dict[str, Any] = {
    "doubling": doubling(40),
    "doubling anyOf": doubling(24, by="anyOf"),
    "doubling allOf": doubling(24, by="allOf"),
    "doubling oneOf": doubling(24, by="oneOf"),
    "crossed": crossed(12),
    "nested": nested(400),
    "a reference to itself": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "all of itself": LOOP,
    "a large enum": {"enum": [f"the value with the number {n}" for n in range(100_000)]},
    "a long enum": {"enum": [str(n) + "x" * 20_000 for n in range(20)]},
    "many properties": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "maxLength": 50} for n in range(20_000)},
    },
    "a large number of items": {"type": "array", "minItems": 10**9, "items": {"type": "string"}},
    "items of items": {
        "type": "array",
        "maxItems": 10_000,
        "items": {"type": "array", "maxItems": 10_000, "items": {"type": "integer"}},
    },
    "a pattern": {"type": "string", "pattern": "^(((a{0,99}){0,99}){0,99}){0,99}$"},
    "patterns": {
        "type": "object",
        "patternProperties": {f"^(a|b)*a(a|b){{{n}}}$": {"type": "string"} for n in range(16)},
    },
    "a wrong end": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(3000)}
        | {"last": {"type": "strin"}},
    },
}
REGEXES = {
    "quantifiers": "((((a{0,99}){0,99}){0,99}){0,99}){0,99}",
    "states": "(a|b)*a(a|b){40}",
    "a large count": "(((a{1000}){1000}){1000}){1000}",
    "alternatives": "|".join(f"{n}x*y{n}" for n in range(30_000)),
    "parentheses": "(" * 100_000 + "a" + ")" * 100_000,
    "letters": r"(\w{1,500}\s){1,500}",
}
GRAMMARS = {
    "ambiguity": 'start: s\ns: s s | s s s | "a" | ',
    "intersections": "start: T\nT: /(a|b)*a(a|b){20}/ & /(a|b)*b(a|b){23}/ & /(a|b)*b(a|b){19}/",
    "rules": "start: r30\nr0: /[ab]/\n"
    + "\n".join(f"r{n}: r{n - 1} r{n - 1}" for n in range(1, 31)),
    "terminals": "start: R40\nR0: /[ab]/\n"
    + "\n".join(f"R{n}: R{n - 1} R{n - 1}" for n in range(1, 41)),
    "parentheses": "start: " + "(" * 100_000 + '"a"' + ")" * 100_000,
    "repetitions": 'start: ("a"~1..1000)~1..1000',
    "gbnf": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
    "a schema inside": "start: %json " + json.dumps(doubling(40)),
    "itself": 'start: A\nA: A "b"',
}
BOMBS = (
    [(f"schema: {name}", {"guided_json": each}) for name, each in SCHEMAS.items()]
    + [(f"regex: {name}", {"guided_regex": each}) for name, each in REGEXES.items()]
    + [(f"lark: {name}", {"guided_grammar": each}) for name, each in GRAMMARS.items()]
)


async def defused(client: httpx.AsyncClient, name: str, fields: dict[str, Any]) -> None:
    """Refused in a sentence, ended with an error, or followed."""
    body = {"model": "tiny", "prompt": "x", "max_tokens": 10, "temperature": 1, "seed": 1}
    answer = await client.post(COMPLETIONS, json=body | fields)
    said = answer.json()
    if answer.status_code == 200:
        assert said["choices"][0]["finish_reason"] in ("stop", "length"), name
    else:
        assert answer.status_code == 400, (name, answer.text[:500])
        message = said["error"]["message"]
        assert any(each in message for each in ("rammar", "guided", "nested")), (name, message)
        assert len(answer.text) < 2000, name


def test_no_grammar_holds_up_the_server_or_ends_it(daemon: LiveDaemon) -> None:
    async def streams(client: httpx.AsyncClient) -> list[str]:
        asking = (ask(client, kind, "tiny", "Say something", tokens=40) for kind in KINDS)
        return await asyncio.gather(*asking)

    async def all_of_it() -> None:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120) as client:
            undisturbed = await streams(client)
            bombs = asyncio.gather(*(defused(client, name, fields) for name, fields in BOMBS))
            assert await streams(client) == undisturbed
            await bombs
            assert await streams(client) == undisturbed

    before = (daemon.pid, daemon.model("tiny")["restarts"])
    asyncio.run(all_of_it())
    assert (daemon.pid, daemon.model("tiny")["restarts"]) == before
    daemon.wait_until(lambda: daemon.model("tiny")["requests_running"] == 0, 60)
