"""Texts that a target looks for, which a fuzzer may put into its inputs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where they stand, by the target's name.
_SOURCES = {
    "wire_decoding": "daemon/protocol/*.py",
    "tool_parsers": "daemon/text/tool_parsers/*.py",
    "reasoning_parsers": "daemon/text/reasoning_parsers/*.py",
    "config_loading": "config/*.py",
    "config_editing": "config/*.py",
    "cold_files": "daemon/engine/kv/cold/*.py",
    "weight_files": "daemon/hub/weights.py",
    "request_bodies": "daemon/api/*.py",
    "mcp_declarations": "daemon/mcp/declared.py",
}


@cache
def words(name: str) -> tuple[str, ...]:
    """The short texts in a target's sources, which are what it looks for."""
    found = {"", "a", "0", "[", "]", "{", "}", "${A}"}
    for path in sorted(ROOT.glob(_SOURCES[name])) if name in _SOURCES else ():
        found.update(re.findall(r'"([^"\\\n]{1,32})"', path.read_text()))
        found.update(re.findall(r"^    (\w{1,32}): ", path.read_text(), re.MULTILINE))
    return tuple(sorted(found))
