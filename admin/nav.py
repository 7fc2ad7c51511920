"""Which pages there are, in the groups of the navigation. A new page is one line here."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    address: str
    name: str  # the title of the page (or its `section`, for pages below it)


NAV: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (Entry("/admin/", "Overview"), Entry("/admin/chat", "Chat")),
    ),
    (
        "Models",
        (
            Entry("/admin/models", "Models"),
            Entry("/admin/hub", "Hub"),
            Entry("/admin/cache", "Cache"),
            Entry("/admin/benchmarks", "Benchmarks"),
        ),
    ),
    (
        "Activity",
        (
            Entry("/admin/requests", "Requests"),
            Entry("/admin/usage", "Usage"),
            Entry("/admin/logs", "Logs"),
        ),
    ),
    (
        "Setup",
        (
            Entry("/admin/keys", "Keys"),
            Entry("/admin/mcp", "MCP"),
            Entry("/admin/settings", "Settings"),
            Entry("/admin/config", "Config"),
            Entry("/admin/service", "Service"),
        ),
    ),
)
PAGES = tuple(entry for _, entries in NAV for entry in entries)
