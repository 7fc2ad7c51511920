"""The address of a page of the log of requests ⇄ what it shows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from ..daemon.store.rows import Filters, Mark

STATUSES = (("ok", "good"), ("error", "errors"), ("cancelled", "cancelled"))
MAX_TEXT = 300


class Asked(NamedTuple):
    """What the form holds: texts as they were typed, wrong ones left out."""

    model: str = ""
    dialect: str = ""
    key: str = ""
    status: str = ""
    id: str = ""
    since: str = ""  # as <input type="datetime-local"> writes it
    until: str = ""

    @property
    def any(self) -> bool:
        return any(self)

    def filters(self) -> Filters:
        return Filters(
            self.model or None,
            self.dialect or None,
            self.key or None,
            self.status or None,
            self.id or None,
            _ms(self.since),
            _ms(self.until),
        )

    def address(self, before: Mark | None = None) -> str:
        said = {name: value for name, value in self._asdict().items() if value}
        if before is not None:
            said["before"] = f"{before.at_ms}.{before.id}"
        return "/admin/requests" + (f"?{urlencode(said)}" if said else "")


def asked(get: Callable[[str], str]) -> Asked:
    """`get` gives a parameter of the address, "" for one that is not there."""
    found = Asked(*(get(name).strip()[:MAX_TEXT] for name in Asked._fields))
    return found._replace(
        status=found.status if found.status in dict(STATUSES) else "",
        since=found.since if _ms(found.since) is not None else "",
        until=found.until if _ms(found.until) is not None else "",
    )


def mark(text: str) -> Mark | None:
    """A mark of `Asked.address`; anything else is the first page."""
    at, _, number = text.partition(".")
    if all(part.isascii() and part.isdigit() and len(part) < 16 for part in (at, number)):
        return Mark(int(at), int(number))
    return None


def _ms(text: str) -> int | None:
    """Local time of this machine."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) if text else None
    except (ValueError, OverflowError, OSError):
        return None
