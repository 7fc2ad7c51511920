"""Requests of every dialect, streamed and whole, whose answers can be compared with each other.

An answer is what the model said: text, thinking and calls, joined. Whatever ends a stream other
than its own end is an error here: a connection that breaks, a missing last event, an error event.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "numbers": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 999},
            "minItems": 12,
            "maxItems": 12,
        },
        "kind": {"enum": ["a", "b", "c"]},
    },
    "required": ["name", "numbers", "kind"],
    "additionalProperties": False,
}
TOOL = {"name": "add", "description": "Adds.", "parameters": SCHEMA}


class Refused(Exception):
    """An error answer or an error event: honest, but no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Kind:
    """One way to ask. `body(prompt, tokens, seed)` has no `model` and no `stream`."""

    name: str
    path: str
    body: Callable[[str, int, int], dict[str, Any]]
    pieces: Callable[[dict[str, Any]], Iterator[str]]  # what an event, or the answer, says
    is_end: Callable[[dict[str, Any]], bool]

    def __str__(self) -> str:
        return self.name


def _said(value: Any, *keys: str) -> Iterator[str]:
    """The texts under these keys, anywhere, in order."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in keys and isinstance(each, str):
                yield each
            else:
                yield from _said(each, *keys)
    elif isinstance(value, list):
        for each in value:
            yield from _said(each, *keys)


def _openai(event: dict[str, Any]) -> Iterator[str]:
    for choice in event.get("choices", []):
        part = choice.get("delta") or choice.get("message") or choice
        for key in ("reasoning_content", "content", "text"):  # as a stream has them
            yield from _said({key: part.get(key)}, key)
        yield from _said(part.get("tool_calls"), "arguments")


def _openai_ends(event: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in event.get("choices", []))


def _anthropic(event: dict[str, Any]) -> Iterator[str]:
    if event.get("type") == "content_block_delta":
        yield from _said(event["delta"], "text", "thinking", "partial_json")
    elif event.get("type") == "message":
        for block in event["content"]:
            yield from _said(block, "text", "thinking")


def _responses(event: dict[str, Any]) -> Iterator[str]:
    if event.get("type", "").endswith((".delta",)):
        yield event["delta"]
    elif event.get("object") == "response":
        yield from _said(event["output"], "text", "arguments")


def _ollama(event: dict[str, Any]) -> Iterator[str]:
    yield from _said(event.get("message", event.get("response")), "content", "thinking")
    if isinstance(event.get("response"), str):
        yield event["response"]
    for call in (event.get("message") or {}).get("tool_calls") or []:
        yield json.dumps(call["function"])


def _chat(**more: Any) -> Callable[[str, int, int], dict[str, Any]]:
    def body(prompt: str, tokens: int, seed: int) -> dict[str, Any]:
        fields = {k: v(seed) if callable(v) else v for k, v in more.items()}
        return {"messages": _asks(prompt), "max_tokens": tokens, "temperature": 0} | fields

    return body


def _asks(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


KINDS = (
    Kind("chat", "/v1/chat/completions", _chat(), _openai, _openai_ends),
    Kind(
        "sampled",
        "/v1/chat/completions",
        _chat(temperature=1.0, top_p=0.95, top_k=40, seed=lambda seed: seed),
        _openai,
        _openai_ends,
    ),
    Kind(
        "schema",
        "/v1/chat/completions",
        _chat(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": SCHEMA, "strict": True},
            },
        ),
        _openai,
        _openai_ends,
    ),
    Kind(
        "tools",
        "/v1/chat/completions",
        _chat(tools=[{"type": "function", "function": TOOL}], tool_choice="required"),
        _openai,
        _openai_ends,
    ),
    Kind(
        "completion",
        "/v1/completions",
        lambda prompt, tokens, seed: {"prompt": prompt, "max_tokens": tokens, "temperature": 0},
        _openai,
        _openai_ends,
    ),
    Kind(
        "message",
        "/v1/messages",
        lambda prompt, tokens, seed: {
            "messages": _asks(prompt),
            "max_tokens": tokens,
            "temperature": 0,
        },
        _anthropic,
        lambda event: event.get("type") in ("message_stop", "message"),
    ),
    Kind(
        "response",
        "/v1/responses",
        lambda prompt, tokens, seed: {
            "input": prompt,
            "max_output_tokens": max(16, tokens),
            "temperature": 0,
            "store": False,
        },
        _responses,
        lambda event: (
            event.get("type") in ("response.completed", "response.incomplete")
            or event.get("object") == "response"
        ),
    ),
    Kind(
        "ollama",
        "/api/chat",
        lambda prompt, tokens, seed: {
            "messages": _asks(prompt),
            "options": {"num_predict": tokens, "temperature": 0},
        },
        _ollama,
        lambda event: event.get("done") is True,
    ),
)


def _also(base: str, way: str, **fields: Any) -> Kind:
    """Another way to ask in the dialect of this kind."""
    kind = next(kind for kind in KINDS if kind.name == base)

    def body(prompt: str, tokens: int, seed: int) -> dict[str, Any]:
        return _merged(kind.body(prompt, tokens, seed), fields)

    return replace(kind, name=f"{base} {way}", body=body)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(old.get(k), dict)}
    return old | new | both


_FORMAT = {"type": "json_schema", "schema": SCHEMA}
_TOOL = {"name": "add", "description": "Adds.", "input_schema": SCHEMA}
# Sampled, with a schema and with tools in the other dialects. Messages and Responses know no seed:
# that of the model's entry counts.
EVERY_KIND = (
    *KINDS,
    _also("completion", "sampled", temperature=1, top_p=0.95, seed=5),
    _also("completion", "schema", guided_json=SCHEMA),
    _also("message", "sampled", temperature=1, top_p=0.95),
    _also("message", "schema", output_config={"format": _FORMAT}),
    _also("message", "tools", tools=[_TOOL], tool_choice={"type": "any"}),
    _also("response", "sampled", temperature=1, top_p=0.95),
    _also("response", "schema", text={"format": _FORMAT | {"name": "s", "strict": True}}),
    _also("response", "tools", tools=[{"type": "function", **TOOL}], tool_choice="required"),
    _also("ollama", "sampled", options={"temperature": 1, "top_k": 40, "seed": 5}),
    _also("ollama", "schema", format=SCHEMA),
    _also("ollama", "tools", tools=[{"type": "function", "function": TOOL}]),  # it demands none
)


async def ask(
    client: httpx.AsyncClient,
    kind: Kind,
    model: str,
    prompt: str,
    *,
    tokens: int,
    seed: int = 1,
    stream: bool = True,
    on_piece: Callable[[], None] | None = None,
) -> str:
    """The whole answer. Raises Refused, or httpx.TransportError; AssertionError when a stream ends
    without its last event."""
    body = {"model": model, "stream": stream} | kind.body(prompt, tokens, seed)
    said: list[str] = []
    ended = False
    async with client.stream("POST", kind.path, json=body) as response:
        if response.status_code != 200:
            raise Refused(response.status_code, (await response.aread()).decode())
        async for event in _events(response, stream):
            if error := _error(event):
                raise Refused(200, json.dumps(error))
            said += kind.pieces(event)
            if on_piece is not None:
                on_piece()
            ended = ended or kind.is_end(event)
    assert ended, f"{kind.name} ended without its end: {''.join(said)[-200:]}"
    return "".join(said)


def _error(event: dict[str, Any]) -> Any:
    """What is wrong, by an event of any dialect; None when nothing is."""
    response = event.get("response")  # of Responses an object, of Ollama a text
    inner = response.get("error") if isinstance(response, dict) else None
    return event.get("error") or inner


async def _events(response: httpx.Response, stream: bool) -> AsyncIterator[dict[str, Any]]:
    if not stream:
        yield json.loads(await response.aread())
        return
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if data.startswith("{"):
            yield json.loads(data)
