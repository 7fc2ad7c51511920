"""Thinking between two tags before the answer.

The template may open the tag (the prompt ends with it) or the model. An opening tag that does not
begin the answer is text. Newlines right inside the tags and the blank lines after the end belong to
the markup and are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from ...protocol.events import Event, ReasoningDelta, TextDelta
from ..parsing import Example, partial_marker


class TagParser:
    """States, in order: undecided (does the output begin with the tag?), open, after (dropping
    newlines), done."""

    OPEN: ClassVar[str]
    CLOSE: ClassVar[str]

    def __init__(self, index: int, *, opened: bool) -> None:
        self._index = index
        self._held = ""
        self._begun = False  # some thinking was emitted: newlines are no longer at its beginning
        self._after = False
        self.open = opened
        self.done = False

    @classmethod
    def opened_by(cls, text: str) -> bool:
        return text.rfind(cls.OPEN) > text.rfind(cls.CLOSE)

    def push(self, text: str) -> list[Event]:
        text = self._held + text
        self._held = ""
        if self.done:
            return self._answer(text)
        if not self.open and not self._after:
            start = text.lstrip()
            if start.startswith(self.OPEN):
                self.open = True
                text = start[len(self.OPEN) :]
            elif self.OPEN.startswith(start):
                self._held = text
                return []
            else:
                self.done = True
                return self._answer(text)
        events: list[Event] = []
        if self.open:
            thought, close, rest = text.partition(self.CLOSE)
            if not close:
                cut = len(thought) - partial_marker(thought, self.CLOSE)
                thought, self._held = thought[:cut], thought[cut:]
            if not self._begun:
                thought = thought.lstrip("\n")
            kept = thought.rstrip("\n")
            if kept:
                self._begun = True
                events.append(ReasoningDelta(self._index, kept))
            if not close:
                self._held = thought[len(kept) :] + self._held
                return events
            self.open, self._after = False, True
            text = rest
        if answer := text.lstrip("\n"):
            self.done = True
            events += self._answer(answer)
        return events

    def finish(self) -> list[Event]:
        held, self._held = self._held, ""
        if self.open:
            return [ReasoningDelta(self._index, held)] if held else []
        return self._answer(held)

    def _answer(self, text: str) -> list[Event]:
        return [TextDelta(self._index, text)] if text else []


class TagFormat(NamedTuple):
    """What a module of such a format holds beside OPEN, CLOSE and MARKERS; see `text.parsing`."""

    detect: Callable[[str], bool]
    parser: type[TagParser]
    examples: tuple[Example, ...]  # enough where only the tags are its own; `think` tries the rest


def tag_format(opening: str, closing: str) -> TagFormat:
    def detect(chat_template: str) -> bool:
        return closing in chat_template

    class Parser(TagParser):
        OPEN, CLOSE = opening, closing

    examples = (
        Example(f"{opening}\nEasy.\n{closing}\n\nFour.", reasoning="Easy.", text="Four."),
        Example(f"Easy.{closing}Four.", opened=True, reasoning="Easy.", text="Four."),
        Example(f"Not {opening} here {closing}.", text=f"Not {opening} here {closing}."),
    )
    return TagFormat(detect, Parser, examples)
