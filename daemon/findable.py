"""What somebody deletes from under a running daemon is put back: the folders of the home, the file
that says where it serves, the token of its own commands, the log."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from .logs import write as logs
from .opening import say_where

if TYPE_CHECKING:
    from .tasks.front import Front

log = logging.getLogger(__name__)

LOOK_S = 5.0


async def stay_findable(front: Front) -> None:
    """Does not end. Files that hold what nobody else knows (config.yaml) are not made up."""
    home = front.home
    needed = (home.server_json, home.local_token, home.log_file)
    while True:
        await asyncio.sleep(LOOK_S)
        missing = [str(path) for path in needed if not path.exists()]
        if not missing:
            continue
        try:
            home.create()
            say_where(home, front.url, os.getpid(), front.started_at)
            front.access.open_to_commands()
            logs.reopen()
            log.warning("%s had been deleted; there again", ", ".join(missing))
        except OSError as error:
            log.warning("%s cannot be put back: %s", ", ".join(missing), error)
