"""POST /v1/embeddings: texts or token ids → unit vectors.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import asyncio
import base64
import sys
import uuid
from array import array
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.requests import EmbeddingRequest, RequestMeta
from .body import convert, is_null, read_json, refuse
from .keep_alive import KEPT, read_kept
from .openai_fields import check_model

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.embed import Vectors
    from ..tasks.front import Front

blueprint = Blueprint("openai_embeddings")

MAX_INPUTS = 2048  # OpenAI's limit
MAX_DIMENSIONS = 1 << 16
LONG_ANSWER = 1 << 18  # bytes of vectors; a few milliseconds of encoding
UNSUPPORTED = {
    "truncate_prompt_tokens": is_null,
    "messages": is_null,
    "embed_dtype": is_null,
}


class EmbeddingFields(msgspec.Struct, kw_only=True):
    model: str
    input: Any
    encoding_format: str | None = None
    dimensions: int | None = None


class Embeddings(msgspec.Struct):
    """A request and how it wants to be answered."""

    request: EmbeddingRequest
    base64: bool


def read_embeddings(body: bytes, *, client: str | None = None) -> Embeddings:
    """The body of a POST as a request. Raises BadRequest."""
    raw = read_json(body)
    fields = convert(raw, EmbeddingFields)
    refuse(raw, UNSUPPORTED)
    if fields.encoding_format not in (None, "float", "base64"):
        raise BadRequest("encoding_format must be float or base64.", param="encoding_format")
    check_dimensions(fields.dimensions)
    return Embeddings(
        request=EmbeddingRequest(
            model=check_model(fields.model),
            inputs=_inputs(fields.input),
            dimensions=fields.dimensions,
            keep_alive_s=read_kept(raw),
            meta=RequestMeta(
                request_id=f"embd-{uuid.uuid4().hex}", dialect="openai_embeddings", client=client
            ),
        ),
        base64=fields.encoding_format == "base64",
    )


def check_dimensions(dimensions: int | None) -> None:
    """Raises BadRequest for a number that no vector has."""
    if dimensions is not None and not 1 <= dimensions <= MAX_DIMENSIONS:
        raise BadRequest("dimensions must be at least 1.", param="dimensions")


def _inputs(given: Any) -> list[str | list[int]]:
    """`input` in its four forms: text, token ids, a list of texts, a list of lists of ids."""
    inputs: list[Any] = given if isinstance(given, list) and not _are_tokens(given) else [given]
    if not all(each and (isinstance(each, str) or _are_tokens(each)) for each in inputs):
        raise BadRequest(
            "input must be text, a list of token ids, or a list of one of these; none may be "
            "empty.",
            param="input",
        )
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise BadRequest(f"input must have from 1 to {MAX_INPUTS} items.", param="input")
    return inputs


def _are_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(token) is int and 0 <= token < 2**31 for token in value)
    )


def _body(asked: Embeddings, vectors: Vectors) -> bytes:
    size = 4 * vectors.dimensions
    rows = [vectors.data[at : at + size] for at in range(0, len(vectors.data), size)]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _base64(row) if asked.base64 else array("f", row).tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": vectors.prompt_tokens, "total_tokens": vectors.prompt_tokens}
    return msgspec.json.encode(
        {"object": "list", "data": data, "model": asked.request.model, "usage": usage}
    )


def _base64(row: bytes) -> str:
    if sys.byteorder == "big":  # clients expect little-endian numbers
        swapped = array("f", row)
        swapped.byteswap()
        row = swapped.tobytes()
    return base64.b64encode(row).decode()


@blueprint.post(
    "/v1/embeddings",
    name="embeddings",
    ctx_body=EmbeddingFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_raw=KEPT,
)
async def embeddings(request: Request) -> HTTPResponse:
    front: Front = request.app.ctx.front
    asked = read_embeddings(request.body, client=request.ip)
    vectors = await front.embedder.embed(asked.request)
    if len(vectors.data) > LONG_ANSWER:
        body = await asyncio.to_thread(_body, asked, vectors)
    else:
        body = _body(asked, vectors)
    return HTTPResponse(body, content_type="application/json")
