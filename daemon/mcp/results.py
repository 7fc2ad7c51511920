"""What a tool answered → the text that a model reads, and plain values for JSON. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mcp_types import CallToolResult

MAX_TEXT = 64_000  # characters; the answer has to fit into the model's context beside the rest


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of one tool. `is_error`: the tool itself says that it failed."""

    text: str
    content: list[dict[str, Any]] = []  # MCP's content blocks
    structured: Any = None
    is_error: bool = False


def read_result(result: CallToolResult) -> ToolResult:
    """The SDK's object as plain values."""
    content = [
        block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content
    ]
    structured = result.structured_content
    return ToolResult(
        text=as_text(content, structured),
        content=content,
        structured=structured,
        is_error=bool(result.is_error),
    )


def as_text(content: list[dict[str, Any]], structured: Any) -> str:
    """Text blocks joined; of anything else a note that it was there. Cut, visibly, at MAX_TEXT."""
    text = "\n".join(filter(None, map(_block, content)))
    if not text and structured is not None:
        text = json.dumps(structured, ensure_ascii=False)
    if len(text) > MAX_TEXT:
        left_out = len(text) - MAX_TEXT
        text = f"{text[:MAX_TEXT]}\n[{left_out} more characters were left out]"
    return text


def _block(block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "resource":
            resource = block.get("resource") or {}
            uri = resource.get("uri", "")
            if "text" in resource:
                return f"[resource {uri}]\n{resource['text']}"
            return _left_out(f"resource {uri}", resource, resource.get("blob"))
        case "resource_link":
            about = " ".join(filter(None, (block.get("description"), block.get("mimeType"))))
            link = (
                f"[{block.get('title') or block.get('name', 'resource')}]({block.get('uri', '')})"
            )
            return f"{link} {about}".strip()
        case kind:
            return _left_out(str(kind), block, block.get("data"))


def _left_out(what: str, block: dict[str, Any], data: Any) -> str:
    """A note in the place of what cannot be text, so that the model knows that there was more."""
    size = f", {len(data) * 3 // 4} bytes" if isinstance(data, str) else ""
    return f"[{what}: {block.get('mimeType', 'data')}{size}; not shown, as only text can be]"
