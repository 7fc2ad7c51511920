"""The embedding engine without its socket: requests in, vectors out, one batch a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from ...protocol.wire import Embed, Embedded, Rejected, Stats
from ..runners.embedding import EmbeddingRunner, normalized
from .batches import next_batch


@dataclass(eq=False)
class _Request:
    message: Embed
    left: int  # inputs that are not computed
    vectors: list[mx.array | None] = field(default_factory=list)


class EmbeddingCore:
    """Inputs of all requests share batches, first come first served. Everything on one thread."""

    def __init__(self, runner: EmbeddingRunner, *, vocab_size: int, context: int) -> None:
        self._runner = runner
        self._vocab_size = vocab_size
        self._context = context
        self._requests: dict[int, _Request] = {}
        self._waiting: list[tuple[int, int]] = []  # (request, number of its input)
        self._steps = 0
        self._prompt_tokens = 0

    @property
    def idle(self) -> bool:
        return not self._waiting

    def add(self, message: Embed) -> Rejected | None:
        """Queues a request, or says why not."""
        fault = self._fault(message)
        if fault is not None:
            return Rejected(message.id, fault, bad_request=True)
        count = len(message.inputs)
        self._requests[message.id] = _Request(message, count, [None] * count)
        self._waiting += [(message.id, number) for number in range(count)]
        return None

    def _fault(self, message: Embed) -> str | None:
        if not message.inputs:
            return "there is no input"
        for number, tokens in enumerate(message.inputs):
            if not tokens:
                return f"input {number} is empty"
            if len(tokens) > self._context:
                return f"input {number} has {len(tokens)} tokens; {self._context} fit"
            if not (min(tokens) >= 0 and max(tokens) < self._vocab_size):
                return f"token ids must be from 0 to {self._vocab_size - 1}"
        return None

    def abort(self, request_id: int) -> None:
        """Forgets the request. Unknown ids are ignored."""
        if self._requests.pop(request_id, None) is not None:
            self._waiting = [each for each in self._waiting if each[0] != request_id]

    def step(self) -> list[Embedded]:
        """Computes one batch; returns the requests that it completed."""
        inputs = [self._requests[owner].message.inputs[number] for owner, number in self._waiting]
        chosen = next_batch([len(tokens) for tokens in inputs])
        vectors = self._runner.embed([inputs[index] for index in chosen])
        mx.eval(vectors)
        self._steps += 1
        self._prompt_tokens += sum(len(inputs[index]) for index in chosen)
        done: list[Embedded] = []
        for row, index in enumerate(chosen):
            owner, number = self._waiting[index]
            request = self._requests[owner]
            request.vectors[number] = vectors[row]
            request.left -= 1
            if not request.left:
                del self._requests[owner]
                done.append(_answer(request))
        taken = set(chosen)
        self._waiting = [each for i, each in enumerate(self._waiting) if i not in taken]
        return done

    def stats(self) -> Stats:
        """The books."""
        return Stats(
            running=len(self._requests),
            waiting=0,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
            kv_bytes=0,
            kv_tokens=0,
            steps=self._steps,
            output_tokens=0,
            prompt_tokens=self._prompt_tokens,
        )


def _answer(request: _Request) -> Embedded:
    message = request.message
    rows = [vector for vector in request.vectors if vector is not None]
    vectors = normalized(mx.stack(rows), message.dimensions)
    data: Any = vectors  # it has the buffer protocol
    return Embedded(message.id, vectors.shape[1], bytes(memoryview(data)))
