"""Who may talk to us: Host and Origin."""

from __future__ import annotations

import pytest
from fastmlx.daemon.auth import (
    check_request,
    cors_headers,
    is_our_host,
    is_our_page,
    preflight_headers,
)
from fastmlx.daemon.protocol.errors import Forbidden
from hypothesis import given
from hypothesis import strategies as st

LISTED = ("https://chat.example.com",)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:6590",
        "LOCALHOST:6590",
        "127.0.0.1:6590",
        "192.168.1.20:6590",
        "[::1]:6590",
        "[fe80::1]",
        "mac-mini:6590",
        "mac-mini.local:6590",
        "host.docker.internal:6590",
        "app.localhost",
        "gpu.example.org",  # bound to
        "chat.example.com",  # listed
    ],
)
def test_names_that_only_we_can_have_are_ours(host: str) -> None:
    assert is_our_host(
        host, bound_host="gpu.example.org", cors_origins=LISTED, machine="Mac-mini.fritz.box"
    )


@pytest.mark.parametrize("host", ["evil:6590", "evil.local", "mac-mini-2.lan", "a.home.arpa"])
def test_names_that_others_in_the_network_may_claim_are_so_only_where_they_need_a_key(
    host: str,
) -> None:
    for exposed in (False, True):
        is_ours = is_our_host(
            host, bound_host="127.0.0.1", cors_origins=(), machine="mac-mini", exposed=exposed
        )
        assert is_ours is exposed


@pytest.mark.parametrize(
    "host",
    ["evil.com", "evil.com:6590", "127.0.0.1.evil.com", "localhost.evil.com", "a@b", "[::1", "x y"],
)
def test_names_of_public_dns_are_not(host: str) -> None:
    assert not is_our_host(host, bound_host="0.0.0.0", cors_origins=LISTED, exposed=True)


@given(st.text(max_size=30))
def test_no_host_header_is_an_exception(host: str) -> None:
    assert is_our_host(host, bound_host="127.0.0.1", cors_origins=()) in (True, False)


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:6590", True),
        ("https://chat.example.com", True),
        ("https://evil.com", False),
        ("http://localhost:3000", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_that_may_change_something(origin: str, ours: bool) -> None:
    assert is_our_page(origin, "localhost:6590", cors_origins=LISTED) is ours


def test_an_origin_that_is_none_is_a_foreign_page() -> None:
    headers = {"host": "localhost:6590", "origin": "http://[::1"}
    with pytest.raises(Forbidden, match="cors_origins"):
        check_request("POST", headers, bound_host="127.0.0.1", cors_origins=LISTED)


def test_a_foreign_page_may_read_nothing_and_change_nothing() -> None:
    headers = {"host": "localhost:6590", "origin": "https://evil.com"}
    check_request("GET", headers, bound_host="127.0.0.1", cors_origins=())
    assert cors_headers(headers, ()) == {}
    assert preflight_headers(headers, LISTED) == {}
    with pytest.raises(Forbidden, match="cors_origins"):
        check_request("POST", headers, bound_host="127.0.0.1", cors_origins=())


def test_a_program_without_a_browser_may_do_both() -> None:
    check_request("POST", {"host": "localhost"}, bound_host="127.0.0.1", cors_origins=())
    check_request("POST", {}, bound_host="127.0.0.1", cors_origins=())


def test_a_cross_site_form_without_origin_is_refused() -> None:
    headers = {"host": "localhost", "sec-fetch-site": "cross-site"}
    with pytest.raises(Forbidden):
        check_request("POST", headers, bound_host="127.0.0.1", cors_origins=())


def test_a_rebound_name_is_refused_even_to_read() -> None:
    with pytest.raises(Forbidden, match="evil"):
        check_request("GET", {"host": "evil.com"}, bound_host="127.0.0.1", cors_origins=())


def test_a_listed_page_gets_what_its_browser_asks_for() -> None:
    headers = {
        "host": "localhost",
        "origin": "https://chat.example.com",
        "access-control-request-headers": "x-stainless-os",
    }
    check_request("POST", headers, bound_host="127.0.0.1", cors_origins=LISTED)
    allowed = preflight_headers(headers, LISTED)
    assert allowed["access-control-allow-origin"] == "https://chat.example.com"
    assert allowed["access-control-allow-headers"] == "x-stainless-os"
    assert "POST" in allowed["access-control-allow-methods"]


def test_a_star_lists_every_origin() -> None:
    assert cors_headers({"origin": "https://any.one"}, ("*",))["access-control-allow-origin"]
