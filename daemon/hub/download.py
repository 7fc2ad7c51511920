"""Fetching a model from the Hugging Face Hub into its own cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..protocol.errors import ModelFailed

# What mlx-lm fetches, without code: models come as data here. And sentence-transformers' layers.
FILES = (
    "*.json",
    "*.jsonl",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "model*.safetensors",
    "*_Dense/model.safetensors",
)


def pull(id: str, revision: str | None, progress: Callable[[int, int], None]) -> Path:
    """Download the files a model needs and return its snapshot folder.

    `progress(done_bytes, total_bytes)` is called from several threads, never backwards. Files that
    are already complete are not fetched again; a download that broke off goes on. Blocking.

    Raises ModelFailed: no such model, no access, no network, disk full.
    """
    from huggingface_hub import snapshot_download

    where: dict[str, Any] = {"revision": revision, "allow_patterns": list(FILES)}
    try:
        plan = snapshot_download(id, dry_run=True, **where)
        if not any(fnmatch(file.filename, "model*.safetensors") for file in plan):
            raise ModelFailed(f"{id} has no MLX weights: there is no model*.safetensors in it.")
        total = sum(file.file_size or 0 for file in plan)
        here = sum(file.file_size or 0 for file in plan if not file.will_download)
        meter = Meter(here, total, progress)
        return Path(snapshot_download(id, tqdm_class=meter.bar_class(), **where))
    except ModelFailed:
        raise
    except Exception as error:  # the client lets errors of its HTTP library through, too
        raise ModelFailed(_why(id, revision, error)) from error


def _why(id: str, revision: str | None, error: Exception) -> str:
    """The client's error in words for the user."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # A dry run and a failed look-up wrap what happened: the innermost says it best.
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__:
        chain.append(cause)

    def among(kind: type[Exception]) -> bool:
        return any(isinstance(each, kind) for each in chain)

    if among(HFValidationError):
        return f"'{id}' is not a Hub id: it looks like organisation/name."
    if among(GatedRepoError):  # a RepositoryNotFoundError, too
        return (
            f"{id} is only for those whom its owner admitted: ask for access on its page, then set "
            "HF_TOKEN."
        )
    if among(RepositoryNotFoundError):
        return f"There is no model {id} on the Hub, or it is private and HF_TOKEN is not set."
    if among(RevisionNotFoundError):
        return f"{id} has no revision {revision}."
    reason = str(chain[-1]).strip() or repr(chain[-1])
    return f"{id} could not be fetched: {reason.splitlines()[0]}"


class Meter:
    """Adds up what the Hub's client shows in its progress bars."""

    def __init__(self, here: int, total: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._here = here
        self._total = total
        self._shown = -1
        self._progress = progress
        self._report(0)

    def bar_class(self) -> type[Any]:
        """A silent progress bar that reports here. The client makes several: of files, of bytes
        from the network, of bytes on disk; of the latter two the one that is ahead counts."""
        from tqdm.auto import tqdm

        report = self._report

        class Bar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs.pop("name", None)
                self._in_bytes = kwargs.get("unit") == "B"
                self._fetched = 0
                super().__init__(*args, **(kwargs | {"disable": True}))

            def update(self, n: float | None = 1) -> None:
                if self._in_bytes:
                    self._fetched += int(n or 0)
                    report(self._fetched)

        return Bar

    def _report(self, fetched: int) -> None:
        with self._lock:
            done = min(self._here + fetched, self._total)
            if done > self._shown:
                self._shown = done
                self._progress(done, self._total)
