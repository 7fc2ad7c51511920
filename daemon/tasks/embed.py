"""Embeddings: texts → vectors.

find the model → its tokenizer → token ids, checked against the context → lease → vectors
in any case a usage row
"""

from __future__ import annotations

from typing import NamedTuple

from ..protocol.errors import BadRequest, ContextTooLong
from ..protocol.requests import EmbeddingRequest
from ..text.tokenizer import LONGEST
from .books import Books
from .lookup import find_model
from .task import Task
from .texts import ModelSide

MAX_INPUTS = 10_001  # a query and its documents: their vectors come in one message


class Vectors(NamedTuple):
    """One unit vector an input."""

    data: bytes  # float32 in the machine's byte order, one vector after the other
    dimensions: int
    prompt_tokens: int


class Embedder(Task):
    """Makes embeddings."""

    async def embed(self, request: EmbeddingRequest) -> Vectors:
        """Raises FastMLXError. Cancel it to give the request up."""
        books = Books(request.model, request.meta)
        self._running.add(books)
        try:
            self._begin(request.meta)
            if len(request.inputs) > MAX_INPUTS:
                raise BadRequest(f"There are more than {MAX_INPUTS:,} inputs.", param="input")
            name, spec = find_model(self._config.settings, request.model)
            books.model = name
            side = await self._texts.get(name, spec)
            if side.kind != "embedding":
                raise BadRequest(
                    f"{name} makes no embeddings: it is a {side.kind} model. A model's entry in "
                    "config.yaml may say kind: embedding.",
                    param="model",
                )
            length = sum(map(len, request.inputs))
            inputs = await side.work(length, lambda: _tokens(request, side))
            context = side.limit(spec)
            inputs = _fitted(inputs, context, request, side)
            lasting = self._supervisor.lease(
                name, keep_alive_s=request.keep_alive_s, turn=books.turn
            )
            async with books.using(lasting) as lease:
                inputs = _fitted(inputs, lease.ready.context, request, side)
                num_tokens = sum(map(len, inputs))
                job = lease.embed(inputs, request.dimensions)
                books.engine_took_it(num_tokens, [], [job])
                answer = await job.answer()
            if request.dimensions is not None and answer.dimensions < request.dimensions:
                raise BadRequest(
                    f"dimensions must be at most {answer.dimensions}, the model's own.",
                    param="dimensions",
                )
            books.finish_reason = "stop"
            return Vectors(answer.vectors, answer.dimensions, num_tokens)
        except BaseException as error:
            books.failed(error)
            raise
        finally:
            self._running.remove(books)
            self._record(books.row())


def _tokens(request: EmbeddingRequest, side: ModelSide) -> list[list[int]]:
    """With the special tokens that the model's tokenizer adds: its vector may be theirs."""
    encode = side.text.tokenizer.encode
    # What is cut away need not be read.
    most = side.context * LONGEST if request.truncate and side.context else None
    inputs = [
        encode(given[:most], add_special_tokens=True) if isinstance(given, str) else given
        for given in request.inputs
    ]
    for number, tokens in enumerate(inputs):
        if not tokens:
            raise BadRequest(f"input {number} is empty.", param="input")
    return inputs


def _fitted(
    inputs: list[list[int]], context: int | None, request: EmbeddingRequest, side: ModelSide
) -> list[list[int]]:
    """Inputs of at most `context` tokens. Raises ContextTooLong, unless they may be cut; the
    special token at the end, which the vector may be of, then stays."""
    if not request.truncate or context is None:
        _check_lengths(inputs, context)
        return inputs
    end = side.text.tokenizer.encode("", add_special_tokens=True)[-1:]
    return [
        tokens
        if len(tokens) <= context
        else [*tokens[: context - 1], tokens[-1]]
        if tokens[-1:] == end
        else tokens[:context]
        for tokens in inputs
    ]


def _check_lengths(inputs: list[list[int]], context: int | None) -> None:
    for number, tokens in enumerate(inputs):
        if context is not None and len(tokens) > context:
            raise ContextTooLong(
                f"input {number} has {len(tokens)} tokens, but the model reads at most {context}.",
                param="input",
                num_tokens=len(tokens),
                context=context,
            )
