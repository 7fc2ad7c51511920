"""The prefix cache as users meet it: a second turn is cheap, also after a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
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


def conversation(question: str = "What is seven times six?") -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def books(daemon: LiveDaemon, name: str = "tiny") -> dict[str, Any]:
    with daemon.http() as http:
        return next(m for m in http.get("/api/cache").json()["models"] if m["name"] == name)


def until_written(daemon: LiveDaemon) -> None:
    daemon.wait_until(lambda: books(daemon)["cold_blocks"] > 0, what="blocks on disk")


@pytest.fixture
def config(tiny_model: Callable[..., Path]) -> str:
    return f"models:\n  tiny:\n    path: {tiny_model('qwen3')}\n"


def test_a_second_turn_computes_only_what_is_new_and_all_books_say_so(live, config: str):
    daemon = live(config)
    messages = conversation()
    _, first, cached = turn(daemon, messages)
    assert cached == 0
    messages.append({"role": "user", "content": "And eight times six?"})
    _, second, cached = turn(daemon, messages)
    assert first - 32 < cached < second
    daemon.wait_until(lambda: books(daemon)["hits"] == 1)
    told = books(daemon)
    assert told["hit_tokens"] == {"hot": cached}
    assert sum(told["misses"].values()) == 1
    assert told["prefixes"][0]["hits"] == 1
    assert "You are an assistant" in told["prefixes"][0]["begins"]
    with daemon.http() as http:
        families = text_string_to_metric_families(http.get("/metrics").text)
        figures = {
            (sample.name, sample.labels.get("tier")): sample.value
            for family in families
            for sample in family.samples
            if sample.labels.get("model") == "tiny"
        }
    assert figures["fastmlx_cached_tokens_total", None] == cached
    assert figures["fastmlx_cache_hit_tokens_total", "hot"] == cached
    assert figures["fastmlx_cache_asked_tokens_total", None] == first + second
    assert figures["fastmlx_cache_hot_bytes", None] > 0
