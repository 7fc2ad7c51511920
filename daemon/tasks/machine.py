"""What a measurement was made on: the machine and the versions, in words."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


def describe(fastmlx: str) -> tuple[str, str]:
    """(versions, machine). Blocks for some milliseconds."""
    versions = [f"fastmlx {fastmlx}"]
    for package in ("mlx", "mlx-lm"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    memory_gib = psutil.virtual_memory().total / 2**30
    parts = [
        _processor(),
        f"{psutil.cpu_count()} cores",
        f"{memory_gib:.0f} GiB",
        _system(),
    ]
    return ", ".join(versions), ", ".join(parts)


def _system() -> str:
    """`macOS 15.3`; elsewhere without the kernel's version, which says nothing of the speed."""
    release = platform.mac_ver()[0]
    return f"macOS {release}" if release else platform.system()


def _processor() -> str:
    """`Apple M3 Max`; the architecture where the machine does not say."""
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.machine()
