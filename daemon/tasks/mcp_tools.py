"""What this daemon offers other programs as tools, when it is the MCP server: names, schemas, and
doing it. Plain values only; `api.mcp_server` speaks the protocol.
"""

from __future__ import annotations

import time
import uuid
from array import array
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..protocol import caller
from ..protocol.caller import Scope
from ..protocol.errors import BadRequest
from ..protocol.events import Finished, ReasoningDelta, TextDelta, Usage
from ..protocol.requests import ChatRequest, EmbeddingRequest, RequestMeta, SamplingRequest
from ..store import queries
from ..store.database import StoreUnavailable
from .lookup import allowed_models, find_model

if TYPE_CHECKING:
    from .front import Front

DAY_MS = 86_400_000
_TEXT = {"type": "string"}
_MODEL = {"type": "string", "description": "Name or alias of a declared model."}


class Tool(NamedTuple):
    """One tool; `run` gets the front and the arguments, and returns a JSON object."""

    description: str
    properties: dict[str, Any]
    required: tuple[str, ...]
    run: Callable[[Front, dict[str, Any]], Awaitable[dict[str, Any]]]
    read_only: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    model: str


class _Generate(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    prompt: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


class _Embed(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    input: str | list[str]
    dimensions: int | None = None


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    days: float = 1.0


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def _list_models(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    _read(arguments, _Nothing)
    statuses = {status.name: status for status in front.supervisor.status()}
    models = []
    for name, spec in allowed_models(front.config.settings).items():
        status = statuses.get(name)
        models.append(
            {
                "name": name,
                "aliases": list(spec.aliases),
                "path": spec.path,
                "state": str(status.state) if status is not None else "stopped",
                "memory_bytes": None if status is None else status.memory_bytes,
            }
        )
    return {"models": models}


async def _load(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    caller.current().require(Scope.ADMIN)
    name = find_model(front.config.settings, _read(arguments, _Named).model).name
    await front.supervisor.load(name)
    return _state(front, name)


async def _unload(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    caller.current().require(Scope.ADMIN)
    name = find_model(front.config.settings, _read(arguments, _Named).model).name
    await front.supervisor.unload(name)
    return _state(front, name)


def _state(front: Front, name: str) -> dict[str, Any]:
    for status in front.supervisor.status():
        if status.name == name:
            return {"model": name, "state": str(status.state)}
    return {"model": name, "state": "stopped"}


async def _generate(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    asked = _read(arguments, _Generate)
    messages = [{"role": "user", "content": asked.prompt}]
    if asked.system:
        messages.insert(0, {"role": "system", "content": asked.system})
    request = ChatRequest(
        model=asked.model,
        messages=messages,
        sampling=SamplingRequest(max_tokens=asked.max_tokens, temperature=asked.temperature),
        meta=_meta(),
    )
    text: list[str] = []
    reasoning: list[str] = []
    finish_reason, usage = "stop", Usage(prompt_tokens=0, output_tokens=0)
    async with aclosing(front.generator.chat(request)) as events:
        async for event in events:
            match event:
                case TextDelta():
                    text.append(event.text)
                case ReasoningDelta():
                    reasoning.append(event.text)
                case Finished():
                    finish_reason = event.reason
                case Usage():
                    usage = event
    answer: dict[str, Any] = {"text": "".join(text), "finish_reason": finish_reason}
    if reasoning:
        answer["reasoning"] = "".join(reasoning)
    tokens = {"prompt_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
    return answer | {"usage": tokens}


async def _embed(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    asked = _read(arguments, _Embed)
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    vectors = await front.embedder.embed(
        EmbeddingRequest(
            model=asked.model, inputs=[*inputs], dimensions=asked.dimensions, meta=_meta()
        )
    )
    values, width = array("f", vectors.data), vectors.dimensions
    rows = [list(values[i : i + width]) for i in range(0, len(values), width)]
    return {"embeddings": rows, "dimensions": width, "prompt_tokens": vectors.prompt_tokens}


async def _usage(front: Front, arguments: dict[str, Any]) -> dict[str, Any]:
    caller.current().require(Scope.METRICS)
    days = _read(arguments, _Usage).days
    if not 0 < days <= 3650:
        raise BadRequest("days must be more than 0 and at most 3650.", param="days")
    since_ms = int(time.time() * 1000 - days * DAY_MS)
    try:
        totals = await front.store.read(queries.totals, since_ms)
    except StoreUnavailable as error:
        raise BadRequest(f"Usage cannot be read: {error}") from error
    return {"days": days} | totals._asdict()


def _meta() -> RequestMeta:
    return RequestMeta(request_id=f"mcp-{uuid.uuid4().hex}", dialect="mcp")


def _read(arguments: dict[str, Any], shape: type[Any]) -> Any:
    try:
        return msgspec.convert(arguments, shape)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{error}.") from None


TOOLS = {
    "list_models": Tool(
        "The models that this machine serves, and which of them are loaded.",
        {},
        (),
        _list_models,
        read_only=True,
    ),
    "load": Tool("Loads a model into memory.", {"model": _MODEL}, ("model",), _load),
    "unload": Tool(
        "Unloads a model; requests that run on it are ended.",
        {"model": _MODEL},
        ("model",),
        _unload,
    ),
    "generate": Tool(
        "Lets a local model answer a prompt.",
        {
            "model": _MODEL,
            "prompt": _TEXT,
            "system": {"type": "string", "description": "System message."},
            "max_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number", "minimum": 0},
        },
        ("model", "prompt"),
        _generate,
        read_only=True,
    ),
    "embed": Tool(
        "Vectors of texts, by a local embedding model.",
        {
            "model": _MODEL,
            "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
            "dimensions": {"type": "integer", "minimum": 1},
        },
        ("model", "input"),
        _embed,
        read_only=True,
    ),
    "usage": Tool(
        "Requests and tokens of the last days, of all models together.",
        {"days": {"type": "number", "exclusiveMinimum": 0, "default": 1}},
        (),
        _usage,
        read_only=True,
    ),
}
