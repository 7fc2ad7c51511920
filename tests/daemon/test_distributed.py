"""A model in two processes, as clients and the person at the configuration see it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_process import gone
from fastmlx.config.load import ConfigError, load
from live import LiveDaemon

QUESTION = {"prompt": "Once upon a time there was", "max_tokens": 200, "temperature": 0}


def stream(daemon: LiveDaemon, model: str, at_token: Callable[[int], None]) -> str:
    """The text of a completion; `at_token` is called with each chunk's number."""
    text = ""
    with daemon.openai() as client:
        chunks = client.completions.create(model=model, stream=True, **QUESTION)  # type: ignore[call-overload]
        for number, chunk in enumerate(chunks):
            if chunk.choices:
                text += chunk.choices[0].text
            at_token(number)
    return text


def test_a_split_model_streams_survives_the_loss_of_either_rank_and_leaves_nothing(
    live: Callable[..., LiveDaemon], tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model("llama", endless=True, num_hidden_layers=2)
    daemon = live(f"""\
models:
  whole: {{path: {folder}}}
  split: {{path: {folder}, distributed: {{processes: 2}}}}
""")
    want = stream(daemon, "whole", lambda number: None)
    assert len(want) > 40
    seen: set[int] = set()

    def kill(rank: int) -> Callable[[int], None]:
        def at_token(number: int) -> None:
            if number == 12:
                pids = daemon.model("split")["pids"]
                assert len(pids) == 2
                seen.update(pids)
                os.kill(pids[rank], signal.SIGKILL)

        return at_token

    assert stream(daemon, "split", kill(1)) == want
    daemon.wait_until(lambda: daemon.model("split")["state"] == "ready", 60, what="split is ready")
    assert daemon.model("split")["restarts"] == 1
    assert stream(daemon, "split", kill(0)) == want
    # The last tokens may have been on their way when the rank died: the group may still start.
    daemon.wait_until(lambda: daemon.model("split")["state"] == "ready", 60, what="split is ready")
    status = daemon.model("split")
    assert status["restarts"] == 2
    assert status["pid"] == status["pids"][0]
    assert status["memory_bytes"] > daemon.model("whole")["memory_bytes"]
    assert gone(seen), "a rank outlived its group"

    with daemon.http() as client:
        assert client.post("/api/models/split/unload").status_code == 200
    assert daemon.model("split")["pids"] == []
    assert gone(status["pids"], within_s=0.1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{}", "either processes or hosts"),
        ("{processes: 2, hosts: [a, b]}", "either processes or hosts"),
        ("{hosts: [a]}", "at least 2"),
        ("{processes: 1}", "2"),
        ("{processes: 2, mode: both}", "pipeline"),
        ("{processes: 2}, adapters: [/somewhere]", "adapters cannot be used"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(value: str, words: str) -> None:
    text = f"models: {{m: {{path: x, distributed: {value}}}}}"
    with pytest.raises(ConfigError) as caught:
        load(text, Path("/somewhere/config.yaml"), {})
    assert caught.value.key.startswith("models.m")
    assert words in caught.value.message
