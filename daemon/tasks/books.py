"""The books of one request while it runs: what becomes its usage row and its Usage event."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from ..logs.context import is_called
from ..protocol.errors import FastMLXError, RequestCancelled
from ..protocol.events import Prefilled, Usage
from ..store.rows import UsageRow
from ..supervisor.fair import Turn

if TYPE_CHECKING:
    from ..protocol.requests import RequestMeta, SamplingRequest
    from ..protocol.wire import TokenRow
    from ..supervisor.lease import Lease
    from ..text.divergence import Divergence
    from ..text.stream import TextStream

log = logging.getLogger(__name__)

T = TypeVar("T")


class Job(Protocol):
    """What an engine does for a request."""

    @property
    def id(self) -> int: ...

    def give_up(self, error: FastMLXError) -> None:
        """Ends it with this error; ignored after the end."""
        ...


class Books:
    """Counts and times. All times are seconds since the request arrived."""

    def __init__(
        self, model: str, meta: RequestMeta, sampling: SamplingRequest | None = None
    ) -> None:
        is_called(meta.request_id)
        self.number = 0  # among the requests that run
        self.model = model
        self.meta = meta
        self.max_tokens = sampling.max_tokens if sampling is not None else None
        self.at_ms = int(time.time() * 1000)
        self.runs_tools = False  # between two rounds
        self.leasing = False  # waits for its model
        self.lease: Lease | None = None
        self._sampling = sampling
        self._load_s = 0.0
        self._jobs: Sequence[Job] = ()
        self._interrupted: asyncio.Task[object] | None = None  # where `give_up` may interrupt
        self._given_up = False
        self._start = time.perf_counter()
        self._queue_s: float | None = None
        self._ttft_s: float | None = None
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._streams: list[TextStream] = []
        self.divergence: Divergence | None = None  # from a prompt that could have been of use
        self.finish_reason: str | None = None
        self.error: str | None = None

    @property
    def turn(self) -> Turn:
        """Where it stands in the queue of its model."""
        return Turn(self.meta.key or self.meta.client, self.meta.priority)

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._start

    # ---- being given up

    def give_up(self) -> None:
        """From a page: the request ends with RequestCancelled, wherever it is."""
        self._given_up = True
        if self._interrupted is not None:
            self._interrupted.cancel()
        for job in self._jobs:
            job.give_up(_cancelled())

    def running_tools(self, tools: Job) -> None:
        """This request does nothing but wait for these."""
        self.runs_tools = True
        self._jobs = [tools]

    @contextlib.asynccontextmanager
    async def using(self, lease: AbstractAsyncContextManager[Lease]) -> AsyncIterator[Lease]:
        """The lease, once it is granted. Raises RequestCancelled when the request was given up
        meanwhile."""
        self.leasing = True
        began = time.perf_counter()
        async with contextlib.AsyncExitStack() as held:
            try:
                self.lease = await self._interruptible(held.enter_async_context(lease))
            finally:
                self.leasing = False
                self._load_s = time.perf_counter() - began
            yield self.lease

    async def _interruptible(self, waiting: Awaitable[T]) -> T:
        task = self._interrupted = asyncio.current_task()
        try:
            return await waiting
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            if task is not None:
                task.uncancel()
            raise _cancelled() from None
        finally:
            self._interrupted = None

    @property
    def sequences(self) -> list[int]:
        """What the engine calls them; none when it makes vectors or scores."""
        return [job.id for job in self._jobs] if self._streams else []

    def engine_took_it(
        self, prompt_tokens: int, streams: list[TextStream], jobs: Sequence[Job]
    ) -> None:
        """The sequences were given to the engine. `prompt_tokens`: of all distinct prompts.

        Raises RequestCancelled when the request was given up before."""
        self._jobs = jobs
        self._queue_s = self._elapsed_s()
        self._prompt_tokens = prompt_tokens
        self._streams = streams
        if self._given_up:
            raise _cancelled()

    def first_row(self, row: TokenRow) -> Prefilled | None:
        """The first row of a sequence came; `cached_tokens` counts once a sequence. Returns what
        is to be told at the request's very first row."""
        self._cached_tokens += row.cached_tokens
        if self._ttft_s is not None:
            return None
        self._ttft_s = self._elapsed_s()
        if row.prefill_ms and self._queue_s is not None:  # it waited in the engine's queue, too
            self._queue_s = max(self._queue_s, self._ttft_s - row.prefill_ms / 1000)
        miss = self.divergence
        if miss and row.cached_tokens * miss.length <= miss.shared * self._prompt_tokens:
            log.info("%s", miss)
        return Prefilled(self._prompt_tokens, min(self._cached_tokens, self._prompt_tokens))

    def failed(self, error: BaseException) -> None:
        """How it ended, other than well."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit | RequestCancelled):
            self.finish_reason = self.finish_reason or "cancelled"
        elif isinstance(error, FastMLXError):
            self.error = f"{error.code}: {error.message}"
        else:
            self.error = f"internal_error: {type(error).__name__}"

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            output_tokens=sum(stream.output_tokens for stream in self._streams),
            cached_tokens=min(self._cached_tokens, self._prompt_tokens),
            reasoning_tokens=sum(stream.reasoning_tokens for stream in self._streams),
            queue_s=self._queue_s or 0.0,
            ttft_s=self._ttft_s or 0.0,
            duration_s=self._elapsed_s(),
        )

    def row(self) -> UsageRow:
        """The usage row; the request is over."""
        usage = self.usage()
        queue_s = usage.duration_s if self._queue_s is None else self._queue_s
        self._log(usage)
        return UsageRow(
            at_ms=self.at_ms,
            request_id=self.meta.request_id,
            model=self.model,
            dialect=self.meta.dialect,
            key=self.meta.key,
            client=self.meta.client,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            queue_ms=round(queue_s * 1000, 3),
            load_ms=round(self._load_s * 1000, 3),
            ttft_ms=None if self._ttft_s is None else round(self._ttft_s * 1000, 3),
            duration_ms=round(usage.duration_s * 1000, 3),
            finish_reason=self.finish_reason,
            error=self.error,
            stream=self.meta.stream,
            sampling=None if self._sampling is None else asked(self._sampling),
        )

    def _log(self, usage: Usage) -> None:
        """One line for each request: how it ended, how long it was and took."""
        log.log(
            logging.WARNING if self.error else logging.INFO,
            "%s: %s, %d prompt tokens (%d cached), %d output tokens%s, %.0f ms in all",
            self.meta.dialect,
            self.error or self.finish_reason,
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            f", first after {self._ttft_s * 1000:.0f} ms" if self._ttft_s is not None else "",
            usage.duration_s * 1000,
            extra={"model": self.model, "request": self.meta.request_id},
        )


def asked(sampling: SamplingRequest) -> str | None:
    """What the client said, as a JSON object of numbers: of texts and tables only how many."""
    said = {
        name: len(value) if isinstance(value, tuple | dict) else value
        for name, value in msgspec.structs.asdict(sampling).items()
        if value is not None and value != () and value is not False and value != {}
    }
    if not sampling.logprobs:
        said.pop("top_logprobs", None)
    return msgspec.json.encode(said).decode() if said else None


def _cancelled() -> RequestCancelled:
    return RequestCancelled("The request was cancelled on the dashboard.")
