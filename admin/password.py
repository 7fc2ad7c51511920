"""A new password for the dashboard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..daemon.access.file import change
from ..daemon.access.passwords import check_new, hashed
from ..daemon.protocol.errors import BadRequest

if TYPE_CHECKING:
    from ..daemon.access.access import Access


async def keep(access: Access, password: str, again: str) -> str:
    """Ends all sessions. Returns the password as it is kept. Raises BadRequest."""
    check_new(password)
    if password != again:
        raise BadRequest("The two are not the same.", param="again")
    kept = await asyncio.to_thread(hashed, password)
    await asyncio.to_thread(change, access.home, lambda before: replace(before, password=kept))
    return kept
