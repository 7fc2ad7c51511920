"""The embedding engine without its socket: requests in, vectors or scores out, a batch a step."""

from __future__ import annotations

from dataclasses import dataclass, field

import mlx.core as mx

from ...protocol.wire import Embed, Embedded, Rejected, Score, Scored, Stats
from ..runners.embedding import EmbeddingRunner
from ..runners.reranker import RerankerRunner
from .batches import Input, next_batch


@dataclass(eq=False)
class _Request:
    message: Embed | Score
    inputs: list[Input]
    left: int  # inputs that are not computed
    rows: list[mx.array] = field(default_factory=list)  # results; empty before they are computed
    served: int = -1  # the last step that computed some of it


class EmbeddingCore:
    """Inputs of all requests share batches. Each begins with an input of the request that was
    served longest ago: who asks for little does not wait for who asks for much. Everything on one
    thread."""

    def __init__(
        self, runner: EmbeddingRunner | RerankerRunner, *, vocab_size: int, context: int
    ) -> None:
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

    def add(self, message: Embed | Score) -> Rejected | None:
        """Queues a request, or says why not."""
        inputs = self._runner.inputs(message)
        if inputs is None:
            return Rejected(message.id, "this model does not do that", bad_request=True)
        fault = self._fault(inputs)
        if fault is not None:
            return Rejected(message.id, fault, bad_request=True)
        count = len(inputs)
        self._requests[message.id] = _Request(message, inputs, count, [mx.array(0.0)] * count)
        self._waiting += [(message.id, number) for number in range(count)]
        return None

    def _fault(self, inputs: list[Input]) -> str | None:
        if not inputs:
            return "there is no input"
        for number, (tokens, _, labels) in enumerate(inputs):
            if not tokens:
                return f"input {number} is empty"
            if len(tokens) > self._context:
                return f"input {number} has {len(tokens)} tokens; {self._context} fit"
            ids = (*tokens, *(labels or ()))
            if not (min(ids) >= 0 and max(ids) < self._vocab_size):
                return f"token ids must be from 0 to {self._vocab_size - 1}"
        return None

    def abort(self, request_id: int) -> None:
        """Forgets the request. Unknown ids are ignored."""
        if self._requests.pop(request_id, None) is not None:
            self._waiting = [each for each in self._waiting if each[0] != request_id]

    def step(self) -> list[Embedded | Scored]:
        """Computes one batch; returns the requests that it completed."""
        turn = min(self._waiting, key=lambda each: self._requests[each[0]].served)
        self._waiting.remove(turn)
        self._waiting.insert(0, turn)
        inputs = [self._requests[owner].inputs[number] for owner, number in self._waiting]
        chosen = next_batch([len(each.tokens) for each in inputs])
        rows = self._runner.run([inputs[index] for index in chosen])
        mx.eval(rows)
        self._steps += 1
        self._prompt_tokens += sum(len(inputs[index].tokens) for index in chosen)
        done: list[Embedded | Scored] = []
        for row, index in enumerate(chosen):
            owner, number = self._waiting[index]
            request = self._requests[owner]
            request.rows[number] = rows[row]
            request.served = self._steps
            request.left -= 1
            if not request.left:
                del self._requests[owner]
                done.append(self._answer(request))
        taken = set(chosen)
        self._waiting = [each for i, each in enumerate(self._waiting) if i not in taken]
        return done

    def _answer(self, request: _Request) -> Embedded | Scored:
        runner, message, rows = self._runner, request.message, mx.stack(request.rows)
        if isinstance(runner, EmbeddingRunner):
            assert isinstance(message, Embed)
            return runner.answer(message, rows)
        assert isinstance(message, Score)
        return runner.answer(message, rows)

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
