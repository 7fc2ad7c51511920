"""`/admin/keys` and the password: with a browser, without JavaScript, and by bare requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastmlx.daemon.access.attempts import PER_ADDRESS
from fastmlx.daemon.access.sessions import COOKIE
from live import LiveDaemon
from playwright.sync_api import Browser, Page, expect

from .test_every_page import faults

PASSWORD = "correct horse & <battery>"


@pytest.fixture
def closed(live: Callable[..., LiveDaemon]) -> LiveDaemon:
    """A daemon whose dashboard has a password."""
    daemon = live("models: {}\n")
    asked = {"password": PASSWORD, "again": PASSWORD}
    assert httpx.post(f"{daemon.url}/admin/password", data=asked).status_code == 303
    return daemon


@pytest.fixture(params=[True, False], ids=["javascript", "plain"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    with browser.new_context(java_script_enabled=request.param) as context:
        yield context.new_page()


def sign_in(daemon: LiveDaemon, password: str = PASSWORD, **options: object) -> httpx.Response:
    data = {"password": password, "next": "/admin/keys"}
    return httpx.post(f"{daemon.url}/admin/login", data=data, **options)  # pyright: ignore


def test_a_key_is_made_changed_replaced_and_ended(
    live: Callable[..., LiveDaemon], page: Page
) -> None:
    daemon = live()
    page.goto(f"{daemon.url}/admin/keys")
    expect(page.get_by_text("There is no key.")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Anna <b>")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("alert")).to_contain_text("name:")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Anna <b>")  # nothing typed is lost
    page.get_by_label("Name", exact=True).fill("Anna s laptop")
    page.get_by_role("textbox", name="Models").fill("demo, x*")
    page.get_by_label("Tokens a day", exact=True).fill("1,000")
    page.get_by_role("button", name="Create key").click()
    secret = page.get_by_role("textbox", name="Key", exact=True).input_value()
    with daemon.openai(api_key=secret) as client:
        assert [model.id for model in client.models.list()] == ["demo"]
        page.get_by_role("link", name="I have copied it").click()
        row = page.locator("tbody").filter(has_text="Anna s laptop")
        expect(row).to_contain_text("active")
        expect(row).to_contain_text("demo, x*")
        assert secret not in page.content()
        row.get_by_role("link", name="Change Anna s laptop").click()
        page.get_by_role("textbox", name="Models").fill("y")
        page.get_by_label("Expires", exact=True).fill("30d")
        page.get_by_role("button", name="Save").click()
        expect(row).to_contain_text("until")
        assert list(client.models.list()) == []
        row.get_by_role("link", name="Change Anna s laptop").click()
        page.get_by_role("button", name="Replace").click()
        fresh = page.get_by_role("textbox", name="Key", exact=True).input_value()
        assert fresh != secret
    for key, status in ((secret, 401), (fresh, 200)):
        asked = httpx.get(f"{daemon.url}/v1/models", headers={"x-api-key": key})
        assert asked.status_code == status
    page.get_by_role("link", name="I have copied it").click()
    row.get_by_role("link", name="Change Anna s laptop").click()
    page.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    row.get_by_role("link", name="Change Anna s laptop").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is no key.")).to_be_visible()


def test_the_first_password_shuts_the_dashboard_and_signing_in_opens_it(
    live: Callable[..., LiveDaemon], page: Page, browser: Browser
) -> None:
    daemon = live("models: {}\n")
    page.goto(f"{daemon.url}/admin/keys")
    expect(page.get_by_text("There is none.")).to_be_visible()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("Again", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("status")).to_contain_text("The password is changed")
    with browser.new_context() as another:
        other = another.new_page()
        other.goto(f"{daemon.url}/admin/config")
        expect(other).to_have_url(re.compile(r"/admin/login\?next=%2Fadmin%2Fconfig$"))
        expect(other.get_by_role("navigation")).to_have_count(0)
        other.get_by_label("Password", exact=True).fill("wrong")
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("alert")).to_contain_text("not the password")
        other.get_by_label("Password", exact=True).fill(PASSWORD)
        other.get_by_role("button", name="Sign in").click()
        expect(other).to_have_url(f"{daemon.url}/admin/config")
        # A new password ends the other's session.
        page.get_by_label("Password so far", exact=True).fill(PASSWORD)
        page.get_by_label("New password", exact=True).fill("another one")
        page.get_by_label("Again", exact=True).fill("another one")
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_role("status")).to_contain_text("The password is changed")
        other.goto(f"{daemon.url}/admin/keys")
        expect(other).to_have_url(re.compile("/admin/login"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{daemon.url}/admin/")
    expect(page).to_have_url(f"{daemon.url}/admin/login")


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


def test_wrong_passwords_are_counted_and_elsewhere_leads_home(closed: LiveDaemon) -> None:
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
    closed: LiveDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from fastmlx.daemon.cli import main

    monkeypatch.setattr("sys.stdin", io.StringIO("from the terminal\n"))
    assert main(["password", "--home", str(closed.home)]) == 0
    closed.wait_until(lambda: sign_in(closed, "from the terminal").status_code == 303)
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert main(["password", "--home", str(closed.home)]) == 1
    assert main(["password", "--remove", "--home", str(closed.home)]) == 0
    closed.wait_until(lambda: httpx.get(f"{closed.url}/admin/keys").status_code == 200)


def test_axe_finds_nothing_on_the_pages_below_and_before(
    live: Callable[..., LiveDaemon], browser: Browser
) -> None:
    daemon = live("models: {}\n")
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(f"{daemon.url}/admin/keys")
        page.get_by_label("Name", exact=True).fill("phone")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_role("textbox", name="Key", exact=True)).to_be_visible()
        assert faults(page) == []
        for path in ("keys", "keys/phone"):
            page.goto(f"{daemon.url}/admin/{path}")
            assert faults(page) == []
        page.goto(f"{daemon.url}/admin/keys")
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_label("Again", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Set password").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Password", exact=True).fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == []
