"""One conversation with a model: its messages, and the stream of an answer."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from .client import Daemon


class Piece(NamedTuple):
    text: str
    is_thinking: bool


class Conversation:
    """Messages so far. An answer that is interrupted stays in it as far as it came."""

    def __init__(self, daemon: Daemon, model: str, *, system: str | None, think: bool | None):
        self._daemon = daemon
        self.model = model
        self.system = system
        self.think = think  # None: as the model's template has it
        self.messages: list[dict[str, str]] = []
        self.was_cut = False  # whether the last answer ended at max_tokens or the context

    def clear(self) -> None:
        self.messages.clear()

    def ask(self, text: str) -> Generator[Piece]:
        """Say `text` and receive the answer piece by piece; closing the generator ends the
        request. A question that got no answer at all is forgotten. Raises Failure."""
        self.messages.append({"role": "user", "content": text})
        events = self._daemon.stream("/v1/chat/completions", self._body())
        answer = ""
        self.was_cut = False
        try:
            for event in events:
                for choice in event["choices"]:
                    delta = choice["delta"]
                    if thought := delta.get("reasoning_content"):
                        yield Piece(thought, is_thinking=True)
                    if said := delta.get("content"):
                        answer += said
                        yield Piece(said, is_thinking=False)
                    self.was_cut = self.was_cut or choice.get("finish_reason") == "length"
        finally:
            events.close()
            if answer:
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()

    def _body(self) -> dict[str, Any]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*system, *self.messages],
            "stream": True,
        }
        if self.think is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self.think}
        return body
