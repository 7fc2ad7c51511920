"""Who may press a button: the table of `is_same_origin`."""

from __future__ import annotations

import pytest
from fastmlx.admin.forms import is_same_origin

HOST = {"host": "127.0.0.1:6590"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:6590"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://127.0.0.1:6590"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:6590"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
    ],
)
def test_only_pages_of_this_server_and_programs_may_post(
    headers: dict[str, str], allowed: bool
) -> None:
    assert is_same_origin(HOST | headers) is allowed
