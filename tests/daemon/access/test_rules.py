"""Which right a request needs, and where it comes from."""

from __future__ import annotations

import pytest
from fastmlx.daemon.access.access import Access
from fastmlx.daemon.access.rules import is_direct, is_loopback, presented, scope_of
from fastmlx.daemon.protocol.caller import ANYBODY, Caller, Scope
from fastmlx.daemon.protocol.errors import Forbidden, ModelForbidden
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/health", None),
        ("GET", "/", None),
        ("GET", "/admin/login", None),
        ("POST", "/admin/login", None),
        ("GET", "/admin/static/admin.css", None),
        ("OPTIONS", "/v1/chat/completions", None),
        ("POST", "/v1/chat/completions", Scope.INFERENCE),
        ("GET", "/v1/models", Scope.INFERENCE),
        ("POST", "/api/chat", Scope.INFERENCE),
        ("POST", "/mcp", Scope.INFERENCE),
        ("POST", "/v1/mcp/execute", Scope.TOOLS),
        ("POST", "/v1/mcp/execute/", Scope.TOOLS),  # which the router finds, too
        ("POST", "/v1/mcp/execute//", Scope.TOOLS),
        ("POST", "/v1/mcp/servers/files/reconnect", Scope.ADMIN),
        ("GET", "/metrics", Scope.METRICS),
        ("GET", "/api/status", Scope.METRICS),
        ("POST", "/api/pull", Scope.ADMIN),
        ("POST", "/api/models/demo/load", Scope.ADMIN),
        ("POST", "/api/cache/clear", Scope.ADMIN),
        ("GET", "/api/keys", Scope.ADMIN),
        ("GET", "/admin/", Scope.ADMIN),
        ("GET", "/admin/login/x", Scope.ADMIN),
        ("GET", "/what/is/new", Scope.ADMIN),  # what nobody thought of needs most
    ],
)
def test_every_path_has_its_right(method: str, path: str, scope: Scope | None) -> None:
    assert scope_of(method, path) == scope


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:127.0.0.1"]
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "192.168.1.2", "fe80::1%en0", "", "mac.local", "::ffff:10.0.0.1"]
)
def test_addresses_of_others(address: str) -> None:
    assert not is_loopback(address)


def test_what_came_through_a_proxy_is_not_from_here() -> None:
    assert is_direct({}, "127.0.0.1")
    assert not is_direct({"x-forwarded-for": "203.0.113.9"}, "127.0.0.1")
    assert not is_direct({}, "192.168.1.2")


def test_a_key_comes_in_the_header_of_either_sdk() -> None:
    assert presented({"authorization": "Bearer  k "}) == "k"
    assert presented({"authorization": "bearer k", "x-api-key": "other"}) == "k"
    assert presented({"x-api-key": "k"}) == "k"
    assert presented({"authorization": "Basic k"}) is None
    assert presented({"authorization": "Bearer ", "x-api-key": " "}) is None


def test_a_caller_may_what_its_scopes_and_models_say() -> None:
    caller = Caller(frozenset({Scope.INFERENCE}), "k", ("qwen*", "a[b]?"))
    caller.require(Scope.INFERENCE)
    with pytest.raises(Forbidden, match="metrics"):
        caller.require(Scope.METRICS)
    caller.require_model("llama", "qwen3-8b")  # any of its names
    caller.require_model("a[b]?")
    for name in ("llama", "QWEN3", "ab", "a[b]c"):
        with pytest.raises(ModelForbidden):
            caller.require_model(name)
    for scope in Scope:
        ANYBODY.require(scope)
        Caller(frozenset({Scope.ADMIN})).require(scope)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_pattern_and_no_name_is_an_exception(pattern: str, name: str) -> None:
    assert Caller(frozenset(), None, (pattern,)).may_use(name) in (True, False)
    assert Caller(frozenset(), None, (name,)).may_use(name)


def test_the_table_of_the_door_holds(tmp_path) -> None:
    """access.Access draws it; here it is asked in every combination."""
    from fastmlx.config.paths import Home
    from fastmlx.daemon.access import edits
    from fastmlx.daemon.access.file import change
    from fastmlx.daemon.access.keys import Limits
    from fastmlx.daemon.protocol.errors import Unauthorized
    from msgspec.structs import replace

    def may(access: Access, path: str, peer: str = "127.0.0.1", **headers: str) -> bool:
        try:
            access.caller("GET", path, headers, peer=peer, session=None)
        except Unauthorized:
            return False
        return True

    home = Home(tmp_path)
    home.create()
    paths = ("/v1/models", "/api/keys", "/admin/")
    expected = {  # (keys, password, exposed) → for each path
        (False, False, False): (True, True, True),
        (False, True, False): (True, False, False),
        (True, False, False): (False, False, True),
        (True, True, False): (False, False, False),
        (False, False, True): (False, False, False),
        (True, False, True): (False, False, False),
        (True, True, True): (False, False, False),
    }
    for (keys, password, exposed), answers in expected.items():
        home.access.unlink(missing_ok=True)
        if keys:
            edits.create(home, "k", Limits())
            edits.revoke(home, "k")  # a door that was shut stays shut
        change(home, lambda kept, to=password: replace(kept, password="x" if to else None))
        access = Access(home, exposed=exposed)
        assert tuple(may(access, path) for path in paths) == answers, (keys, password, exposed)
        assert may(access, "/health", "203.0.113.1")
        for path in paths:
            assert not may(access, path, "203.0.113.1")
            assert not may(access, path, **{"x-forwarded-for": "203.0.113.1"})
