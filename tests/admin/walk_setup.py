"""Walks over MCP, Settings, Config, Keys and Service, and past the password."""

from __future__ import annotations

import re

import httpx
from fastmlx.daemon.cli import main
from playwright.sync_api import expect

from .walk import Ground, Walk

PASSWORD = "correct horse & <battery>"


def mcp(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/mcp")
    walk.see("main", "The sum of two whole numbers.")
    walk.judge()
    ready = page.locator(".state.ready + .meta time")
    since = ready.get_attribute("datetime")
    walk.press("Reconnect sums")
    walk.until(lambda: ready.count() and ready.get_attribute("datetime") != since)


def settings(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/settings")
    limit = page.get_by_label("limit", exact=True)
    expect(limit).to_have_value("50%")
    limit.fill("150%")
    walk.press("Save")
    expect(page.locator(".field.wrong")).to_have_count(1)
    walk.judge()
    limit.fill("60%")
    page.get_by_label("log_level", exact=True).select_option("debug")
    page.get_by_label("port", exact=True).fill("7001")
    walk.press("Save")
    expect(page.get_by_text("Saved and in force")).to_be_visible()
    expect(page.locator(".notice", has_text="Waiting for a restart")).to_contain_text("server.port")
    walk.judge()
    assert "limit: 60%   # half of it" in ground.front.config_file.read_text()


def config(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/config")
    area = page.get_by_label("Text of config.yaml")
    assert area.input_value() == ground.config
    area.fill(ground.config.replace("limit:", "limti:"))
    check = page.locator("#check")
    if walk.scripts:  # while one types
        expect(check).to_contain_text("line 3, column 3")
    walk.press("Check")
    expect(check).to_contain_text("did you mean 'limit'?")
    walk.press("Save")
    expect(page.get_by_text("this text cannot be saved")).to_be_visible()
    walk.judge()
    assert ground.front.config_file.read_text() == ground.config
    area.fill(ground.config.replace("50%", "45%"))
    walk.press("Save")
    expect(page).to_have_url(re.compile("/admin/config$"))
    walk.see("#source", "in force")
    assert ground.front.config_file.read_text() == ground.config.replace("50%", "45%")


def keys(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/keys")
    expect(page.get_by_text("There is no key.")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Anna <b>")
    walk.press("Create key")
    expect(page.get_by_role("alert")).to_contain_text("name:")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Anna <b>")  # nothing is lost
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_role("textbox", name="Models").fill("tiny, x*")
    page.get_by_label("Tokens a day", exact=True).fill("1,000")
    walk.press("Create key")
    secret = page.get_by_role("textbox", name="Key", exact=True).input_value()
    walk.judge()

    def allowed(key: str) -> list[str] | int:
        asked = httpx.get(f"{ground.front.url}/v1/models", headers={"x-api-key": key})
        return [each["id"] for each in asked.json()["data"]] if asked.is_success else 401

    assert allowed(secret) == ["tiny"]
    page.get_by_role("link", name="I have copied it").click()
    key = walk.row("laptop")
    expect(key).to_contain_text("tiny, x*")
    assert secret not in page.content()
    walk.judge()
    key.get_by_role("link", name="Change laptop").click()
    page.get_by_role("textbox", name="Models").fill("y")
    page.get_by_label("Expires", exact=True).fill("30d")
    walk.judge()
    walk.press("Save")
    expect(key).to_contain_text("until")
    assert allowed(secret) == []
    key.get_by_role("link", name="Change laptop").click()
    walk.press("Replace")
    fresh = page.get_by_role("textbox", name="Key", exact=True).input_value()
    assert (allowed(secret), allowed(fresh)) == (401, [])
    walk.go("/admin/keys/laptop")
    walk.press("Revoke")
    expect(key).to_contain_text("revoked")
    key.get_by_role("link", name="Change laptop").click()
    walk.press("Delete")
    expect(page.get_by_text("There is no key.")).to_be_visible()


def the_password(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/keys")

    def choose(password: str, button: str) -> None:
        page.get_by_label("New password", exact=True).fill(password)
        page.get_by_label("New password again", exact=True).fill(password)
        walk.press(button)
        expect(page.get_by_role("status")).to_contain_text("The password is changed")

    def sign_in(at: Walk, password: str) -> None:
        at.page.get_by_label("Password", exact=True).fill(password)
        at.press("Sign in")

    choose(PASSWORD, "Set password")
    with ground.browser.new_context(java_script_enabled=walk.scripts) as context:
        other = Walk(context, ground.front, scripts=walk.scripts)
        other.go("/admin/config")
        expect(other.page).to_have_url(re.compile(r"/admin/login\?next=%2Fadmin%2Fconfig$"))
        expect(other.page.get_by_role("navigation")).to_have_count(0)
        sign_in(other, "wrong")
        expect(other.page.get_by_role("alert")).to_contain_text("not the password")
        other.judge()
        sign_in(other, PASSWORD)
        expect(other.page).to_have_url(f"{ground.front.url}/admin/config")
        page.get_by_label("Current password", exact=True).fill(PASSWORD)
        choose("another one", "Change password")  # ends the other's session
        other.go("/admin/keys")
        expect(other.page).to_have_url(re.compile("/admin/login"))
        for book in ("offered", "pressed", "visited", "judged"):
            getattr(walk, book).update(getattr(other, book))
    walk.press("Sign out", within="body")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    walk.go("/admin/")
    expect(page).to_have_url(f"{ground.front.url}/admin/login")
    assert main(["password", "--remove", "--home", str(ground.front.home)]) == 0
    ground.front.wait_until(lambda: httpx.get(f"{ground.front.url}/admin/keys").status_code == 200)


def service(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/service")
    expect(page.locator("main")).to_contain_text(str(ground.front.pid))
    walk.judge()
    before = ground.front.status()["started_at"]
    walk.press("Restart")
    expect(page.get_by_role("heading", name="Restarting")).to_be_visible()
    walk.judge()
    ground.front.wait_until(lambda: ground.front.status()["started_at"] > before, 60)
    walk.go("/admin/service")
    expect(page.locator("main")).to_contain_text(str(ground.front.pid))
    ground.front.edit_config(ground.config + "nonsense: 1\n")
    ground.front.wait_until(lambda: not ground.front.status()["config"]["ok"])
    walk.press("Restart")
    expect(page.locator("main")).to_contain_text("Nothing was restarted")
