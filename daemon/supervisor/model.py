"""One declared model as the supervisor keeps it: what is wanted, who uses it, what runs."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...config.diff import change_class
from ..hub.catalog import resolve
from ..hub.describe import ModelInfo, declared_kind, describe
from ..logs.context import nobody_s
from ..protocol import wire
from ..protocol.errors import FastMLXError, Overloaded
from .engine import EngineProcess
from .fair import Turn
from .lease import Lease
from .memory import resident_bytes
from .patience import Patience
from .status import LoadProgress, ModelStatus, State

if TYPE_CHECKING:
    from ...config.settings import ModelSpec


class Adapters(NamedTuple):
    """Where the adapters of a model lie."""

    always: list[Path]
    named: dict[str, Path]

    @property
    def num_bytes(self) -> int:
        """Of their weights."""
        folders = [*self.always, *self.named.values()]
        return sum(f.stat().st_size for each in folders for f in each.glob("*.safetensors"))


class Declaration(NamedTuple):
    """What `declare` said last."""

    spec: ModelSpec
    idle_timeout_s: float
    max_concurrent: int
    max_waiting: int
    max_gap_s: float | None = None  # None: auto
    queue_timeout_s: float = math.inf
    request_timeout_s: float = math.inf

    @property
    def patience(self) -> Patience:
        return Patience(self.queue_timeout_s, self.request_timeout_s)

    @property
    def context(self) -> int | None:
        """Tokens; None for the model's own."""
        return None if self.spec.context == "auto" else self.spec.context

    @property
    def processes(self) -> tuple[int, int]:
        return processes_of(self.spec)

    def tune_message(self) -> wire.Tune:
        """What can change while the engine runs."""
        return wire.Tune(self.max_gap_s, logging.getLogger().isEnabledFor(logging.DEBUG))

    def load_message(
        self, name: str, info: ModelInfo, adapters: Adapters, limit_bytes: int
    ) -> wire.Load:
        spec = self.spec.distributed
        group = wire.Distributed(spec.members, spec.mode) if spec is not None else None
        _, here = self.processes
        return wire.Load(
            name=name,
            path=str(info.folder),
            kind=engine_kind(self.spec, info),
            adapters=tuple(map(str, adapters.always)),
            named_adapters=tuple(
                wire.NamedAdapter(name, str(folder)) for name, folder in adapters.named.items()
            ),
            max_concurrent=self.max_concurrent,
            context=self.context,
            memory_limit_bytes=limit_bytes // here,
            kv_limit_bytes=max(1, limit_bytes - info.weights_bytes) // here,
            distributed=group,
        )

    def needs_new_engine(self, running: Declaration) -> bool:
        """Whether an engine started for `running` cannot serve this one."""
        if self.max_concurrent != running.max_concurrent:
            return True
        spec, other = self.spec, running.spec
        return any(
            getattr(spec, key) != getattr(other, key)
            for key in type(spec).model_fields
            # The key max_concurrent says only where the number comes from.
            if key != "max_concurrent" and change_class(type(spec), key) == "reload"
        )


