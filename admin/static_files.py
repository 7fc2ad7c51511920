"""The stylesheet, the scripts and the icon: read once, compressed once, cached by the browser.

The address carries a hash of the content, so that a browser may keep a file for ever and still sees
a new version at once.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("static")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class StaticFile(NamedTuple):
    content: bytes
    compressed: bytes
    content_type: str
    version: str  # hash of the content


@cache
def static_file(name: str) -> StaticFile | None:
    """None for names that are not in the folder."""
    if name not in _names():
        return None
    path = FOLDER / name
    content = path.read_bytes()
    return StaticFile(
        content,
        gzip.compress(content, mtime=0),
        TYPES[path.suffix],
        hashlib.blake2b(content, digest_size=6).hexdigest(),
    )


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in FOLDER.iterdir() if path.suffix in TYPES)


def address(name: str) -> str:
    """Where a page finds the file."""
    found = static_file(name)
    assert found is not None, f"no static file {name}"
    return f"/admin/static/{name}?v={found.version}"
