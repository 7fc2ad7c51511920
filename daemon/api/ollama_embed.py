"""POST /api/embed and its older form /api/embeddings.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import asyncio
import time
import uuid
from array import array
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.requests import EmbeddingRequest, RequestMeta
from .body import convert, read_json
from .keep_alive import read_keep_alive
from .ollama_fields import model_name, read_options
from .openai_embeddings import LONG_ANSWER, MAX_INPUTS, check_dimensions

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.embed import Vectors
    from ..tasks.front import Front

blueprint = Blueprint("ollama_embed")


class OllamaCommonEmbedFields(msgspec.Struct, kw_only=True):
    model: str
    options: dict[str, Any] | None = None  # those of generation change nothing here
    keep_alive: float | str | None = None


class OllamaEmbedFields(OllamaCommonEmbedFields, kw_only=True):
    input: str | list[str]
    truncate: bool | None = None  # true unless said otherwise: a longer input is cut
    dimensions: int | None = None


class OllamaEmbeddingsFields(OllamaCommonEmbedFields, kw_only=True):
    prompt: str


@blueprint.post("/api/embed", name="embed", ctx_body=OllamaEmbedFields)
async def embed(request: Request) -> HTTPResponse:
    """Ollama: texts as unit vectors."""
    fields = convert(read_json(request.body), OllamaEmbedFields)
    inputs = [fields.input] if isinstance(fields.input, str) else fields.input
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise BadRequest(f"input must have from 1 to {MAX_INPUTS} items.", param="input")
    check_dimensions(fields.dimensions)
    began = time.perf_counter()
    vectors = await _vectors(
        request, fields, inputs, fields.dimensions, truncate=fields.truncate is not False
    )
    answer = {
        "model": fields.model,
        "embeddings": await _lists(vectors),
        "total_duration": round((time.perf_counter() - began) * 1e9),
        "prompt_eval_count": vectors.prompt_tokens,
    }
    return HTTPResponse(msgspec.json.encode(answer), content_type="application/json")


@blueprint.post("/api/embeddings", name="embeddings", ctx_body=OllamaEmbeddingsFields)
async def embeddings(request: Request) -> HTTPResponse:
    """Ollama: one text as a unit vector; the older form of /api/embed."""
    fields = convert(read_json(request.body), OllamaEmbeddingsFields)
    vectors = await _vectors(request, fields, [fields.prompt], None, truncate=True)
    answer = {"embedding": (await _lists(vectors))[0]}
    return HTTPResponse(msgspec.json.encode(answer), content_type="application/json")


async def _vectors(
    request: Request,
    fields: OllamaCommonEmbedFields,
    inputs: list[str],
    dimensions: int | None,
    *,
    truncate: bool,
) -> Vectors:
    front: Front = request.app.ctx.front
    read_options(fields.options)
    asked = EmbeddingRequest(
        model=model_name(front.config.settings, fields.model),
        inputs=list(inputs),
        dimensions=dimensions,
        truncate=truncate,
        keep_alive_s=read_keep_alive(fields.keep_alive),
        meta=RequestMeta(
            request_id=f"ollama-{uuid.uuid4().hex}", dialect="ollama", client=request.ip
        ),
    )
    return await front.embedder.embed(asked)


async def _lists(vectors: Vectors) -> list[list[float]]:
    if len(vectors.data) > LONG_ANSWER:
        return await asyncio.to_thread(_rows, vectors)
    return _rows(vectors)


def _rows(vectors: Vectors) -> list[list[float]]:
    size = 4 * vectors.dimensions
    data = vectors.data
    return [array("f", data[at : at + size]).tolist() for at in range(0, len(data), size)]
