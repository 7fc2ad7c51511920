"""Models, settings and the text of config.yaml are edited in a browser, with JavaScript and
without; two editors of one file know of each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastmlx.config.edit import written
from live import LiveDaemon
from playwright.sync_api import Page, expect

from .conftest import NewPage
from .walk import faults

SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])


@pytest.fixture
def text(front: LiveDaemon, admin_config: str) -> Iterator[str]:
    """The file as it was, put back afterwards, with comments to lose."""
    commented = "# on top\nmemory:\n  limit: 50%   # half of it\n" + admin_config
    save(front, commented)
    yield commented
    save(front, admin_config)


def save(front: LiveDaemon, text: str) -> None:
    """As an editor does, and waits until it is in force."""
    before = front.status()["config"]["loaded_at"]
    if front.config_file.read_text() == text:
        return
    front.edit_config(text)
    front.wait_until(lambda: front.status()["config"]["loaded_at"] > before, 30)


def now(front: LiveDaemon) -> str:
    return front.config_file.read_text()


def press(page: Page, name: str) -> None:
    page.locator("main").get_by_role("button", name=name, exact=True).click()


@SCRIPTS
def test_two_forms_of_one_file_lose_nothing_silently(
    open_page: NewPage, front: LiveDaemon, text: str, scripts: bool
) -> None:
    one, two = (
        open_page("/admin/models/tiny/edit", quiet=False, java_script_enabled=scripts)
        for _ in range(2)
    )
    one.get_by_label("max_waiting").fill("7")
    one.get_by_label("context").fill("64")
    two.get_by_label("max_waiting").fill("9")
    two.get_by_label("preload").select_option("false")
    press(one, "Save")
    expect(one).to_have_url(re.compile("/admin/models/tiny$"))
    after_one = now(front)

    press(two, "Save")
    alert = two.get_by_role("alert")
    expect(alert).to_contain_text("config.yaml was changed meanwhile")
    expect(alert.locator("ins")).to_contain_text(["context: 64", "max_waiting: 7"])
    assert now(front) == after_one
    if scripts:
        assert faults(two) == []
    # Mine where I changed something, and what the file says else.
    expect(two.get_by_label("max_waiting")).to_have_value("9")
    expect(two.get_by_text("In the file now: 7")).to_be_visible()
    expect(two.get_by_label("context")).to_have_value("64")
    press(two, "Save")
    expect(two).to_have_url(re.compile("/admin/models/tiny$"))
    spec = written(now(front))["models"]["tiny"]
    assert (spec["max_waiting"], spec["context"], spec["preload"]) == (9, 64, False)


@SCRIPTS
def test_a_form_and_an_editor_beside_it_lose_nothing_silently(
    open_page: NewPage, front: LiveDaemon, text: str, scripts: bool
) -> None:
    page = open_page("/admin/settings", quiet=False, java_script_enabled=scripts)
    page.get_by_label("cold", exact=True).fill("1GiB")
    theirs = text.replace("50%", "40%") + "# vim was here\n"
    save(front, theirs)
    press(page, "Save")
    expect(page.get_by_role("alert")).to_contain_text("vim was here")
    assert now(front) == theirs
    expect(page.get_by_label("limit", exact=True)).to_have_value("40%")
    expect(page.get_by_label("cold", exact=True)).to_have_value("1GiB")
    press(page, "Save")
    expect(page.get_by_text("Saved and in force")).to_be_visible()
    assert now(front) == theirs + "cache:\n  cold: 1GiB\n"


@SCRIPTS
def test_two_editors_of_the_text_lose_nothing_silently(
    open_page: NewPage, front: LiveDaemon, text: str, scripts: bool
) -> None:
    one, two = (
        open_page("/admin/config", quiet=False, java_script_enabled=scripts) for _ in range(2)
    )
    area = "Text of config.yaml"
    one.get_by_label(area).fill(text + "# from one\n")
    two.get_by_label(area).fill(text.replace("# on top", "# from two"))
    press(one, "Save")
    expect(one.get_by_label(area)).to_have_value(text + "# from one\n")
    press(two, "Save")
    expect(two.get_by_role("alert").filter(has_text="was changed meanwhile")).to_be_visible()
    expect(two.locator(".diff ins")).to_have_text("+ # from one")
    assert now(front) == text + "# from one\n"
    # What both wrote is put together where it can be.
    both = text.replace("# on top", "# from two") + "# from one\n"
    expect(two.get_by_label(area)).to_have_value(both)
    press(two, "Save")
    expect(two).to_have_url(re.compile("/admin/config$"))
    assert now(front) == both


def test_a_file_that_is_no_yaml_is_mended_in_the_editor(
    open_page: NewPage, front: LiveDaemon, text: str
) -> None:
    front.edit_config(text + "\t- [\n")
    front.wait_until(lambda: not front.status()["config"]["ok"])
    for path in ("/admin/settings", "/admin/models/tiny/edit"):
        page = open_page(path)
        expect(page.get_by_text("config.yaml cannot be read")).to_be_visible()
        page.get_by_role("link", name="Edit it as text").click()
    page = open_page("/admin/config")
    expect(page.locator("#error")).to_be_visible()
    page.get_by_label("Text of config.yaml").fill(text)
    press(page, "Save")
    expect(page.locator("#source")).to_contain_text("in force")
    assert front.status()["config"]["ok"]


def test_line_ends_of_the_file_survive_the_editor(
    open_page: NewPage, front: LiveDaemon, text: str, tmp_path: Path
) -> None:
    crlf = text.replace("\n", "\r\n")
    front.config_file.write_bytes(crlf.encode())
    page = open_page("/admin/config")
    area = page.get_by_label("Text of config.yaml")
    area.fill(area.input_value() + "# more\n")
    press(page, "Save")
    expect(page).to_have_url(re.compile("/admin/config$"))
    front.wait_until(lambda: front.config_file.read_bytes() == (crlf + "# more\r\n").encode())
