"""OpenAI's and Anthropic's packages for Node, from the registry into a folder of this test, drive
every endpoint of theirs that we have, streaming and not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import LiveDaemon

PACKAGES = ("openai@7", "@anthropic-ai/sdk@1")
INSTALL_S = 120
SCRIPT = Path(__file__).with_name("node_client.mjs")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose scripts may import the packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            ["npm", "install", *options, "--prefix", str(folder), *PACKAGES],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the packages in time")
    if done.returncode:
        pytest.skip(f"npm could not install {PACKAGES}: {done.stderr.strip()[-200:]}")
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[LiveDaemon]:
    folder = tiny_model("qwen3")
    config = f"""\
models:
  tiny: {{path: {folder}, chat_template_args: {{enable_thinking: false}}}}
  embedder: {{path: {folder}, kind: embedding}}
"""
    with LiveDaemon(tmp_path_factory.mktemp("talked"), config) as running:
        yield running


@pytest.mark.slow
def test_the_packages_for_node_drive_every_endpoint(project: Path, talked: LiveDaemon) -> None:
    done = subprocess.run(
        ["node", SCRIPT.name, talked.url, "tiny", "embedder"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"tiny", "embedder"} <= set(said["models"])
    assert said["whole"] == said["streamed"] != ""
    assert said["usage"]["completion_tokens"] == 12
    assert said["call"]["function"]["name"] == "weather"
    assert json.loads(said["call"]["function"]["arguments"])["city"] in ("Ulm", "Bonn")
    assert said["deltas"] > 0
    assert said["reason"] == "tool_calls"
    assert said["after"] in ("stop", "length", "tool_calls")
    assert said["stored"] == [True] * 5
    assert said["completed"]
    assert said["events"][0] == "response.created"
    assert said["events"][-1] in ("response.completed", "response.incomplete")
    assert "response.output_text.delta" in said["events"]
    assert said["responded"] == said["helped"] == said["kept"] != ""
    assert said["items"] == 1
    assert said["model"] == "tiny"
    assert said["text"]
    text, prompt_tokens, reason = said["message"]
    assert text == said["pieces"] == said["final"] != ""
    assert reason == "max_tokens"
    assert prompt_tokens <= said["counted"]  # the rest was in the cache
    assert ["model", "tiny"] in said["claudes"]
    assert said["kinds"][0] == "message_start"
    assert said["kinds"][-2:] == ["message_delta", "message_stop"]
    assert "content_block_delta" in said["kinds"]
    assert said["use"]["name"] == "weather"
    assert said["use"]["input"]["city"] in ("Ulm", "Bonn")
    assert said["refusal"] == ["NotFoundError", 404, "not_found_error"]
    assert said["dimensions"] == [64, 64]
    assert said["error"] == ["NotFoundError", 404, "model_not_found"]
    assert said["aborted"]
    talked.wait_until(lambda: talked.model("tiny")["requests_running"] == 0)
