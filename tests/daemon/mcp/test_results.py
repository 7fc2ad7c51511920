"""What a tool answered, as the text that a model reads: nothing is lost silently."""

from __future__ import annotations

from typing import Any

import pytest
from fastmlx.daemon.mcp.results import MAX_TEXT, as_text


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "text", "text": "21 degrees"}, "21 degrees"),
        (
            {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            "[image: image/png, 3 bytes; not shown, as only text can be]",
        ),
        (
            {"type": "audio", "mimeType": "audio/wav", "data": "AAAAAAAA"},
            "[audio: audio/wav, 6 bytes; not shown, as only text can be]",
        ),
        (
            {"type": "resource", "resource": {"uri": "file:///a.md", "text": "# A"}},
            "[resource file:///a.md]\n# A",
        ),
        (
            {"type": "resource", "resource": {"uri": "file:///a.md", "text": ""}},
            "[resource file:///a.md]\n",
        ),
        (
            {
                "type": "resource",
                "resource": {"uri": "x:y", "mimeType": "application/pdf", "blob": "AAAA"},
            },
            "[resource x:y: application/pdf, 3 bytes; not shown, as only text can be]",
        ),
        (
            {"type": "resource_link", "uri": "file:///b", "name": "b", "mimeType": "text/plain"},
            "[b](file:///b) text/plain",
        ),
        ({"type": "hologram"}, "[hologram: data; not shown, as only text can be]"),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else "",
)
def test_every_block_becomes_text_or_a_note_that_it_was_there(
    block: dict[str, Any], text: str
) -> None:
    assert as_text([block], None) == text
    around = [{"type": "text", "text": "before"}, block, {"type": "text", "text": "after"}]
    assert as_text(around, None) == f"before\n{text}\nafter"


def test_structured_values_stand_in_for_missing_text() -> None:
    assert as_text([], {"degrees": 21}) == '{"degrees": 21}'


def test_a_long_answer_is_cut_and_says_so() -> None:
    text = as_text([{"type": "text", "text": "x" * (MAX_TEXT + 5)}], None)
    assert text.endswith("x\n[5 more characters were left out]")
