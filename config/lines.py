"""Places in the text of a document: where lines, values and comments begin and end.

Indexes count characters from the start of the text.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from .document import Entry, Node, Scalar, Sequence, Table
from .emit import inline
from .plain import plain

_COMMENT = re.compile(r"[ \t]*(#[^\r\n]*)?(?=\r?\n|$)")
_COLON = re.compile(r"[ \t]*:")
_HEADER = re.compile(r"[|>][-+1-9]*")
_ITEM = re.compile(r"[ \t]*-[ \t]+")


def newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def beyond_line(text: str, index: int) -> int:
    """The start of the next line, or the end of the text. A value that ends with its line break
    (a block scalar) ends there."""
    if index and text[index - 1] == "\n":
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def column(text: str, index: int) -> int:
    """From 0."""
    return index - line_start(text, index)


def step_of(text: str, root: Table | None) -> int:
    """By how many columns the file indents."""
    if root is not None and not root.is_flow:
        for entry in root.entries.values():
            if isinstance(entry.value, Table) and not entry.value.is_flow and entry.value.entries:
                first = min(each.key_start for each in entry.value.entries.values())
                step = column(text, first) - column(text, entry.key_start)
                if 0 < step <= 8:
                    return step
    return 2


def is_inline(text: str, entry: Entry) -> bool:
    """Whether the value stands behind its key, not in lines below it."""
    value = entry.value
    if entry.start != value.start:  # an alias
        return True
    if isinstance(value, Scalar):
        return text[entry.start : entry.start + 1] not in ("|", ">")
    return value.is_flow


def content_end(text: str, entry: Entry, *, is_kept: bool = True) -> int:
    """The end of the value, less the blank lines that the parser counts to a block scalar; where
    those belong to it (`|+`), less them only when the value goes (not `is_kept`)."""
    value = entry.value
    while isinstance(value, Table | Sequence) and not value.is_flow and value.start == entry.start:
        if isinstance(value, Sequence) or not value.entries:
            return entry.end
        entry = max(value.entries.values(), key=lambda each: each.end)
        value = entry.value
    if not isinstance(value, Scalar) or text[entry.start : entry.start + 1] not in ("|", ">"):
        return entry.end
    header = text[entry.start : text.find("\n", entry.start)]
    if is_kept and "+" in header.partition("#")[0]:
        return entry.end
    return entry.start + len(text[entry.start : entry.end].rstrip())


def trailing_comment(text: str, index: int) -> tuple[str, int]:
    """(the comment behind `index` on its line or "", where the comment or the blanks end)."""
    found = _COMMENT.match(text, index)
    return (found[1] or "", found.end()) if found else ("", index)


def header_end(text: str, entry: Entry, behind_colon: int) -> int:
    """Where a comment on the line of the key may begin, of a value in the lines below it: a block
    scalar has its indicators there."""
    found = _HEADER.match(text, entry.start)
    return found.end() if found else behind_colon


def value_colon(text: str, entry: Entry) -> int:
    """The colon between key and value. Raises ValueError when it is not on the key's line."""
    found = _COLON.match(text, entry.key_end)
    if found is None:
        raise ValueError("it is written in a way that only a hand can edit")
    return found.end() - 1


def comments_in(text: str, start: int, end: int, node: Node) -> list[str]:
    """The comments between two places that hold nothing but `node`, in order."""
    characters = list(text[start:end])
    for low, high in _scalars(node):
        for index in range(max(low, start), min(high, end)):
            if characters[index - start] not in "\r\n":
                characters[index - start] = "x"
    return [found.strip() for found in re.findall(r"(?:^|\s)(#[^\r\n]*)", "".join(characters))]


def _scalars(node: Node) -> list[tuple[int, int]]:
    if isinstance(node, Scalar):
        return [(node.start, node.end)]
    if isinstance(node, Sequence):
        return [span for item in node.items for span in _scalars(item)]
    spans = [(entry.key_start, entry.key_end) for entry in node.entries.values()]
    return spans + [span for each in node.entries.values() for span in _scalars(each.value)]


def changed_list(text: str, entry: Entry, new: list[Any]) -> str | None:
    """The text with another list of texts there, where it has a line for each item: lines of items
    that stay are not touched. None for a list that is written in another way."""
    node = entry.value
    if not isinstance(node, Sequence) or node.is_flow or not node.items or not new:
        return None
    if entry.start != node.start or not all(isinstance(item, str) for item in new):
        return None
    old: list[Any] = []
    lines: list[tuple[int, int]] = []
    for item in node.items:
        start = line_start(text, item.start)
        marker = _ITEM.match(text, start)
        if not isinstance(item, Scalar) or marker is None or marker.end() != item.start:
            return None
        if "\n" in text[item.start : item.end]:
            return None
        old.append(plain(item))
        lines.append((start, beyond_line(text, item.end)))
    indent = " " * column(text, node.start)
    return _merged(text, lines, old, new, indent)


def _merged(
    text: str, lines: list[tuple[int, int]], old: list[Any], new: list[Any], indent: str
) -> str:
    newline = newline_of(text)
    pieces: list[str] = []
    at = 0
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for _, low, high, new_low, new_high in matcher.get_opcodes():
        if old[low:high] != new[new_low:new_high]:
            place = lines[low][0] if low < len(lines) else lines[-1][1]
            pieces.append(text[at:place])
            if pieces[-1] and not pieces[-1].endswith("\n"):
                pieces.append(newline)
            at = place
            pieces += [f"{indent}- {inline(item)}{newline}" for item in new[new_low:new_high]]
            for start, stop in lines[low:high]:
                pieces.append(text[at:start])
                at = stop
    return "".join([*pieces, text[at:]])
