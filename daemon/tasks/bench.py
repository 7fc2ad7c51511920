"""`fastmlx bench`: how fast a model computes prompts and answers, alone and in batches.

The prompts are random tokens, so none goes on from another's prefix; the answers are sampled with
temperature 1 and end at their length alone. The requests go the way of all others, less HTTP,
templates and detokenising, and leave no usage rows. What else runs meanwhile is measured with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..protocol.errors import BadRequest, Conflict, FastMLXError
from ..protocol.sampling import Sampling
from ..store import bench_runs
from ..store.bench_runs import Cell, Run
from ..store.database import StoreUnavailable
from .lookup import find_model
from .machine import describe

if TYPE_CHECKING:
    from ...config.state import ConfigState
    from ..store.store import Store
    from ..supervisor.generation import Generation
    from ..supervisor.lease import Lease
    from ..supervisor.supervisor import Supervisor

log = logging.getLogger(__name__)

MOST = 1_000_000  # tokens of one cell: a typing error must not run for a day
NOT_TEXT = ("embedding", "reranker")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured: every prompt length with every batch size."""

    model: str
    prompt_tokens: tuple[int, ...] = (128, 1024, 4096)
    batches: tuple[int, ...] = (1, 4, 16)
    output_tokens: int = 64
    rounds: int = 1  # of each cell, after one that is not counted

    def check(self) -> None:
        """Raises BadRequest."""
        for name in ("prompt_tokens", "batches"):
            values = getattr(self, name)
            if not 0 < len(values) <= 10 or min(values) < 1:
                raise BadRequest(f"{name}: one to ten numbers, each at least 1.", param=name)
        if self.output_tokens < 2:
            raise BadRequest("output_tokens must be at least 2.", param="output_tokens")
        if not 1 <= self.rounds <= 20:
            raise BadRequest("rounds must be from 1 to 20.", param="rounds")
        largest = max(self.batches) * (max(self.prompt_tokens) + self.output_tokens)
        if largest > MOST:
            raise BadRequest(
                f"The largest combination has {largest:,} tokens; at most {MOST:,} are measured.",
                param="batches",
            )


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the last run has come; the JSON of `GET /api/bench`'s `current`."""

    model: str
    state: str  # "running", "done", "failed" or "cancelled"
    done: int  # steps
    total: int
    doing: str = ""
    cells: list[Cell] = []
    error: str | None = None
    run: Run | None = None  # once it is kept


