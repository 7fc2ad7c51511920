"""How many small requests a second? One token each, not streamed, many clients at once.

Classifying, routing and scoring look like this: what counts is what a request costs beside its
token. Each client opens a connection, asks, reads the answer and asks again; the servers answer in
turns.
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

COLUMNS = (
    "clients",
    "server",
    "requests/s",
    "p50 ms",
    "p95 ms",
    "CPU ms/request",
    "errors",
    "ours ÷ theirs",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=30, help="of a client, a round")
    parser.add_argument("--clients", type=int, default=16)
    peers.add_options(parser)
    options = parser.parse_args()
    rounds, requests = (1, 2) if options.quick else (options.rounds, options.requests)
    clients = 2 if options.quick else options.clients
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))
    report = Report(
        f"Chat completions of one token, {folder.name}: medians of {rounds} rounds in turns",
        COLUMNS,
        BLAS,
        options.quick,
    )
    salts = itertools.count()  # no prompt comes twice: prefix caches are another question
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(servers.fastmlx(folder))]
        running += peers.start_all(stack, folder, options.peers_dir, report)
        seen: list[list[load.Measured]] = [[] for _ in running]
        used_s = [0.0 for _ in running]
        for server in running:  # not timed: the first requests compile kernels
            load.run(
                server.url,
                load.Plan(server.model, clients, 2, 1, salt=next(salts), stream=False),
            )
        for _ in range(rounds):
            salt = next(salts)
            for number, server in enumerate(running):
                plan = load.Plan(server.model, clients, requests, 1, salt=salt, stream=False)
                before_s = server.cpu_s()
                seen[number].append(load.run(server.url, plan))
                used_s[number] += server.cpu_s() - before_s
    asked = clients * requests
    ours = [asked / measured.seconds for measured in seen[0]]
    for number, (server, measured) in enumerate(zip(running, seen, strict=True)):
        errors = [error for m in measured for error in m.errors]
        report.notes += [f"{server.name}: {error}" for error in errors[:1]]
        rates = [asked / m.seconds for m in measured]
        report.add(
            clients,
            server.name,
            median(rates),
            median(m.ttft_ms(50) for m in measured),
            median(m.ttft_ms(95) for m in measured),
            used_s[number] / (asked * rounds) * 1000,
            len(errors),
            ratio(ours, rates) if number and not errors else None,
        )
    report.finish(options.json)


if __name__ == "__main__":
    main()
