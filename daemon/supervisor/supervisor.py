"""Which models are declared, and who uses them; `engines` makes their processes come and go."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..protocol.errors import ModelFailed, ModelNotFound, Overloaded
from .child import Timing
from .engines import Engines
from .fair import ANYBODY, Turn
from .lease import Lease
from .model import Declaration, Model, inspect
from .pressure import Level, level
from .recovery import Recovery
from .room import Room
from .status import ModelStatus, State

if TYPE_CHECKING:
    from ...config.paths import Home

logger = logging.getLogger(__name__)

ENGINE_COMMAND = (sys.executable, "-m", "fastmlx.daemon.engine")


class Supervisor:
    """All engine processes of this front. Use it from one event loop only."""

    def __init__(
        self,
        *,
        home: Home,
        memory_limit_bytes: int,
        command: Sequence[str] = ENGINE_COMMAND,
        on_change: Callable[[], None] | None = None,
        timing: Timing | None = None,
        recovery: Recovery | None = None,
        pressure: Callable[[], Level] = level,
    ) -> None:
        """`on_change` is called, at most about 20 times a second, after something that `status()`
        reports has changed (not for every token). `pressure` says how short of memory the machine
        is."""
        self.home = home
        self._recovery = recovery or Recovery()
        self._room = Room(memory_limit_bytes)
        self._models: dict[str, Model] = {}
        self._withdrawn: list[Model] = []  # that still finish their requests
        self._engines = Engines(
            home=home,
            room=self._room,
            models=self._models,
            withdrawn=self._withdrawn,
            command=command,
            timing=timing or Timing(),
            on_change=on_change,
            pressure=pressure,
        )
        self.cache = self._engines.cache
        self._notify = self._engines.notify

    # ---- what is declared

    def set_log_level(self) -> None:
        """The level of this process's log has changed: the engines follow."""
        for model in self._models.values():
            model.tune()

    async def declare(self, name: str, new: Declaration) -> None:
        """A model exists, or its entry changed. Never raises for a bad model: `status()` says it.

        A change that the running engine can live with applies at once. For another one the engine
        finishes the requests it runs and starts again; requests that come meanwhile wait for that.
        Nothing is started here: preloading is `load(name, evict=False)`.
        """
        model = self._models.get(name)
        if model is None:
            model = self._engines.new_model(name, new, self._recovery)
            self._models[name] = model
        else:
            old, model.declared = model.declared, new
            model.tune()
            if model.engine.state in (State.STOPPED, State.FAILED):
                if new.needs_new_engine(old):
                    model.problem = None
                    model.engine.forgive()
            elif model.departure is None and new.needs_new_engine(model.started_for or old):
                self._engines.dismiss(model, load_again=True)
            model.watch_idleness(self._engines.on_idle)
        await self._look(model)
        self._notify()

    async def look_again(self, path: str) -> None:
        """The files at `path`, as entries call it, came or went: what could not be started for the
        lack of them may be tried again. What runs is left alone."""
        for model in list(self._models.values()):
            if model.declared.spec.path == path:
                model.engine.forgive()
                model.problem = None
                await self._look(model)
        self._notify()

    async def _look(self, model: Model) -> None:
        """What its files say, unless an engine knows better."""
        if model.engine.state is State.STOPPED and model.start is None:
            try:
                model.info, _ = await asyncio.to_thread(inspect, model.declared.spec)
            except ModelFailed as error:
                model.info, model.problem = None, error.message

    async def withdraw(self, name: str) -> None:
        """The model is no longer declared: no new leases; its engine stops when the last request
        ended. Returns at once. Unknown names are ignored."""
        model = self._models.pop(name, None)
        if model is None:
            return
        model.withdrawn = True
        self._withdrawn.append(model)
        model.wake()
        self._engines.dismiss(model)

    @property
    def memory_limit_bytes(self) -> int:
        """What all engines together may use."""
        return self._room.ledger.limit_bytes

    def set_memory_limit(self, limit_bytes: int) -> None:
        """What all engines together may use; idle ones are evicted when it shrank."""
        self._room.ledger.limit_bytes = limit_bytes
        self._notify()
        for victim in self._room.overdue():
            logger.info("%s is evicted: the memory limit was lowered", victim.name)
            self._engines.dismiss(victim)

    def set_recovery(self, recovery: Recovery) -> None:
        """What is done about engines that die, from now on."""
        self._recovery = recovery
        for model in (*self._models.values(), *self._withdrawn):
            model.engine.recovery = recovery

    @property
    def reserved_bytes(self) -> int:
        """What the running and starting engines are counted with."""
        return self._room.ledger.used_bytes

    # ---- what is used

    @asynccontextmanager
    async def lease(
        self, name: str, *, keep_alive_s: float | None = None, turn: Turn = ANYBODY
    ) -> AsyncIterator[Lease]:
        """Use a model, by its name, an alias or NAME:ADAPTER; until the block ends it is not
        unloaded. `keep_alive_s` takes the place of its idle timeout until the next lease ends.

            the model is        a request
            not declared        ModelNotFound
            queue full          Overloaded, Retry-After from how long leases are held; but an owner
                                of whom nothing is in it waits there, too
            ready               goes on at once
            starting            waits; fails with the others if the start fails
            stopped             starts it (evicting if need be) and waits
              no room           Overloaded: need, limit, who holds what and why
              larger than all   ModelFailed, until the limit or the model changes
              broken files      ModelFailed; looked at again by the next request
            draining, stopping  waits for the end, then starts it
            failed              ModelFailed, until its spec changes or load()

        A request that is cancelled while it waits leaves; the load it began goes on.
        """
        model = self._find(name)
        adapter = model.declared.spec.adapter_asked(model.name, name)
        model.check_queue(turn.owner)
        model.enter(turn.owner)
        model.pending += 1
        model.watch_idleness(self._engines.on_idle)
        self._notify()
        try:
            with model.declared.patience.while_loading(model.name):
                wait_s = model.declared.queue_timeout_s
                async with asyncio.timeout(None if math.isinf(wait_s) else wait_s):
                    await self._until_ready(model)
            number = model.adapter_number(adapter)
            if number is None:  # the entry was edited while the request waited
                raise self._not_found(name)
            model.leases += 1
            model.drained.clear()
        except BaseException:
            model.leave(turn.owner)
            raise
        finally:
            model.pending -= 1
            model.watch_idleness(self._engines.on_idle)
        lease = model.new_lease(number, turn)
        began = time.monotonic()
        try:
            yield lease
        finally:
            model.leave(turn.owner)
            lease.release()
            model.keep_alive_s = keep_alive_s
            model.leases -= 1
            if not model.leases:
                model.drained.set()
            model.lease_s += 0.2 * (time.monotonic() - began - model.lease_s)
            model.watch_idleness(self._engines.on_idle)
            self._notify()

    async def load(self, name: str, *, evict: bool = True) -> None:
        """Start the model and wait until it is ready; tries again one that failed. Without `evict`
        no other model has to go for it.

        Raises ModelNotFound, ModelFailed, Overloaded."""
        model = self._find(name)
        if model.departure is not None:
            model.load_again = True
        model.engine.forgive()
        await self._until_ready(model, evict)
        model.watch_idleness(self._engines.on_idle)

    async def unload(self, name: str) -> None:
        """Let running requests end, then stop the engine; returns when it is gone. Requests that
        come meanwhile wait and load it again; those that waited for a load in progress get
        Overloaded. Also clears a failure. Raises ModelNotFound."""
        model = self._find(name)
        if not model.grants and model.departure is None:
            model.wake_with(
                Overloaded(f"{model.name} was unloaded while it loaded.", retry_after_s=1.0)
            )
        model.engine.forgive()
        model.problem = None
        await asyncio.shield(self._engines.dismiss(model))

    def status(self) -> list[ModelStatus]:
        """All models in the order of their declaration, then those that are withdrawn and not
        gone yet."""
        leaving = [m for m in self._withdrawn if m.name not in self._models]
        return [model.status() for model in (*self._models.values(), *leaving)]

    async def stop(self, drain_s: float) -> None:
        """No new leases; wait up to `drain_s` for running requests, then end every engine. The
        requests still running then get Overloaded. Nothing is left over."""
        self._engines.stopping = True
        models = [*self._models.values(), *self._withdrawn]
        for model in models:
            model.wake()
        drained = [asyncio.create_task(model.drained.wait()) for model in models if model.leases]
        try:
            if drained:
                await asyncio.wait(drained, timeout=drain_s)
        finally:  # a hurried stop cancels this one and calls again
            for task in drained:
                task.cancel()
        for model in models:
            if model.start is not None:
                model.start.cancel()
            if model.idle_timer is not None:
                model.idle_timer.cancel()
        await asyncio.gather(*(m.start for m in models if m.start), return_exceptions=True)
        await asyncio.gather(*(model.engine.stop() for model in models))
        for model in models:  # a departure waits for leases that nobody may ever give back
            if model.departure is not None:
                model.departure.cancel()
        departures = [model.departure for model in models if model.departure is not None]
        await asyncio.gather(*departures, return_exceptions=True)
        self._engines.stop_looking()
        self._notify.cancel()

    # ---- waiting

    async def _until_ready(self, model: Model, evict: bool = True) -> None:
        """Until leases may be granted, starting the model if nobody does; raises as `lease`."""
        while True:
            if self._engines.stopping:
                raise Overloaded("The server is shutting down.", retry_after_s=10.0)
            if model.withdrawn:
                raise self._not_found(model.name)
            if model.grants:
                return
            if model.engine.state is State.FAILED and model.start is None:
                raise ModelFailed(model.engine.error or f"{model.name} cannot be started.")
            resting = model.engine.state is State.STOPPED and model.departure is None
            if resting and model.start is None:
                self._engines.begin(model, evict)
            await model.changed()

    def _find(self, name: str) -> Model:
        if name in self._models:
            return self._models[name]
        for model in self._models.values():
            if model.answers_to(name):
                return model
        raise self._not_found(name)

    def _not_found(self, name: str) -> ModelNotFound:
        there_is = f"Declared: {', '.join(self._models) or 'none'}."
        return ModelNotFound(f"There is no model '{name}'. {there_is}", param="model")