class Benchmarks:
    """Runs one at a time, in the background. Use it from one event loop only."""

    def __init__(
        self, config: ConfigState, supervisor: Supervisor, store: Store, version: str
    ) -> None:
        self.current: Progress | None = None  # or the last one
        self._config = config
        self._supervisor = supervisor
        self._store = store
        self._version = version
        self._task: asyncio.Task[None] | None = None

    def start(self, plan: Plan) -> Progress:
        """Raises BadRequest, ModelNotFound, and Conflict while another one runs."""
        plan.check()
        name, _ = find_model(self._config.settings, plan.model)
        if self._task is not None and not self._task.done():
            raise Conflict("Another benchmark runs; cancel it, or wait for its end.")
        plan = msgspec.structs.replace(plan, model=name)
        total = len(plan.prompt_tokens) * len(plan.batches) * (plan.rounds + 1)
        self.current = Progress(
            model=name, state="running", done=0, total=total, doing="loading the model"
        )
        self._task = asyncio.create_task(self._run(plan))
        return self.current

    async def cancel(self) -> None:
        """Ends the one that runs; nothing of it is kept."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _tell(self, **changes: object) -> None:
        assert self.current is not None
        self.current = msgspec.structs.replace(self.current, **changes)

    async def _run(self, plan: Plan) -> None:
        try:
            cells = await self._measure(plan)
            version, machine = await asyncio.to_thread(describe, self._version)
            run = Run(
                at_ms=int(time.time() * 1000),
                model=plan.model,
                version=version,
                machine=machine,
                cells=cells,
            )
            run = await self._store.change(bench_runs.keep, run)
            self._tell(state="done", run=run, doing="")
        except asyncio.CancelledError:
            self._tell(state="cancelled", doing="")
            raise
        except (FastMLXError, StoreUnavailable) as error:
            self._tell(state="failed", error=str(error), doing="")
        except Exception:
            log.exception("a benchmark of %s failed", plan.model)
            self._tell(state="failed", error="Something went wrong; the log says more.", doing="")

    async def _measure(self, plan: Plan) -> list[Cell]:
        cells: list[Cell] = []
        done = 0
        async with self._supervisor.lease(plan.model) as lease:
            for prompt_tokens, batch in _combinations(plan, lease):
                measured: list[Cell] = []
                for _ in range(plan.rounds + 1):
                    self._tell(
                        done=done,
                        doing=f"{batch} × {prompt_tokens:,} tokens of prompt",
                        cells=cells,
                    )
                    measured.append(await _measured(lease, prompt_tokens, batch, plan))
                    done += 1
                cells = [*cells, _median(measured[1:])]
        self._tell(done=done, total=done, cells=cells)
        return cells


def _combinations(plan: Plan, lease: Lease) -> Iterator[tuple[int, int]]:
    """Raises BadRequest for prompts that the model cannot hold, or that it does not generate."""
    longest = max(plan.prompt_tokens) + plan.output_tokens
    if longest > lease.ready.context:
        raise BadRequest(
            f"{longest:,} tokens of prompt and answer do not fit the context of {lease.name}, "
            f"{lease.ready.context:,} tokens.",
            param="prompt_tokens",
        )
    if not lease.ready.vocab_size or lease.spec.kind in NOT_TEXT:
        raise BadRequest(f"{lease.name} generates no text.", param="model")
    for prompt_tokens in plan.prompt_tokens:
        for batch in plan.batches:
            yield prompt_tokens, batch


class _Heard(NamedTuple):
    at_s: float
    tokens: int


async def _measured(lease: Lease, prompt_tokens: int, batch: int, plan: Plan) -> Cell:
    numbers = random.Random()  # noqa: S311
    prompts = [
        numbers.choices(range(lease.ready.vocab_size), k=prompt_tokens) for _ in range(batch)
    ]
    sampling = Sampling(max_tokens=plan.output_tokens)
    began = time.perf_counter()
    generations = [lease.generate(prompt, sampling) for prompt in prompts]
    try:
        heard = await asyncio.gather(*map(_listen, generations))
    finally:
        for generation in generations:
            generation.abort()
    return cell(prompt_tokens, began, heard)


async def _listen(generation: Generation) -> list[_Heard]:
    return [_Heard(time.perf_counter(), len(row.tokens)) async for row in generation]


def cell(prompt_tokens: int, began_s: float, heard: list[list[_Heard]]) -> Cell:
    """`heard`: when how many tokens of each answer came."""
    first_s = max(rows[0].at_s for rows in heard)
    end_s = min(rows[-1].at_s for rows in heard)
    # While all are decoded. Where one has ended before another's first token there is no such
    # time: then from the first token of each to its last.
    together = end_s > first_s
    if together:
        tokens = sum(row.tokens for rows in heard for row in rows if first_s < row.at_s <= end_s)
        decode_s = end_s - first_s
    else:
        tokens = sum(row.tokens for rows in heard for row in rows[1:])
        decode_s = sum(rows[-1].at_s - rows[0].at_s for rows in heard)
    return Cell(
        prompt_tokens,
        len(heard),
        max(sum(row.tokens for row in rows) for rows in heard),
        len(heard) * prompt_tokens / max(first_s - began_s, 1e-9),
        tokens / max(decode_s, 1e-9),
        (first_s - began_s) * 1000,
    )


def _median(cells: list[Cell]) -> Cell:
    names = ("prefill_tokens_per_s", "decode_tokens_per_s", "ttft_ms")
    values = {name: round(median(getattr(each, name) for each in cells), 3) for name in names}
    return msgspec.structs.replace(cells[0], **values)
