"""One repository in the Hub's cache, in the layout that every tool reads:

    models--org--name/
      blobs/DIGEST                 the contents; ours in the making is DIGEST.partial
      snapshots/COMMIT/FILE        links to blobs
      refs/BRANCH                  the commit of a branch

Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from .files import Plan, RemoteFile

PARTIAL = ".partial"


def free_bytes(cache: Path) -> int:
    """Of the disk that the cache lies on, or will lie on. Blocking."""
    for place in (cache, *cache.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def folder_name(id: str) -> str:
    return f"models--{id.replace('/', '--')}"


class CacheFolder:
    """The folder of one model. All blocking."""

    def __init__(self, cache: Path, id: str) -> None:
        self.cache = cache
        self.root = cache / folder_name(id)

    def snapshot(self, commit: str) -> Path:
        return self.root / "snapshots" / commit

    def link(self, commit: str, file: RemoteFile) -> Path:
        return self.snapshot(commit).joinpath(*file.name.split("/"))

    def blob(self, file: RemoteFile) -> Path:
        return self.root / "blobs" / file.digest

    def partial(self, file: RemoteFile) -> Path:
        return self.root / "blobs" / f"{file.digest}{PARTIAL}"

    def lock(self, file: RemoteFile) -> Path:
        """The file that the Hub's own client locks while it fetches this content, too."""
        return self.cache / ".locks" / self.root.name / f"{file.digest}.lock"

    def has(self, commit: str, file: RemoteFile) -> bool:
        """Whether the content is there, as a blob or (where links cannot be made) as the file."""
        places = (self.blob(file), self.link(commit, file))
        return any(_size(place) == file.size_bytes for place in places)

    def here_bytes(self, commit: str, file: RemoteFile) -> int:
        """What need not be fetched (again)."""
        if self.has(commit, file):
            return file.size_bytes
        return min(_size(self.partial(file)) or 0, file.size_bytes)

    def prepare(self) -> None:
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)

    def publish(self, commit: str, file: RemoteFile) -> None:
        """Make the file appear in the snapshot. Its blob is there."""
        link, blob = self.link(commit, file), self.blob(file)
        if _size(link) == file.size_bytes:
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()  # of another content, or to a blob that is gone
        try:
            link.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:  # a disk without links: the file itself lies there
            shutil.copyfile(blob, link)

    def finish(self, plan: Plan) -> Path:
        """All files are there: the revision may now lead to them. The snapshot's folder."""
        for file in plan.files:
            self.publish(plan.commit, file)
        name = plan.revision or "main"
        if name != plan.commit:
            ref = self.root / "refs" / name
            ref.parent.mkdir(parents=True, exist_ok=True)
            replace_text(ref, plan.commit)
        return self.snapshot(plan.commit)


def replace_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
