"""Who used what: the day's sums by key, for the budgets and for people."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ..access.budgets import Spent
from ..store import queries
from ..store.database import StoreUnavailable

if TYPE_CHECKING:
    from ..access.budgets import Budgets
    from ..store.rows import Used
    from ..store.store import Store

AGAIN_S = 0.2  # until the database is asked again, which opens in a moment
TRIES = 150
MAX_DAYS = 366


async def restore_budgets(budgets: Budgets, store: Store) -> None:
    """After a start: what the keys had today before it. Without a database they begin anew."""
    for _ in range(TRIES):
        day = budgets.day
        try:
            found = await store.read(queries.used, [int(day.start_s * 1000), int(day.end_s * 1000)])
        except StoreUnavailable:
            await asyncio.sleep(AGAIN_S)
            continue
        budgets.restore(day, _by_key(found))
        return


async def usage_by_day(store: Store, days: int, now_s: float) -> list[tuple[str, Used]]:
    """(day such as 2026-11-21, what a key used of a model on it), of today and the days before, in
    this machine's time zone, oldest first. Raises StoreUnavailable."""
    starts = midnights(days, now_s)
    names = {start: time.strftime("%Y-%m-%d", time.localtime(start / 1000)) for start in starts}
    return [(names[each.start_ms], each) for each in await store.read(queries.used, starts)]


def midnights(days: int, now_s: float) -> list[int]:
    """Milliseconds since the epoch: the beginnings of so many days here, the last one today's, and
    the end of today. Days with a change of clocks have 23 or 25 hours."""
    here = time.localtime(now_s)
    return [
        int(time.mktime((here.tm_year, here.tm_mon, here.tm_mday + day, 0, 0, 0, 0, 0, -1)) * 1000)
        for day in range(1 - days, 2)
    ]


async def used_by_key(store: Store, days: int, now_s: float) -> dict[str, Spent]:
    """What each key has had in the last days, today included. Raises StoreUnavailable."""
    starts = midnights(days, now_s)
    return _by_key(await store.read(queries.used, [starts[0], starts[-1]]))


def _by_key(found: list[Used]) -> dict[str, Spent]:
    spent: dict[str, Spent] = {}
    for each in found:
        had, totals = spent.get(each.key, Spent()), each.totals
        tokens = totals.prompt_tokens + totals.output_tokens
        spent[each.key] = Spent(had.requests + totals.requests, had.tokens + tokens)
    return spent