class Model:
    """The books of one model; `Supervisor` is the only writer."""

    def __init__(self, name: str, declaration: Declaration, engine: EngineProcess) -> None:
        self.name = name
        self.declared = declaration
        self.engine = engine
        self.started_for: Declaration | None = None  # what the present engine was started for
        self.info: ModelInfo | None = None
        self.problem: str | None = None  # why it cannot be started; None: nothing known
        self.withdrawn = False
        self.leases = 0  # granted
        self.pending = 0  # waiting for a lease
        self.last_used = time.monotonic()
        self.keep_alive_s: float | None = None  # what the last lease asked for
        self.lease_s = 1.0  # how long a lease is held, moving average
        self.start: asyncio.Task[None] | None = None  # resolve, make room, start the engine
        self.start_stage = ""
        self.departure: asyncio.Task[None] | None = None  # drain, stop the engine
        self.load_again = False  # after the departure
        self.drained = asyncio.Event()  # no lease is granted
        self.drained.set()
        self.seen = engine.state  # at the last look
        self.idle_timer: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._owners: dict[str | None, int] = {}  # of requests that wait or run

    def tune(self) -> None:
        """Tells the engine what can change while it runs."""
        self.engine.tune(self.declared.tune_message())
        self.engine.be_patient(self.declared.patience)

    # ---- facts

    def answers_to(self, name: str) -> bool:
        """Whether clients mean this model, as it is or with one of its adapters."""
        spec = self.declared.spec
        return name in spec.aliases or spec.adapter_asked(self.name, name) is not None

    def adapter_number(self, adapter: str | None) -> int | None:
        """What the engine calls the adapter, 0 for no adapter; None when there is none such."""
        names = [None, *self.declared.spec.named_adapters]
        return names.index(adapter) if adapter in names else None

    @property
    def in_use(self) -> bool:
        return self.leases > 0 or self.pending > 0

    @property
    def idle_timeout_s(self) -> float:
        """What holds now; inf: never."""
        if self.declared.spec.pinned:
            return math.inf
        return self.declared.idle_timeout_s if self.keep_alive_s is None else self.keep_alive_s

    @property
    def grants(self) -> bool:
        """Leases are given now."""
        return self.engine.state is State.READY and self.departure is None

    @property
    def sequences_waiting(self) -> int:
        """In the engine, for a free row of its batch."""
        return max(0, self.engine.sequences - self.declared.max_concurrent)

    @property
    def kept_by(self) -> str | None:
        """Why it cannot be evicted; None when it can."""
        if self.leases:
            return f"{self.leases} running"
        if self.pending:
            return f"{self.pending} waiting for it"
        if self.declared.spec.pinned and not self.withdrawn:
            return "pinned"
        if self.departure is not None:
            return "restarting"
        if self.engine.state is not State.READY:
            return str(self.engine.state)
        return None

    @property
    def is_going(self) -> bool:
        """Its memory is as good as free: the process is being ended for good."""
        return self.departure is not None and not self.leases and not self.load_again

    def new_lease(self, adapter: int, turn: Turn) -> Lease:
        """Of the engine that is ready now."""
        assert self.engine.ready is not None
        assert self.info is not None
        spec, folder = self.declared.spec, self.info.folder
        return Lease(self.name, spec, folder, self.engine.ready, self.engine, adapter, turn)

    def enter(self, owner: str | None) -> None:
        """A request of this owner begins to wait; it is here until it is done."""
        self._owners[owner] = self._owners.get(owner, 0) + 1

    def leave(self, owner: str | None) -> None:
        """It has given up, or is done."""
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]

    def check_queue(self, owner: str | None = None) -> None:
        """Raises Overloaded when one more request may neither run nor wait. Who has none here gets
        in beside those who have filled the queue, as long as the queue then is not twice as
        long."""
        declared = self.declared
        busy = self.pending + max(self.leases, self.engine.sequences)
        room = declared.max_concurrent + declared.max_waiting
        is_new = owner is not None and self._owners and owner not in self._owners
        if busy >= room + (declared.max_waiting if is_new else 0):
            raise Overloaded(
                f"{self.name} is busy: {self.leases} requests run, {self.pending} wait for it, and "
                f"no more may wait (max_concurrent {declared.max_concurrent}, max_waiting "
                f"{declared.max_waiting}).",
                retry_after_s=self.retry_after_s(),
            )

    def retry_after_s(self) -> float:
        """When the queue has probably moved on."""
        rounds = 1 + self.pending / self.declared.max_concurrent
        return min(60.0, max(1.0, self.lease_s * rounds))

    def watch_idleness(self, on_idle: Callable[[Model], None]) -> None:
        """Call whenever use or timeout may have changed: the timer runs while nobody uses it."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
            self.idle_timer = None
        if self.in_use:
            self.last_used = math.inf  # until it is given back
            return
        if math.isinf(self.last_used):
            self.last_used = time.monotonic()
        if self.grants and not math.isinf(self.idle_timeout_s):
            left_s = max(0.0, self.last_used + self.idle_timeout_s - time.monotonic())
            self.idle_timer = asyncio.get_running_loop().call_later(
                left_s, on_idle, self, context=nobody_s()
            )

    # ---- waiting for it

    async def changed(self) -> None:
        """Until `wake`; raises what `wake_with` was given."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def wake_with(self, error: FastMLXError) -> None:
        """Everyone who waits fails, each with an exception of their own."""
        for waiter in self._waiters:
            if not waiter.done():
                copy = type(error)(
                    error.message, param=error.param, retry_after_s=error.retry_after_s
                )
                waiter.set_exception(copy)
        self._waiters.clear()

    # ---- for pages

    def status(self) -> ModelStatus:
        engine, spec, info = self.engine, self.declared.spec, self.info
        stats = engine.stats
        state, loading = engine.state, engine.loading
        if self.departure is not None and state is State.READY:
            state = State.STOPPING  # drains
        elif self.start is not None and state in (State.STOPPED, State.FAILED):
            state, loading = State.STARTING, LoadProgress(self.start_stage, 0.0)
        elif self.problem is not None and state is State.STOPPED:
            state = State.FAILED
        context = self.declared.context or (info.context if info is not None else None)
        if engine.ready is not None:
            context = engine.ready.context
        overflow = min(self.sequences_waiting, self.leases)
        pids = engine.pids
        memory_bytes = max(engine.memory_bytes, sum(map(resident_bytes, pids)))
        idle = state is State.READY and not self.in_use
        return ModelStatus(
            name=self.name,
            aliases=tuple(spec.aliases),
            adapters=tuple(spec.named_adapters),
            state=state,
            pid=pids[0] if pids else None,
            pids=pids,
            memory_bytes=memory_bytes,
            active_bytes=engine.memory_bytes,
            peak_bytes=stats.peak_memory_bytes if stats is not None else engine.memory_bytes,
            preemptions=stats.preemptions if stats is not None else 0,
            requests_running=self.leases - overflow,
            requests_waiting=self.pending + overflow,
            idle_s=time.monotonic() - self.last_used if idle else None,
            idle_timeout_s=self.idle_timeout_s,
            restarts=engine.restarts,
            error=engine.error or self.problem,
            loading=loading,
            pinned=spec.pinned,
            context=context,
            weights_bytes=info.weights_bytes if info is not None else None,
            architecture=info.architecture if info is not None else None,
            output_tokens=engine.output.total,
            tokens_per_s=engine.output.per_s(),
            max_concurrent=self.declared.max_concurrent,
            max_waiting=self.declared.max_waiting,
            batches=engine.ready.batches if engine.ready is not None else None,
            notes=engine.ready.notes if engine.ready is not None else (),
        )


def engine_kind(spec: ModelSpec, info: ModelInfo) -> wire.EngineKind:
    """What the engine is started to do."""
    kind = declared_kind(spec.kind, info)
    return kind if kind == "embedding" or kind == "reranker" else "text"


def processes_of(spec: ModelSpec) -> tuple[int, int]:
    """(of the model's group, of these on this machine)"""
    if spec.distributed is None:
        return 1, 1
    hosts = spec.distributed.members
    return len(hosts), 1 + sum(wire.is_here(host) for host in hosts[1:])


def inspect(spec: ModelSpec) -> tuple[ModelInfo, Adapters]:
    """What the model is, and where its adapters lie. Blocking. Raises ModelFailed."""
    info = describe(resolve(spec.path, spec.revision))
    always = [resolve(path) for path in spec.always_adapters]
    named = {name: resolve(path) for name, path in spec.named_adapters.items()}
    return info, Adapters(always, named)
