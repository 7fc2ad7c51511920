"""Does it last? Requests of all dialects while engines are killed, settings saved, models unloaded.

For --seconds several clients ask, stream and compare with what a quiet daemon said before; others
hang up, send nonsense, kill engines, save config.yaml, load and unload. Whatever is refused while
its model is unloaded is asked again. At the end every request must have been answered, the books
must tell of each, and what lies on disk must be whole. Exits with 1 where that is not so.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import tiny
from integrity import check_cold, check_database
from live import LiveDaemon
from report import Report, arguments
from traffic import KINDS, Kind, Refused, ask

CLIENTS = 8
SEEDS = 3
TOKENS = 48
MODELS = ("a", "b")  # b is loaded and unloaded
NONSENSE = (b"", b"{", b"[]", b'{"model": 1}', b'{"model": "a", "messages": 5}', b"\xff" * 100)
RECOVERY = "{request_attempts: 100, start_attempts: 100, delay: 10ms, max_delay: 100ms}"
REFUSALS = ("overloaded", "was stopped", "unloaded while")  # in a stream
CAUSED = ("engines killed", "settings saved", "unloads", "hang-ups", "bad inputs")

Answers = dict[tuple[str, int], str]


class Soak:
    """One daemon, its quiet answers, and what was counted since."""

    def __init__(self, daemon: LiveDaemon, folder: Path, seed: int) -> None:
        self.daemon = daemon
        self.quiet: Answers = {}
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.same: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.other: Counter[str] = Counter()  # answers unlike the quiet one, by their place
        self.again = 0  # refused, and asked again
        self.done = Counter(dict.fromkeys(CAUSED, 0))
        self.said: list[str] = []  # the first errors
        self._folder = folder
        self._chance = random.Random(seed)
        self._until_s = 0.0

    def config(self, max_waiting: int = 128) -> str:
        entries = "".join(
            f"  {name}: {{path: {self._folder}, max_concurrent: 8}}\n" for name in MODELS
        )
        return f"recovery: {RECOVERY}\ndefaults: {{max_waiting: {max_waiting}}}\nmodels:\n{entries}"

    async def quietly(self) -> None:
        async with self._client() as client:
            for seed in range(SEEDS):
                for kind in KINDS:
                    self.quiet[kind.name, seed] = await self._ask(client, kind, seed, "a", True)

    async def disturbed(self, seconds: float) -> None:
        self._until_s = time.monotonic() + seconds
        async with self._client() as client:
            await asyncio.gather(
                *(self._until(lambda: self._compare(client)) for _ in range(CLIENTS)),
                self._until(self._kill, 1.5),
                self._until(self._save, 2.0),
                self._until(lambda: self._unload(client), 3.0),
                self._until(lambda: self._hang_up(client), 0.7),
                self._until(lambda: self._bad(client), 0.3),
            )

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.daemon.url, timeout=300)

    async def _until(self, act: Callable[[], Awaitable[None]], every_s: float = 0.0) -> None:
        while time.monotonic() < self._until_s:
            await act()
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * every_s)

    async def _ask(
        self, client: httpx.AsyncClient, kind: Kind, seed: int, model: str, stream: bool
    ) -> str:
        prompt = f"{seed}: tell {kind.name} something long"
        return await ask(client, kind, model, prompt, tokens=TOKENS, seed=seed, stream=stream)

    async def _compare(self, client: httpx.AsyncClient) -> None:
        kind, seed = self._chance.choice(KINDS), self._chance.randrange(SEEDS)
        model, stream = self._chance.choice(MODELS), self._chance.random() < 0.8
        self.sent[kind.name] += 1
        while True:
            try:
                said = await self._ask(client, kind, seed, model, stream)
            except Refused as error:
                if error.status == 503 or any(each in str(error) for each in REFUSALS):
                    self.again += 1
                    await asyncio.sleep(0.05)
                    continue
                self._wrong(kind, error)
            except (httpx.HTTPError, AssertionError) as error:
                self._wrong(kind, error)
            else:
                self.answered[kind.name] += 1
                quiet = self.quiet[kind.name, seed]
                self.same[kind.name] += said == quiet
                if said != quiet:
                    self.other[f"{kind.name}: {said[:40]!r} instead of {quiet[:40]!r}"] += 1
            return

    def _wrong(self, kind: Kind, error: Exception) -> None:
        self.errors[kind.name] += 1
        self.said.append(f"{kind.name}: {type(error).__name__}: {error}"[:300])

    async def _kill(self) -> None:
        model = await asyncio.to_thread(self.daemon.model, self._chance.choice(MODELS))
        # Seldom one that still starts: on a slow machine none would ever be ready.
        if model["pid"] is not None and (model["state"] == "ready" or self._chance.random() < 0.1):
            with contextlib.suppress(ProcessLookupError):
                signum = self._chance.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT))
                os.kill(model["pid"], signum)
                self.done["engines killed"] += 1

    async def _save(self) -> None:
        self.daemon.edit_config(self.config(self._chance.randrange(100, 200)))
        self.done["settings saved"] += 1

    async def _unload(self, client: httpx.AsyncClient) -> None:
        verb = self._chance.choice(("load", "unload"))
        await client.post(f"/api/models/b/{verb}")  # a load that an unload cuts off is a 503
        self.done["unloads"] += verb == "unload"

    async def _hang_up(self, client: httpx.AsyncClient) -> None:
        body = {"model": "a", "prompt": "on and on", "max_tokens": 4000, "ignore_eos": True}
        async with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
            async for _ in answer.aiter_raw():
                break
        self.done["hang-ups"] += 1

    async def _bad(self, client: httpx.AsyncClient) -> None:
        kind, nonsense = self._chance.choice(KINDS), self._chance.choice(NONSENSE)
        answer = await client.post(kind.path, content=nonsense)
        if not 400 <= answer.status_code < 500:
            self._wrong(kind, RuntimeError(f"{answer.status_code} for {nonsense!r}"))
        self.done["bad inputs"] += 1


def idle(daemon: LiveDaemon) -> bool:
    return all(
        m["requests_running"] + m["requests_waiting"] == 0 for m in daemon.status()["models"]
    )


def books(home: Path) -> int:
    """Requests that ended as they should, by the database."""
    query = "SELECT count(*) FROM usage WHERE error IS NULL AND finish_reason != 'cancelled'"
    with closing(sqlite3.connect(f"file:{home}/fastmlx.db?mode=ro", uri=True)) as db:
        return db.execute(query).fetchone()[0]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=7200.0, help="how long it is disturbed")
    parser.add_argument("--seed", type=int, default=1, help="of what happens when")
    options = parser.parse_args()
    seconds = 8.0 if options.quick else options.seconds
    report = Report(
        f"{CLIENTS} clients for {seconds:.0f} s",
        ("requests", "sent", "answered", "as when quiet", "errors", "answered ÷ sent"),
        BLAS,
        options.quick,
    )
    with tempfile.TemporaryDirectory(prefix="fastmlx-soak-") as home:
        daemon = LiveDaemon(Path(home))
        # Not one of bench/models.py: their vocabulary cannot be held to a grammar.
        soak = Soak(daemon, tiny.build("qwen3", Path(home) / "models"), options.seed)
        daemon.edit_config(soak.config())
        with daemon:
            front = psutil.Process(daemon.pid)
            asyncio.run(soak.quietly())
            asyncio.run(soak.disturbed(seconds / 4))
            daemon.wait_until(lambda: idle(daemon), 120)
            before = (front.memory_info().rss, front.num_fds())
            asyncio.run(soak.disturbed(seconds * 3 / 4))
            daemon.wait_until(lambda: idle(daemon), 120)
            after = (front.memory_info().rss, front.num_fds())
            daemon.stop(120)
        check_database(Path(home) / "fastmlx.db")
        blocks = check_cold(Path(home) / "cache")
        told = books(Path(home)) - len(soak.quiet)
    for kind in KINDS:
        name, sent = kind.name, soak.sent[kind.name]
        share = soak.answered[name] / sent if sent else None
        report.add(name, sent, soak.answered[name], soak.same[name], soak.errors[name], share)
    sent, answered = soak.sent.total(), soak.answered.total()
    same, wrong = soak.same.total(), soak.errors.total()
    report.add("all", sent, answered, same, wrong, answered / sent)
    report.notes += [
        ", ".join(f"{number} {what}" for what, number in soak.done.items())
        + f", {soak.again} asked again",
        f"front: memory at the end ÷ after a quarter: {after[0] / before[0]:.2f}; "
        f"open files {before[1]}, then {after[1]}",
        f"database and cold tier ({blocks} blocks) whole; the books tell of {told} answers",
        *(f"unlike the quiet answer: {place}: {n} times" for place, n in soak.other.items()),
        *soak.said[:5],
    ]
    report.finish(options.json)
    # Among so many tokens, batched with others each time, two may be as likely as each other.
    if answered != sent or wrong or told != answered or answered - same > max(2, answered // 50):
        sys.exit(1)


if __name__ == "__main__":
    main()
