"""The prefix cache as users meet it: a second turn is cheap, also after a restart."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.cli import main
from live import LiveDaemon
from prometheus_client.parser import text_string_to_metric_families

SYSTEM = "You are an assistant who answers in few words. " * 12


def turn(daemon: LiveDaemon, messages: list[dict[str, str]]) -> tuple[str, int, int]:
    """Asks; the answer is added to the messages. (text, prompt tokens, cached tokens)"""
    answer = daemon.openai().chat.completions.create(
        model="tiny",
        messages=messages,  # pyright: ignore[reportArgumentType]
        temperature=0,
        max_tokens=8,
    )
    text = answer.choices[0].message.content or ""
    messages.append({"role": "assistant", "content": text})
    assert answer.usage is not None
    details = answer.usage.prompt_tokens_details
    assert details is not None
    return text, answer.usage.prompt_tokens, details.cached_tokens or 0


def of(arch: str, tiny_model: Callable[..., Path]) -> str:
    return f"models:\n  tiny:\n    path: {tiny_model(arch)}\n"


def conversation(question: str = "What is seven times six?") -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def books(daemon: LiveDaemon, name: str = "tiny") -> dict[str, Any]:
    with daemon.http() as http:
        return next(m for m in http.get("/api/cache").json()["models"] if m["name"] == name)


def everything(daemon: LiveDaemon) -> dict[str, Any]:
    with daemon.http() as http:
        return http.get("/api/cache").json()


def until_written(daemon: LiveDaemon) -> None:
    """Until there are blocks on disk, and for a second no more have come."""
    seen: list[int] = []

    def settled() -> bool:
        time.sleep(0.1)
        seen.append(books(daemon)["cold_blocks"])
        return seen[-1] > 0 and seen[-10:] == [seen[-1]] * 10

    daemon.wait_until(settled, 20, what="blocks on disk")


def figures(daemon: LiveDaemon) -> dict[tuple[str, str | None], float]:
    """What /metrics says of the model, by name and by tier or reason."""
    with daemon.http() as http:
        families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.name, sample.labels.get("tier") or sample.labels.get("reason")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("model") == "tiny"
    }


@pytest.fixture(scope="module")
def config(tiny_model: Callable[..., Path]) -> str:
    qwen3 = tiny_model("qwen3")
    return f"""\
models:
  tiny: {{path: {qwen3}}}
  other: {{path: {tiny_model("llama")}}}
  split: {{path: {qwen3}, distributed: {{processes: 2}}}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, config: str) -> Iterator[LiveDaemon]:
    with LiveDaemon(tmp_path_factory.mktemp("cache"), config) as running:
        yield running


@pytest.fixture
def daemon(running: LiveDaemon, config: str) -> Iterator[LiveDaemon]:
    """Nothing is kept when a test begins, and what it edits is edited back."""
    with running.http() as http:
        assert http.post("/api/cache/clear").status_code == 200
    yield running
    if running.config_file.read_text() != config:
        before = running.status()["config"]["loaded_at"]
        running.edit_config(config)
        running.wait_until(lambda: running.status()["config"]["loaded_at"] > before)


def test_a_second_turn_computes_only_what_is_new_and_all_books_say_so(daemon: LiveDaemon):
    with daemon.http() as http:
        http.post("/api/models/tiny/unload")  # so that its books begin
    before = figures(daemon)
    messages = conversation()
    _, first, cached = turn(daemon, messages)
    assert cached == 0
    messages.append({"role": "user", "content": "And eight times six?"})
    _, second, cached = turn(daemon, messages)
    assert first - 32 < cached < second
    daemon.wait_until(lambda: books(daemon)["hits"] == 1)
    told = books(daemon)
    assert told["hit_tokens"] == {"hot": cached, "cold": 0}
    assert sum(told["misses"].values()) == 1
    assert told["prefixes"][0]["hits"] == 1
    assert "You are an assistant" in told["prefixes"][0]["begins"]
    now = figures(daemon)
    for name, tier, added in (
        ("fastmlx_cached_tokens_total", None, cached),
        ("fastmlx_cache_hit_tokens_total", "hot", cached),
        ("fastmlx_cache_asked_tokens_total", None, first + second),
        ("fastmlx_cache_misses_total", "no common prefix", 1),
    ):
        assert now[name, tier] - before.get((name, tier), 0) == added
    assert now["fastmlx_cache_hot_bytes", None] > 0
    assert now["fastmlx_cache_cold_read_seconds_count", None] == 0
    with daemon.http() as http:
        page = http.get("/admin/cache").text
    assert "1× no common prefix" in page
    assert "You are an assistant" in page


def test_an_edit_of_the_limits_reaches_running_engines(daemon: LiveDaemon, config: str):
    messages = conversation()
    turn(daemon, messages)
    pid = daemon.model("tiny")["pid"]
    daemon.wait_until(lambda: books(daemon)["hot_bytes"] > 0)
    daemon.edit_config(config + "cache: {hot: 0, cold: 1GiB, write_budget: unlimited}\n")
    daemon.wait_until(lambda: books(daemon)["hot_bytes"] == 0)
    told = everything(daemon)
    assert told["hot_limit_bytes"] == 0
    assert told["cold_limit_bytes"] == 1 << 30
    assert told["write_budget_bytes"] is None
    assert daemon.model("tiny")["pid"] == pid


