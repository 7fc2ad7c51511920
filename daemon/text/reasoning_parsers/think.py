"""`<think>…</think>` before the answer: Qwen3, DeepSeek-R1, Nemotron, GLM and many others.

The template may open the tag (the prompt ends with `<think>`) or the model. A `<think>` that does
not begin the answer is text. Newlines right inside the tags and the blank lines after the end
belong to the markup and are dropped.
"""

from __future__ import annotations

from ...protocol.events import Event, ReasoningDelta, TextDelta
from ..parsing import Example, partial_marker

OPEN, CLOSE = "<think>", "</think>"
MARKERS = (OPEN, CLOSE)
END = f"\n{CLOSE}\n\n"


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser:
    """States, in order: undecided (does the output begin with the tag?), open, after (dropping
    newlines), done."""

    def __init__(self, index: int, *, opened: bool) -> None:
        self._index = index
        self._held = ""
        self._begun = False  # some thinking was emitted: newlines are no longer at its beginning
        self._after = False
        self.open = opened
        self.done = False

    @staticmethod
    def opened_by(text: str) -> bool:
        return text.rfind(OPEN) > text.rfind(CLOSE)

    def push(self, text: str) -> list[Event]:
        text = self._held + text
        self._held = ""
        if self.done:
            return self._answer(text)
        if not self.open and not self._after:
            start = text.lstrip()
            if start.startswith(OPEN):
                self.open = True
                text = start[len(OPEN) :]
            elif OPEN.startswith(start):
                self._held = text
                return []
            else:
                self.done = True
                return self._answer(text)
        events: list[Event] = []
        if self.open:
            thought, close, rest = text.partition(CLOSE)
            if not close:
                cut = len(thought) - partial_marker(thought, CLOSE)
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


EXAMPLES = (
    Example("Hello.", text="Hello."),
    Example("\n\nHello.\n", text="\n\nHello.\n"),
    Example("<think>\nEasy.\n</think>\n\nFour.", reasoning="Easy.", text="Four."),
    Example("\n<think>Easy.</think>Four.\n", reasoning="Easy.", text="Four.\n"),
    Example("Easy.\n\nSo:\n</think>\n\nFour.", opened=True, reasoning="Easy.\n\nSo:", text="Four."),
    Example("<think>\n\n</think>\n\nFour.", text="Four."),
    Example("\n</think>\n\nFour.", opened=True, text="Four."),
    Example("<think>\nIs 1 </t> 2", reasoning="Is 1 </t> 2"),
    Example("Cut off </thi", opened=True, reasoning="Cut off </thi"),
    Example("Cut off\n\n", opened=True, reasoning="Cut off\n\n"),
    Example("<think>\na</think>", reasoning="a"),
    Example("<think>\na <think> b</think>\nc", reasoning="a <think> b", text="c"),
    Example(
        "The tag <think> opens, </think> closes.", text="The tag <think> opens, </think> closes."
    ),
    Example("<thi", text="<thi"),
    Example("<thinking>no</thinking>", text="<thinking>no</thinking>"),
    Example(" \n", text=" \n"),
    Example("", text=""),
)
