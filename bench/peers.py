"""The other servers that may stand beside ours, as PyPI has them.

Each has an environment of its own, made below a folder that the caller names and kept there for the
next time; mlx-lm's server comes with us. What cannot be installed or does not start is told with
its reason and is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import servers
from report import Report

STREAMS = 64  # every peer may run so many at once
INSTALL_TIMEOUT_S = 900.0
_MLX = "mlx" if sys.platform == "darwin" else "mlx[cpu]"


@dataclass(frozen=True)
class Peer:
    """How a server is installed and started."""

    name: str
    requirement: str | None  # on PyPI; None: in our own environment
    command: Callable[[Path, str, str], list[str]]  # folder of programs, model, port → command

    def start(
        self, folder: Path, environments: Path | None
    ) -> contextlib.AbstractContextManager[servers.Running]:
        """The running server. Raises RuntimeError with the reason when there is none."""
        programs = Path(sys.executable).parent
        if self.requirement is not None:
            if environments is None:
                raise RuntimeError("needs --peers-dir")
            programs = _environment(environments / self.requirement, self.requirement)
        port = str(servers.free_port())
        return servers.other(self.name, self.command(programs, str(folder), port), port, folder)


def _mlx_lm(programs: Path, model: str, port: str) -> list[str]:
    command = [str(programs / "python"), "-m", "mlx_lm", "server", "--model", model]
    limits = ["--decode-concurrency", str(STREAMS), "--log-level", "WARNING"]
    return [*command, "--host", "127.0.0.1", "--port", port, *limits]


def _vllm_mlx(programs: Path, model: str, port: str) -> list[str]:
    command = [str(programs / "vllm-mlx"), "serve", model, "--host", "127.0.0.1", "--port", port]
    return [*command, "--continuous-batching", "--max-num-seqs", str(STREAMS)]


def _rapid_mlx(programs: Path, model: str, port: str) -> list[str]:
    command = [str(programs / "rapid-mlx"), "serve", model, "--host", "127.0.0.1", "--port", port]
    return [*command, "--max-num-seqs", str(STREAMS)]


def _mlx_vlm(programs: Path, model: str, port: str) -> list[str]:
    command = [str(programs / "python"), "-m", "mlx_vlm.server", "--model", model]
    return [*command, "--host", "127.0.0.1", "--port", port]


PEERS = (
    Peer("mlx_lm.server", None, _mlx_lm),
    Peer("vllm-mlx", "vllm-mlx", _vllm_mlx),
    Peer("rapid-mlx", "rapid-mlx", _rapid_mlx),
    Peer("mlx-vlm", "mlx-vlm", _mlx_vlm),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers-dir",
        type=Path,
        metavar="FOLDER",
        help="ask the peers of PyPI too; each is installed into an environment below FOLDER",
    )


def start_all(
    stack: contextlib.ExitStack, folder: Path, environments: Path | None, report: Report
) -> list[servers.Running]:
    """Those that run, until the stack is left; the report tells of the others, and why."""
    running: list[servers.Running] = []
    for peer in PEERS:
        try:
            running.append(stack.enter_context(peer.start(folder, environments)))
        except RuntimeError as error:
            reason = str(error).strip().rpartition("\n")[2]
            report.notes.append(f"{peer.name} is not counted: {reason}")
    return running


def _environment(folder: Path, requirement: str) -> Path:
    """The folder of programs of an environment that has the requirement, made when missing."""
    programs = folder.absolute() / "bin"
    done = folder / "installed"
    if not done.exists():
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", _MLX, requirement]
        for command in ([sys.executable, "-m", "venv", str(folder)], pip):
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
            if ran.returncode != 0:
                raise RuntimeError(f"it cannot be installed: {ran.stderr.strip()}")
        done.touch()
    return programs
