"""The daemon: what is declared → a running front. The only file that knows everybody.

    lock the home → read the config → bind the port, or take the socket that was handed over
    → build → serve → drain → stop, or start again in the same process with the same socket

What is slow to import (Sanic, SQLAlchemy, the tokenizers) is imported once the port is bound, so
that clients which come early wait a moment instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..config.errors import ConfigError
from ..config.load import load, read_text, write_default
from ..config.paths import Home
from ..config.state import ConfigState
from ..launchd import activation
from .access.access import Access
from .access.exposure import is_exposed, refuse_exposed
from .findable import stay_findable
from .logs import write as logs
from .opening import BACKLOG, StartError, allow_many_files, listen, lock, say_where, url_of

if TYPE_CHECKING:
    from sanic import Request, Sanic
    from sanic.response import HTTPResponse

    from .api.metrics import Metrics
    from .following import Following
    from .idle import Activity
    from .supervisor.supervisor import Supervisor
    from .tasks.front import Front

log = logging.getLogger(__name__)

EX_CONFIG = 78  # sysexits.h: the configuration is wrong
PATIENCE_S = 10.0  # with a daemon that is just ending, where the socket is there already
LOOK_S = 5.0  # at most, from one look to the next at whether the daemon is idle


def run(
    home: Home, *, host: str | None = None, port: int | None = None, log_level: str | None = None
) -> int:
    """`serve` in an event loop of its own (uvloop where there is one). Returns the exit status."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        ended = runner.run(serve(home, host=host, port=port, log_level=log_level))
    if isinstance(ended, activation.HandedOver):
        try:
            activation.pass_on(*ended)
        except OSError as error:
            log.error("%s cannot be started again: %s", sys.executable, error)
            return 1
    return ended


async def serve(
    home: Home, *, host: str | None = None, port: int | None = None, log_level: str | None = None
) -> int | activation.HandedOver:
    """Run the daemon of `home` until SIGTERM or SIGINT. Returns the exit status: 0 after a clean
    stop, EX_CONFIG for a broken config.yaml, 1 when another daemon has the home or the port. After
    SIGUSR2 it returns the socket for the next program.

    What is None comes from config.yaml. Port 0 takes any free one; run/server.json names it. A
    socket that launchd or systemd opened goes before both.
    """
    allow_many_files()
    try:
        handed = activation.take()
        home.create()
        with lock(home, patience_s=PATIENCE_S if handed else 0.0):
            write_default(home.config)
            text = read_text(home.config)
            settings = load(text, home.config)
            server = settings.server
            asked = (host or server.host, server.port if port is None else port)
            if handed is not None and handed.asked not in (None, asked):
                handed.listener.close()
                handed = None
            # What systemd or launchd opened may be open to others than the file says.
            where = asked[0] if handed is None else handed.listener.getsockname()[0]
            access = Access(home, exposed=is_exposed(where))
            refuse_exposed(
                access, home.config, where, in_file=host is None and where == server.host
            )
            if handed is None:
                handed = activation.HandedOver(listen(*asked), None, asked)
            with handed.listener:
                logs.set_up(home, log_level or server.log_level)
                config = ConfigState(home.config, settings)
                fixed = log_level is not None
                daemon = _Daemon(home, config, access, handed, fixed_log_level=fixed)
                # Our own, as the server closes the one that it is given.
                kept = handed.listener.dup()
                if await daemon.run(text):
                    return handed._replace(listener=kept)
                kept.close()
        return 0
    except ConfigError as error:
        print(f"fastmlx: {error}", file=sys.stderr)
        return EX_CONFIG
    except StartError as error:
        print(f"fastmlx: {error}", file=sys.stderr)
    except OSError as error:
        print(f"fastmlx: {home.root} cannot be used: {error}", file=sys.stderr)
    return 1


