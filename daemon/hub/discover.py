"""Models on this machine that could be added to config.yaml: what `discover:` says, looked up.

Candidates are not served until they stand under `models:`. Every place is looked at in a thread of
its own and for a few seconds at most: an external disk may hang, and so does macOS until somebody
answers whether a folder may be read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ...config.settings import Settings
from ..protocol.errors import ModelFailed
from .background import in_background
from .describe import ModelInfo, describe
from .footprint import load_bytes
from .places import Place, Spot, places

TIMEOUT_S = 4.0  # for one place
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._+@-]+")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model folder that was found."""

    name: str  # a good one for the entry: taken by no model, alias or other candidate
    path: str  # what the entry's `path` would say: a Hub id, or the folder
    revision: str | None  # the entry's `revision`, where `path` alone would mean another one
    source: str  # huggingface, lmstudio, or the folder that is listed
    folder: str
    declared: str | None  # the model of config.yaml that it is already
    problem: str | None  # why it cannot be served: damaged, or not complete; then all below is None
    architecture: str | None
    quantization: str | None  # None also for plain floats
    kind: str | None  # text, embedding, reranker …
    context: int | None  # tokens
    weights_bytes: int | None
    needs_bytes: int | None  # of memory, to be loaded


class Survey(msgspec.Struct, frozen=True):
    candidates: list[Candidate]
    problems: dict[str, str]  # place → why it could not be looked at


def as_json(survey: Survey, memory_limit_bytes: int) -> dict[str, Any]:
    """`GET /api/discovered`: a candidate that can be loaded `fits` when it alone has room."""
    found = [
        msgspec.to_builtins(each)
        | {"fits": each.needs_bytes and each.needs_bytes <= memory_limit_bytes}
        for each in survey.candidates
    ]
    return {"candidates": found, "problems": survey.problems}


class _Seen(NamedTuple):
    """A spot, and what is there."""

    spot: Spot
    info: ModelInfo | None
    problem: str | None


async def candidates(settings: Settings) -> list[Candidate]:
    """What `discover:` finds, the declared ones included. Takes TIMEOUT_S at most."""
    return (await survey(settings)).candidates


async def survey(settings: Settings) -> Survey:
    """The candidates, and the places that could not be looked at."""
    return await _scanner.survey(settings)


class Scanner:
    """Looks at places; remembers what a folder held, so that the next look is a few `stat`s."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._known: dict[Path, tuple[object, _Seen]] = {}
        self._last: dict[Place, list[_Seen]] = {}
        self._looking: dict[Place, asyncio.Task[list[_Seen]]] = {}

    async def survey(self, settings: Settings) -> Survey:
        found = list(places(settings.discover))
        looks = await asyncio.gather(*(self._look(place) for place in found))
        seen: list[tuple[Place, _Seen]] = []
        problems: dict[str, str] = {}
        for place, (there, problem) in zip(found, looks, strict=True):
            seen += [(place, each) for each in there]
            if problem is not None:
                problems[str(place.root)] = problem
        return Survey(_candidates(settings, seen), problems)

    async def _look(self, place: Place) -> tuple[list[_Seen], str | None]:
        """What is there, or was at the last look; and why it may not be the truth."""
        task = self._looking.get(place)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(in_background(self._scan, place))
            self._looking[place] = task
        # A look that takes too long goes on; nobody begins a second one meanwhile.
        await asyncio.wait({task}, timeout=self._timeout_s)
        if not task.done():
            return self._last.get(place, []), (
                f"did not answer within {self._timeout_s:g} s; a disk may be asleep or gone, or "
                "macOS waits for an answer whether it may be read"
            )
        try:
            seen = self._last[place] = task.result()
        except FileNotFoundError:
            return [], "does not exist" if place.is_listed else None
        except OSError as error:
            return [], f"cannot be read: {error.strerror or error}"
        return seen, None

    def _scan(self, place: Place) -> list[_Seen]:
        """Blocking. Raises OSError for a place that cannot be listed."""
        return [self._seen(spot) for spot in place.spots() if _has_weights(spot.folder)]

    def _seen(self, spot: Spot) -> _Seen:
        try:
            signature = _signature(spot.folder)
            known = self._known.get(spot.folder)
            if known is not None and known[0] == signature:
                return known[1]._replace(spot=spot)
            seen = _Seen(spot, describe(spot.folder), None)
            self._known[spot.folder] = signature, seen
            return seen
        except ModelFailed as error:
            return _Seen(spot, None, error.message)
        except OSError as error:
            return _Seen(spot, None, f"{spot.folder} cannot be read: {error.strerror or error}.")


_scanner = Scanner()


def _has_weights(folder: Path) -> bool:
    """Whether this is of MLX's kind at all; a folder of other formats is no broken model."""
    try:
        return any(True for _ in folder.glob("model*.safetensors*"))
    except OSError:
        return False


def _signature(folder: Path) -> object:
    """Changes when a file does. Links are followed: to a blob, or to nothing."""
    entries = []
    for path in sorted(folder.iterdir()):
        try:
            stat = path.stat()
            entries.append((path.name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            entries.append((path.name, None, None))
    return tuple(entries)


def _candidates(settings: Settings, seen: Iterable[tuple[Place, _Seen]]) -> list[Candidate]:
    """Each folder once, those of the first place first. Pure but for the links that it resolves."""
    taken = set(settings.models) | {a for m in settings.models.values() for a in m.aliases}
    made: list[Candidate] = []
    folders: set[Path] = set()
    for place, (spot, info, problem) in seen:
        if spot.folder in folders:
            continue
        folders.add(spot.folder)
        name = free_name(spot.title, taken)
        taken.add(name)
        candidate = Candidate(
            name=name,
            path=spot.path,
            revision=spot.revision,
            source=place.source,
            folder=str(spot.folder),
            declared=_declared(settings, spot),
            problem=problem,
            architecture=info and info.architecture,
            quantization=info and info.quantization,
            kind=info and info.kind,
            context=info and info.context,
            weights_bytes=info and info.weights_bytes,
            needs_bytes=info and load_bytes(info, None),
        )
        made.append(candidate)
    return made


def free_name(title: str, taken: Collection[str]) -> str:
    """A name for an entry of `models:` from a folder's or the Hub's: lower case, without what
    names may not have, and with a number when it is taken."""
    name = _NOT_IN_NAMES.sub("-", title.rpartition("/")[2].lower()).strip("-._+@") or "model"
    name = name[:100]
    number = 1
    chosen = name
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    return chosen


def _declared(settings: Settings, spot: Spot) -> str | None:
    for name, spec in settings.models.items():
        same_revision = spec.revision == spot.revision or spec.revision == spot.folder.name
        if spec.path == str(spot.folder) or (spec.path == spot.path and same_revision):
            return name
    return None
