"""One model's engine process through all its lives: start, death, restart, replay.

One asyncio task owns the child (`_run`); while the child lives, the messages it sends are handled
in the socket's callback, in the same thread. Everything here is written by these two only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from ..logs.context import nobody_s, whose
from ..protocol import wire
from ..protocol.channel import ChannelError
from ..protocol.errors import BadRequest, EngineDied, FastMLXError, ModelFailed, Overloaded
from .child import Child, Timing
from .death import Death, account, ended
from .fair import Turn
from .generation import Generation
from .jobs import Job, Jobs
from .patience import Patience
from .rate import Rate
from .recovery import Deaths, Recovery, Vigil, Watch, halved, with_less_memory
from .single import Single
from .status import LoadProgress, State

logger = logging.getLogger(__name__)
printed = logging.getLogger(f"{__name__}.stderr")

Asked = TypeVar("Asked", bound=wire.Generate | wire.Embed | wire.Score)


class EngineProcess:
    """The engine of one model. Created stopped; `start` and `stop` are the supervisor's."""

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        timing: Timing,
        recovery: Recovery,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called after every change of what the attributes below say, except
        `output`; it must not call back. `recovery` may be replaced at any time."""
        self.name = name
        self.state = State.STOPPED
        self.error: str | None = None  # reason of FAILED, or of the last death until ready again
        self.ready: wire.Ready | None = None
        self.loading: LoadProgress | None = None
        self.stats: wire.Stats | None = None  # of this life
        self.restarts = 0
        self.recovery = recovery
        self.output = Rate()
        self._tuning = wire.Tune()  # what a fresh child does not know yet
        self._warmed: wire.Warmed | None = None  # what a fresh child need not find out
        self._command = command
        self._timing = timing
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._stop = asyncio.Event()
        self._load_error: str | None = None
        self._halved = 0  # how often, for lack of memory, what it may use
        self._ready_at = 0.0
        self._heard = False  # anything from the child, since last looked at
        self._ids = itertools.count(1)
        self._jobs = Jobs()
        self._patience = Patience()

    # ---- for the supervisor and its leases

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    @property
    def pids(self) -> tuple[int, ...]:
        """Of all processes on this machine, `pid` first."""
        if self._child is None:
            return ()
        return self.ready.pids if self.ready is not None and self.ready.pids else (self._child.pid,)

    @property
    def sequences(self) -> int:
        """Generations that are not finished."""
        return len(self._jobs.running)

    @property
    def memory_bytes(self) -> int:
        """What the engine says it uses; 0 until it said."""
        if self.stats is not None:
            return self.stats.memory_bytes
        return self.ready.memory_bytes if self.ready is not None else 0

    def start(self, load: wire.Load) -> None:
        """stopped or failed → starting. `load` is used for every restart, too."""
        assert self._task is None, self.state
        self._stop.clear()
        self._halved = 0
        self.error = None
        self._become(State.STARTING)
        self._task = asyncio.create_task(
            self._run(load), name=f"engine {self.name}", context=nobody_s()
        )

    async def stop(self) -> None:
        """Any state but failed → stopped, without a process. What runs ends with Overloaded."""
        if self._task is not None:
            self._stop.set()
            self._become(State.STOPPING)
            await asyncio.wait({self._task})

    def tune(self, message: wire.Tune) -> None:
        """What holds from now on, in this child and in later ones."""
        changed, self._tuning = message != self._tuning, message
        if changed and self.state is State.READY and self._child is not None:
            self._child.send(message)

    def forgive(self) -> None:
        """failed → stopped: it may be tried again."""
        if self.state is State.FAILED:
            self.error = None
            self._become(State.STOPPED)

    def generate(self, message: wire.Generate, turn: Turn) -> Generation:
        """Start a sequence now, or as soon as a restarting engine is ready."""
        generation = Generation(self._signed(message), self._aborted, turn)
        self._accept(generation)
        return generation

    def ask(self, message: wire.Embed | wire.Score, turn: Turn) -> Single[Any]:
        """The same for what has one answer."""
        single = Single(self._signed(message), self._aborted, turn)
        self._accept(single)
        return single

    def _signed(self, message: Asked) -> Asked:
        return msgspec.structs.replace(message, id=next(self._ids), request=whose().request)

    def _accept(self, generation: Job) -> None:
        if self.state is State.FAILED:
            generation.fail(ModelFailed(self.error or f"{self.name} cannot be started."))
        elif self.state not in (State.READY, State.STARTING):
            generation.fail(self._was_stopped())
        else:
            self._jobs.add(generation)
            self._feed()

    def be_patient(self, patience: Patience) -> None:
        """How long requests may wait and run from now on."""
        self._patience = patience

    def tell(self, message: wire.CacheLimits | wire.MemoryLimit | wire.ClearCache) -> None:
        """To the engine that is ready now; one that ran out of memory is told less."""
        if self.state is State.READY and self._child is not None and self.ready is not None:
            self._child.send(halved(message, self._halved, self.ready.memory_bytes))

    # ---- the task that owns the child

    async def _run(self, load: wire.Load) -> None:
        deaths = Deaths()
        try:
            while (death := await self._live(load)) is not None:
                deaths.count(self.recovery, ready_s=death.ready_s)
                about = {"model": self.name, "trace": death.tail or None}
                logger.warning("its engine %s", death.reason, extra=about)
                if deaths.hopeless(self.recovery):
                    times = f"its engine died {deaths.early} times before it was ready"
                    self._load_error = f"{times}; the last time it {account(death)}"
                    break
                self._settle(death)
                if death.lacked_memory:
                    load = with_less_memory(load)
                    self._halved += 1
                    logger.warning(
                        "%s ran out of memory and starts again with half the sequences (%d), "
                        "cache and step",
                        self.name,
                        load.max_concurrent,
                    )
                self.restarts += 1
                self.error = f"The engine {account(death)}"
                self._become(State.STARTING)
                wait_s = deaths.wait_s(self.recovery, jitter=random.random())  # noqa: S311
                if await self._stop_requested_within(wait_s):
                    break
        finally:
            if self._child is not None:  # cancelled
                self._child.kill()
                self._child = None
            self._task = None
            self._come_to_rest()

    async def _live(self, load: wire.Load) -> Death | None:
        """One life of a child. None: it was stopped, or said LoadFailed."""
        self._load_error, self.loading = None, LoadProgress("starting", 0.0)
        try:
            child = await Child.spawn(self._command, self._on_message, self._on_line)
        except OSError as error:
            return Death(f"could not be started: {error}", "", 0.0)
        self._child = child
        ready_s = 0.0
        status = None
        self._jobs.capacity = load.max_concurrent
        child.send(msgspec.structs.replace(load, warmed=self._warmed))
        self._on_change()
        silent = await self._wait_for_end(child)
        if self._stop.is_set():
            await child.stop(self._timing)
        else:
            status = await child.reap(self._timing)
            if self.ready is not None:
                # Never 0: ready is ready, however coarse the clock.
                ready_s = max(1e-6, time.monotonic() - self._ready_at)
        self._child = None
        self.ready = self.loading = self.stats = None
        if self._stop.is_set():
            return None
        death = ended(child, status, ready_s, silent=silent, refused=self._load_error)
        if death is not None:
            self._load_error = None
        return death

    async def _wait_for_end(self, child: Child) -> str | None:
        """Until the child ended or `stop()`; a reason when it has to be ended for its silence."""
        stop = asyncio.create_task(self._stop.wait())
        vigil = Vigil(self._timing.load_silence_s)
        before_s = time.monotonic()
        try:
            while True:
                self._heard = False
                done, _ = await asyncio.wait(
                    {child.ended, stop},
                    timeout=Watch.tick_s(self.recovery.hang_s),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if done:
                    return None
                self._expire()
                now_s = time.monotonic()
                elapsed_s, before_s = now_s - before_s, now_s
                silent = vigil.tick(
                    elapsed_s,
                    spoke=self._heard,
                    loads=self.state is State.STARTING,
                    sent=self._jobs.num_sent,
                    hang_s=self.recovery.hang_s,
                )
                if silent is not None:
                    child.interrupt()
                    return silent
        finally:
            stop.cancel()

    async def _stop_requested_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _settle(self, death: Death) -> None:
        """Who was in too many deaths gets the error; the rest is replayed."""
        for job in self._jobs.settle(self.recovery.request_attempts):
            job.fail(
                EngineDied(
                    f"The engine of {self.name} died {job.deaths} times while it ran this "
                    f"request, which is therefore not tried again. It {account(death)}"
                )
            )

    def _come_to_rest(self) -> None:
        """No child any more: stopped, or failed with the reason."""
        if self._load_error is not None and not self._stop.is_set():
            self.error = f"{self.name} could not be started: {self._load_error}"
            logger.error("%s", self.error, extra={"model": self.name})
            self._end_running(lambda: ModelFailed(self.error or ""))
            self._become(State.FAILED)
        else:
            self.error = None
            self._end_running(self._was_stopped)
            self._become(State.STOPPED)

    def _end_running(self, error: Callable[[], FastMLXError]) -> None:
        for job in self._jobs.clear():
            job.fail(error())

    def _expire(self) -> None:
        """Who waited or ran for too long ends with an error."""
        for job, error in self._patience.overdue(self.name, self._jobs.running.values()):
            self._aborted(job)
            job.fail(error)

    def _was_stopped(self) -> Overloaded:
        return Overloaded(f"{self.name} was stopped.", retry_after_s=1.0)

    def _become(self, state: State) -> None:
        self.state = state
        self.loading = self.loading if state is State.STARTING else None
        self._on_change()

    # ---- what the child says

    def _on_message(self, message: wire.ToFront) -> None:
        self._heard = True
        if type(message) is wire.Tokens:
            self._on_tokens(message.rows)
        elif type(message) is wire.Embedded or type(message) is wire.Scored:
            self._on_answer(message)
        elif type(message) is wire.Stats:
            self.stats = message
            self._on_change()
        elif type(message) is wire.Loading:
            self.loading = LoadProgress(message.stage, message.fraction)
            self._on_change()
        elif type(message) is wire.Ready:
            self._on_ready(message)
        elif type(message) is wire.LoadFailed:
            self._load_error = message.message
            if self._child is not None:
                self._child.give_up()
        elif type(message) is wire.Rejected:
            self._on_rejected(message)
        elif type(message) is wire.Log:
            self._on_log(message)

    def _on_log(self, message: wire.Log) -> None:
        about = {"model": self.name, "request": message.request, "trace": message.trace}
        logging.getLogger(message.logger).log(message.level, "%s", message.message, extra=about)

    def _on_line(self, line: str) -> None:
        """Whatever a library or a crash prints."""
        printed.info("%s", line, extra={"model": self.name, "request": None})

    def _on_tokens(self, rows: list[wire.TokenRow]) -> None:
        running = self._jobs.running
        count, ended = 0, False
        for row in rows:
            generation = running.get(row.id)
            if not isinstance(generation, Generation):  # aborted a moment ago
                continue
            if row.finish is not None:
                self._jobs.remove(row.id)
                ended = True
            count += len(row.tokens)
            generation.push(row)
        self.output.add(count)
        if ended or self._jobs.on_trial is not None:
            self._feed()

    def _on_answer(self, message: wire.Embedded | wire.Scored) -> None:
        single = self._jobs.remove(message.id)
        if isinstance(single, Single):
            single.finish(message)
            self._feed()

    def _on_ready(self, message: wire.Ready) -> None:
        self.ready = message
        self._warmed = message.warmed
        self._ready_at = time.monotonic()
        self.error = None
        if not self._stop.is_set():
            if self._tuning != wire.Tune() and self._child is not None:
                self._child.send(self._tuning)
            self._become(State.READY)
            self._feed()

    def _on_rejected(self, message: wire.Rejected) -> None:
        generation = self._jobs.remove(message.id)
        if generation is not None:
            error = BadRequest if message.bad_request else FastMLXError
            generation.fail(error(message.message))
            self._feed()

    def _aborted(self, generation: Job) -> None:
        self._jobs.remove(generation.id)
        if generation.sent and self._child is not None:
            self._child.send(wire.Abort(generation.id))
        self._feed()

    def _feed(self) -> None:
        """Sends what may be sent now."""
        if self.state is not State.READY or self._child is None:
            return
        while (job := self._jobs.next()) is not None:
            try:
                self._child.send(job.message())
            except ChannelError as error:
                self._jobs.remove(job.id)
                job.fail(BadRequest(f"The request cannot be given to {self.name}: {error}."))
