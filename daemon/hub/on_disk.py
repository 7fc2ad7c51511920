"""Models in the Hub's cache: what each takes on disk, and what deleting it would free.

Revisions of a model share blobs, so what one of them takes is not what deleting it frees.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..protocol.errors import DownloadFailed, ModelNotFound
from .cache_folder import PARTIAL, CacheFolder
from .catalog import HUB_ID
from .places import hub_cache, id_of

Blob = tuple[int, int]  # device and inode: what the disk holds once


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot."""

    commit: str
    refs: list[str]  # branches and tags that are at it
    size_bytes: int
    frees_bytes: int  # when it alone is deleted
    changed_ms: int


class OnDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder in the cache."""

    id: str
    folder: str
    size_bytes: int  # each blob once; all of it is freed when the model is deleted
    partial_bytes: int  # of that: downloads that are not finished
    revisions: list[Revision]  # the newest first

    @property
    def revision(self) -> str | None:
        """What an entry of `models:` has to name beside the id to mean what is here."""
        refs = [ref for each in self.revisions for ref in each.refs]
        if "main" in refs or not self.revisions:
            return None
        return refs[0] if refs else self.revisions[0].commit

    @property
    def is_whole(self) -> bool:
        """Whether a branch leads to a snapshot: not while the first download goes on."""
        return any(revision.refs for revision in self.revisions)


def on_disk(cache: Path | None = None) -> list[OnDisk]:
    """All models of the cache, the largest first. Blocking: a few `stat`s a file."""
    cache = cache or hub_cache()
    try:
        folders = sorted(cache.iterdir())
    except OSError:
        return []
    found = [_read(CacheFolder(cache, id)) for folder in folders if (id := id_of(folder.name))]
    return sorted(found, key=lambda model: -model.size_bytes)


def find(id: str, cache: Path | None = None) -> OnDisk:
    """Raises ModelNotFound. Blocking."""
    folder = CacheFolder(cache or hub_cache(), id)
    if not HUB_ID.fullmatch(id) or ".." in id or not folder.root.is_dir():
        raise ModelNotFound(f"{id[:200]} is not in the Hub's cache on this machine.", param="id")
    return _read(folder)


def delete(id: str, commit: str | None = None, cache: Path | None = None) -> int:
    """The whole model, or one snapshot of it; returns the bytes that became free. Blocking.

    Raises ModelNotFound, or DownloadFailed when the files cannot be deleted.
    """
    model = find(id, cache)
    folder = CacheFolder(cache or hub_cache(), id)
    if commit is not None and commit not in [each.commit for each in model.revisions]:
        raise ModelNotFound(f"{id} has no snapshot {commit[:80]} on this machine.", param="commit")
    try:
        if commit is not None and len(model.revisions) > 1:
            return delete_snapshot(folder, commit)
        shutil.rmtree(folder.root)
        shutil.rmtree(folder.cache / ".locks" / folder.root.name, ignore_errors=True)
    except OSError as error:
        raise DownloadFailed(f"{id} cannot be deleted: {error.strerror or error}.") from error
    return model.size_bytes


def delete_snapshot(folder: CacheFolder, commit: str) -> int:
    """A snapshot, its refs, and the blobs that no other one has; returns the bytes that became
    free. Blocking. Raises OSError."""
    snapshots = _snapshots(folder)
    gone = snapshots.pop(commit, {})
    others = {blob for blobs in snapshots.values() for blob in blobs}
    for path in _blobs(folder):
        content = _content(path)
        if content is not None and content.blob in gone and content.blob not in others:
            path.unlink()
    shutil.rmtree(folder.snapshot(commit))
    for name, at in _refs(folder).items():
        if at == commit:
            (folder.root / "refs" / name).unlink(missing_ok=True)
    return sum(size for blob, size in gone.items() if blob not in others)


def discard(folder: CacheFolder, commit: str, digests: Collection[str]) -> None:
    """What an unfinished download of these digests has left, unless another snapshot has it or a
    branch leads to it. Blocking. What cannot be deleted stays."""
    with contextlib.suppress(OSError):
        for digest in digests:
            (folder.root / "blobs" / f"{digest}{PARTIAL}").unlink(missing_ok=True)
        if commit in _refs(folder).values():
            return
        shutil.rmtree(folder.snapshot(commit), ignore_errors=True)
        snapshots = _snapshots(folder).values()
        used = {blob for blobs in snapshots for blob in blobs}
        for path in _blobs(folder):
            content = _content(path)
            if path.name in digests and (content is None or content.blob not in used):
                path.unlink()
        if not snapshots and not any(_blobs(folder)):
            shutil.rmtree(folder.root)


def _read(folder: CacheFolder) -> OnDisk:
    snapshots = _snapshots(folder)
    refs = _refs(folder)
    everything = {blob: size for blobs in snapshots.values() for blob, size in blobs.items()}
    partial_bytes = 0
    for path in _blobs(folder):
        content = _content(path)
        if content is None or content.blob in everything:
            continue
        everything[content.blob] = content.size_bytes
        if path.name.endswith((PARTIAL, ".incomplete")):
            partial_bytes += content.size_bytes
    revisions = []
    for commit, blobs in snapshots.items():
        others = {b for other, its in snapshots.items() if other != commit for b in its}
        revisions.append(
            Revision(
                commit=commit,
                refs=sorted(name for name, at in refs.items() if at == commit),
                size_bytes=sum(blobs.values()),
                frees_bytes=sum(size for blob, size in blobs.items() if blob not in others),
                changed_ms=int(folder.snapshot(commit).stat().st_mtime * 1000),
            )
        )
    return OnDisk(
        id=id_of(folder.root.name) or folder.root.name,
        folder=str(folder.root),
        size_bytes=sum(everything.values()),
        partial_bytes=partial_bytes,
        revisions=sorted(revisions, key=lambda each: -each.changed_ms),
    )


def _snapshots(folder: CacheFolder) -> dict[str, dict[Blob, int]]:
    """Commit → the contents that its files lead to, with their bytes. Files may be links, or (on
    disks without links) the contents themselves."""
    found: dict[str, dict[Blob, int]] = {}
    for snapshot in _entries(folder.root / "snapshots"):
        if not snapshot.is_dir():
            continue
        blobs = found[snapshot.name] = {}
        for path in snapshot.rglob("*"):
            if not path.is_dir() and (content := _content(path)) is not None:
                blobs[content.blob] = content.size_bytes
    return found


def _refs(folder: CacheFolder) -> dict[str, str]:
    """Name → commit. Names may have slashes: refs/pr/1."""
    refs: dict[str, str] = {}
    root = folder.root / "refs"
    for path in root.rglob("*") if root.is_dir() else ():
        if path.is_file():
            refs[path.relative_to(root).as_posix()] = path.read_text("utf-8", "replace").strip()
    return refs


def _blobs(folder: CacheFolder) -> Iterator[Path]:
    return _entries(folder.root / "blobs")


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return


class _Content(NamedTuple):
    blob: Blob
    size_bytes: int


def _content(path: Path) -> _Content | None:
    """What a path leads to, looked at once: a download may end meanwhile. None for a link to
    nothing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _Content((stat.st_dev, stat.st_ino), stat.st_size)
