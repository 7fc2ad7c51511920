"""Keys over a real daemon, with the clients that people use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest
from fastmlx.config.paths import Home
from fastmlx.daemon.access import edits
from fastmlx.daemon.access.keys import Limits
from fastmlx.daemon.cli import main
from fastmlx.daemon.protocol.caller import Scope
from live import LiveDaemon
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

SAID: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def closed(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    """A daemon with keys; each test makes its own."""
    config = f"""\
models:
  tiny: {{path: {tiny_model("qwen3")}, aliases: [gpt-4o-mini, "claude-*"]}}
  other: {{path: {tiny_model("llama")}}}
"""
    with LiveDaemon(tmp_path_factory.mktemp("closed"), config) as running:
        edits.create(Home(running.home), "first", Limits())
        yield running


@pytest.fixture
def make(closed: LiveDaemon, request: pytest.FixtureRequest) -> Callable[..., str]:
    """A fresh key with these limits."""

    def make(name: str = "", **limits: Any) -> str:
        name = name or f"{request.node.name[:40]} {len(edits_of(closed))}"
        name = "".join(c if c.isalnum() else " " for c in name).strip()
        return edits.create(Home(closed.home), name, Limits(**limits))[0]

    return make


def edits_of(daemon: LiveDaemon) -> list[Any]:
    with daemon.http(headers=daemon.token_headers()) as http:
        return http.get("/api/keys").json()["keys"]


def test_every_sdk_gets_in_with_a_key_and_its_own_error_without(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    key = make("sdks")
    with closed.openai(api_key=key) as client:
        assert client.chat.completions.create(model="tiny", messages=SAID, max_tokens=3).usage
    with closed.anthropic(api_key=key) as client:  # x-api-key
        assert client.messages.create(model="claude-x", messages=SAID, max_tokens=3).usage
    with closed.anthropic(api_key=None, auth_token=key) as client:  # Authorization
        assert client.messages.count_tokens(model="claude-x", messages=SAID).input_tokens
    bearer = {"Authorization": f"Bearer {key}"}  # as OLLAMA_API_KEY makes it
    with ollama.Client(closed.url, headers=bearer) as speaker:
        assert speaker.chat("tiny", SAID, options={"num_predict": 3})

    with closed.openai(api_key="sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(model="tiny", messages=SAID)
        body: Any = refused.value.body
        assert (body["type"], body["code"]) == ("authentication_error", "invalid_api_key")
        assert refused.value.response.headers["www-authenticate"] == "Bearer"
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="tiny", messages=SAID, stream=True)
    with closed.anthropic(api_key="sk-wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as said:
            client.messages.create(model="claude-x", messages=SAID, max_tokens=3)
        body = said.value.body
        assert body["error"]["type"] == "authentication_error"
    with (
        ollama.Client(closed.url) as speaker,
        pytest.raises(ollama.ResponseError, match="wants an API key") as bare,
    ):
        speaker.chat("tiny", SAID)
    assert bare.value.status_code == 401
    assert httpx.get(closed.url + "/health").json() == {"status": "ok"}


def test_a_key_sees_and_uses_its_models_alone(closed: LiveDaemon, make: Callable[..., str]) -> None:
    key = make(models=("gpt-*",))
    with closed.openai(api_key=key) as client:
        assert {model.id for model in client.models.list()} == {"tiny", "gpt-4o-mini"}
        client.chat.completions.create(model="gpt-4o-mini", messages=SAID, max_tokens=2)
        for model, error in (("other", openai.PermissionDeniedError), ("x", openai.NotFoundError)):
            with pytest.raises(error) as refused:
                client.chat.completions.create(model=model, messages=SAID)
            assert "Declared: tiny." in str(refused.value) or model == "other"
        with pytest.raises(openai.PermissionDeniedError):
            client.models.retrieve("other")
        with pytest.raises(openai.PermissionDeniedError):
            client.responses.create(model="other", input="x")
        with pytest.raises(openai.PermissionDeniedError):
            client.embeddings.create(model="other", input="x")
    bearer = {"Authorization": f"Bearer {key}"}
    with ollama.Client(closed.url, headers=bearer) as client:
        assert {model.model for model in client.list().models} == {"tiny", "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/metrics", Scope.METRICS),
        ("GET", "/api/status", Scope.METRICS),
        ("GET", "/api/usage", Scope.METRICS),
        ("POST", "/v1/mcp/execute", Scope.TOOLS),
        ("POST", "/api/models/other/unload", Scope.ADMIN),
        ("GET", "/api/keys", Scope.ADMIN),
        ("GET", "/admin/config", Scope.ADMIN),
        ("POST", "/api/pull", Scope.ADMIN),
        ("GET", "/nothing", Scope.ADMIN),
    ],
)
def test_a_scope_opens_what_it_says(
    closed: LiveDaemon, make: Callable[..., str], method: str, path: str, scope: Scope
) -> None:
    with closed.http() as http:
        assert http.request(method, path).status_code in (401, 200)  # 200: the open dashboard
        poor = http.request(method, path, headers={"x-api-key": make()})
        assert poor.status_code == 403
        rich = http.request(method, path, headers={"x-api-key": make(scopes=(scope,))})
        assert rich.status_code not in (401, 403)


def test_tools_of_mcp_servers_need_their_scope_in_a_chat_too(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    body = {"model": "tiny", "messages": SAID, "mcp": True, "max_tokens": 2}
    with closed.http(headers={"x-api-key": make()}) as http:
        for stream in (False, True):
            refused = http.post("/v1/chat/completions", json=body | {"stream": stream})
            assert refused.status_code == 403, refused.text
            assert "tools" in refused.json()["error"]["message"]


async def test_callers_of_the_mcp_endpoint_keep_their_own_rights(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    """The SDK's server is started by the first of them, and lasts."""
    rich, poor = make(scopes=(Scope.ADMIN,)), make(models=("other",))
    for key, models, fails in ((rich, 2, False), (poor, 1, True), (rich, 2, False)):
        async with (
            httpx2.AsyncClient(headers={"x-api-key": key}, timeout=60) as http,
            Client(streamable_http_client(closed.url + "/mcp", http_client=http)) as client,
        ):
            listed: Any = (await client.call_tool("list_models", {})).structured_content
            assert len(listed["models"]) == models
            unloaded = await client.call_tool("unload", {"model": "other"})
            assert unloaded.is_error is fails
            asked = {"model": "tiny", "prompt": "x", "max_tokens": 2}
            assert (await client.call_tool("generate", asked)).is_error is fails