def test_clearing_makes_the_next_turn_compute_everything(daemon: LiveDaemon):
    messages = conversation()
    turn(daemon, messages)
    with daemon.http() as http:
        answer = http.post("/api/cache/clear", json={"model": "tiny"})
        assert answer.json()["model"] == "tiny"
        assert http.post("/api/cache/clear").status_code == 200
        missing = http.post("/api/cache/clear", json={"model": "nobody"})
        assert missing.status_code == 404
        wrong = http.post("/api/cache/clear", json={"model": 3})
        assert wrong.status_code == 400
        assert "model" in wrong.json()["error"]["message"]
        assert http.get("/api/cache/clear").status_code == 405
    messages.append({"role": "user", "content": "And eight?"})
    assert turn(daemon, messages)[2] == 0


def test_the_command_shows_and_clears(daemon: LiveDaemon, capsys, monkeypatch):
    hits = books(daemon)["hits"] if books(daemon)["loaded"] else 0
    monkeypatch.setenv("FASTMLX_HOME", str(daemon.home))
    messages = conversation()
    turn(daemon, messages)
    messages.append({"role": "user", "content": "And eight?"})
    turn(daemon, messages)
    daemon.wait_until(lambda: books(daemon)["hits"] == hits + 1)
    assert main(["cache", "stats"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^in memory  .+ of .+iB$", shown, re.MULTILINE)
    assert re.search(
        rf"^on disk    .+ of 20.0 GiB in {daemon.home / 'cache'}$", shown, re.MULTILINE
    )
    assert re.search(r"^tiny .+iB .+ \d+% of tokens +\d+ no common prefix$", shown, re.MULTILINE)
    assert main(["cache", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["hits"] == hits + 1
    assert main(["cache", "clear", "tiny", "--hot"]) == 0
    assert capsys.readouterr().out == "cleared the prefix cache of tiny\n"
    daemon.wait_until(lambda: books(daemon)["hot_bytes"] == 0)
    assert main(["cache", "clear"]) == 0
    assert "of all models" in capsys.readouterr().out
    assert main(["cache", "clear", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_left_on_disk_can_be_cleared_when_nothing_is_loaded(daemon: LiveDaemon):
    turn(daemon, conversation())
    with daemon.http() as http:
        http.post("/api/models/tiny/unload")
        told = books(daemon)
        assert not told["loaded"]
        assert told["cold_blocks"] > 0
        cleared = http.post("/api/cache/clear", json={"model": "tiny"}).json()
        assert cleared["deleted_blocks"] == told["cold_blocks"]
        assert books(daemon)["cold_blocks"] == 0
    assert not list((daemon.home / "cache").rglob("*.safetensors"))
    assert turn(daemon, conversation())[2] == 0


def test_a_model_that_is_split_over_processes_keeps_prefixes_in_memory_only(daemon: LiveDaemon):
    assert books(daemon, "split")["split"]
    with daemon.http() as http:
        assert "split over processes: nothing on disk" in http.get("/admin/cache").text


def test_engines_share_the_memory_and_another_directory_starts_them_again(
    daemon: LiveDaemon, config: str, tmp_path: Path
):
    daemon.edit_config(config + "cache: {hot: 64MiB}\n")
    with daemon.http() as http:
        http.post("/api/models/tiny/load")
        daemon.wait_until(lambda: books(daemon)["hot_limit_bytes"] == 64 << 20)
        http.post("/api/models/other/load")
        for name in ("tiny", "other"):
            daemon.wait_until(lambda name=name: books(daemon, name)["hot_limit_bytes"] == 32 << 20)
        http.post("/api/models/other/unload")
        daemon.wait_until(lambda: books(daemon)["hot_limit_bytes"] == 64 << 20)
    pid = daemon.model("tiny")["pid"]
    place = tmp_path / "elsewhere"
    daemon.edit_config(config + f"cache: {{hot: 64MiB, directory: {place}}}\n")
    daemon.wait_until(lambda: daemon.model("tiny")["pid"] not in (pid, None))
    assert everything(daemon)["directory"] == str(place)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "end"), [("qwen3", "kill"), ("qwen3_5", "stop")])
def test_a_conversation_goes_on_after_a_restart(
    arch: str, end: str, live, tiny_model: Callable[..., Path]
):
    """After kill -9 what was written while the engine was idle is there."""
    daemon = live(of(arch, tiny_model))
    messages = conversation()
    _, first, _ = turn(daemon, messages)
    if end == "kill":
        until_written(daemon)
        daemon.kill()
    else:
        assert daemon.stop() == 0
    left = {path.name for path in (daemon.home / "cache" / "blocks").rglob("*.*")}
    assert left
    assert not [name for name in left if not name.endswith(".safetensors")]
    daemon.start()
    messages.append({"role": "user", "content": "And eight times six?"})
    asked = list(messages)
    text, second, cached = turn(daemon, messages)
    assert 0.6 * first < cached < second
    daemon.wait_until(lambda: books(daemon)["hits"] == 1)
    told = books(daemon)
    assert told["hit_tokens"]["cold"] == cached
    assert told["disk"]["read_bytes"] > 0
    assert told["disk"]["bad_blocks"] == 0
    now = figures(daemon)
    assert now["fastmlx_cache_hit_tokens_total", "cold"] == cached
    assert now["fastmlx_cache_cold_read_seconds_count", None] == 1
    assert now["fastmlx_cache_cold_read_seconds_sum", None] > 0
    assert now["fastmlx_cache_cold_read_bytes_total", None] == told["disk"]["read_bytes"]
    assert ("fastmlx_cache_cold_written_bytes_total", None) in now
    fresh = live(of(arch, tiny_model) + "cache: {hot: 0, cold: 0}\n")
    assert turn(fresh, asked) == (text, second, 0)
    assert not list((fresh.home / "cache").rglob("*.safetensors"))
