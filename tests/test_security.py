"""Over a real daemon: what web pages and other machines may do, and that secrets stay secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastmlx.config.paths import Home
from fastmlx.daemon.access import edits
from fastmlx.daemon.access.keys import Limits
from fastmlx.daemon.access.sessions import COOKIE
from fastmlx.daemon.app import EX_CONFIG
from fastmlx.daemon.protocol.caller import Scope
from live import LiveDaemon
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

Live = Callable[..., LiveDaemon]
PASSWORD, HF_TOKEN = "horse-battery-staple", "hf_verySecretTokenOfTheHub"
EVIL, LISTED = "https://evil.example", "https://chat.example.com"


def test_no_secret_is_in_logs_status_pages_files_or_processes(
    live: Live, tiny_model: Callable[..., Path]
) -> None:
    config = f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}\nserver: {{log_level: debug}}\n"
    daemon = live(config, environment={"HF_TOKEN": HF_TOKEN})
    key, _ = edits.create(Home(daemon.home), "phone", Limits(scopes=(Scope.ADMIN,)))
    token = daemon.token_headers()["Authorization"].removeprefix("Bearer ")
    session = httpx.post(
        f"{daemon.url}/admin/password", data={"password": PASSWORD, "again": PASSWORD}
    ).cookies[COOKIE]
    secrets = (key, token, PASSWORD, session, HF_TOKEN)

    with daemon.openai(api_key=key) as client:
        client.completions.create(model="tiny", prompt="x", max_tokens=2)
    with daemon.http() as http:  # what fails is logged, too
        for wrong in (key[:-1], f"x{key}"):
            http.post("/v1/chat/completions", headers={"x-api-key": wrong}, json={"model": "x"})
        http.post("/admin/login", data={"password": f"{PASSWORD}!"})
    said: list[str] = []
    with daemon.http(headers={"x-api-key": key}) as http:
        for path in ("/api/status", "/api/keys", "/api/usage", "/api/cache", "/metrics"):
            said.append(http.get(path).text)
    with daemon.http(cookies={COOKIE: session}) as http:
        for page in ("", "keys", "keys/phone", "config", "mcp", "requests", "cache", "login"):
            answer = http.get(f"/admin/{page}")
            assert answer.status_code in (200, 302), page
            said.append(answer.text)
    for process in (psutil.Process(), *psutil.Process(daemon.pid).children(recursive=True)):
        said.append(" ".join(process.cmdline()))
    said.append(" ".join(psutil.Process(daemon.pid).cmdline()))
    listed = subprocess.run(
        [sys.executable, "-m", "fastmlx.daemon", "keys", "--home", str(daemon.home), "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    said += [listed.stdout, listed.stderr, daemon.log(last=100_000)]
    for secret in secrets:
        assert not any(secret in text for text in said)
    daemon.stop()
    for file in daemon.home.rglob("*"):
        if file.is_file() and file.name != "local.token":
            content = file.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), file


def test_a_server_for_others_wants_a_key_at_the_start_and_on_reload(
    live: Live, tmp_path: Path
) -> None:
    home = tmp_path / "open"
    home.mkdir()
    (home / "config.yaml").write_text("models: {}\nserver:\n  host: 0.0.0.0\n")
    command = [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(home), "--port", "0"]
    for arguments in ([], ["--host", "::"]):
        failed = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert failed.returncode == EX_CONFIG
        assert "there is no API key" in failed.stderr
        assert "fastmlx keys create" in failed.stderr
        assert ("config.yaml:3:9" in failed.stderr) is not arguments
        assert len(failed.stderr.splitlines()) == 1

    daemon = live("models: {}\n")
    daemon.edit_config("models: {}\nserver: {host: 0.0.0.0}\n")
    daemon.wait_until(lambda: not daemon.status()["config"]["ok"])
    error = daemon.status()["config"]["error"]
    assert (error["key"], error["line"]) == ("server.host", 2)
    edits.create(Home(daemon.home), "first", Limits())
    daemon.edit_config("models: {}\nserver: {host: 0.0.0.0} # again\n")
    daemon.wait_until(lambda: daemon.status()["config"]["ok"])
    assert "server.host" in daemon.status()["config"]["needs_restart"]


def test_beyond_loopback_the_dashboard_waits_for_a_password(live: Live, tmp_path: Path) -> None:
    home = Home(tmp_path / "home0")  # where `live` makes its first one
    home.create()
    key, _ = edits.create(home, "first", Limits())
    daemon = live("models: {}\nserver: {host: 0.0.0.0}\n")
    with daemon.http() as http:
        assert http.get("/admin/").headers["location"] == "/admin/login"
        assert "Choose a password" in http.get("/admin/login").text
        # Through a proxy it is another machine that asks: it may not choose.
        elsewhere = {"x-forwarded-for": "203.0.113.7"}
        assert "No password is set" in http.get("/admin/login", headers=elsewhere).text
        chosen = {"password": PASSWORD, "again": PASSWORD}
        refused = http.post("/admin/login", data=chosen, headers=elsewhere)
        assert refused.status_code == 403
        assert http.get("/v1/models").status_code == 401
        assert http.get("/v1/models", headers={"x-api-key": key}).status_code == 200
        wrong = http.post("/admin/login", data=chosen | {"again": "x"})
        assert wrong.status_code == 400
        first = http.post("/admin/login", data=chosen)
        assert first.status_code == 303
        assert http.get("/admin/keys").status_code == 200  # with the cookie


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/admin/", "/metrics", "/mcp"])
def test_a_rebound_name_reads_nothing(daemon: LiveDaemon, path: str) -> None:
    with daemon.http(headers={"host": "evil.example"}) as http:
        for method in ("GET", "POST"):
            answer = http.request(method, path)
            assert answer.status_code == 403, answer.text
            assert "tiny" not in answer.text


@pytest.mark.parametrize("path", ["/mcp", "/v1/chat/completions", "/api/models/tiny/unload"])
def test_a_foreign_page_changes_nothing(daemon: LiveDaemon, path: str) -> None:
    for origin in (EVIL, "null", "http://localhost:3000"):
        answer = httpx.post(daemon.url + path, json={}, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    asked = {"origin": EVIL, "access-control-request-method": "POST"}
    answer = httpx.options(daemon.url + path, headers=asked)
    assert answer.status_code >= 400
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_foreign_page_opens_no_websocket(daemon: LiveDaemon) -> None:
    url = daemon.url.replace("http", "ws") + "/v1/responses"
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers={"origin": EVIL}):
        pass
    assert refused.value.response.status_code == 403
    rebound = {"host": "evil.example", "upgrade": "websocket", "connection": "Upgrade"}
    assert httpx.get(daemon.url + "/v1/responses", headers=rebound).status_code == 403


def test_a_listed_page_may_use_the_api_with_a_key_but_not_read_the_dashboard(live: Live) -> None:
    daemon = live(f"models: {{}}\nserver: {{cors_origins: ['{LISTED}']}}\n")
    with daemon.http() as http:
        api = http.get("/v1/models", headers={"origin": LISTED})
        assert api.headers["access-control-allow-origin"] == LISTED
        stranger = http.get("/v1/models", headers={"origin": EVIL})
        assert "access-control-allow-origin" not in stranger.headers
        for path in ("/admin/", "/admin/config", "/admin/static/admin.css"):
            page = http.get(path, headers={"origin": LISTED})
            assert "access-control-allow-origin" not in page.headers, path
    key, _ = edits.create(Home(daemon.home), "page", Limits())
    with daemon.http(headers={"origin": LISTED}) as http:
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        preflight = http.options("/v1/chat/completions", headers=asked)
        assert preflight.status_code == 204  # browsers send no key with it
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        assert "access-control-allow-credentials" not in preflight.headers
        refused = http.get("/v1/models")
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == LISTED
        assert http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).is_success


def test_a_line_of_the_log_is_one_line_whatever_a_client_says(daemon: LiveDaemon) -> None:
    nasty = "x\n2026-01-01 ERROR forged\r\x1b[31m"
    body: Any = {"model": nasty, "messages": [{"role": "user", "content": "x"}]}
    with daemon.http() as http:
        assert http.post("/v1/chat/completions", json=body).status_code == 404
        http.get("/api/" + "%0d%0aforged%1b[31m")
    log = daemon.home / "logs" / "fastmlx.log"
    daemon.wait_until(lambda: "forged" in log.read_text())
    for line in log.read_text().splitlines():
        assert json.loads(line)
    for line in (daemon.home / "console.txt").read_text().split("\n"):
        assert not line.startswith("2026-01-01 ERROR")
        assert "\x1b[31m" not in line
