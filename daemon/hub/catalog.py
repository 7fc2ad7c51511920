"""From what `path:` says to a folder on this machine."""

from __future__ import annotations

from pathlib import Path


def resolve(path: str, revision: str | None = None) -> Path:
    """The folder of a model: `builtin:demo`, a folder (`~` allowed), or a Hub id whose snapshot is
    already in the Hugging Face cache. Never goes to the network. Blocking: run it in a thread.

    Raises ModelFailed when it is not here; the message says how to get it.
    """
    raise NotImplementedError
