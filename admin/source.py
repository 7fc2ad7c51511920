"""The text of config.yaml as lines that a page can show, with the place of an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..config.errors import ConfigError
from ..config.load import read_text

AROUND = 4  # lines before and behind an error

# A key at the beginning of a line, and a comment: `#` at the beginning or after a blank, outside
# of quotes as far as one line shows. Colours only; the parser is `config.load`.
_KEY = re.compile(r"^(\s*(?:- )?)([\w.:@+\"'/-]+?)(:)(?=\s|$)")
_COMMENT = re.compile(r"""^((?:[^"'#]|"[^"]*"|'[^']*'|["']|(?<=\S)#)*?)(^#.*|(?<=\s)#.*)$""")


class SourceLine(NamedTuple):
    """`indent + key + rest + comment` is the line."""

    number: int
    indent: str
    key: str
    rest: str
    comment: str
    pointer: str | None  # blanks up to the column of the error, for the line that has it


class Source(NamedTuple):
    lines: list[SourceLine]  # around the error; none when there is no error in the text
    problem: str | None  # why the file cannot be read


def excerpt(path: Path, error: ConfigError | None) -> Source:
    """The line of the error with those around it. Blocks while it reads the file."""
    try:
        text = read_text(path)
    except ConfigError as unreadable:
        return Source([], str(unreadable))
    if error is None or error.line is None:
        return Source([], None)
    lines = text.split("\n")
    if not lines[-1] and error.line < len(lines):
        lines.pop()  # what follows the last line break is a line only where the error is there
    first = max(1, error.line - AROUND)
    shown = [
        split(number, line.rstrip("\r"), error.column if number == error.line else None)
        for number, line in enumerate(lines[first - 1 : error.line + AROUND], first)
    ]
    return Source(shown, None)


def split(number: int, line: str, column: int | None) -> SourceLine:
    """`column` counts from 1; None for a line without the error."""
    code, comment = line, ""
    if found := _COMMENT.match(line):
        code, comment = found[1], found[2]
    indent, key, rest = "", "", code
    if found := _KEY.match(code):
        indent, key = found[1], found[2]
        rest = code[found.end(2) :]
    pointer = None
    if column is not None:
        # Tabs stay tabs, so that the pointer stands where the character does.
        pointer = re.sub(r"[^\t]", " ", line[: column - 1]).ljust(column - 1)
    return SourceLine(number, indent, key, rest, comment, pointer)
