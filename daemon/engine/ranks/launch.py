"""Starts the other ranks of a group: processes on this machine, or on others through ssh."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys

from ...protocol.wire import is_here


def command(host: str, rank: int) -> list[str]:
    """The argv that runs a rank on `host`; it speaks through stdin and stdout.

    On another machine the same Python must lie at the same place, and ssh must not need a password:
    as with `mlx.launch` (https://ml-explore.github.io/mlx/build/html/usage/launching_distributed.html).
    When this end of ssh is gone the rank reads the end of its stdin and exits.
    """
    argv = [sys.executable, "-m", "fastmlx.daemon.engine", "--rank", str(rank)]
    if is_here(host):
        return argv
    options = ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ServerAliveInterval=10"]
    return ["ssh", *options, "--", host, shlex.join(argv)]


def start(host: str, rank: int) -> subprocess.Popen[bytes]:
    """The rank's process, or its ssh, in the process group of this one: the front ends them all.

    Its stderr is ours. Raises OSError."""
    return subprocess.Popen(command(host, rank), stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def address(host: str) -> str:
    """The numeric address of a host: the ring wants no names. Raises OSError."""
    name = host.rpartition("@")[2]
    found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return str(found[0][4][0])
