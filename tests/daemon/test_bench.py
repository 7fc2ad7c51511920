"""`fastmlx bench` on a real daemon: as a command, over HTTP, on the dashboard."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import LiveDaemon


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    folder = tiny_model("qwen3", max_position_embeddings=2_000_000)
    config = f"models:\n  tiny:\n    path: {folder}\n  gone: {{path: /nonexistent}}\n"
    with LiveDaemon(tmp_path_factory.mktemp("front"), config) as running:
        yield running


@pytest.fixture
def http(front: LiveDaemon) -> Iterator[httpx.Client]:
    with front.http() as client:
        yield client


def bench(front: LiveDaemon, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastmlx.daemon", "bench", *words, "--home", str(front.home)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def current(http: httpx.Client) -> dict[str, Any]:
    return http.get("/api/bench").json()["current"]


SHORT = ("--prompts", "8,16", "--batches", "1,2", "--tokens", "4")
ENDLESS = {"model": "tiny", "prompt_tokens": [8], "batches": [1], "output_tokens": 900_000}


def test_the_command_prints_what_was_measured_and_the_daemon_keeps_it(
    front: LiveDaemon, http: httpx.Client
) -> None:
    done = bench(front, "tiny", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["id"]) == ("tiny", 1)
    assert "fastmlx" in found["version"] and "cores" in found["machine"]
    cells = [(cell["prompt_tokens"], cell["batch"]) for cell in found["cells"]]
    assert cells == [(8, 1), (8, 2), (16, 1), (16, 2)]
    assert all(cell["decode_tokens_per_s"] > 0 < cell["ttft_ms"] for cell in found["cells"])
    assert http.get("/api/bench").json()["runs"] == [found]
    done = bench(front, "tiny", *SHORT)
    assert done.returncode == 0
    assert "PREFILL" in done.stdout and "16      2" in done.stdout
    page = http.get("/admin/benchmarks?a=1&b=2").text
    assert page.count('<figure class="plot">') == 3
    assert "1 × 16" in page and "ratio" in page
    assert http.get("/admin/requests").text.count("No requests yet") == 1


def test_what_cannot_be_measured_says_why(front: LiveDaemon, http: httpx.Client) -> None:
    for words, said in (
        (("nothing",), "no model"),
        (("gone", *SHORT), "does not exist"),
        (("tiny", "--tokens", "1"), "at least 2"),
    ):
        done = bench(front, *words)
        assert done.returncode == 1
        assert said in done.stderr
    form = {"model": "tiny", "prompt_tokens": "x", "batches": "1", "output_tokens": "4"}
    assert http.post("/admin/benchmarks/start", data={**form, "rounds": "1"}).status_code == 400


def test_one_runs_at_a_time_and_can_be_cancelled(front: LiveDaemon, http: httpx.Client) -> None:
    before = len(http.get("/api/bench").json()["runs"])
    assert http.post("/api/bench", json=ENDLESS).json()["state"] == "running"
    assert http.post("/api/bench", json=ENDLESS).status_code == 409
    front.wait_until(lambda: current(http)["doing"].startswith("1 ×"), 60)
    assert "Cancel" in http.get("/admin/benchmarks").text
    assert http.post("/admin/benchmarks/cancel").status_code == 303
    assert current(http)["state"] == "cancelled"
    front.wait_until(lambda: front.model("tiny")["requests_running"] == 0, 30)
    assert len(http.get("/api/bench").json()["runs"]) == before
    form = {"model": "tiny", "prompt_tokens": "8", "batches": "1, 2", "output_tokens": "4"}
    assert http.post("/admin/benchmarks/start", data={**form, "rounds": "1"}).status_code == 303
    front.wait_until(lambda: current(http)["state"] == "done", 60)
    number = current(http)["run"]["id"]
    assert http.post(f"/admin/benchmarks/{number}/delete").status_code == 303
    assert len(http.get("/api/bench").json()["runs"]) == before
