"""Keys over a real daemon, with the clients that people use."""

from __future__ import annotations

import http.client
import json
import socket
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
    with closed.http(headers={"x-api-key": key}) as http:  # the one model that there is for it
        assert http.post("/tokenize", json={"prompt": "x"}).json()["count"] > 0
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
        ("POST", "/v1/mcp/execute/", Scope.TOOLS),
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


def test_figures_of_the_cache_do_not_tell_what_was_said(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    with closed.openai(api_key=make()) as client:
        said: Any = [{"role": "user", "content": "A secret. " * 20}]
        client.chat.completions.create(model="tiny", messages=said, max_tokens=2)
    with closed.http() as http:

        def words(key: str) -> list[str]:
            books = http.get("/api/cache", headers={"x-api-key": key}).json()
            return [prefix["begins"] for model in books["models"] for prefix in model["prefixes"]]

        admin = make("reads all", scopes=(Scope.ADMIN,))
        closed.wait_until(lambda: any(words(admin)))
        found = words(make("reads figures", scopes=(Scope.METRICS,)))
        assert found
        assert not any(found)


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


def test_what_is_kept_is_there_for_the_key_that_made_it_alone(
    closed: LiveDaemon, make: Callable[..., str]
) -> None:
    ada, bob, admin = make("ada"), make("bob"), make("root", scopes=(Scope.ADMIN,))
    asked: Any = {"model": "tiny"}
    with closed.openai(api_key=ada) as client:
        completion = client.chat.completions.create(
            messages=SAID, store=True, max_tokens=2, metadata={"a": "b"}, **asked
        )
        talk = client.conversations.create(items=SAID)
        response = client.responses.create(
            input="x", conversation=talk.id, max_output_tokens=2, **asked
        )
        long: Any = asked | {"max_output_tokens": 3000, "extra_body": {"ignore_eos": True}}
        running = client.responses.create(input="x", background=True, **long)
        item = response.output[0].id

    def looked_for(client: openai.OpenAI) -> list[Callable[[], Any]]:
        completions, responses = client.chat.completions, client.responses
        reference: Any = [{"type": "item_reference", "id": item}]
        few: Any = asked | {"max_output_tokens": 1}
        return [
            lambda: completions.retrieve(completion.id),
            lambda: list(completions.messages.list(completion.id)),
            lambda: completions.update(completion.id, metadata={"c": "d"}),
            lambda: responses.retrieve(response.id),
            lambda: list(responses.input_items.list(response.id)),
            lambda: client.conversations.retrieve(talk.id),
            lambda: list(client.conversations.items.list(talk.id)),
            lambda: client.conversations.items.create(talk.id, items=SAID),
            lambda: client.conversations.update(talk.id, metadata={}),
            lambda: responses.create(input="y", conversation=talk.id, **few),
            lambda: responses.create(input=reference, **few),
            lambda: responses.retrieve(running.id),
        ]

    def goes_on(client: openai.OpenAI) -> Any:
        before: Any = {"previous_response_id": response.id}
        return client.responses.create(input="y", max_output_tokens=1, **before, **asked)

    with closed.openai(api_key=bob) as client:
        for look in looked_for(client):
            with pytest.raises(openai.NotFoundError):
                look()
        with pytest.raises(openai.BadRequestError) as refused:
            goes_on(client)
        assert refused.value.code == "previous_response_not_found"
        assert list(client.chat.completions.list()) == []
        for delete, identity in (
            (client.chat.completions.delete, completion.id),
            (client.responses.delete, response.id),
            (client.responses.cancel, running.id),
            (client.conversations.delete, talk.id),
        ):
            with pytest.raises(openai.NotFoundError):
                delete(identity)
    for key in (ada, admin):
        with closed.openai(api_key=key) as client:
            for look in looked_for(client):
                look()
            assert goes_on(client).usage
            assert [each.id for each in client.chat.completions.list()] == [completion.id]
    with closed.openai(api_key=admin) as client:
        client.responses.cancel(running.id)
        client.chat.completions.delete(completion.id)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/v1/embeddings", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/api/chat", "ollama"),
        ("/nothing", "openai"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_who_has_no_key_is_told_so_before_the_body_is_sent(
    closed: LiveDaemon, path: str, kind: str, chunked: bool
) -> None:
    """The header announces a body, of which nothing ever comes."""
    host, _, port = closed.url.removeprefix("http://").partition(":")
    body = "transfer-encoding: chunked" if chunked else f"content-length: {32 * 1024**2}"
    header = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: wrong\r\n{body}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(header.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
        said = json.loads(answer.read())
    match kind:
        case "openai":
            assert said["error"]["type"] == "authentication_error"
        case "anthropic":
            assert said["type"] == "error"
            assert said["error"]["type"] == "authentication_error"
        case _:
            assert "not known" in said["error"]


def test_who_has_no_key_reads_that_also_behind_a_large_body(closed: LiveDaemon) -> None:
    """Clients that send all before they read anything: the connection is not reset under them."""
    with closed.http(headers={"x-api-key": "wrong"}) as http:
        for megabytes in (1, 70):  # more than server.max_request_size, too
            answer = http.post("/v1/messages", content=b"x" * (megabytes * 1024**2))
            assert answer.status_code == 401
        assert http.get("/health").status_code == 200


def test_budgets_end_in_429_until_midnight_and_survive_a_restart(
    closed: LiveDaemon,
) -> None:
    daemon, home = closed, Home(closed.home)
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

        def recorded() -> set[str]:
            return {row["key"] for row in http.get("/api/usage").json()["usage"]}

        daemon.wait_until(lambda: {"few", "small"} <= recorded())
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
