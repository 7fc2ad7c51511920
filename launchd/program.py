"""What the service manager is to keep running: the same facts for launchd and systemd."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..config.paths import Home

# Where models lie and where programs are found; a login service starts with neither. Secrets such
# as HF_TOKEN stay out: the files written here are readable and get copied into bug reports.
CARRIED = ("PATH", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT")
CARRIED_PREFIX = "FASTMLX_SERVER__"

# Beyond the drain time: the engines end, the database closes, the log is written.
STOP_MARGIN_S = 15
# A connection, its engine's sockets and the shards of a model all are open files; macOS starts
# services with a soft limit of 256.
OPEN_FILES = 16384


class Address(NamedTuple):
    """Where the service manager listens for the daemon."""

    host: str  # as in server.host
    port: int

    @property
    def node(self) -> str:
        """As a number where that is clear: service managers do not look names up as we do."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def url(self) -> str:
        """How this machine reaches it."""
        node = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.node, self.node)  # noqa: S104
        return f"http://[{node}]:{self.port}" if ":" in node else f"http://{node}:{self.port}"


@dataclass(frozen=True)
class Program:
    """One daemon as a service."""

    arguments: tuple[str, ...]  # absolute program first
    environment: Mapping[str, str]
    home: Path  # FASTMLX_HOME, also the working directory
    output: Path  # stdout and stderr of the process; the daemon's own log is another file
    stop_timeout_s: int | None  # until it is killed; None: never
    on_demand: Address | None = None  # started when somebody connects; None: at login

    @classmethod
    def of(
        cls,
        home: Home,
        environ: Mapping[str, str],
        *,
        drain_timeout_s: float,
        on_demand: Address | None = None,
        python: str = sys.executable,
    ) -> Program:
        """The daemon of `home`, run by this very Python.

        Raises ValueError when a path holds a line break: neither a plist reader nor systemd would
        show to a person what such a service runs; and for port 0 on demand.
        """
        if on_demand is not None and on_demand.port == 0:
            raise ValueError("server.port is 0; a service on demand needs a port of its own")
        root = home.root.absolute()
        environment = {
            name: value
            for name, value in environ.items()
            if value and (name in CARRIED or name.startswith(CARRIED_PREFIX))
        }
        environment["FASTMLX_HOME"] = str(root)
        # The daemon then logs to its file alone; `output` keeps what else is printed: crashes.
        environment["FASTMLX_SERVICE"] = "1"
        for text in (python, *environment.values()):
            if not text.isprintable():
                raise ValueError(f"a service cannot carry {text!r}: it holds control characters")
        return cls(
            arguments=(python, "-m", "fastmlx.daemon", "serve"),
            environment=dict(sorted(environment.items())),
            home=root,
            output=Home(root).service_log,
            stop_timeout_s=None
            if math.isinf(drain_timeout_s)
            else math.ceil(drain_timeout_s) + STOP_MARGIN_S,
            on_demand=on_demand,
        )
