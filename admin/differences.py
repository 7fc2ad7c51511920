"""What somebody else changed meanwhile, line by line. Pure."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from ..config.save import fingerprint

KEPT = 64  # texts of the last forms; each is a few KiB
MAX_LINES = 200


class DiffLine(NamedTuple):
    kind: str  # "gone", "new", "same", or "gap" between distant places
    text: str


def differences(old: str, new: str) -> list[DiffLine]:
    """Changed lines with two lines around them."""
    return list(_lines(old, new))[:MAX_LINES]


def _lines(old: str, new: str) -> Iterator[DiffLine]:
    diff = difflib.unified_diff(old.splitlines(), new.splitlines(), n=2, lineterm="")
    kinds = {"-": "gone", "+": "new", " ": "same"}
    for number, line in enumerate(diff):
        if number < 2:  # names of files
            continue
        if line.startswith("@@"):
            yield DiffLine("gap", line.split("@@")[1].strip())
        else:
            yield DiffLine(kinds[line[0]], line[1:])


class EditedTexts:
    """The texts that forms were made from, so that a form that comes back late can be shown what
    changed since."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()

    def keep(self, text: str) -> str:
        """The fingerprint for the form."""
        name = fingerprint(text)
        self._texts[name] = text
        self._texts.move_to_end(name)
        while len(self._texts) > KEPT:
            self._texts.popitem(last=False)
        return name

    def since(self, name: str, now: str) -> list[DiffLine]:
        """What changed since the text called `name`; nothing when it is forgotten."""
        old = self._texts.get(name)
        return [] if old is None else differences(old, now)
