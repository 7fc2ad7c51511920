"""The password of the dashboard, by bare requests; `test_walk` has the pages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastmlx.admin.pages.keys import state_of
from fastmlx.config.paths import Home
from fastmlx.daemon.access.access import Access
from fastmlx.daemon.access.attempts import PER_ADDRESS
from fastmlx.daemon.access.edits import create
from fastmlx.daemon.access.keys import Limits
from fastmlx.daemon.access.sessions import COOKIE
from fastmlx.daemon.cli import main
from live import LiveDaemon
from msgspec.structs import replace

PASSWORD = "correct horse & <battery>"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """A daemon whose dashboard has a password."""
    with LiveDaemon(tmp_path_factory.mktemp("closed"), "models: {}\n") as daemon:
        asked = {"password": PASSWORD, "again": PASSWORD}
        assert httpx.post(f"{daemon.url}/admin/password", data=asked).status_code == 303
        yield daemon


def sign_in(daemon: LiveDaemon, password: str = PASSWORD, **options: object) -> httpx.Response:
    data = {"password": password, "next": "/admin/keys"}
    return httpx.post(f"{daemon.url}/admin/login", data=data, **options)  # pyright: ignore


def test_nothing_of_the_dashboard_is_there_for_who_has_not_signed_in(closed: LiveDaemon) -> None:
    with closed.http() as http:
        for path in ("/admin/", "/admin/keys", "/admin/nothing", "/admin/keys/x"):
            asked = http.get(path)
            assert (asked.status_code, asked.text) == (303, ""), path
            assert asked.headers["location"].startswith("/admin/login")
        pressed = http.post("/admin/cache/clear")
        assert (pressed.status_code, pressed.headers["location"]) == (303, "/admin/login")
        polled = http.get("/admin/", headers={"hx-request": "true", "hx-target": "models"})
        assert (polled.status_code, polled.headers["hx-redirect"]) == (401, "/admin/login")
        login = http.get("/admin/login").text
        assert str(closed.home) not in login
        assert "<nav" not in login
        refused = http.get("/admin/", headers={"host": "evil.example"})
        assert refused.status_code == 403
        assert "<nav" not in refused.text
        # The API is open as before, but for what an administrator may.
        assert http.get("/v1/models").status_code == 200
        assert http.post("/api/keys", json={"name": "x"}).status_code == 401


def test_a_key_that_has_had_all_of_its_day_is_used_up(tmp_path: Path) -> None:
    access = Access(Home(tmp_path))
    create(access.home, "laptop", Limits(requests_per_day=1))
    (key,) = access.listed()
    assert state_of(access, key) == "active"
    access.budgets.begin(key)
    assert state_of(access, key) == "used up"
    assert state_of(access, replace(key, revoked_ms=1)) == "revoked"


def test_the_cookie_is_for_this_server_alone_and_survives_a_restart(closed: LiveDaemon) -> None:
    answer = sign_in(closed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/keys")
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=604800"):
        assert part in cookie, cookie
    assert "Secure" not in cookie
    behind_tls = sign_in(closed, headers={"x-forwarded-proto": "https"})
    assert "Secure" in behind_tls.headers["set-cookie"]
    token = answer.cookies[COOKIE]
    for file in closed.home.rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file
    closed.stop()
    closed.start()
    cookies = {COOKIE: token}
    assert httpx.get(f"{closed.url}/admin/keys", cookies=cookies).status_code == 200
    out = httpx.post(f"{closed.url}/admin/logout", cookies=cookies)
    assert (out.status_code, out.headers["location"]) == (303, "/admin/login")
    assert httpx.get(f"{closed.url}/admin/keys", cookies=cookies).status_code == 303


def test_foreign_pages_press_no_button_of_it(closed: LiveDaemon) -> None:
    token = sign_in(closed).cookies[COOKIE]
    for path in ("/admin/keys", "/admin/password", "/admin/logout", "/admin/login"):
        pressed = httpx.post(
            closed.url + path,
            data={"name": "x"},
            headers={"origin": "http://localhost:1"},
            cookies={COOKIE: token},
        )
        assert pressed.status_code == 403, path
    assert not (closed.home / "access.json").read_text().count('"name"')


def test_a_password_from_the_terminal_is_in_force_at_once(
    closed: LiveDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from the terminal\n"))
    assert main(["password", "--home", str(closed.home)]) == 0
    closed.wait_until(lambda: sign_in(closed, "from the terminal").status_code == 303)
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert main(["password", "--home", str(closed.home)]) == 1
    assert main(["password", "--remove", "--home", str(closed.home)]) == 0
    closed.wait_until(lambda: httpx.get(f"{closed.url}/admin/keys").status_code == 200)
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    assert main(["password", "--home", str(closed.home)]) == 0
    closed.wait_until(lambda: httpx.get(f"{closed.url}/admin/keys").status_code == 303)


def test_the_page_of_a_key_is_not_put_into_itself(closed: LiveDaemon) -> None:
    cookies = {COOKIE: sign_in(closed).cookies[COOKIE]}
    with httpx.Client(base_url=closed.url, cookies=cookies) as http:
        http.post("/admin/keys", data={"name": "laptop", "scopes": "inference"})
        assert http.get("/admin/keys/laptop").text.count(">Save<") == 1
        asked = {"hx-request": "true", "hx-target": "banner"}
        polled = http.get("/admin/keys/laptop", headers=asked)
        assert polled.text.startswith('<div id="banner"')
        http.post("/admin/keys/laptop/delete")


def test_wrong_passwords_are_counted_and_elsewhere_leads_home(closed: LiveDaemon) -> None:
    """The last test of this daemon: nobody here can sign in for a while."""
    for wanted in ("https://evil.example/", "//evil.example", "/admin/\\evil", "/admin/login"):
        data = {"password": PASSWORD, "next": wanted}
        answer = httpx.post(f"{closed.url}/admin/login", data=data)
        assert answer.headers["location"] == "/admin/", wanted
    for _ in range(PER_ADDRESS):
        assert sign_in(closed, "wrong").status_code == 403
    refused = sign_in(closed)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 200
    assert "Too many wrong passwords" in refused.text
