"""How do we compare with other servers? The same model, machine, run and load, in turns.

All servers run at once and are asked one after the other, so that whatever disturbs the machine
disturbs them alike. A row with errors is not compared. Add a peer in bench/peers.py.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import contextlib
import itertools

import load
import models
import peers
import servers
from report import Report, arguments, median, ratio

STREAMS = (1, 8, 32, 64)
SAMPLINGS = {
    "greedy": {"temperature": 0.0},
    "T 0.7 top_p 0.9": {"temperature": 0.7, "top_p": 0.9},
}
SALTS = itertools.count()  # no prompt comes twice: prefix caches are another question
TIMEOUT_S = 60.0  # of a round
COLUMNS = (
    "streams",
    "sampling",
    "server",
    "output tok/s",
    "TTFT p50 ms",
    "TTFT p95 ms",
    "ITL p50 ms",
    "ITL p95 ms",
    "ITL p99 ms",
    "CPU ms/token",
    "RSS MB",
    "errors",
    "ours ÷ theirs",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="of a request (128 for one stream)")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    peers.add_options(parser)
    options = parser.parse_args()
    rounds, streams = (1, (2,)) if options.quick else (options.rounds, options.streams)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))
    report = Report(
        f"Streamed chat completions of {folder.name}: medians of {rounds} rounds in turns",
        COLUMNS,
        BLAS,
        options.quick,
    )
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(servers.fastmlx(folder, max_concurrent=peers.STREAMS))]
        running += peers.start_all(stack, folder, options.peers_dir, report)
        for count in streams:
            tokens = 8 if options.quick else options.tokens * (2 if count == 1 else 1)
            for name, sampling in SAMPLINGS.items():
                _compare(report, running, count, tokens, rounds, name, sampling)
                report.write(options.json)  # what is measured survives an interrupted run
    report.finish(options.json)


def _compare(
    report: Report,
    running: list[servers.Running],
    streams: int,
    tokens: int,
    rounds: int,
    name: str,
    sampling: dict[str, float],
) -> None:
    """One scenario on all servers, in turns; one row a server."""
    for server in running:  # not timed: kernels of a new sampler are compiled
        warming = load.Plan(server.model, streams, 1, 4, sampling, salt=next(SALTS))
        load.run(server.url, warming, timeout_s=TIMEOUT_S)
    seen: list[list[load.Measured]] = [[] for _ in running]
    used_s = dict.fromkeys((server.name for server in running), 0.0)
    for _ in range(rounds):
        salt = next(SALTS)
        for server, measured in zip(running, seen, strict=True):
            requests = 3 if streams == 1 else 2
            plan = load.Plan(server.model, streams, requests, tokens, sampling, salt)
            before_s = server.cpu_s()
            measured.append(load.run(server.url, plan, timeout_s=TIMEOUT_S))
            used_s[server.name] += server.cpu_s() - before_s
    ours = [m.tokens_per_s for m in seen[0]]
    for server, measured in zip(running, seen, strict=True):
        rates = [m.tokens_per_s for m in measured]
        errors = [error for m in measured for error in m.errors]
        if errors:
            report.notes.append(f"{server.name}, {streams} streams, {name}: {errors[0]}")
        report.add(
            streams,
            name,
            server.name,
            median(rates),
            median(m.ttft_ms(50) for m in measured),
            median(m.ttft_ms(95) for m in measured),
            median(m.itl_ms(50) for m in measured),
            median(m.itl_ms(95) for m in measured),
            median(m.itl_ms(99) for m in measured),
            used_s[server.name] / max(1, sum(m.output_tokens for m in measured)) * 1000,
            server.rss_bytes() / 1e6,
            len(errors),
            None if errors or server is running[0] else ratio(ours, rates),
        )


if __name__ == "__main__":
    main()
