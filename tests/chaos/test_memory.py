"""More is asked than the memory holds: it is kept within `memory.limit`, and every answer is whole.

Measured is what the engines' arrays take, by MLX's own figures, and what the system says of the
front and its engines beyond what they had before the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
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
    models = "".join(
        f"  {name}: {{path: {tiny_model('qwen3', seed=seed, **wide)}, context: 1024}}\n"
        for seed, name in enumerate("abc")
    )
    config = f"memory: {{limit: 256MiB}}\ncache: {{hot: 25%, cold: 0}}\nmodels:\n{models}"
    with LiveDaemon(tmp_path_factory.mktemp("memory"), config) as running:
        yield running


class Watcher(threading.Thread):
    """Looks at front and engines all the time, from a moment when no engine runs anything."""

    def __init__(self, daemon: LiveDaemon) -> None:
        super().__init__(daemon=True)
        self.most_resident = 0  # beyond what all had before, plus the weights that they had
        self.most_active = 0
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
            grown = sum(
                resident(each) - self._before.get(each.pid, 0) for each in self._processes()
            )
            self.most_resident = max(self.most_resident, self._weights + grown)
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


class Asked:
    """Completions of token ids, short and long, for two models."""

    def __init__(self) -> None:
        chance = random.Random(3)
        lengths = [20, 700, 150, 400, 30, 250, 600, 80, 350, 120]
        self.bodies = [
            {
                "model": model,
                "prompt": [chance.randrange(3, 500) for _ in range(length)],
                "max_tokens": chance.randrange(20, 80),
                "ignore_eos": True,
                "temperature": 0,
                "logprobs": 2,
            }
            for length in lengths
            for model in "ab"
        ]

    async def answers(self, url: str, *, at_once: int) -> list[dict[str, Any]]:
        """The logprobs of each, which have the tokens with them."""
        turns = {model: asyncio.Semaphore(at_once) for model in "ab"}

        async def one(body: dict[str, Any]) -> dict[str, Any]:
            async with turns[body["model"]]:
                response = await client.post("/v1/completions", json=body)
            response.raise_for_status()
            return response.json()["choices"][0]["logprobs"]

        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            return await asyncio.gather(*map(one, self.bodies))


def assert_same(got: dict[str, Any], alone: dict[str, Any]) -> None:
    """The same tokens, up to where two are as likely as each other but for float error."""
    for mine, its, likely in zip(
        got["tokens"], alone["tokens"], alone["top_logprobs"], strict=True
    ):
        if mine != its:
            assert mine in likely and abs(likely[mine] - likely[its]) < TIE
            return


def test_what_is_asked_of_two_models_stays_within_the_limit_and_is_answered_exactly(
    daemon: LiveDaemon,
) -> None:
    asked = Asked()
    with daemon.http() as http:
        for model in "abc":
            http.post(f"/api/models/{model}/load").raise_for_status()
    with Watcher(daemon) as watched:
        alone = asyncio.run(asked.answers(daemon.url, at_once=1))
        together = asyncio.run(asked.answers(daemon.url, at_once=99))
    for mine, its in zip(together, alone, strict=True):
        assert_same(mine, its)
    models = {name: daemon.model(name) for name in "abc"}
    # The hot tier gave way, then the idle model, then the youngest of those that ran.
    assert models["c"]["state"] == "stopped", "nobody used it"
    print(models, watched.most_active / MIB, watched.most_resident / MIB)
    assert models["a"]["preemptions"] + models["b"]["preemptions"] > 0
    assert sum(models[name]["peak_bytes"] for name in "ab") <= MOST
    assert watched.most_active <= MOST
    assert watched.most_resident <= MOST


def test_a_model_or_a_request_that_can_never_fit_is_refused_with_both_numbers(
    daemon: LiveDaemon, tiny_model: Callable[..., Path]
) -> None:
    before = daemon.config_file.read_text()
    daemon.edit_config(before.replace("256MiB", "60MiB"))
    daemon.wait_until(lambda: daemon.status()["config"]["loaded_at"], 30)
    with daemon.http() as http:
        daemon.wait_until(lambda: "60MiB" in daemon.config_file.read_text(), 30)
        body = {"model": "c", "prompt": "x", "max_tokens": 1}
        refused = http.post("/v1/completions", json=body)
        assert refused.status_code in (500, 503)
        assert "69 MiB" in refused.text and "60 MiB" in refused.text
