"""Checks of what fastmlx stands on: Python, MLX, memory, disk. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..supervisor.memory import readable
from .finding import Finding, fault, ok, warning

LEAST_PYTHON = (3, 11)
LITTLE_DISK = 10 * 1024**3
TOO_LITTLE_DISK = 1024**3


def python(version: tuple[int, int, int], platform: str, machine: str) -> Finding:
    """`platform` as in sys.platform, `machine` as in platform.machine()."""
    text = f"{'.'.join(map(str, version))} on {platform} {machine}"
    if version[:2] < LEAST_PYTHON:
        return fault("Python", text, "install Python 3.11 or newer, and fastmlx with it")
    if platform == "darwin" and machine != "arm64":
        remedy = "this Python runs under Rosetta, where MLX does not: install one for arm64"
        return fault("Python", text, remedy)
    return ok("Python", text)


def mlx(said: Mapping[str, Any] | None, problem: str, platform: str) -> Finding:
    """`said` by engine.about, or the `problem` why it said nothing."""
    if said is None:
        last = problem.strip().rpartition("\n")[2]
        remedy = "install it again: python -m pip install --force-reinstall mlx mlx-lm"
        return fault("MLX", f"cannot be used: {last}", remedy)
    text = f"mlx {said['mlx']}, mlx-lm {said['mlx_lm']}"
    if not said["computes"]:
        return fault("MLX", f"{text}: 1 + 1 is not 2", "restart the machine; report this")
    if said["metal"]:
        return ok("MLX", f"{text}, Metal on {said['device'].get('device_name', 'this GPU')}")
    if platform == "darwin":
        remedy = "MLX needs macOS 14 on Apple silicon, and a session that may use the GPU"
        return fault("MLX", f"{text}, without Metal", remedy)
    remedy = "it computes on the CPU, which is for trying out; use a Mac for work"
    return warning("MLX", f"{text}, without Metal", remedy)


def memory(
    total: int, available: int, limit: int, device: Mapping[str, str], wired_mb: int | None
) -> Finding:
    """Bytes. `limit` is memory.limit; `device` is MLX's device_info where there is Metal, and
    `wired_mb` macOS's iogpu.wired_limit_mb, 0 for its own choice."""
    text = f"{readable(total)}, {readable(available)} free; models may take {readable(limit)}"
    if limit > total:
        return fault("Memory", text, "lower memory.limit in config.yaml below the machine's memory")
    recommended = int(device.get("max_recommended_working_set_size", 0))
    if recommended and limit > recommended:
        wired = "" if not wired_mb else f" (iogpu.wired_limit_mb is {wired_mb})"
        remedy = (
            f"the GPU may wire {readable(recommended)}{wired}: lower memory.limit, or "
            f"`sudo sysctl iogpu.wired_limit_mb={limit // 1024**2}`"
        )
        return warning("Memory", text, remedy)
    if available < total // 20:
        return warning("Memory", text, "close what uses memory, or unload models: `fastmlx top`")
    return ok("Memory", text)


def disk(folder: Path, free: int | None) -> Finding:
    """`free`: bytes, None when nobody can say."""
    if free is None:
        return fault("Disk", f"{folder} is on no disk", "connect the disk, or change the folder")
    text = f"{readable(free)} free for {folder}"
    if free < TOO_LITTLE_DISK:
        remedy = "make room: `fastmlx cache clear`, models that are not used, logs"
        return fault("Disk", text, remedy)
    if free < LITTLE_DISK:
        return warning("Disk", text, "make room before models are fetched, or lower cache.cold")
    return ok("Disk", text)
