"""Scores: pairs of texts → how well each fits.

find the model → its tokenizer → pairs as token ids, checked against the context → lease → scores
in any case a usage row; a model that makes embeddings answers with the cosine of its vectors
"""

from __future__ import annotations

import asyncio
import math
from array import array
from itertools import chain
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

from ..protocol.errors import BadRequest, ContextTooLong
from ..protocol.requests import EmbeddingRequest, ScoreRequest
from ..text.pairs import pairs_of
from ..text.tokenizer import LONGEST, Pair
from .books import Books
from .lookup import find_model
from .task import Shared, Task
from .texts import ModelSide

if TYPE_CHECKING:
    from .embed import Embedder, Vectors

MAX_TOKENS = 8_000_000  # of all pairs of a request
MANY_PAIRS = 100  # of vectors; a few milliseconds of multiplying


class Scores(NamedTuple):
    scores: list[float]  # of each pair
    prompt_tokens: int


class Ranker(Task):
    """Scores pairs."""

    def __init__(self, shared: Shared, embedder: Embedder) -> None:
        super().__init__(shared)
        self._embedder = embedder

    async def score(self, request: ScoreRequest) -> Scores:
        """Raises FastMLXError. Cancel it to give the request up."""
        books = Books(request.model, request.meta)
        embeds = False
        try:
            name, spec = find_model(self._config.settings, request.model)
            books.model = name
            side = await self._texts.get(name, spec)
            if side.kind == "embedding":
                if request.instruction is not None:
                    raise BadRequest("This model takes no instruction.", param="instruction")
                pairs = await _cut(request, side)
                embeds = True
                return await self._cosines(request, pairs)  # which begins it
            self._begin(request.meta)
            if side.kind != "reranker":
                raise BadRequest(
                    f"{name} compares no texts: it is a {side.kind} model. A model's entry in "
                    "config.yaml may say kind: reranker (Qwen3-Reranker) or kind: embedding.",
                    param="model",
                )
            self._running.add(books)
            limit = side.limit(spec)
            asked = await _made(request, side, limit)
            lasting = self._supervisor.lease(
                name, keep_alive_s=request.keep_alive_s, turn=books.turn
            )
            async with books.using(lasting) as lease:
                if max(len(pair.tokens) for pair in asked.pairs) > lease.ready.context:
                    asked = await _made(request, side, lease.ready.context)
                inputs = [pair.tokens for pair in asked.pairs]
                num_tokens = sum(map(len, inputs))
                seconds = [pair.second for pair in asked.pairs]
                job = lease.score(inputs, seconds, asked.labels)
                books.engine_took_it(num_tokens, [], [job])
                scores = (await job.answer()).scores
            books.finish_reason = "stop"
            return Scores(scores if request.raw else list(map(_sigmoid, scores)), num_tokens)
        except BaseException as error:
            books.failed(error)
            raise
        finally:
            self._running.remove(books)
            if not embeds:  # else the embedder's row is the request's
                self._record(books.row())

    async def _cosines(self, request: ScoreRequest, pairs: list[tuple[str, str]]) -> Scores:
        numbers = {
            text: number for number, text in enumerate(dict.fromkeys(chain.from_iterable(pairs)))
        }
        vectors = await self._embedder.embed(
            EmbeddingRequest(
                model=request.model,
                inputs=list(numbers),
                truncate=request.truncate,
                keep_alive_s=request.keep_alive_s,
                meta=request.meta,
            )
        )
        places = [(numbers[first], numbers[second]) for first, second in pairs]
        if len(places) > MANY_PAIRS:
            return await asyncio.to_thread(_products, places, vectors)
        return _products(places, vectors)


class _Asked(NamedTuple):
    pairs: list[Pair]
    labels: tuple[int, int] | None


async def _made(request: ScoreRequest, side: ModelSide, limit: int | None) -> _Asked:
    """What the model reads, of at most `limit` tokens a pair. Raises ContextTooLong."""
    pairs = await _cut(request, side)
    return await side.work(_length(request), lambda: _make(pairs, request, side, limit))


def _make(
    texts: list[tuple[str, str]], request: ScoreRequest, side: ModelSide, limit: int | None
) -> _Asked:
    form = pairs_of(side.architecture, side.text.tokenizer, request.instruction)
    cut = limit if request.truncate else None
    pairs: list[Pair] = []
    total = 0
    for number, (query, document) in enumerate(texts):
        if limit is not None and cut is None and len(query) + len(document) > limit * LONGEST:
            raise ContextTooLong(
                f"pair {number} has far more than the {limit} tokens that the model reads.",
                num_tokens=(len(query) + len(document)) // LONGEST,
                context=limit,
            )
        pair = form.pair(query, document, cut)
        pairs.append(pair)
        total += len(pair.tokens)
        if total > MAX_TOKENS:
            raise BadRequest(
                f"The pairs have more than {MAX_TOKENS:,} tokens together: a query counts with "
                "each of its documents."
            )
        # At once: a query that is far too long would be read for each of the documents.
        if limit is not None and len(pair.tokens) > limit:
            raise ContextTooLong(
                f"pair {number} has {len(pair.tokens)} tokens, but the model reads at most "
                f"{limit}.",
                num_tokens=len(pair.tokens),
                context=limit,
            )
    return _Asked(pairs, form.labels)


async def _cut(request: ScoreRequest, side: ModelSide) -> list[tuple[str, str]]:
    """The pairs with as much of each document as may be read."""
    most = request.max_document_tokens
    if most is None:
        return request.pairs
    cut = side.text.tokenizer.cut
    return await side.work(
        _length(request),
        lambda: [(query, cut(document, most)) for query, document in request.pairs],
    )


def _length(request: ScoreRequest) -> int:
    return sum(len(query) + len(document) for query, document in request.pairs)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _products(places: list[tuple[int, int]], vectors: Vectors) -> Scores:
    """The cosines of unit vectors."""
    data, width = array("f", vectors.data), vectors.dimensions
    rows = [data[at : at + width] for at in range(0, len(data), width)]
    scores = [sum(map(mul, rows[first], rows[second])) for first, second in places]
    return Scores(scores, vectors.prompt_tokens)