def calm_collector() -> None:
    """Called once all modules and routes are there: they live until the end, so the garbage
    collector need not look at them again and again. A pass over them stops every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def create_app(front: Front, metrics: Metrics | None = None) -> Sanic[Any, Any]:
    """The web application of `front`: the API and, unless turned off, the admin pages.

    `metrics` is what /metrics shows; by default figures that only know the present.
    """
    from sanic.response import redirect

    from .api.metrics import Metrics
    from .api.site import make_site

    if metrics is None:
        metrics = Metrics(front.supervisor.status, front.store, front.supervisor.cache.stats)
    app = make_site(front, metrics)
    if front.config.settings.server.admin:
        from ..admin import blueprint

        async def to_admin(_: Request) -> HTTPResponse:
            return redirect("/admin/")

        app.blueprint(blueprint())
        app.add_route(to_admin, "/", methods=["GET", "HEAD"], name="root")
    return app


def build(
    home: Home, config: ConfigState, url: str, access: Access | None = None
) -> tuple[Front, Metrics]:
    """A front with everything behind it, and the figures that its requests feed. Nothing is
    declared to the supervisor yet."""
    from .api.metrics import Metrics
    from .reconcile import memory_limit_bytes
    from .store.rows import UsageRow
    from .store.store import Store
    from .supervisor.supervisor import Supervisor
    from .tasks.embed import Embedder
    from .tasks.front import Front
    from .tasks.generate import Generator
    from .tasks.rerank import Ranker
    from .tasks.running import RunningRequests
    from .tasks.task import Shared
    from .tasks.texts import Texts
    from .tasks.tokens import TokenTools

    def drop_texts() -> None:
        texts.keep([each.name for each in supervisor.status() if each.pid is not None])

    def record(row: UsageRow) -> None:
        store.record(row)
        metrics.observe(row)
        door.end(row)

    door = access or Access(home)
    texts = Texts()
    store = Store.open(home.database)
    supervisor = Supervisor(
        home=home, memory_limit_bytes=memory_limit_bytes(config.settings), on_change=drop_texts
    )
    metrics = Metrics(supervisor.status, store, supervisor.cache.stats, config.served_as)
    running = RunningRequests()
    shared = Shared(config, supervisor, texts, record, door.begin, running)
    embedder = Embedder(shared)
    front = Front(
        home=home,
        config=config,
        supervisor=supervisor,
        store=store,
        generator=Generator(shared),
        embedder=embedder,
        ranker=Ranker(shared, embedder),
        token_tools=TokenTools(config, texts),
        access=door,
        running=running,
        version=version("fastmlx"),
        url=url,
    )
    return front, metrics


class _Daemon:
    """One run of the daemon, from the bound socket to the last closed connection."""

    def __init__(
        self,
        home: Home,
        config: ConfigState,
        access: Access,
        handed: activation.HandedOver,
        *,
        fixed_log_level: bool,
    ) -> None:
        self._home = home
        self._config = config
        self._access = access
        self._listener = handed.listener
        self._manager = handed.manager
        self._again = False  # after the stop
        self._idle = False  # why it stops
        self._fixed_log_level = fixed_log_level
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, config_text: str) -> bool:
        """`config_text` is the text whose settings are in force. True: it is to start again."""
        from .connection import Connection
        from .connections import close_all, close_idle, taken_up
        from .following import Following
        from .tasks.usage import restore_budgets

        url = url_of(self._listener)
        front, metrics = build(self._home, self._config, url, self._access)
        app = create_app(front, metrics)
        server = await app.create_server(
            sock=self._listener,
            backlog=BACKLOG,
            protocol=Connection,
            asyncio_server_kwargs={"start_serving": False},
        )
        assert server is not None
        metrics.add("connections", "Open connections.", lambda: len(server.connections))
        metrics.add("tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks()))
        await server.startup()
        await server.before_start()
        starting = server.start_serving()
        assert starting is not None
        await starting
        edits = Following(front, fixed_log_level=self._fixed_log_level)
        self._handle_signals(edits)
        calm_collector()
        self._access.open_to_commands()
        say_where(self._home, front.url, os.getpid(), front.started_at)
        log.info("fastmlx %s serves at %s, home %s", front.version, front.url, self._home.root)
        try:
            await edits.apply(None, self._config.settings)
            following = asyncio.create_task(edits.run(config_text))
            tools = asyncio.create_task(front.mcp.run())
            budgets = asyncio.create_task(restore_budgets(self._access.budgets, front.store))
            noting = asyncio.create_task(self._access.run())
            findable = asyncio.create_task(stay_findable(front))
            idle = asyncio.create_task(self._stop_when_idle(front, app.ctx.activity))
            front.downloads.restore()
            await self._stop.wait()
            for task in (following, tools, budgets, noting, findable, idle):
                task.cancel()
        finally:
            log.info("stopping, to start again" if self._again else "stopping")
            server.server.close()  # pyright: ignore[reportOptionalMemberAccess]
            # Those that are idle come back with a new connection, which finds the next daemon.
            closing = asyncio.create_task(close_idle(server.connections))
            if self._again:
                say_where(self._home, front.url)
            if self._again or self._idle:
                await taken_up(server.connections)
            await asyncio.gather(front.downloads.close(), self._drain(front.supervisor))
            closing.cancel()
            await front.close()
            await close_all(server.connections)
            await server.after_stop()
            await asyncio.to_thread(front.store.close)
            with contextlib.suppress(OSError):
                if self._manager is None and not self._again:
                    self._home.server_json.unlink()
                else:
                    say_where(self._home, front.url)
        log.info("stopped")
        return self._again

    # ---- signals

    def _handle_signals(self, following: Following) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, following.reload)
        loop.add_signal_handler(signal.SIGUSR2, self._on_restart)

    def _on_stop(self) -> None:
        """The first signal drains, a second one does not wait any longer; a restart becomes a
        stop."""
        hurries = self._stop.is_set() and not self._again
        self._again = False
        (self._hurry if hurries else self._stop).set()

    def _on_restart(self) -> None:
        """Drain, then start again with the same socket; a daemon that stops already stops."""
        if not self._stop.is_set():
            self._again = True
            self._stop.set()

    async def _stop_when_idle(self, front: Front, activity: Activity) -> None:
        """`server.exit_when_idle`: only where a connection starts the daemon again."""
        while True:
            timeout_s = self._config.settings.server.exit_when_idle
            if self._manager is None or math.isinf(timeout_s):
                await asyncio.sleep(LOOK_S)
                continue
            if _at_work(front):
                activity.goes_on()
            left_s = timeout_s - activity.idle_s
            if left_s <= 0:
                log.info("nobody asked for anything for %.0f s", timeout_s)
                self._idle = True
                self._stop.set()
                return
            await asyncio.sleep(min(left_s, LOOK_S))

    # ---- the end

    async def _drain(self, supervisor: Supervisor) -> None:
        stopping = asyncio.create_task(supervisor.stop(self._config.settings.server.drain_timeout))
        hurrying = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping})
            await supervisor.stop(0)
        elif error := stopping.exception():
            log.error("the engines did not stop cleanly", exc_info=error)


def _at_work(front: Front) -> bool:
    """Requests run or wait, with or without a client; a model is to stay in memory; a download."""
    return front.downloads.goes_on or any(
        model.requests_running or model.requests_waiting or (model.pinned and model.pid is not None)
        for model in front.supervisor.status()
    )
