"""From what `path:` says to a folder on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from ...config.paths import looks_like_folder
from ..protocol.errors import ModelFailed
from .cache_folder import folder_name

BUILTIN = "builtin:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def resolve(path: str, revision: str | None = None) -> Path:
    """The folder of a model: `builtin:demo`, a folder (`~` allowed), or a Hub id whose snapshot is
    already in the Hugging Face cache. Never goes to the network. Blocking: run it in a thread.

    Raises ModelFailed when it is not here; the message says how to get it.
    """
    if path.startswith(BUILTIN):
        return _builtin(path)
    if looks_like_folder(path):
        return _folder(path)
    return _snapshot(path, revision)


def _builtin(path: str) -> Path:
    if path != "builtin:demo":
        raise ModelFailed(f"There is no model {path}; the only built-in one is builtin:demo.")
    from .. import demo

    return demo.MODEL_DIR


def _folder(path: str) -> Path:
    try:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return folder.absolute()
        what = "is not a folder" if folder.exists() else "does not exist"
    except (RuntimeError, OSError, ValueError) as error:  # ~nobody, a name too long, a NUL byte
        what = f"cannot be read ({error})"
    raise ModelFailed(f"The model's folder {path} {what}.")


def _snapshot(id: str, revision: str | None) -> Path:
    """Looks into the cache by itself: the client's `local_files_only` refuses a snapshot that lacks
    files nobody needs (a README), and importing it costs the front 13 MB. What is missing of the
    weights is for `describe` to find."""
    from huggingface_hub import constants

    if not HUB_ID.fullmatch(id) or ".." in id:
        raise ModelFailed(f"'{id}' is neither a folder nor a Hub id.")
    repository = Path(constants.HF_HUB_CACHE) / folder_name(id)
    name = revision or "main"
    try:
        commit = (repository / "refs" / name).read_text("utf-8").strip()
    except (OSError, ValueError):
        commit = name  # a commit is its own name
    snapshot = repository / "snapshots" / commit
    if commit and (snapshot / "config.json").exists():
        return snapshot
    of = f" (revision {revision})" if revision else ""
    option = f" --revision {revision}" if revision else ""
    raise ModelFailed(f"{id}{of} is not on this machine: run `fastmlx pull {id}{option}`.")
