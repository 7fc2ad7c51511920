"""What somebody deletes from under a running daemon is put back: the folders of the home, the file
that says where it serves, the token of its own commands, the log."""

from __future__ import annotations

import asyncio
import logging
import os

from ..config.paths import Home
from .access.access import Access
from .logs import write as logs
from .opening import say_where

log = logging.getLogger(__name__)

LOOK_S = 5.0


async def stay_findable(home: Home, access: Access, url: str, started_at: float) -> None:
    """Does not end. Files that hold what nobody else knows (config.yaml) are not made up."""
    while True:
        await asyncio.sleep(LOOK_S)
        if home.server_json.exists():
            continue
        try:
            home.create()
            say_where(home, url, os.getpid(), started_at)
            access.open_to_commands()
            logs.reopen()
            log.warning("%s had been deleted; it is there again", home.server_json)
        except OSError as error:
            log.warning("%s was deleted and cannot be put back: %s", home.server_json, error)
