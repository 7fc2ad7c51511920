"""Who may press a button: pages of this server, and programs that are no browser.

`daemon.auth` refuses foreign hosts for the whole server and lets pages of `server.cors_origins` use
the API. The dashboard's buttons are stricter: no other origin at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..daemon.auth import is_our_page


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a POST with these headers (lower-case names) comes from one of our own pages.

    Sec-Fetch-Site   Origin           a browser sends the first to https and localhost only
    same-origin, none   any           yes
    anything else       any           no
    absent              ours, absent  yes (absent: curl, or a browser before 2020)
    absent              other, null   no
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or is_our_page(origin, headers.get("host"), cors_origins=())
