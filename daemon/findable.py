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
    needed = (home.server_json, home.local_token, home.log_file)
    while True:
        await asyncio.sleep(LOOK_S)
        missing = [str(path) for path in needed if not path.exists()]
        if not missing:
            continue
        try:
            home.create()
            say_where(home, url, os.getpid(), started_at)
            access.open_to_commands()
            logs.reopen()
            log.warning("%s had been deleted; there again", ", ".join(missing))
        except OSError as error:
            log.warning("%s cannot be put back: %s", ", ".join(missing), error)
