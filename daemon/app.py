"""The daemon: what is declared → a running front. The only file that knows everybody.

    lock the home → read the config → bind the port → build → serve → drain → stop

What is slow to import (Sanic, SQLAlchemy, the tokenizers) is imported once the port is bound, so
that clients which come early wait a moment instead of being refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..config.errors import ConfigError
from ..config.load import load, load_file, read_text, write_default
from ..config.paths import Home
from ..config.settings import Settings
from ..config.state import ConfigState
from .access.access import Access
from .access.exposure import is_exposed, refuse_exposed
from .logs import write as logs

if TYPE_CHECKING:
    from sanic import Request, Sanic
    from sanic.response import HTTPResponse

    from .api.metrics import Metrics
    from .supervisor.supervisor import Supervisor
    from .tasks.front import Front

log = logging.getLogger(__name__)

EX_CONFIG = 78  # sysexits.h: the configuration is wrong
BACKLOG = 1024  # connections that may wait to be accepted
CLOSE_S = 2.0  # at stop: for the last bytes of finished responses to leave
REWATCH_S = 1.0  # until config.yaml is watched again after that failed


class StartError(Exception):
    """The daemon cannot start; the message is one line for the user."""


def run(
    home: Home, *, host: str | None = None, port: int | None = None, log_level: str | None = None
) -> int:
    """`serve` in an event loop of its own (uvloop where there is one). Returns the exit status."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        new_event_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve(home, host=host, port=port, log_level=log_level))


