"""What does serving cost? Streams over HTTP against the same engine driven in a process alone.

Both answer the same prompts with the same numbers of tokens, in turns. The engine alone has no
socket, no text and no other process beside it.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import load
import models
import servers
from report import Report, arguments, median, ratio

CLIENTS = (1, 8, 32, 128)


def engine_alone(folder: Path) -> None:
    """The process with the engine: a plan a line on stdin, tokens and seconds a line on stdout."""
    import engine
    from fastmlx.daemon.protocol.sampling import Sampling
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    runner = engine.load(folder)
    print("{}", flush=True)
    for line in sys.stdin:
        plan = load.Plan(**json.loads(line))
        core = engine.core_over(runner, folder, max_concurrent=128)
        prompts = [
            [
                tokenizer.encode(
                    f"<|im_start|>user\n{plan.prompt(client, number)}<|im_end|>\n"
                    "<|im_start|>assistant\n"
                ).ids
                for number in range(plan.requests)
            ]
            for client in range(plan.clients)
        ]
        sampling = Sampling(max_tokens=plan.tokens, **plan.sampling)
        tokens, seconds = engine.drive(core, prompts, sampling)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


@contextlib.contextmanager
def engine_process(folder: Path) -> Iterator[Callable[[load.Plan], float]]:
    """Yields a function: plan → output tokens per second of the engine alone."""
    command = [sys.executable, __file__, "--engine-alone", str(folder)]
    pipe = subprocess.PIPE
    # A session of its own, as the daemon has: Linux shares the processors among sessions.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def answer() -> dict[str, Any]:
            line = stdout.readline()
            if not line:
                raise RuntimeError("the engine's process ended")
            return json.loads(line)

        def rate(plan: load.Plan) -> float:
            stdin.write(json.dumps(vars(plan)).encode() + b"\n")
            stdin.flush()
            said = answer()
            assert said["tokens"] == plan.clients * plan.requests * plan.tokens
            return said["tokens"] / said["seconds"]

        answer()
        yield rate
        stdin.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="of each request")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--engine-alone", type=Path, help="internal: run the engine's process")
    options = parser.parse_args()
    if options.engine_alone is not None:
        engine_alone(options.engine_alone)
        return
    rounds, tokens = (1, 8) if options.quick else (options.rounds, options.tokens)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))
    report = Report(
        f"Greedy streams of {folder.name}, output tokens per second (median of {rounds} rounds)",
        ("clients", "engine alone", "HTTP", "HTTP ÷ engine"),
        BLAS,
        options.quick,
    )
    with engine_process(folder) as alone, servers.fastmlx(folder, max_concurrent=128) as ours:
        for clients in (1, 4) if options.quick else options.clients:
            engine_rates: list[float] = []
            http_rates: list[float] = []
            load.run(ours.url, load.Plan(ours.model, clients, 1, 4, salt=0))
            for number in range(rounds):
                plan = load.Plan(ours.model, clients, 2, tokens, salt=clients * 100 + number)
                engine_rates.append(alone(plan))
                measured = load.run(ours.url, plan)
                if measured.errors:
                    raise RuntimeError(f"{len(measured.errors)} errors: {measured.errors[0]}")
                http_rates.append(measured.tokens_per_s)
            report.add(
                clients, median(engine_rates), median(http_rates), ratio(http_rates, engine_rates)
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
