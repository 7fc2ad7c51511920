"""What changed between two configurations, and what each change costs."""

from __future__ import annotations

from pathlib import Path

from fastmlx.config.diff import diff
from fastmlx.config.load import load
from fastmlx.config.settings import Settings
from fastmlx.config.state import ConfigState

FILE = Path("/somewhere/config.yaml")


def read(text: str) -> Settings:
    return load(text, FILE, {})


def test_nothing_changed() -> None:
    old = read("models: {a: {path: x, idle_timeout: 60s}, b: {path: y}}")
    new = read("# same meaning\nmodels: {b: {path: y}, a: {path: x, idle_timeout: 1m}}")
    assert not diff(old, new)


def test_models_come_go_and_change() -> None:
    old = read("models: {a: {path: x}, b: {path: y}, c: {path: z}}")
    new = read("models: {b: {path: y, aliases: [q], context: 5}, c: {path: z}, d: {path: x}}")
    changes = diff(old, new)
    assert changes.added == ("d",)
    assert changes.removed == ("a",)
    assert changes.changed == {"b": {"aliases": "live", "context": "reload"}}
    assert changes.settings == {}
    assert changes


def test_sections_change_key_by_key() -> None:
    old = read("server: {port: 1, log_level: info}")
    new = read("server: {port: 2, log_level: debug}\ndiscover: []\nmemory: {limit: 1GiB}")
    changes = diff(old, new)
    assert changes.settings == {
        "server.port": "restart",
        "server.log_level": "live",
        "memory.limit": "live",
        "discover": "live",
    }
    assert changes.needs_restart == ("server.port",)


def test_a_restart_is_asked_for_until_the_value_of_the_start_is_back() -> None:
    state = ConfigState(FILE, read("server: {port: 1}"))
    state.accept(read("server: {port: 2}"))
    assert state.needs_restart == ("server.port",)
    state.accept(read("server: {port: 2, log_level: debug}"))
    assert state.needs_restart == ("server.port",)
    state.accept(read("server: {port: 1}"))
    assert state.needs_restart == ()
