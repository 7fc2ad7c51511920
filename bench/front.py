"""What does a token cost the front? CPU time from the engine's socket to the bytes of the stream.

The daemon's own application runs in a process of its own; behind it stands an engine without a
model that gives every stream a token at a steady rate (bench/steady_engine.py). The CPU time of the
process is read before and after streams of few and of many tokens: the difference of the two,
divided by the difference in tokens, is a token without its share of the request. Beside it stands
what the same frames cost an event loop that does nothing else (bench/bare_front.py): waking up,
reading and writing, which no front can do without.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import load
import models
from report import Report, arguments, median

STREAMS = (1, 32, 256)
AIM_US = 25.0
FEW_TOKENS = 5
HERE = Path(__file__).resolve().parent


async def serve_bare(step_ms: float) -> None:
    """The process of the event loop without a front."""
    import bare_front

    await bare_front.serve(step_ms, lambda url: print(url, flush=True), telling_cpu())


def telling_cpu() -> asyncio.Event:
    """Prints the CPU time of this process in seconds for every line on stdin; set when that is
    closed."""
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()

    def answer() -> None:
        for _ in sys.stdin:
            print(time.process_time(), flush=True)
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=answer, daemon=True).start()
    return closed


async def serve(folder: Path, home_folder: Path, step_ms: float) -> None:
    """The process of the front: the parts that `daemon.app` builds, with another engine command.
    Prints its URL, then its CPU time in seconds for every line on stdin, until that is closed."""
    import socket
    from importlib.metadata import version

    from fastmlx.config.paths import Home
    from fastmlx.config.settings import ModelSpec, Settings
    from fastmlx.config.state import ConfigState
    from fastmlx.daemon.access.access import Access
    from fastmlx.daemon.api.metrics import Metrics
    from fastmlx.daemon.app import BACKLOG, calm_collector, create_app, url_of
    from fastmlx.daemon.reconcile import reconcile
    from fastmlx.daemon.store.rows import UsageRow
    from fastmlx.daemon.store.store import Store
    from fastmlx.daemon.supervisor.supervisor import Supervisor
    from fastmlx.daemon.tasks.embed import Embedder
    from fastmlx.daemon.tasks.front import Front
    from fastmlx.daemon.tasks.generate import Generator
    from fastmlx.daemon.tasks.rerank import Ranker
    from fastmlx.daemon.tasks.task import Shared
    from fastmlx.daemon.tasks.texts import Texts
    from fastmlx.daemon.tasks.tokens import TokenTools

    def record(row: UsageRow) -> None:
        store.record(row)
        metrics.observe(row)

    home = Home(home_folder)
    home.create()
    spec = ModelSpec(path=str(folder), max_concurrent=512, max_waiting=512)
    config = ConfigState(home.config, Settings(models={"bench": spec}))
    engine = (sys.executable, str(HERE / "steady_engine.py"), "--step-ms", str(step_ms))
    supervisor = Supervisor(home=home, memory_limit_bytes=1 << 40, command=engine)
    store = Store.open(home.database)
    metrics = Metrics(supervisor.status, store)
    texts = Texts()
    shared = Shared(config, supervisor, texts, record)
    generator = Generator(shared)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        url = url_of(listener)
        embedder = Embedder(shared)
        front = Front(
            home,
            config,
            supervisor,
            store,
            generator,
            version("fastmlx"),
            url,
            embedder=embedder,
            ranker=Ranker(shared, embedder),
            token_tools=TokenTools(config, texts),
            access=Access(home),
        )
        server = await create_app(front, metrics).create_server(
            sock=listener, backlog=BACKLOG, asyncio_server_kwargs={"start_serving": False}
        )
        assert server is not None
        assert server.server is not None
        await server.startup()
        await server.server.start_serving()
        await reconcile(None, config.settings, supervisor)
        await supervisor.load("bench")
        calm_collector()

        closed = telling_cpu()
        print(url, flush=True)
        await closed.wait()
        await supervisor.stop(0)
        server.server.close()
        await asyncio.to_thread(store.close)


class Process(NamedTuple):
    url: str
    cpu_s: Callable[[], float]  # used so far


@contextlib.contextmanager
def front_process(folder: Path, step_ms: float, *, bare: bool = False) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="fastmlx-bench-") as home:
        what = ["--serve-bare"] if bare else ["--serve", str(folder), "--home", home]
        options = [*what, "--step-ms", str(step_ms)]
        command = [sys.executable, __file__, *options]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def line() -> str:
                said = stdout.readline()
                if not said:
                    raise RuntimeError("the front's process ended")
                return said.strip()

            def cpu_s() -> float:
                stdin.write("cpu\n")
                return float(line())

            yield Process(line(), cpu_s)
            stdin.close()


class Run(NamedTuple):
    cpu_s: float
    tokens: int
    seconds: float


def run(front: Process, streams: int, tokens: int, salt: int) -> Run:
    """What so many streams of so many tokens cost the front."""
    before_s = front.cpu_s()
    measured = load.run(front.url, load.Plan("bench", streams, 1, tokens, salt=salt))
    cpu_s = front.cpu_s() - before_s
    if measured.errors:
        raise RuntimeError(f"{len(measured.errors)} errors: {measured.errors[0]}")
    return Run(cpu_s, measured.output_tokens, measured.seconds)


class Cost(NamedTuple):
    """CPU time of a process, and the load that it was under."""

    request_us: float  # of FEW_TOKENS
    token_us: float
    tokens_per_s: float
    percent: float  # of a core


def cost(process: Process, streams: int, tokens: int, salt: int) -> Cost:
    few = run(process, streams, FEW_TOKENS, salt)
    many = run(process, streams, FEW_TOKENS + tokens, salt + 1)
    return Cost(
        few.cpu_s / streams * 1e6,
        (many.cpu_s - few.cpu_s) / (many.tokens - few.tokens) * 1e6,
        many.tokens / many.seconds,
        many.cpu_s / many.seconds * 100,
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=250, help="of each stream")
    parser.add_argument("--step-ms", type=float, default=20.0, help="from token to token")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--serve", type=Path, help="internal: run the front's process")
    parser.add_argument("--serve-bare", action="store_true", help="internal: the bare loop's")
    parser.add_argument("--home", type=Path, help="internal: of that process")
    options = parser.parse_args()
    if options.serve is not None or options.serve_bare:
        from uvloop import new_event_loop  # as daemon.app.run does

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            if options.serve is None:
                runner.run(serve_bare(options.step_ms))
            else:
                runner.run(serve(options.serve, options.home, options.step_ms))
        return
    rounds, tokens = (1, 20) if options.quick else (options.rounds, options.tokens)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))
    report = Report(
        f"CPU time of the front, a token every {options.step_ms:g} ms a stream "
        f"(medians of {rounds} rounds)",
        (
            "streams",
            "tokens/s",
            "% of a core",
            f"µs/request of {FEW_TOKENS} tokens",
            "µs/token",
            "bare event loop",
            f"µs/token ÷ {AIM_US:g}",
        ),
        BLAS,
        options.quick,
    )
    with (
        front_process(folder, options.step_ms) as front,
        front_process(folder, options.step_ms, bare=True) as bare,
    ):
        salt = 0
        for streams in (1, 4) if options.quick else options.streams:
            for process in (front, bare):  # not timed: templates, first connections
                run(process, streams, FEW_TOKENS, salt)
            costs: list[Cost] = []
            bare_us: list[float] = []
            for _ in range(rounds):
                salt += 2
                costs.append(cost(front, streams, tokens, salt))
                bare_us.append(cost(bare, streams, tokens, salt).token_us)
            token_us = median(each.token_us for each in costs)
            report.add(
                streams,
                median(each.tokens_per_s for each in costs),
                median(each.percent for each in costs),
                median(each.request_us for each in costs),
                token_us,
                median(bare_us),
                token_us / AIM_US,
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
