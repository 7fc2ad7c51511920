"""From what `path:` says to a folder on this machine."""

from __future__ import annotations

from pathlib import Path

from ...config.paths import looks_like_folder
from ..protocol.errors import ModelFailed

BUILTIN = "builtin:"


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
    # Imported on use: the front needs 13 MB less while nobody serves a model of the Hub's.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    of = f" (revision {revision})" if revision else ""
    try:
        return Path(snapshot_download(id, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise ModelFailed(f"'{id}' is neither a folder nor a Hub id.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ModelFailed(f"{id}{of} is not on this machine: run `fastmlx pull {id}`.") from error
