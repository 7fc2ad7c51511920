"""Fetching a model from the Hugging Face Hub into its own cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def pull(id: str, revision: str | None, progress: Callable[[int, int], None]) -> Path:
    """Download the files a model needs and return its snapshot folder.

    `progress(done_bytes, total_bytes)` is called from several threads. Files that are already
    complete are not fetched again. Blocking.

    Raises ModelFailed: no such model, no access, no network, disk full.
    """
    raise NotImplementedError
