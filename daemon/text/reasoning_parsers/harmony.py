"""Channels: `<|channel|>analysis<|message|>…<|end|>` is thinking, `final` the answer: gpt-oss.

Messages to tools (`commentary to=functions.f`) are left as they are for the tool parser of the same
name; other commentary is answer: a preamble to calls. The prompt ends with `<|start|>assistant`, so
the output begins with `<|channel|>`.

https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import regex

from ...protocol.events import Event, ReasoningDelta, TextDelta
from ..parsing import Example, partial_marker
from ..tool_grammar import Rules, in_regex

CHANNEL, MESSAGE, START = "<|channel|>", "<|message|>", "<|start|>"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
MARKERS = (CHANNEL, MESSAGE, START, "<|constrain|>", *ENDS)
OPEN = f"{CHANNEL}analysis{MESSAGE}"
CLOSE = f"<|end|>{START}assistant{CHANNEL}final{MESSAGE}"
BARE_END = f"<|end|>{START}assistant"  # where a grammar says what follows

# The header of a message: `<|start|>assistant` (perhaps with ` to=…`), the channel, its recipient.
_HEADER = regex.compile(
    r"(?:<\|start\|>assistant(?P<to>\s+to=[^<\s]{1,256})?\s*)?"
    r"<\|channel\|>\s*(?P<channel>\w{1,32})(?P<rest>[^<]{0,300}(?:<\|constrain\|>[^<]{0,32})?)"
    r"<\|message\|>"
)


def detect(chat_template: str) -> bool:
    return CHANNEL in chat_template and MESSAGE in chat_template


class Parser:
    """Between messages, or inside one whose text is `open` thinking, answer, or another's."""

    def __init__(self, index: int, *, opened: bool) -> None:
        self._index = index
        self._held = ""
        self._inside = opened
        self._call = False  # inside a message to a tool
        self.open = opened
        self.done = False  # never: thinking may come after calls, too

    @staticmethod
    def opened_by(text: str) -> bool:
        return text.rfind(OPEN) > max(text.rfind(end) for end in ENDS)

    def push(self, text: str) -> list[Event]:
        self._held += text
        events: list[Event] = []
        while self._message(events) if self._inside else self._between(events, final=False):
            pass
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = []
        while self._held:
            if self._inside:
                text, self._held = self._held, ""
                self._emit(text, events)
            elif not self._between(events, final=True):
                break
        return events

    def _between(self, events: list[Event], *, final: bool) -> bool:
        if not self._held:
            return False
        header = _HEADER.match(self._held, partial=True)
        if header is not None and header.partial and not final:
            return False
        if header is None or header.partial:
            self._inside = True  # no header: an answer without its markup
            self._emit(self._held[0], events)
            self._held = self._held[1:]
            return True
        self._held = self._held[header.end() :]
        self._inside = True
        self._call = header["to"] is not None or "to=" in header["rest"]
        self.open = header["channel"] == "analysis" and not self._call
        if self._call:
            self._emit(header[0], events)
        return True

    def _message(self, events: list[Event]) -> bool:
        places = [(p, end) for end in (*ENDS, START) if (p := self._held.find(end)) >= 0]
        if not places:
            held = max(partial_marker(self._held, end) for end in (*ENDS, START))
            cut = len(self._held) - held
            text, self._held = self._held[:cut], self._held[cut:]
            self._emit(text, events)
            return False
        place, end = min(places)
        self._emit(self._held[:place], events)
        after = place if end == START else place + len(end)
        self._held = self._held[after:]
        if self._call and end != START:
            self._emit(end, events)
        self._inside = self._call = self.open = False
        return True

    def _emit(self, text: str, events: list[Event]) -> None:
        if text:
            kind = ReasoningDelta if self.open else TextDelta
            events.append(kind(self._index, text))


def frame(
    rules: Rules, calls: str | None, answer: str | None, *, opened: bool, free: bool = False
) -> str:
    """The Lark of an output that is one of `calls`, or this `answer`, perhaps after thinking. With
    `free` it may be any messages, and the last of them one of `calls`."""
    thought = rules.until(BARE_END)
    if free:
        marks = "|".join(map(in_regex, (*ENDS, START, CHANNEL)))
        text = f"/(?s:.*)/ & ~/(?s:.*)({marks})(?s:.*)/"
        last = rules.rule(text, terminal=True)
        kinds = ("analysis", "commentary", "final")
        begun = rules.rule(" | ".join(rules.text(f"{CHANNEL}{kind}{MESSAGE}") for kind in kinds))
        messages = f"({begun} {thought})* ({calls} | {begun} {last})"
        return f"({last} | {thought} {messages})" if opened else messages
    messages = [calls] if calls else []
    if answer:
        messages.append(f"{rules.text(f'{CHANNEL}final{MESSAGE}')} {answer}")
    thinking = thought if opened else f"({rules.text(OPEN)} {thought})?"
    return f"{thinking} ({' | '.join(messages)})"


_FINAL = f"{START}assistant{CHANNEL}final{MESSAGE}"
_CALL = f"{CHANNEL}commentary to=functions.f <|constrain|>json{MESSAGE}"

EXAMPLES = (
    Example(f"{OPEN}Easy.<|end|>{_FINAL}Four.<|return|>", reasoning="Easy.", text="Four."),
    Example(
        f"{OPEN}Hm.<|end|>{START}assistant{_CALL}{{}}<|call|>",
        reasoning="Hm.",
        text=f"{START}assistant{_CALL}{{}}<|call|>",
    ),
    Example(f"{CHANNEL}commentary{MESSAGE}I look.<|end|>", text="I look."),
    Example(f"So.<|end|>{_FINAL}4", opened=True, reasoning="So.", text="4"),
    Example("Plain text.", text="Plain text."),
    Example(f"{CHANNEL}ana", text=f"{CHANNEL}ana"),
)
