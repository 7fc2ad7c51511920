"""More is asked than the memory holds: it is kept within `memory.limit`, and every answer is whole.

Measured is what the engines' arrays take, by MLX's own figures, and what the system says of the
front and its engines beyond what they had before the load.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from engines import TIE
from live import LiveDaemon

MIB = 1 << 20
LIMIT = 256 * MIB
MOST = 1.05 * LIMIT


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    """Three models that keep 32 KiB for each token; they all fit with 1,024 tokens each."""
    wide = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 256}
    folder = tiny_model("qwen3", **wide)
    models = "".join(f"  {name}: {{path: {folder}, context: 1024}}\n" for name in "abc")
    config = f"memory: {{limit: 256MiB}}\ncache: {{hot: 25%, cold: 0}}\nmodels:\n{models}"
    with LiveDaemon(tmp_path_factory.mktemp("memory"), config) as running:
        yield running


class Watcher(threading.Thread):
    """Looks at front and engines all the time, from a moment when no engine runs anything."""

    def __init__(self, daemon: LiveDaemon) -> None:
        super().__init__(daemon=True)
        self.most_resident = 0  # beyond what all had before, plus the weights that they had
        self.most_active = 0
        self.at_most: dict[int, int] = {}  # what each had grown by then
        self._daemon = daemon
        self._front = psutil.Process(daemon.pid)
        self._before = {each.pid: resident(each) for each in self._processes()}
        self._weights = active(daemon)
        self._done = threading.Event()
        self.start()

    def _processes(self) -> list[psutil.Process]:
        return [self._front, *self._front.children(recursive=True)]

    def run(self) -> None:
        while not self._done.wait(0.02):
            now = {each.pid: resident(each) for each in self._processes()}
            grown = sum(size - self._before.get(pid, size) for pid, size in now.items())
            if self._weights + grown > self.most_resident:
                self.most_resident = self._weights + grown
                self.at_most = {
                    pid: size - self._before.get(pid, size) for pid, size in now.items()
                }
            self.most_active = max(self.most_active, active(self._daemon))

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def active(daemon: LiveDaemon) -> int:
    return sum(each["active_bytes"] for each in daemon.status()["models"])


LENGTHS = (20, 700, 150, 30, 250, 600, 80, 350)  # of prompts, in tokens


def asked(model: str, *, tokens: int) -> list[dict[str, Any]]:
    """Completions of token ids, short and long; `tokens` of output at most."""
    chance = random.Random(model)
    return [
        {
            "model": model,
            "prompt": [chance.randrange(3, 500) for _ in range(length)],
            "max_tokens": chance.randrange(tokens // 2, tokens + 1),
            "ignore_eos": True,
            "temperature": 0,
            "logprobs": 2,
        }
        for length in LENGTHS
    ]


def answers(daemon: LiveDaemon, bodies: list[dict[str, Any]], at_once: int) -> list[dict[str, Any]]:
    """The logprobs of each, which have the tokens with them; so many run at once in a model."""

    async def one(body: dict[str, Any], client: httpx.AsyncClient, turn: asyncio.Semaphore) -> Any:
        async with turn:
            response = await client.post("/v1/completions", json=body)
        response.raise_for_status()
        return response.json()["choices"][0]["logprobs"]

    async def all_of_them() -> list[dict[str, Any]]:
        turns = {body["model"]: asyncio.Semaphore(at_once) for body in bodies}
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120) as client:
            return await asyncio.gather(
                *(one(body, client, turns[body["model"]]) for body in bodies)
            )

    return asyncio.run(all_of_them())


def assert_same(got: dict[str, Any], alone: dict[str, Any]) -> None:
    """The same tokens, up to where two are as likely as each other but for float error."""
    for mine, its, likely in zip(
        got["tokens"], alone["tokens"], alone["top_logprobs"], strict=True
    ):
        if mine != its:
            assert mine in likely and abs(likely[mine] - likely[its]) < TIE
            return


def put_limit(daemon: LiveDaemon, limit: str) -> None:
    """Saves another `memory.limit`, and waits until it is in force."""
    before = daemon.status()["config"]["loaded_at"]
    daemon.edit_config(re.sub("limit: [^}]*", f"limit: {limit}", daemon.config_file.read_text()))
    daemon.wait_until(lambda: daemon.status()["config"]["loaded_at"] != before, 30)


def test_what_is_asked_of_two_models_stays_within_the_limit_and_is_answered_exactly(
    daemon: LiveDaemon,
) -> None:
    bodies = [*asked("a", tokens=40), *asked("b", tokens=40)]
    with daemon.http() as http:
        for model in "cab":
            http.post(f"/api/models/{model}/load").raise_for_status()
    answers(daemon, [body | {"max_tokens": 3} for body in bodies[::4]], at_once=1)  # imports all
    with Watcher(daemon) as watched:
        alone = answers(daemon, bodies, at_once=1)
        together = answers(daemon, bodies, at_once=99)
    for mine, its in zip(together, alone, strict=True):
        assert_same(mine, its)
    # The hot tier gave way, then the model that nobody used; what did not fit then has waited.
    assert daemon.model("c")["state"] == "stopped"
    assert max(daemon.model(name)["peak_bytes"] for name in "ab") <= MOST
    # Engines say twice a second what they hold, and keep 32 MiB each free for activations.
    assert LIMIT / 3 < watched.most_active <= MOST
    assert watched.most_resident <= MOST, watched.at_most


def test_a_limit_that_shrinks_below_what_runs_makes_the_youngest_wait_and_go_on(
    daemon: LiveDaemon,
) -> None:
    bodies = asked("a", tokens=120)
    alone = answers(daemon, bodies, at_once=1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        together = pool.submit(answers, daemon, bodies, 99)
        daemon.wait_until(lambda: daemon.model("a")["active_bytes"] > 75 * MIB, 60, "it is full")
        put_limit(daemon, "80MiB")
        for mine, its in zip(together.result(120), alone, strict=True):
            assert_same(mine, its)
    daemon.wait_until(lambda: daemon.model("a")["requests_running"] == 0, 30)
    assert daemon.model("a")["preemptions"] > 0
    assert daemon.model("b")["state"] == "stopped", "it went first"


def test_what_can_never_fit_is_refused_with_both_numbers(daemon: LiveDaemon) -> None:
    put_limit(daemon, "60MiB")
    with daemon.http() as http:
        refused = http.post("/v1/completions", json={"model": "c", "prompt": "x"})
    assert refused.status_code in (500, 503)
    assert re.search(r"needs \d+ MiB", refused.text) and "60 MiB" in refused.text
