"""What does a token cost the front? CPU time from the engine's socket to the bytes of the stream.

The daemon's own application runs in a process of its own; behind it stands an engine without a
model that gives every stream a token at a steady rate (bench/steady_engine.py). The CPU time of the
process is read before and after streams of few and of many tokens: the difference of the two,
divided by the difference in tokens, is a token without its share of the request.
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

        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def answer() -> None:
            for _ in sys.stdin:
                print(time.process_time(), flush=True)
            loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=answer, daemon=True).start()
        print(url, flush=True)
        await closed.wait()
        await supervisor.stop(0)
        server.server.close()
        await asyncio.to_thread(store.close)


class Process(NamedTuple):
    url: str
    cpu_s: Callable[[], float]  # used so far


@contextlib.contextmanager
def front_process(folder: Path, step_ms: float) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="fastmlx-bench-") as home:
        options = ["--serve", str(folder), "--home", home, "--step-ms", str(step_ms)]
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


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=250, help="of each stream")
    parser.add_argument("--step-ms", type=float, default=20.0, help="from token to token")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--serve", type=Path, help="internal: run the front's process")
    parser.add_argument("--home", type=Path, help="internal: of that process")
    options = parser.parse_args()
    if options.serve is not None:
        from uvloop import new_event_loop  # as daemon.app.run does

        with asyncio.Runner(loop_factory=new_event_loop) as runner:
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
            f"µs/token ÷ {AIM_US:g}",
        ),
        BLAS,
        options.quick,
    )
    with front_process(folder, options.step_ms) as front:
        salt = 0
        for streams in (1, 4) if options.quick else options.streams:
            run(front, streams, FEW_TOKENS, salt)  # not timed: templates, first connections
            per_request_us: list[float] = []
            per_token_us: list[float] = []
            long_runs: list[Run] = []
            for _ in range(rounds):
                salt += 2
                few = run(front, streams, FEW_TOKENS, salt)
                many = run(front, streams, FEW_TOKENS + tokens, salt + 1)
                per_request_us.append(few.cpu_s / streams * 1e6)
                per_token_us.append((many.cpu_s - few.cpu_s) / (many.tokens - few.tokens) * 1e6)
                long_runs.append(many)
            report.add(
                streams,
                median(each.tokens / each.seconds for each in long_runs),
                median(each.cpu_s / each.seconds * 100 for each in long_runs),
                median(per_request_us),
                median(per_token_us),
                median(per_token_us) / AIM_US,
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
