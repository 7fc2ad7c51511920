"""Two things that decode a changing batch in this process: our engine, and mlx-lm's generator.

Both run the same loaded model and are driven step by step. Import after `blas.choose()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import engine
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate
from mlx_lm.generate import BatchGenerator
from mlx_lm.sample_utils import make_logits_processors, make_sampler

if TYPE_CHECKING:
    from fastmlx.daemon.engine.runners.text import TextRunner

ENDLESS = 1_000_000  # output tokens: the row runs as long as it is looked at


class Request(NamedTuple):
    prompt: list[int]
    sampling: Sampling


class Batch(Protocol):
    """What is compared. Requests are numbered from 0 in the order in which they were added."""

    name: str

    def add(self, requests: Sequence[Request]) -> None: ...

    def step(self) -> list[int]:
        """Runs one step; the numbers of the requests that got a token."""
        ...

    @property
    def idle(self) -> bool: ...

    @property
    def kv_bytes(self) -> int: ...

    def close(self) -> None:
        """Drops what still runs; the model may then be used by another batch."""
        ...


class OurBatch:
    """EngineCore, as the engine process drives it."""

    name = "engine"

    def __init__(self, runner: TextRunner, folder: Path, *, slots: int) -> None:
        self.core = engine.core_over(runner, folder, max_concurrent=slots)
        self._added = 0

    def add(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.core.add(Generate(self._added, request.prompt, request.sampling))
            self._added += 1
        assert not self.core.rejected, self.core.rejected[0].message

    def step(self) -> list[int]:
        return [row.id for row in self.core.step()]

    @property
    def idle(self) -> bool:
        return self.core.idle

    @property
    def kv_bytes(self) -> int:
        return self.core.kv_bytes

    def close(self) -> None:
        for number in range(self._added):
            self.core.abort(number)
        while not self.core.idle:
            self.core.step()
        self.core.check()


class TheirBatch:
    """mlx-lm's BatchGenerator with its defaults: left-padded batches, prompts in chunks of 2048."""

    name = "BatchGenerator"

    def __init__(self, runner: TextRunner, *, slots: int) -> None:
        self._generator = BatchGenerator(runner.model, completion_batch_size=slots)
        self._unfinished: set[int] = set()

    def add(self, requests: Sequence[Request]) -> None:
        self._unfinished.update(
            self._generator.insert(
                [request.prompt for request in requests],
                max_tokens=[request.sampling.max_tokens for request in requests],
                samplers=[_sampler(request.sampling) for request in requests],
                logits_processors=[_processors(request.sampling) for request in requests],
            )
        )

    def step(self) -> list[int]:
        responses = self._generator.next()[1]
        for response in responses:
            if response.finish_reason is not None:
                self._unfinished.discard(response.uid)
        return [response.uid for response in responses]

    @property
    def idle(self) -> bool:
        return not self._unfinished

    @property
    def kv_bytes(self) -> int:
        return self._generator.prompt_cache_nbytes

    def close(self) -> None:
        self._generator.remove(list(self._unfinished))
        self._unfinished.clear()
        self._generator.close()


def _sampler(sampling: Sampling) -> Any:
    """One a request, as mlx-lm's server makes them; None is the greedy one, which rows share."""
    if sampling.temperature == 0:
        return None
    return make_sampler(
        sampling.temperature,
        # Theirs spells "all" as 0.
        top_p=sampling.top_p if sampling.top_p < 1 else 0.0,
        min_p=sampling.min_p,
        top_k=sampling.top_k,
    )


def _processors(sampling: Sampling) -> Any:
    return make_logits_processors(
        sampling.logit_bias or None,
        # 1 would not be skipped.
        repetition_penalty=sampling.repetition_penalty
        if sampling.repetition_penalty != 1
        else None,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
    )


def prompt(number: int, length: int, vocab_size: int) -> list[int]:
    """Token ids that differ from one number to the next from their first on."""
    return [(number * 3121 + i * 7919 + i * i) % vocab_size for i in range(length)]
