"""Which web pages may read what, over a real daemon."""

from __future__ import annotations

from collections.abc import Callable

from live import LiveDaemon

LISTED = "https://chat.example.com"


def test_a_listed_page_may_use_the_api_but_not_read_the_dashboard(
    live: Callable[..., LiveDaemon],
) -> None:
    daemon = live(f"server: {{cors_origins: ['{LISTED}']}}\n")
    with daemon.http() as http:
        api = http.get("/v1/models", headers={"Origin": LISTED})
        assert api.headers["access-control-allow-origin"] == LISTED
        stranger = http.get("/v1/models", headers={"Origin": "https://evil.com"})
        assert "access-control-allow-origin" not in stranger.headers
        for path in ("/admin/", "/admin/config", "/admin/static/admin.css"):
            page = http.get(path, headers={"Origin": LISTED})
            assert "access-control-allow-origin" not in page.headers, path
