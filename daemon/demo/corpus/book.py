"""The phrase books beside this module: `*.txt` files of [sections].

A section has attributes (`answer: …`) and patterns, one a line, in which `\n` is a newline.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

_ATTRIBUTES = ("answer", "default", "does", "keys", "kind", "names", "thought", "usage")


class Section(NamedTuple):
    """One section of a phrase book."""

    title: str
    attributes: dict[str, str]
    patterns: tuple[str, ...]


@cache
def sections(book: str) -> tuple[Section, ...]:
    """All sections of `<book>.txt`, in order."""
    text = (Path(__file__).parent / f"{book}.txt").read_text(encoding="utf-8")
    found: list[Section] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            found.append(Section(line[1:-1], {}, ()))
            continue
        section = found[-1]
        key, colon, value = line.partition(": ")
        if colon and key in _ATTRIBUTES:
            section.attributes[key] = value
        else:
            patterns = (*section.patterns, line.replace("\\n", "\n"))
            found[-1] = section._replace(patterns=patterns)
    return tuple(found)


@cache
def questions(title: str) -> tuple[str, ...]:
    """The patterns of one section of questions.txt."""
    return next(s.patterns for s in sections("questions") if s.title == title)
