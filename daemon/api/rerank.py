"""POST /v1/rerank and /v2/rerank, in which Cohere's and Jina's clients find their fields, and
vLLM's /v1/score.

Sources: https://docs.cohere.com/reference/rerank, https://jina.ai/reranker,
https://docs.vllm.ai/en/latest/models/pooling_models/scoring.html
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.requests import RequestMeta, ScoreRequest
from .body import convert, is_null, one_of, read_json, refuse
from .keep_alive import KEPT, read_kept
from .openai_fields import check_model
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front
    from ..tasks.rerank import Scores

blueprint = Blueprint("rerank")

MAX_DOCUMENTS = 10_000  # Cohere's limit
MAX_TOKENS = 1 << 20
UNSUPPORTED = {
    "rank_fields": one_of(["text"]),
    "max_chunks_per_doc": one_of(1),
    "return_embeddings": one_of(False),
    "softmax": one_of(True),
    "mm_processor_kwargs": is_null,
}


class RerankFields(msgspec.Struct, kw_only=True):
    model: str
    query: Any  # text, or an object with a text
    documents: list[Any]
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    instruction: str | None = None
    use_activation: bool | None = None
    activation: bool | None = None


class ScoreFields(msgspec.Struct, kw_only=True):
    model: str
    text_1: str | list[str]
    text_2: str | list[str]
    instruction: str | None = None
    truncate_prompt_tokens: int | None = None
    use_activation: bool | None = None
    activation: bool | None = None


class Rerank(msgspec.Struct):
    """A request and how it wants to be answered."""

    request: ScoreRequest
    documents: list[Any]  # as they came
    top_n: int
    with_documents: bool


def read_rerank(body: bytes, *, client: str | None = None) -> Rerank:
    """The body of a POST as a request. Raises BadRequest."""
    raw = read_json(body)
    fields = convert(raw, RerankFields)
    refuse(raw, UNSUPPORTED | {"truncate_prompt_tokens": is_null, "truncation": one_of(True)})
    if not 1 <= len(fields.documents) <= MAX_DOCUMENTS:
        raise BadRequest(f"documents must have from 1 to {MAX_DOCUMENTS} items.", param="documents")
    if fields.top_n is not None and fields.top_n < 1:
        raise BadRequest("top_n must be at least 1.", param="top_n")
    most = fields.max_tokens_per_doc
    if most is not None and not 1 <= most <= MAX_TOKENS:
        raise BadRequest("max_tokens_per_doc must be at least 1.", param="max_tokens_per_doc")
    query = _text(fields.query, "query")
    if not query:
        raise BadRequest("query must not be empty.", param="query")
    texts = [_text(each, f"documents[{index}]") for index, each in enumerate(fields.documents)]
    return Rerank(
        ScoreRequest(
            model=check_model(fields.model),
            pairs=[(query, text) for text in texts],
            instruction=fields.instruction,
            truncate=True,
            max_document_tokens=most,
            raw=_raw(fields),
            keep_alive_s=read_kept(raw),
            meta=_meta("rerank", client),
        ),
        fields.documents,
        top_n=len(texts) if fields.top_n is None else fields.top_n,
        with_documents=bool(fields.return_documents),
    )


def read_score(body: bytes, *, client: str | None = None) -> ScoreRequest:
    """The body of a POST as a request. Raises BadRequest."""
    raw = read_json(body)
    fields = convert(raw, ScoreFields)
    refuse(raw, UNSUPPORTED)
    if fields.truncate_prompt_tokens not in (None, -1):
        raise BadRequest(
            "truncate_prompt_tokens must be -1 (what does not fit is cut off) or null.",
            param="truncate_prompt_tokens",
        )
    second = [fields.text_2] if isinstance(fields.text_2, str) else fields.text_2
    first = [fields.text_1] if isinstance(fields.text_1, str) else fields.text_1
    if not 1 <= len(second) <= MAX_DOCUMENTS:
        raise BadRequest(f"text_2 must have from 1 to {MAX_DOCUMENTS} items.", param="text_2")
    if len(first) not in (1, len(second)):
        raise BadRequest("text_1 must be one text, or as many as text_2.", param="text_1")
    for param, texts in (("text_1", first), ("text_2", second)):
        if not all(texts):
            raise BadRequest(f"{param} must not be empty.", param=param)
    if len(first) == 1:
        first = first * len(second)
    return ScoreRequest(
        model=check_model(fields.model),
        pairs=list(zip(first, second, strict=True)),
        instruction=fields.instruction,
        truncate=fields.truncate_prompt_tokens == -1,
        raw=_raw(fields),
        keep_alive_s=read_kept(raw),
        meta=_meta("score", client),
    )


def _text(given: Any, param: str) -> str:
    text = given.get("text") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise BadRequest(f"{param} must be text, or an object with a text.", param=param)
    return text


def _raw(fields: RerankFields | ScoreFields) -> bool:
    """vLLM: without the activation, a score is what the model's last layer says."""
    return fields.use_activation is False or fields.activation is False


def _meta(dialect: str, client: str | None) -> RequestMeta:
    return RequestMeta(request_id=f"{dialect}-{uuid.uuid4().hex}", dialect=dialect, client=client)


def rerank_body(asked: Rerank, found: Scores, version: str) -> dict[str, Any]:
    """The best first; of equals, the one that came first."""
    order = sorted(range(len(found.scores)), key=lambda index: -found.scores[index])
    results: list[dict[str, Any]] = []
    for index in order[: asked.top_n]:
        result: dict[str, Any] = {"index": index, "relevance_score": found.scores[index]}
        if asked.with_documents:
            given = asked.documents[index]
            result["document"] = given if isinstance(given, dict) else {"text": given}
        results.append(result)
    tokens = found.prompt_tokens
    return {
        "id": asked.request.meta.request_id,
        "model": asked.request.model,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        },
    }


async def _rerank(request: Request, version: str) -> HTTPResponse:
    front: Front = request.app.ctx.front
    asked = read_rerank(request.body, client=request.ip)
    return json_reply(rerank_body(asked, await front.ranker.score(asked.request), version))


@blueprint.post(
    "/v1/rerank",
    name="rerank_v1",
    ctx_body=RerankFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_raw=KEPT,
)
async def rerank_v1(request: Request) -> HTTPResponse:
    """Cohere, Jina: documents in the order in which they answer a query."""
    return await _rerank(request, "1")


@blueprint.post(
    "/v2/rerank",
    name="rerank_v2",
    ctx_body=RerankFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_raw=KEPT,
)
async def rerank_v2(request: Request) -> HTTPResponse:
    """Cohere, Jina: documents in the order in which they answer a query."""
    return await _rerank(request, "2")


@blueprint.post(
    "/v1/score",
    name="score",
    ctx_body=ScoreFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_raw=KEPT,
)
async def score(request: Request) -> HTTPResponse:
    """vLLM: how well the texts of each pair fit."""
    front: Front = request.app.ctx.front
    asked = read_score(request.body, client=request.ip)
    found = await front.ranker.score(asked)
    tokens = found.prompt_tokens
    return json_reply(
        {
            "id": asked.meta.request_id,
            "object": "list",
            "created": int(time.time()),
            "model": asked.model,
            "data": [
                {"index": index, "object": "score", "score": value}
                for index, value in enumerate(found.scores)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }
    )
