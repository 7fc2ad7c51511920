"""Starting and stopping the engines of declared models: makes what the supervisor wants true."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..hub.footprint import load_bytes
from ..logs.context import nobody_s
from ..protocol.errors import FastMLXError, ModelFailed
from .cache import CachePlan, CacheShares
from .child import Timing
from .engine import EngineProcess
from .model import Declaration, Model, inspect
from .notice import Notice
from .pressure import Level, level
from .recovery import Recovery
from .room import Room
from .shares import MemoryShares
from .status import State

if TYPE_CHECKING:
    from ...config.paths import Home

logger = logging.getLogger(__name__)

PRESSURE_EVERY_S = 5.0  # while any engine runs


class Engines:
    """The tasks that start and end the engine of a model, and what the running ones are told of
    each other. `models` and `withdrawn` are the supervisor's, as they are at any time."""

    def __init__(
        self,
        *,
        home: Home,
        room: Room,
        models: Mapping[str, Model],
        withdrawn: list[Model],
        command: Sequence[str],
        timing: Timing,
        on_change: Callable[[], None] | None,
        pressure: Callable[[], Level] = level,
    ) -> None:
        self.room = room
        self.cache = CacheShares(CachePlan(0, 0, None, home.cache), models, self.restart)
        self.notify = Notice(self.cache.tell, MemoryShares(room.ledger, models).tell, on_change)
        self.withdrawn = withdrawn  # that still finish their requests
        self.stopping = False
        self._command = tuple(command)
        self._timing = timing
        self._pressure = pressure
        self._looking: asyncio.TimerHandle | None = None

    def new_model(self, name: str, declaration: Declaration, recovery: Recovery) -> Model:
        """Nothing is started."""
        engine = EngineProcess(
            name,
            command=self._command,
            timing=self._timing,
            recovery=recovery,
            on_change=lambda: self._engine_changed(model),
        )
        model = Model(name, declaration, engine)
        return model

    # ---- starting

    def begin(self, model: Model, evict: bool = True) -> None:
        """From stopped towards ready; `model.start` ends when its engine was started, or cannot be.
        Without `evict` no other model goes for it."""
        model.problem = None
        model.start_stage = "reading headers"
        model.start = asyncio.create_task(self._start(model, evict))
        self.notify()

    async def _start(self, model: Model, evict: bool) -> None:
        """From stopped to starting, or everyone who waits learns why not."""
        try:
            while True:
                declared = model.declared
                model.info, adapters = await asyncio.to_thread(inspect, declared.spec)
                processes, here = declared.processes
                need_bytes = load_bytes(
                    model.info, declared.context, processes=processes, here=here
                )
                need_bytes += adapters.num_bytes
                evict = evict or model.pending > 0
                for victim in self.room.reserve(model, need_bytes, evict=evict):
                    about = {"model": victim.name}
                    logger.info("%s is evicted for %s", victim.name, model.name, extra=about)
                    self.dismiss(victim)
                model.start_stage = "making room"
                going = [m.departure for m in self.room.going() if m.departure is not None]
                if going:
                    await asyncio.wait(going)
                if not model.declared.needs_new_engine(declared):
                    break
                self.room.ledger.release(model)  # the entry was edited meanwhile
            model.started_for = declared
            model.tune()
            limit_bytes = self.room.ledger.limit_bytes
            message = declared.load_message(model.name, model.info, adapters, limit_bytes)
            model.engine.start(self.cache.load(message))
        except FastMLXError as error:
            about = {"model": model.name}
            logger.warning("%s is not started: %s", model.name, error.message, extra=about)
            if isinstance(error, ModelFailed):
                model.problem = error.message
            model.wake_with(error)
        except asyncio.CancelledError:
            self.room.ledger.release(model)
            raise
        except Exception as error:
            logger.exception("%s is not started", model.name, extra={"model": model.name})
            self.room.ledger.release(model)
            model.wake_with(ModelFailed(f"{model.name} could not be started: {error!r}"))
        finally:
            model.start = None
            model.wake()
            self.notify()

    # ---- stopping

    def dismiss(self, model: Model, *, load_again: bool = False) -> asyncio.Task[None]:
        """Drain and stop; the task ends when no process is left."""
        model.load_again = load_again
        if model.departure is None:
            model.departure = asyncio.create_task(self._depart(model))
            self.notify()
        return model.departure

    def restart(self, model: Model) -> None:
        """The engine, if there is one, finishes what it runs and starts again."""
        if model.engine.state in (State.STARTING, State.READY):
            model.started_for = None  # nothing that is declared now
            self.dismiss(model, load_again=True)

    async def _depart(self, model: Model) -> None:
        try:
            if model.start is not None and not model.load_again:
                model.start.cancel()
                await asyncio.wait({model.start})
            await model.drained.wait()
            if not (model.load_again and self._serves(model)):
                await model.engine.stop()
        finally:
            model.departure = None
            if model in self.withdrawn:
                self.withdrawn.remove(model)
            stopped = model.engine.state is State.STOPPED
            if model.load_again and stopped and not (self.stopping or model.withdrawn):
                self.begin(model)
            model.watch_idleness(self.on_idle)
            model.wake()
            self.notify()

    def _serves(self, model: Model) -> bool:
        """The engine that runs is the one that is wanted (an edit was taken back)."""
        running = model.started_for
        ready = model.engine.state is State.READY
        return ready and running is not None and not model.declared.needs_new_engine(running)

    def on_idle(self, model: Model) -> None:
        """Nobody used it for its idle timeout."""
        if model.grants and not model.in_use:
            about = {"model": model.name}
            logger.info("%s was idle for %.0f s", model.name, model.idle_timeout_s, extra=about)
            self.dismiss(model)

    def _engine_changed(self, model: Model) -> None:
        state = model.engine.state
        if state in (State.STOPPED, State.FAILED):
            self.room.ledger.release(model)
        else:
            self._look_later()
            self.room.ledger.measure(model, model.engine.memory_bytes)
            stats = model.engine.stats
            if stats and stats.short and (idle := self.room.spare(model)) is not None:
                logger.info("%s makes room for %s", idle.name, model.name)
                self.dismiss(idle)
        if state is not model.seen:
            if state is State.READY and not model.in_use:
                model.last_used = time.monotonic()
                model.watch_idleness(self.on_idle)
            model.seen = state
            model.wake()
        self.notify()

    # ---- the machine

    def _look_later(self) -> None:
        if self._looking is None and not self.stopping:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(PRESSURE_EVERY_S, self._look, context=nobody_s())

    def _look(self) -> None:
        """Caches give way to other programs that need the memory, then idle models."""
        self._looking = None
        before, now = self.cache.pressure, self._pressure()
        if now is not before:
            logger.info("the machine's memory: %s pressure", now.name.lower())
            self.cache.set_pressure(now)
        if now is Level.CRITICAL and (idle := self.room.spare(None)) is not None:
            logger.info("%s is unloaded: the machine is short of memory", idle.name)
            self.dismiss(idle)
        if self.room.ledger.holders():
            self._look_later()

    def stop_looking(self) -> None:
        """At the end."""
        if self._looking is not None:
            self._looking.cancel()
