"""The Hub and this machine together: what would fit, what is here, what may be deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from ..hub import on_disk
from ..hub.background import in_background
from ..hub.cache_folder import free_bytes
from ..hub.download import SPARE_BYTES
from ..hub.footprint import weights_need_bytes
from ..hub.places import hub_cache
from ..hub.remote import Format, Result, Sort, ask_search
from ..protocol.errors import Conflict, DownloadFailed, FastMLXError, ModelNotFound
from ..supervisor.status import State

if TYPE_CHECKING:
    from .front import Front

SEARCH_S = 30.0


class Room(msgspec.Struct, frozen=True):
    """What a model may take."""

    disk_free_bytes: int
    memory_limit_bytes: int

    def fits_disk(self, size_bytes: int | None) -> bool | None:
        """None when the size is not known."""
        return None if size_bytes is None else size_bytes + SPARE_BYTES <= self.disk_free_bytes

    def fits_memory(self, weights_bytes: int | None) -> bool | None:
        """Alone, with a short context."""
        if weights_bytes is None:
            return None
        return weights_need_bytes(weights_bytes) <= self.memory_limit_bytes


class Deletable(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the Hub's cache, and who would miss it."""

    model: on_disk.OnDisk
    declared: list[str]  # models of config.yaml
    loaded: list[str]  # those of them whose engine runs

    def frees_bytes(self, commit: str | None) -> int:
        """When all of it, or this snapshot, is deleted. Raises ModelNotFound."""
        if commit is None or [commit] == [each.commit for each in self.model.revisions]:
            return self.model.size_bytes
        for revision in self.model.revisions:
            if revision.commit == commit:
                return revision.frees_bytes
        raise ModelNotFound(f"{self.model.id} has no snapshot {commit[:80]} on this machine.")


async def room(front: Front) -> Room:
    free = await in_background(lambda: free_bytes(hub_cache()))
    return Room(free, front.supervisor.memory_limit_bytes)


async def search(
    front: Front, words: str, format: Format, sort: Sort, limit: int
) -> dict[str, Any]:
    """The JSON of `GET /api/hub/search`. Raises DownloadFailed or Forbidden."""
    asking = in_background(ask_search, words, format=format, sort=sort, limit=limit)
    try:
        found = await asyncio.wait_for(asking, SEARCH_S)
    except TimeoutError:
        raise DownloadFailed(f"The Hub did not answer within {SEARCH_S:g} s.") from None
    here = {model.id for model in await in_background(on_disk.on_disk) if model.is_whole}
    space = await room(front)
    results = [_judged(r, space, here, bool(front.downloads.of(r.id))) for r in found]
    return {"results": results, **msgspec.structs.asdict(space)}


def _judged(result: Result, space: Room, here: set[str], fetching: bool) -> dict[str, Any]:
    return msgspec.to_builtins(result) | {
        "fits_disk": space.fits_disk(result.weights_bytes),
        "fits_memory": space.fits_memory(result.weights_bytes),
        "here": result.id in here,
        "fetching": fetching,
    }


async def models(front: Front) -> list[Deletable]:
    """What is in the Hub's cache."""
    return [_deletable(front, model) for model in await in_background(on_disk.on_disk)]


async def find(front: Front, id: str) -> Deletable:
    """Raises ModelNotFound."""
    return _deletable(front, await in_background(on_disk.find, id))


async def delete(front: Front, id: str, commit: str | None, *, confirmed: bool) -> int:
    """The model, or one snapshot of it, from the Hub's cache; returns the bytes that became free.
    Engines that it is loaded in are stopped first; entries of config.yaml stay.

    Raises ModelNotFound, or Conflict: a download of it is not finished, or it is declared or loaded
    and that was not confirmed.
    """
    found = await find(front, id)
    if front.downloads.of(id):
        raise Conflict(f"A download of {id} is not finished: cancel it first.", param="id")
    if found.declared and not confirmed:
        loaded = f" ({', '.join(found.loaded)} loaded)" if found.loaded else ""
        raise Conflict(
            f"{id} is used by {', '.join(found.declared)} in config.yaml{loaded}; it is deleted "
            "only when that is confirmed (confirm=true).",
            param="confirm",
        )
    for name in found.loaded:
        try:
            await front.supervisor.unload(name)
        except FastMLXError as error:
            raise Conflict(f"{name} could not be unloaded: {error.message}") from error
    freed_bytes = await in_background(on_disk.delete, id, commit)
    for name in found.declared:
        if (spec := front.config.settings.models.get(name)) is not None:
            await front.supervisor.look_again(spec.path)
    return freed_bytes


def _deletable(front: Front, model: on_disk.OnDisk) -> Deletable:
    declared = [n for n, spec in front.config.settings.models.items() if _is_of(spec.path, model)]
    running = {s.name for s in front.supervisor.status() if s.state is not State.STOPPED and s.pid}
    return Deletable(
        model=model, declared=declared, loaded=[name for name in declared if name in running]
    )


def _is_of(path: str, model: on_disk.OnDisk) -> bool:
    """Whether an entry's `path` is the model's id, or a folder within the model's."""
    return path == model.id or path == model.folder or path.startswith(f"{model.folder}/")