async def serve(
    home: Home, *, host: str | None = None, port: int | None = None, log_level: str | None = None
) -> int:
    """Run the daemon of `home` until SIGTERM or SIGINT. Returns the exit status: 0 after a clean
    stop, EX_CONFIG for a broken config.yaml, 1 when another daemon has the home or the port.

    What is None comes from config.yaml. Port 0 takes any free one; run/server.json names it.
    """
    try:
        home.create()
        with lock(home):
            write_default(home.config)
            text = read_text(home.config)
            settings = load(text, home.config)
            server = settings.server
            access = Access(home, exposed=is_exposed(host or server.host))
            refuse_exposed(access, home.config, host or server.host, in_file=host is None)
            with listen(host or server.host, server.port if port is None else port) as listener:
                logs.set_up(home, log_level or server.log_level)
                config = ConfigState(home.config, settings)
                daemon = _Daemon(home, config, access, fixed_log_level=log_level is not None)
                await daemon.run(listener, text)
        return 0
    except ConfigError as error:
        print(f"fastmlx: {error}", file=sys.stderr)
        return EX_CONFIG
    except StartError as error:
        print(f"fastmlx: {error}", file=sys.stderr)
    except OSError as error:
        print(f"fastmlx: {home.root} cannot be used: {error}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def lock(home: Home):
    """Holds the home for this process; the kernel gives it back whatever happens.

    Raises StartError when another daemon has it.
    """
    with (home.run / "daemon.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(f"another daemon runs on {home.root}{_whose(home)}") from None
        yield


def _whose(home: Home) -> str:
    try:
        said = json.loads(home.server_json.read_text("utf-8"))
        return f" (pid {said['pid']}, {said['url']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError that names the address."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
        # "localhost" means IPv4 to most clients' configuration.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        dual = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            address[:2],  # pyright: ignore[reportArgumentType]
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=dual,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(f"port {port} on {host} cannot be opened: {reason}") from None


def calm_collector() -> None:
    """Called once all modules and routes are there: they live until the end, so the garbage
    collector need not look at them again and again. A pass over them stops every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def url_of(listener: socket.socket) -> str:
    """How this machine reaches the listener."""
    host: str
    host, port = listener.getsockname()[:2]
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
    metrics = Metrics(supervisor.status, store, supervisor.cache.stats)
    running = RunningRequests()
    embedder = Embedder(config, supervisor, texts, record, door.begin, running)
    front = Front(
        home=home,
        config=config,
        supervisor=supervisor,
        store=store,
        generator=Generator(config, supervisor, texts, record, door.begin, running),
        embedder=embedder,
        ranker=Ranker(config, supervisor, texts, record, embedder, door.begin, running),
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
        self, home: Home, config: ConfigState, access: Access, *, fixed_log_level: bool
    ) -> None:
        self._home = home
        self._config = config
        self._access = access
        self._fixed_log_level = fixed_log_level
        self._applying = asyncio.Lock()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, listener: socket.socket, config_text: str) -> None:
        """`config_text` is the text whose settings are in force."""
        from .tasks.usage import restore_budgets

        front, metrics = build(self._home, self._config, url_of(listener), self._access)
        app = create_app(front, metrics)
        server = await app.create_server(
            sock=listener, backlog=BACKLOG, asyncio_server_kwargs={"start_serving": False}
        )
        assert server is not None
        await server.startup()
        await server.before_start()
        starting = server.start_serving()
        assert starting is not None
        await starting
        self._handle_signals(front)
        calm_collector()
        self._access.open_to_commands()
        self._say_where(front.url)
        log.info("fastmlx %s serves at %s, home %s", front.version, front.url, self._home.root)
        try:
            await self._apply(front, None, self._config.settings)
            following = asyncio.create_task(self._follow_config(front, config_text))
            tools = asyncio.create_task(front.mcp.run())
            budgets = asyncio.create_task(restore_budgets(self._access.budgets, front.store))
            noting = asyncio.create_task(self._access.run())
            await self._stop.wait()
            for task in (following, tools, budgets, noting):
                task.cancel()
        finally:
            log.info("stopping")
            server.server.close()  # pyright: ignore[reportOptionalMemberAccess]
            await self._drain(front.supervisor)
            await front.mcp.close()
            await _close_connections(server.connections)
            await server.after_stop()
            await asyncio.to_thread(front.store.close)
            with contextlib.suppress(OSError):
                self._home.server_json.unlink()
        log.info("stopped")

    # ---- signals

    def _handle_signals(self, front: Front) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload, front)

    def _on_stop(self) -> None:
        """The first signal drains, a second one does not wait any longer."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _on_reload(self, front: Front) -> None:
        try:
            found = load_file(self._config.path)
        except ConfigError as error:
            found = error
        self._reloading = asyncio.create_task(self._take(front, found))

    # ---- configuration

    async def _follow_config(self, front: Front, text: str) -> None:
        from ..config.watch import watch

        while True:
            try:
                async for found in watch(self._config.path, known=text):
                    await self._take(front, found)
            except Exception:  # whatever it is: a daemon that no longer hears of edits is worse
                log.exception("config.yaml could not be watched; trying again")
            await asyncio.sleep(REWATCH_S)

    async def _take(self, front: Front, found: Settings | ConfigError) -> None:
        """A saved file takes effect, or is refused and says why."""
        try:
            if isinstance(found, ConfigError):
                raise found
            if found.server.host != self._config.started.server.host:
                refuse_exposed(self._access, self._config.path, found.server.host)
            await self._apply(front, self._config.settings, found)
        except ConfigError as error:
            self._config.refuse(error)
            log.error("%s; what was in force stays", error)
        except Exception:
            log.exception("the new configuration could not be applied")

    async def _apply(self, front: Front, old: Settings | None, new: Settings) -> None:
        from .reconcile import reconcile

        async with self._applying:
            report = await reconcile(old, new, front.supervisor)
            self._config.accept(new)
            if not self._fixed_log_level:
                logging.getLogger().setLevel(new.server.log_level.upper())
                front.supervisor.set_log_level()
            for line in report.lines:
                log.info(line)

    # ---- files and the end

    def _say_where(self, url: str) -> None:
        """run/server.json, by which the other verbs find us; whole or not at all."""
        new = self._home.server_json.with_suffix(".new")
        new.write_text(json.dumps({"pid": os.getpid(), "url": url}), "utf-8")
        new.replace(self._home.server_json)

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


async def _close_connections(connections: set[Any]) -> None:
    """Idle ones at once; the others when their response has left, or after CLOSE_S."""
    now = asyncio.get_running_loop().time
    deadline = now() + CLOSE_S
    while connections and now() < deadline:
        for connection in list(connections):
            connection.close_if_idle()
        await asyncio.sleep(0.02)
    for connection in list(connections):
        connection.abort()
