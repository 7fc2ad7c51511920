"""Engines that are killed, or stand still, while they serve and write: nobody who asked notices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from integrity import check_cold
from live import LiveDaemon
from traffic import EVERY_KIND, KINDS, Kind, ask

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
# Stopped for good. By default this is noticed after a minute.
STILL = signal.SIGSTOP
TOKENS = 100


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]):
    """One daemon, which takes many deaths for granted."""
    config = f"""\
recovery:
  {{request_attempts: 100, start_attempts: 100, delay: 10ms, max_delay: 50ms, hang_timeout: 2s}}
cache: {{hot: 1MiB}}  # so little that engines write to disk all the time, also when they die
models:
  m: {{path: {tiny_model("qwen3")}, max_concurrent: 8, sampling: {{seed: 11}}}}
"""
    with LiveDaemon(tmp_path_factory.mktemp("chaos"), config) as running:
        yield running


async def answers(daemon: LiveDaemon, kinds: list[Kind], on_piece: Callable[[], None]) -> list[str]:
    """One answer a kind, all at the same time."""
    async with httpx.AsyncClient(base_url=daemon.url, timeout=120) as client:
        asking = (
            ask(
                client,
                kind,
                "m",
                f"{number}: say something long",
                tokens=TOKENS,
                seed=number,
                on_piece=on_piece,
            )
            for number, kind in enumerate(kinds)
        )
        return await asyncio.gather(*asking)


def answers_while_killed(
    daemon: LiveDaemon, kinds: list[Kind], signals: list[signal.Signals], chance: random.Random
) -> list[str]:
    """The engine gets one of the signals after the other, at pieces that chance chooses."""
    left = list(signals)
    pieces, next_kill = 0, chance.randrange(1, 30 * len(kinds))

    def on_piece() -> None:
        nonlocal pieces, next_kill
        pieces += 1
        if pieces < next_kill or not left:
            return
        pid = daemon.model("m")["pid"]
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, left.pop())
            next_kill = pieces + chance.randrange(1, 30 * len(kinds))

    got = asyncio.run(answers(daemon, kinds, on_piece))
    assert len(left) < len(signals), "nothing was killed"
    return got


def check_rest(daemon: LiveDaemon, restarts: int) -> None:
    def is_back() -> bool:  # a death may be noticed after the last word of an answer
        model = daemon.model("m")
        return model["state"] == "ready" and model["restarts"] > restarts

    daemon.wait_until(is_back, 60)
    status = daemon.model("m")
    assert (status["requests_running"], status["requests_waiting"]) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "signal_"), [*zip(KINDS, itertools.cycle((*SIGNALS, STILL)))], ids=str
)
def test_one_stream_of_any_kind_ends_as_it_would_have(
    daemon: LiveDaemon, kind: Kind, signal_: signal.Signals
):
    undisturbed = asyncio.run(answers(daemon, [kind], lambda: None))
    assert all(undisturbed)
    restarts = daemon.model("m")["restarts"]
    chance = random.Random(kind.name)
    assert answers_while_killed(daemon, [kind], [signal_], chance) == undisturbed
    check_rest(daemon, restarts)


def test_streams_of_every_kind_at_once_end_as_they_would_have(daemon: LiveDaemon):
    assert len(EVERY_KIND) >= 16
    undisturbed = asyncio.run(answers(daemon, [*EVERY_KIND], lambda: None))
    assert all(undisturbed)
    restarts = daemon.model("m")["restarts"]
    # A replay has other neighbours in its batch: in some 1,500 tokens two may once be as likely as
    # each other but for float error. That happens in one run, not in both.
    signals = [*SIGNALS, STILL]
    got = answers_while_killed(daemon, [*EVERY_KIND], signals, random.Random(7))
    if got != undisturbed:
        got = answers_while_killed(daemon, [*EVERY_KIND], signals, random.Random(8))
    assert got == undisturbed
    check_rest(daemon, restarts)


def test_what_killed_engines_have_left_on_disk_is_whole_and_of_use(daemon: LiveDaemon):
    undisturbed = asyncio.run(answers(daemon, [*KINDS], lambda: None))
    assert daemon.stop(60) == 0
    assert check_cold(daemon.home / "cache") > 0
    daemon.start()
    # Those that go on from disk have other chunks than those that were computed whole: see above.
    assert undisturbed in (asyncio.run(answers(daemon, [*KINDS], lambda: None)) for _ in range(2))
    with daemon.http() as http:
        daemon.wait_until(lambda: http.get("/api/cache").json()["models"][0]["hits"] > 0)
        [model] = http.get("/api/cache").json()["models"]
    assert model["hit_tokens"]["cold"] > 0
    assert model["disk"]["bad_blocks"] == 0
