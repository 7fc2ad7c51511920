"""What config.yaml says of tools; the servers that have them stand in mcp.json."""

from __future__ import annotations

from .section import Section, setting
from .values import CallTimeout, Count


class McpSettings(Section):
    """`mcp:`"""

    max_rounds: Count = setting(
        "In one answer, how often the model may call tools of MCP servers and read the results.",
        change="live",
        unit="rounds",
        default=10,
    )
    timeout: CallTimeout = setting(
        "How long one call of a tool may take.", change="live", unit="seconds", default=60.0
    )
