"""The prefix cache as a whole: what it holds, in every engine and on disk, and how to empty it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from ..cold.index import Index, Totals
from ..protocol import caller, wire
from ..protocol.errors import FastMLXError, Overloaded
from .lookup import find_model

if TYPE_CHECKING:
    from ..supervisor.cache import CachePlan
    from .front import Front


class Prefix(msgspec.Struct, frozen=True):
    """One that lies in memory, with all that goes on from it."""

    tokens: int  # of the longest
    bytes: int
    hits: int
    begins: str  # its first words; "" to who may see figures alone


class ModelCache(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model, or of what a model that is no longer declared has left on disk."""

    name: str
    loaded: bool
    split: bool = False  # over several processes, which keep prefixes in memory only
    hot_bytes: int = 0
    hot_limit_bytes: int = 0
    cold_bytes: int = 0
    cold_blocks: int = 0
    asked_tokens: int = 0  # since it was loaded, as all that follows
    hits: int = 0
    hit_tokens: dict[str, int] = {}  # by tier
    misses: dict[str, int] = {}  # by reason
    evictions: int = 0
    recomputed_tokens: int = 0  # known, but after the last checkpoint in common
    prefixes: list[Prefix] = []  # the most used first
    disk: wire.ColdStats | None = None  # what this engine read and wrote


class CacheBooks(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of `GET /api/cache`."""

    directory: str
    hot_limit_bytes: int  # of all engines together
    cold_limit_bytes: int
    write_budget_bytes: int | None  # a day; None: any amount
    written_today_bytes: int
    index_bytes: int
    hot_bytes: int
    cold_bytes: int  # of the disk, the index counted
    problem: str | None  # why the tier on disk cannot be read or written
    models: list[ModelCache]


async def books(front: Front) -> CacheBooks:
    """What is in the cache now. A directory that cannot be read is said in `problem`."""
    plan = front.supervisor.cache.plan
    totals, problem = await asyncio.to_thread(_totals, plan)
    models: list[ModelCache] = []
    loaded = front.supervisor.cache.stats()
    for name in [*front.config.settings.models, *totals.models]:
        if any(model.name == name for model in models):
            continue
        disk = totals.models.get(name)
        spec = front.config.settings.models.get(name)
        model = ModelCache(
            name=name,
            loaded=name in loaded,
            split=spec is not None and spec.distributed is not None,
            cold_bytes=disk.size_bytes if disk else 0,
            cold_blocks=disk.blocks if disk else 0,
        )
        if (stats := loaded.get(name)) is not None:
            model = msgspec.structs.replace(
                model,
                hot_bytes=stats.hot_bytes,
                hot_limit_bytes=stats.hot_limit_bytes,
                asked_tokens=stats.asked_tokens,
                hits=stats.hits,
                hit_tokens=stats.hit_tokens,
                misses=stats.misses,
                evictions=stats.evictions,
                recomputed_tokens=stats.recomputed_tokens,
                prefixes=await _prefixes(front, name, stats.prefixes),
                disk=stats.cold,
            )
            problem = problem or (stats.cold.problem if stats.cold is not None else None)
        models.append(model)
    return CacheBooks(
        directory=str(plan.directory),
        hot_limit_bytes=plan.hot_bytes,
        cold_limit_bytes=plan.cold_bytes,
        write_budget_bytes=plan.write_budget_bytes,
        written_today_bytes=totals.written_today_bytes,
        index_bytes=totals.index_bytes,
        hot_bytes=sum(model.hot_bytes for model in models),
        cold_bytes=sum(model.cold_bytes for model in models) + totals.index_bytes,
        problem=problem,
        models=models,
    )


async def clear(front: Front, name: str | None, *, hot: bool = True, cold: bool = True) -> int:
    """Forgets the prefixes of this model, or of all: in its engine, as far as no request uses them,
    and on disk, also when it is not loaded. Returns how many blocks were deleted from disk.

    Raises ModelNotFound for a name that is neither declared nor in the directory, Overloaded when
    the directory cannot be written.
    """
    plan = front.supervisor.cache.plan
    if name is not None:
        totals, _ = await asyncio.to_thread(_totals, plan)
        if name not in totals.models:
            name = find_model(front.config.settings, name).name
    front.supervisor.cache.clear(name, wire.ClearCache(hot=hot, cold=cold))
    return await asyncio.to_thread(_clear, plan, name) if cold else 0


def _totals(plan: CachePlan) -> tuple[Totals, str | None]:
    """Blocking. A directory that nobody has made yet holds nothing."""
    if not (plan.directory / "index.sqlite").exists():
        return Totals({}, 0, 0), None
    try:
        with closing(Index(plan.directory, timeout_s=1.0, read_only=True)) as index:
            return index.totals(int(time.time() * 1000)), None
    except (OSError, sqlite3.Error) as error:
        return Totals({}, 0, 0), f"{plan.directory} cannot be read: {error}"


def _clear(plan: CachePlan, name: str | None) -> int:
    if not (plan.directory / "index.sqlite").exists():
        return 0
    try:
        with closing(Index(plan.directory)) as index:
            return index.clear(name)
    except (OSError, sqlite3.Error) as error:
        raise Overloaded(f"{plan.directory} cannot be written: {error}") from error


async def _prefixes(front: Front, name: str, prefixes: list[wire.CachedPrefix]) -> list[Prefix]:
    shown: list[Prefix] = []
    reads = caller.current().may(caller.Scope.ADMIN)
    for prefix in prefixes:
        try:
            words = await front.generator.words(name, prefix.preview) if reads else ""
        except FastMLXError:  # the model's folder went away meanwhile
            words = ""
        shown.append(Prefix(prefix.tokens, prefix.bytes, prefix.hits, words))
    return shown
