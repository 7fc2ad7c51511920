"""What Ollama's clients ask about models: /api/tags, /api/ps, /api/show and /api/version.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..hub.catalog import resolve
from ..hub.describe import ModelInfo, describe
from ..protocol.errors import ModelFailed
from ..supervisor.status import State
from ..tasks.lookup import allowed_models, find_model
from .body import convert, read_json
from .ollama_fields import model_name
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ...config.settings import ModelSpec, Settings
    from ..tasks.front import Front

blueprint = Blueprint("ollama_models")

# What of Ollama's API is spoken here. Clients look at it to learn what they may send: Codex wants
# 0.13.4, VS Code 0.6.4.
API_VERSION = "0.13.5"
FOREVER_S = 2.0**63 / 1e9  # Ollama's: the largest number of nanoseconds
# Field of our `sampling:` → Ollama's name for it.
PARAMETERS = {
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "num_predict",
}


class OllamaShowFields(msgspec.Struct, kw_only=True):
    """Newer clients say `model`, older ones `name`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


class OnDisk(NamedTuple):
    """A declared model whose files are here."""

    info: ModelInfo
    digest: str  # changes with the files
    size_bytes: int
    modified_at: str  # RFC 3339


@blueprint.get("/api/version", name="version")
async def version(request: Request) -> HTTPResponse:
    """Ollama: the version of its API that is spoken; `fastmlx` is the program's own."""
    return json_reply({"version": API_VERSION, "fastmlx": request.app.ctx.front.version})


@blueprint.get("/api/tags", name="tags")
async def tags(request: Request) -> HTTPResponse:
    """Ollama: the declared models whose files are on this machine, by every name."""
    front: Front = request.app.ctx.front
    settings = front.config.settings
    found = await asyncio.to_thread(_all_on_disk, settings)
    models = [
        _listed(each, found[name]) for name, each in _names(settings) if found[name] is not None
    ]
    return json_reply({"models": models})


@blueprint.get("/api/ps", name="ps")
async def running(request: Request) -> HTTPResponse:
    """Ollama: the models that are loaded, and when they will be unloaded if nobody asks."""
    front: Front = request.app.ctx.front
    found = await asyncio.to_thread(_all_on_disk, front.config.settings)
    allowed = allowed_models(front.config.settings)
    models: list[dict[str, Any]] = []
    for status in front.supervisor.status():
        on_disk = found.get(status.name)
        if status.name not in allowed:
            continue
        if status.state is not State.READY or on_disk is None:
            continue
        left_s = min(status.idle_timeout_s - (status.idle_s or 0.0), FOREVER_S)
        models.append(
            _listed(status.name, on_disk)
            | {
                "size": status.memory_bytes,
                "size_vram": status.memory_bytes,  # one memory for both
                "expires_at": _timestamp(time.time() + left_s),
                "context_length": status.context,
            }
        )
    return json_reply({"models": models})


@blueprint.post("/api/show", name="show", ctx_body=OllamaShowFields)
async def show(request: Request) -> HTTPResponse:
    """Ollama: what a declared model is and can do."""
    front: Front = request.app.ctx.front
    fields = convert(read_json(request.body), OllamaShowFields)
    settings = front.config.settings
    name, spec = find_model(settings, model_name(settings, fields.model or fields.name))
    on_disk = await asyncio.to_thread(_on_disk, spec)
    text = (await front.generator.side(name)).text
    info, context = on_disk.info, spec.context if isinstance(spec.context, int) else None
    capabilities = await front.capabilities.of({name: spec})
    architecture = info.architecture
    parameters = _parameters(spec)
    return json_reply(
        {
            "modelfile": _modelfile(spec, parameters),
            "parameters": "\n".join(f"{key} {value}" for key, value in parameters.items()),
            "template": text.template,
            "system": spec.system_prompt or "",
            "details": _details(info),
            "model_info": {
                "general.architecture": architecture,
                "general.basename": name,
                f"{architecture}.context_length": context or info.context,
                f"{architecture}.block_count": info.num_layers,
            },
            "capabilities": capabilities[name],
            "modified_at": on_disk.modified_at,
        }
    )


def _names(settings: Settings) -> Iterator[tuple[str, str]]:
    """(declared name, name that a client may use)"""
    for name, spec in allowed_models(settings).items():
        aliases = (alias for alias in spec.aliases if "*" not in alias)
        adapted = (f"{name}:{adapter}" for adapter in spec.named_adapters)
        for each in (name, *aliases, *adapted):
            yield name, each


def _all_on_disk(settings: Settings) -> dict[str, Any]:
    """Blocking. None for models that are not here, or broken."""
    found: dict[str, OnDisk | None] = {}
    for name, spec in settings.models.items():
        try:
            found[name] = _on_disk(spec)
        except ModelFailed:
            found[name] = None
    return found


def _on_disk(spec: ModelSpec) -> OnDisk:
    """Blocking. Raises ModelFailed."""
    info = describe(resolve(spec.path, spec.revision))
    try:
        stats = {path.name: path.stat() for path in sorted(info.folder.iterdir())}
    except OSError as error:
        raise ModelFailed(f"{info.folder} cannot be read: {error.strerror or error}.") from error
    seen = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    return OnDisk(
        info,
        hashlib.sha256(repr(seen).encode()).hexdigest(),
        sum(stat.st_size for stat in stats.values()),
        _timestamp(max(stat.st_mtime for stat in stats.values())),
    )


def _listed(name: str, on_disk: OnDisk) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": on_disk.modified_at,
        "size": on_disk.size_bytes,
        "digest": on_disk.digest,
        "details": _details(on_disk.info),
    }


def _details(info: ModelInfo) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": "",  # headers of packed weights do not say it
        "quantization_level": info.quantization or "",
    }


def _parameters(spec: ModelSpec) -> dict[str, Any]:
    """What config.yaml says about sampling, in Ollama's words."""
    said = spec.sampling.model_dump(exclude_none=True)
    found = {PARAMETERS.get(key, key): value for key, value in said.items()}
    return found | ({"num_ctx": spec.context} if isinstance(spec.context, int) else {})


def _modelfile(spec: ModelSpec, parameters: dict[str, Any]) -> str:
    lines = [f"FROM {spec.path}"]
    lines += [f"PARAMETER {key} {value}" for key, value in parameters.items()]
    if spec.system_prompt:
        lines.append(f'SYSTEM """{spec.system_prompt}"""')
    return "\n".join(lines) + "\n"


def _timestamp(seconds: float) -> str:
    """Since the epoch → RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
