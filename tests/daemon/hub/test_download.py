"""`pull` against a small Hub on this machine, through the real client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub, environment, small_hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    """(url, its handler class) of a Hub that holds org/model."""
    with small_hub(tmp_path / "source") as hub:
        yield hub


PULL = """
import json, sys
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.describe import describe
from fastmlx.daemon.hub.download import pull
from fastmlx.daemon.protocol.errors import ModelFailed
steps = []
try:
    folder = pull(sys.argv[1], sys.argv[2] or None, lambda done, total: steps.append((done, total)))
    assert resolve(sys.argv[1]) == folder
    print(json.dumps({"files": sorted(p.name for p in folder.iterdir()), "steps": steps,
                      "weights": describe(folder).weights_bytes}))
except ModelFailed as error:
    print(json.dumps({"error": error.message}))
"""


def pull(url: str, cache: Path, id: str, revision: str = "") -> dict[str, Any]:
    """In a process of its own: the client reads its settings when it is imported."""
    command = [sys.executable, "-c", PULL, id, revision]
    run = subprocess.run(
        command,
        env=os.environ | environment(url, cache),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_model_is_fetched_without_what_it_does_not_need(
    hub: tuple[str, type[Hub]], tmp_path: Path
):
    url, handler = hub
    result = pull(url, tmp_path / "cache", "org/model")
    assert result["files"] == ["chat_template.jinja", "config.json", "model.safetensors"]
    assert result["weights"] == 300_000
    done = [step[0] for step in result["steps"]]
    assert done == sorted(done)
    assert done[0] == 0
    assert result["steps"][-1] == [sum(len(handler.files[n]) for n in result["files"])] * 2

    handler.fetched.clear()
    again = pull(url, tmp_path / "cache", "org/model")
    assert again["files"] == result["files"]
    assert again["steps"] == [result["steps"][-1]]
    assert handler.fetched == []


@pytest.mark.parametrize(
    ("id", "revision", "message"),
    [
        ("org/unknown", "", "There is no model org/unknown on the Hub"),
        ("org/gated", "", "ask for access"),
        ("org/model", "v9", "org/model has no revision v9"),
        ("a b c", "", "'a b c' is not a Hub id"),
    ],
)
def test_what_cannot_be_fetched_says_why(
    hub: tuple[str, type[Hub]], tmp_path: Path, id: str, revision: str, message: str
):
    assert message in pull(hub[0], tmp_path / "cache", id, revision)["error"]


def test_a_model_without_mlx_weights_is_refused_before_anything_is_fetched(
    hub: tuple[str, type[Hub]], tmp_path: Path
):
    url, handler = hub
    handler.files["pytorch_model.bin"] = handler.files.pop("model.safetensors")
    assert "has no MLX weights" in pull(url, tmp_path / "cache", "org/model")["error"]
    assert handler.fetched == []


def test_layers_after_the_pooling_are_fetched_but_are_no_model_alone(
    hub: tuple[str, type[Hub]], tmp_path: Path
):
    url, handler = hub
    layer = {"2_Dense/config.json": b"{}", "2_Dense/model.safetensors": b"layer"}
    handler.files |= layer
    pull(url, tmp_path / "cache", "org/model")
    assert set(layer) < set(handler.fetched)
    del handler.files["model.safetensors"]
    assert "has no MLX weights" in pull(url, tmp_path / "other", "org/model")["error"]


def test_no_network_is_a_clear_error(tmp_path: Path):
    error = pull("http://127.0.0.1:9", tmp_path / "cache", "org/model")["error"]
    assert error.startswith("org/model could not be fetched: ")
