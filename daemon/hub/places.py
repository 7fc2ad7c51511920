"""Where models lie on this machine: the Hub's cache, LM Studio's folder, folders of the user's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HUB = "huggingface"
LM_STUDIO = "lmstudio"
MAX_DEPTH = 4  # below a folder; LM Studio's models lie at publisher/model
MAX_FOLDERS = 20_000


class Spot(NamedTuple):
    """A folder with a config.json: perhaps a model."""

    folder: Path
    path: str  # of an entry of `models:`
    title: str  # what people call it
    revision: str | None  # of the entry, where the path alone would not lead here


class Place(NamedTuple):
    source: str  # as `discover:` names it
    root: Path
    is_listed: bool  # by its path: then it should exist

    def spots(self) -> Iterator[Spot]:
        """Blocking. Raises OSError when the place itself cannot be listed."""
        return _in_hub_cache(self.root) if self.source == HUB else _below(self.root)


def places(discover: Sequence[str]) -> Iterator[Place]:
    """Of the setting `discover`, each once."""
    for source in dict.fromkeys(discover):
        if source == HUB:
            yield Place(source, hub_cache(), False)
        elif source == LM_STUDIO:
            yield Place(source, lm_studio(), False)
        else:
            yield Place(source, Path(source).expanduser(), True)


def hub_cache() -> Path:
    """Where the Hub's client keeps snapshots: HF_HUB_CACHE, HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def lm_studio() -> Path:
    """LM Studio's models; a file in the user's home points to where its own home was moved."""
    home = Path.home()
    homes = [home / ".lmstudio", home / ".cache/lm-studio"]
    with contextlib.suppress(OSError, ValueError):
        homes.insert(0, Path((home / ".lmstudio-home-pointer").read_text("utf-8").strip()))
    found = [each / "models" for each in homes]
    return next((folder for folder in found if folder.is_dir()), found[0])


def _in_hub_cache(cache: Path) -> Iterator[Spot]:
    for repository in sorted(cache.iterdir()):
        if (id := id_of(repository.name)) is None:
            continue
        if (found := _snapshot(repository)) is not None:
            folder, revision = found
            yield Spot(folder, id, id, revision)


def id_of(name: str) -> str | None:
    """The Hub id of a model's folder in the cache."""
    kind, _, rest = name.partition("--")
    return rest.replace("--", "/", 1) if kind == "models" and rest else None


def _snapshot(repository: Path) -> tuple[Path, str | None] | None:
    """(folder, None) of what the branch main is; else the newest, with its commit."""
    try:
        main = repository / "snapshots" / (repository / "refs" / "main").read_text("utf-8").strip()
        if (main / "config.json").exists():
            return main, None
    except (OSError, ValueError):
        pass
    try:
        others = [
            (folder.stat().st_mtime_ns, folder)
            for folder in (repository / "snapshots").iterdir()
            if (folder / "config.json").exists()
        ]
    except OSError:
        return None
    if not others:
        return None
    newest = max(others)[1]
    return newest, newest.name


def _below(root: Path) -> Iterator[Spot]:
    """Folders with a config.json at `root` and up to MAX_DEPTH below it, sorted. Links to folders
    are followed once; hidden folders and those that cannot be read are left out."""
    seen: set[str] = set()

    def look(folder: Path, depth: int) -> Iterator[Spot]:
        real = os.path.realpath(folder)
        if real in seen or len(seen) >= MAX_FOLDERS:
            return
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if depth == 0:
                raise
            return
        if any(entry.name == "config.json" for entry in inside):
            yield Spot(folder, str(folder), _title(folder), None)
            return
        if depth == MAX_DEPTH:
            return
        for entry in inside:
            if not entry.name.startswith(".") and _is_folder(entry):
                yield from look(Path(entry.path), depth + 1)

    yield from look(root, 0)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _title(folder: Path) -> str:
    """Also of a snapshot in a cache of the Hub's that lies elsewhere."""
    if folder.parent.name == "snapshots":
        return id_of(folder.parent.parent.name) or folder.name
    return folder.name