def test_budgets_end_in_429_until_midnight_and_survive_a_restart(
    live: Callable[..., LiveDaemon], tiny_model: Callable[..., Path]
) -> None:
    daemon = live(f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}\n")
    home = Home(daemon.home)
    few, _ = edits.create(home, "few", Limits(requests_per_day=2))
    small, _ = edits.create(home, "small", Limits(tokens_per_day=10))
    with daemon.openai(api_key=few) as client:
        for _ in range(2):
            client.completions.create(model="tiny", prompt="x", max_tokens=3)
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                client.completions.create(model="tiny", prompt="x", max_tokens=3, stream=stream)
            assert 0 < int(refused.value.response.headers["retry-after"]) <= 90_000
            assert refused.value.code == "budget_exceeded"
        client.models.list()  # costs nothing
    with daemon.anthropic(api_key=small) as client:
        client.messages.create(model="tiny", messages=SAID, max_tokens=20)
        with pytest.raises(anthropic.RateLimitError) as limited:
            client.messages.create(model="tiny", messages=SAID, max_tokens=2)
        body: Any = limited.value.body
        assert body["error"]["type"] == "rate_limit_error"
    daemon.stop()
    daemon.start()

    def spent() -> dict[str, int]:
        return {key["name"]: key["today"]["requests"] for key in edits_of(daemon)}

    daemon.wait_until(lambda: spent()["few"] >= 2)
    with daemon.openai(api_key=few) as client, pytest.raises(openai.RateLimitError):
        client.completions.create(model="tiny", prompt="x", max_tokens=3)
    with daemon.http(headers=daemon.token_headers()) as http:
        daemon.wait_until(lambda: len(http.get("/api/usage").json()["usage"]) == 2)
        rows = http.get("/api/usage?days=1&key=few").json()["usage"]
        assert [(row["key"], row["model"]) for row in rows] == [("few", "tiny")]
        assert http.get("/api/usage?days=0").status_code == 400
    used = next(key for key in edits_of(daemon) if key["name"] == "small")
    assert used["last_used_ms"] is not None  # noted at the stop


def test_a_websocket_needs_a_key_and_loses_its_rights_with_it(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    url = closed.url.replace("http", "ws") + "/v1/responses"
    key = make("socket")
    create = {"type": "response.create", "model": "tiny", "input": "x", "store": False}
    create["max_output_tokens"] = 2
    for headers in ({}, {"x-api-key": key, "origin": "https://evil.example"}):
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
            pass
        assert refused.value.response.status_code == (403 if headers else 401)
    with connect(url, additional_headers={"x-api-key": key}) as socket:

        def last() -> dict[str, Any]:
            socket.send(json.dumps(create))
            while True:
                event = json.loads(socket.recv(timeout=60))
                if event["type"] in ("response.incomplete", "response.completed", "error"):
                    return event

        assert last()["type"] != "error"
        edits.revoke(Home(closed.home), "socket")
        closed.wait_until(lambda: last()["type"] == "error")
        assert last()["status"] == 401


def test_keys_by_the_api_and_by_the_command_are_the_same(
    closed: LiveDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["keys", "--home", str(closed.home)]
    with closed.http(headers=closed.token_headers()) as http:
        made = http.post("/api/keys", json={"name": "by api", "expires": "1h", "models": ["a*"]})
        assert made.headers["cache-control"] == "no-store"
        key = made.json()["key"]
        assert http.post("/api/keys", json={"name": "BY API"}).status_code == 400
        assert http.post("/api/keys", json={"name": "x", "scopes": ["root"]}).status_code == 400
        assert main([*keys, "list", "--json"]) == 0
        listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
        assert listed["by api"]["models"] == ["a*"]
        changed = http.put("/api/keys/by%20api", json={"tokens_per_day": 5}).json()
        assert (changed["tokens_per_day"], changed["models"]) == (5, None)
        assert changed["expires_ms"] is None
        assert main([*keys, "rotate", "by api"]) == 0
        fresh = capsys.readouterr().out.strip()
        for each, status in ((key, 401), (fresh, 200)):
            bearer = {"Authorization": f"Bearer {each}"}
            assert http.get("/v1/models", headers=bearer).status_code == status
        assert http.post("/api/keys/by%20api/revoke").json()["state"] == "revoked"
        assert http.delete("/api/keys/by%20api").json() == {"deleted": True}
        assert http.delete("/api/keys/by%20api").status_code == 404
    for words in (["revoke", "by api"], ["create", "<x>"], ["create", "y", "--expires", "soon"]):
        assert main([*keys, *words]) == 1
        assert capsys.readouterr().err.startswith("fastmlx: ")


def test_the_commands_go_on_working(closed: LiveDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["status"], ["load", "tiny"], ["cache", "stats"], ["run", "tiny", "Hello"]):
        verb, *rest = words
        assert main([verb, "--home", str(closed.home), *rest]) == 0, capsys.readouterr().err
