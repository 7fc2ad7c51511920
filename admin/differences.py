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


def merged(base: str, mine: str, theirs: str) -> str | None:
    """Both changes of `base`, line by line; None where both changed the same lines otherwise."""
    old, ours, others = (text.splitlines(keepends=True) for text in (base, mine, theirs))
    in_ours, in_others = _places(old, ours), _places(old, others)
    result: list[str] = []
    at = at_ours = at_others = 0  # all before is merged
    for index in [*(i for i in range(len(old)) if i in in_ours and i in in_others), None]:
        ends = (
            (len(old), len(ours), len(others))
            if index is None
            else (index, in_ours[index], in_others[index])
        )
        before = old[at : ends[0]]
        mine_here, theirs_here = ours[at_ours : ends[1]], others[at_others : ends[2]]
        if theirs_here in (before, mine_here):
            result += mine_here
        elif mine_here == before:
            result += theirs_here
        else:
            return None
        if index is not None:
            result.append(old[index])
            at, at_ours, at_others = (end + 1 for end in ends)
    return "".join(result)


def _places(old: list[str], new: list[str]) -> dict[int, int]:
    """Line of `old` → where `new` has it; both ascend."""
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.a + i: block.b + i for block in blocks for i in range(block.size)}


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

    def merged(self, name: str, mine: str, theirs: str) -> str | None:
        """`merged` with the text called `name` as the base; None when it is forgotten, too."""
        old = self._texts.get(name)
        return None if old is None else merged(old, mine, theirs)
