"""`FASTMLX_HOME` and what lies under it; and which texts of a configuration mean a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder that holds everything of one daemon. Absolute; need not exist yet."""

    root: Path

    @classmethod
    def find(cls, override: str | None = None, environ: Mapping[str, str] | None = None) -> Home:
        """`override` (`--home`), else FASTMLX_HOME, else `~/.fastmlx`."""
        environ = os.environ if environ is None else environ
        chosen = override or environ.get("FASTMLX_HOME") or "~/.fastmlx"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def database(self) -> Path:
        return self.root / "fastmlx.db"

    @property
    def cache(self) -> Path:
        """Cold tier of the KV cache, unless `cache.directory` says otherwise."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def log_file(self) -> Path:
        return self.logs / "fastmlx.log"

    @property
    def service_log(self) -> Path:
        """What a daemon that runs as a service prints: crashes; its own log is `log_file`."""
        return self.logs / "service.log"

    @property
    def run(self) -> Path:
        """Locks and sockets; names in it stay short (macOS allows 104 bytes)."""
        return self.root / "run"

    @property
    def server_json(self) -> Path:
        """`{"pid", "url"}` of the running daemon, by which the other verbs find it."""
        return self.run / "server.json"

    @property
    def secret(self) -> Path:
        """The key of what clients keep for us; made when it is first needed."""
        return self.root / "secret"

    @cached_property  # looked at with every request
    def access(self) -> Path:
        """API keys (hashed) and the password of the dashboard (hashed)."""
        return self.root / "access.json"

    @property
    def local_token(self) -> Path:
        """The key of this user's own commands, in clear: who can read it owns the home anyway."""
        return self.run / "local.token"

    @property
    def downloads(self) -> Path:
        """Which downloads there are, and which of them go on after a restart."""
        return self.root / "downloads.json"

    @property
    def models(self) -> Path:
        """Downloads that are not in the Hub's own cache."""
        return self.root / "models"

    @property
    def mcp(self) -> Path:
        return self.root / "mcp.json"

    def create(self) -> None:
        """Make the folders, for this user alone. Raises OSError."""
        for folder in (self.root, self.cache, self.logs, self.run, self.models):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def looks_like_folder(value: str) -> bool:
    """Whether a model's `path` means a folder rather than a Hub id (`name` or `organisation/name`).

    Decided by the text alone, so that the meaning of a configuration does not depend on what
    happens to lie beside it: relative folders begin with `./` or `../`, or have two slashes.
    """
    if value.startswith("builtin:"):
        return False
    return value.startswith(("/", "~", ".")) or value.endswith("/") or value.count("/") > 1


def anchored(value: str, folder: Path) -> Path:
    """`value` as an absolute path: `~` is the user's home, relative ones start at `folder`.

    Raises ValueError when `~name` names no user of this machine.
    """
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with ~ and a name that is no user here") from error
    # normpath: `./x` and `x/../y` are compared as text by diff.py, and shown to people.
    return Path(os.path.normpath(folder / path))
