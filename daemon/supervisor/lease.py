"""The right to use a loaded model, for as long as one request runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol import wire
from ..protocol.grammar import Grammar
from ..protocol.sampling import Sampling
from .engine import EngineProcess
from .fair import Turn
from .generation import Generation
from .single import Single

if TYPE_CHECKING:
    from ...config.settings import ModelSpec


class Lease:
    """Held inside `async with supervisor.lease(name)`: the model is ready and will not be unloaded
    or evicted. When it is given back, generations that still run are aborted."""

    __slots__ = ("_adapter", "_engine", "_jobs", "_turn", "folder", "name", "ready", "spec")

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        folder: Path,
        ready: wire.Ready,
        engine: EngineProcess,
        adapter: int,
        turn: Turn,
    ) -> None:
        self.name = name  # the declared name, also when leased by an alias or with an adapter
        self.spec = spec
        self.folder = folder
        self.ready = ready
        self._engine = engine
        self._adapter = adapter  # its number in the engine; 0: none
        self._turn = turn
        self._jobs: list[Generation | Single[Any]] = []

    @property
    def stats(self) -> wire.Stats | None:
        """What its engine said last; None while a new one starts."""
        return self._engine.stats

    def generate(
        self,
        prompt: list[int],
        sampling: Sampling,
        output: Sequence[int] = (),
        grammar: Grammar | None = None,
        keep: bool = False,
    ) -> Generation:
        """Start a sequence; returns at once, rows come through the iterator. `prompt` must not be
        changed afterwards: it is kept for a replay. `output` is what the caller has of it already;
        its rows begin behind that. With `keep` what it computes is kept longer."""
        message = wire.Generate(
            0, prompt, sampling, list(output), self._adapter, grammar, keep=keep
        )
        generation = self._engine.generate(message, self._turn)
        self._jobs.append(generation)
        return generation

    def embed(self, inputs: list[list[int]], dimensions: int | None) -> Single[wire.Embedded]:
        """Start making a vector of each input; `inputs` must not be changed afterwards."""
        single = self._engine.ask(wire.Embed(0, inputs, dimensions), self._turn)
        self._jobs.append(single)
        return single

    def score(
        self, inputs: list[list[int]], seconds: list[int], labels: tuple[int, int] | None
    ) -> Single[wire.Scored]:
        """Start scoring pairs of texts, see `wire.Score`; the lists must not be changed."""
        single = self._engine.ask(wire.Score(0, inputs, seconds, labels), self._turn)
        self._jobs.append(single)
        return single

    def release(self) -> None:
        """Abort what still runs; called by the supervisor."""
        for job in self._jobs:
            job.abort()
