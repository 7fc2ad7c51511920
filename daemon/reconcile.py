"""Desired settings → the supervisor. Start-up, a saved file, SIGHUP and the admin all end here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..config.diff import SettingsDiff, diff
from ..config.paths import Home
from ..config.settings import Settings
from .protocol.errors import FastMLXError
from .supervisor.cache import CachePlan
from .supervisor.memory import auto_limit_bytes, readable, total_bytes
from .supervisor.model import Declaration
from .supervisor.recovery import Recovery
from .supervisor.supervisor import Supervisor

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """What `reconcile` did."""

    lines: tuple[str, ...]  # for the log; empty when nothing had changed
    needs_restart: tuple[str, ...]  # dotted keys changed by this edit that wait for a restart
    preload: asyncio.Task[None] | None  # ends when what is to be preloaded is loaded, or failed


async def reconcile(old: Settings | None, new: Settings, supervisor: Supervisor) -> Report:
    """Make `supervisor`, which was told `old` (None: nothing yet), know `new`.

    Models whose entry and whose share of `defaults` are the same are not touched. Does not wait
    for anything to load or stop. When it raises, `old` is still what was agreed on: the next call
    does the rest.
    """
    changes = diff(old or Settings(), new)
    lines: list[str] = []
    for name in changes.removed:
        await supervisor.withdraw(name)
        lines.append(f"model {name}: removed")
    if old is None or "memory.limit" in changes.settings:
        limit_bytes = memory_limit_bytes(new)
        supervisor.set_memory_limit(limit_bytes)
        lines.append(f"memory.limit: {readable(limit_bytes)}")
    plan = cache_plan(new, supervisor.home)
    if plan != supervisor.cache.plan:
        supervisor.cache.set(plan)
        hot, cold = readable(plan.hot_bytes), readable(plan.cold_bytes)
        lines.append(f"cache: {hot} in memory, {cold} in {plan.directory}")
    supervisor.set_recovery(recovery(new))
    for name in new.models:
        told = _declared(new, name)
        is_same = name not in changes.added and name not in changes.changed
        if is_same and old is not None and _declared(old, name) == told:
            continue
        await supervisor.declare(name, told)
        lines.append(f"model {name}: {_what(changes, name)}")
    if old is not None:
        lines += [
            f"{key}: changed, " + ("at the next start" if change == "restart" else "in force")
            for key, change in changes.settings.items()
            if key != "memory.limit" and not key.startswith("cache.")
        ]
    return Report(tuple(lines), changes.needs_restart, _preload(changes, new, supervisor))


def memory_limit_bytes(settings: Settings) -> int:
    """`memory.limit` on this machine."""
    limit = settings.memory.limit
    return auto_limit_bytes() if limit == "auto" else limit.of(total_bytes())


def cache_plan(settings: Settings, home: Home) -> CachePlan:
    """`cache` on this machine."""
    cache = settings.cache
    directory = cache.directory or home.cache
    budget = None if cache.write_budget == "unlimited" else cache.write_budget
    hot_bytes = cache.hot.of(memory_limit_bytes(settings))
    return CachePlan(hot_bytes, cache.cold.of(disk_bytes(directory)), budget, directory)


def recovery(settings: Settings) -> Recovery:
    """`recovery`, as the supervisor wants it."""
    declared = settings.recovery
    return Recovery(
        start_attempts=declared.start_attempts,
        request_attempts=declared.request_attempts,
        delay_s=declared.delay,
        max_delay_s=declared.max_delay,
        hang_s=None if declared.hang_timeout == "auto" else declared.hang_timeout,
    )


def disk_bytes(folder: Path) -> int:
    """Size of the disk that the folder lies on, or will lie on; 0 when that cannot be said."""
    for place in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).total
    return 0


def _declared(settings: Settings, name: str) -> Declaration:
    spec = settings.models[name]
    return Declaration(
        spec,
        idle_timeout_s=settings.idle_timeout_s(spec),
        max_concurrent=settings.max_concurrent(spec),
        max_waiting=settings.max_waiting(spec),
        max_gap_s=settings.max_gap_s(spec),
        queue_timeout_s=settings.queue_timeout_s(spec),
        request_timeout_s=settings.request_timeout_s(spec),
    )


def _what(changes: SettingsDiff, name: str) -> str:
    if name in changes.added:
        return "added"
    fields = changes.changed.get(name)
    if fields is None:
        return "follows the changed defaults"
    again = "; starts again if it is loaded" if "reload" in fields.values() else ""
    return f"{', '.join(fields)} changed{again}"


_preloads: set[asyncio.Task[None]] = set()  # the event loop keeps only weak references


def _preload(
    changes: SettingsDiff, new: Settings, supervisor: Supervisor
) -> asyncio.Task[None] | None:
    wanted = [
        name
        for name, spec in new.models.items()
        if spec.preload and (name in changes.added or "preload" in changes.changed.get(name, {}))
    ]
    if not wanted:
        return None
    task = asyncio.create_task(_load_each(wanted, supervisor), name="preload")
    _preloads.add(task)
    task.add_done_callback(_preloads.discard)
    return task


async def _load_each(names: list[str], supervisor: Supervisor) -> None:
    """One after the other, in the file's order: when memory is short, the first ones win."""
    for name in names:
        try:
            await supervisor.load(name, evict=False)
        except FastMLXError as error:
            _log.error("model %s could not be preloaded: %s", name, error.message)
        except Exception:
            _log.exception("model %s could not be preloaded", name)
