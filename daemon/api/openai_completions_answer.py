"""What a completion request gets back: the stream of chunks, or the one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..protocol.events import (
    ChoiceEvent,
    ChosenLogprob,
    Counted,
    Echo,
    Event,
    Finished,
    TextDelta,
    Usage,
)
from .openai_answer import CUT, CUT_JSON, Collected, Envelope, Frames
from .openai_usage import usage_object
from .sse import json_text


def logprobs_object(
    logprobs: Sequence[ChosenLogprob], offset: int = 0, *, first: str | None = None
) -> dict[str, Any]:
    """The older shape: lists side by side. `text_offset` counts characters of the choice's text
    (its echo included), from `offset` for the first token; the chosen token is always among
    `top_logprobs`. `first` is a prompt's first token, which has no log probability."""
    begins = [] if first is None else [first]
    nothing = [None] * len(begins)
    tokens = begins + [each.token for each in logprobs]
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": nothing + [each.logprob for each in logprobs],
        "top_logprobs": nothing
        + [
            {token: value for token, _, value in each.top} | {each.token: each.logprob}
            for each in logprobs
        ],
        "text_offset": offsets,
    }


class CompletionStream(Frames):
    """Events → frames of one stream; `encode` is called in order, once an event."""

    kind = "text_completion"

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope)
        self._text: dict[int, tuple[bytes, bytes]] = {}  # choice → around the text
        self._offsets: dict[int, int] = {}

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(logprobs=()):
                around = self._text.get(event.index)
                if around is None:
                    before, after = self._chunk(event.index, CUT).split(CUT_JSON)
                    self._text[event.index] = around = (before, after)
                self._advance(event)
                return around[0] + json_text(event.text) + around[1]
            case Echo(first=None):
                self._offsets[event.index] = len(event.text)
                return self._chunk(event.index, event.text)
            case Echo():
                logprobs = logprobs_object(event.logprobs, first=event.first)
                self._offsets[event.index] = sum(map(len, logprobs["tokens"]))
                return self._chunk(event.index, event.text, logprobs=logprobs)
            case TextDelta():
                logprobs = logprobs_object(event.logprobs, self._offsets.get(event.index, 0))
                self._advance(event)
                return self._chunk(event.index, event.text, logprobs=logprobs)
            case Finished():
                return self._chunk(event.index, "", finish_reason=event.reason)
            case Counted():
                self._so_far = usage_object(event.usage)
                self._text.clear()
            case Usage():
                return self._usage(event)
        return b""

    def _advance(self, delta: TextDelta) -> None:
        tokens = sum(len(each.token) for each in delta.logprobs)
        self._offsets[delta.index] = self._offsets.get(delta.index, 0) + (tokens or len(delta.text))

    def _chunk(
        self,
        index: int,
        text: str,
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        return self._choice(choice)


class Best(NamedTuple):
    """Of `tries` completions of each prompt the `n` with the highest log probability a token."""

    n: int
    tries: int
    logprobs: bool  # the client wants to see them


class _Choice:
    """One completion while it is being collected."""

    def __init__(self) -> None:
        self.echo: Echo | None = None
        self.text: list[str] = []
        self.logprobs: list[ChosenLogprob] = []
        self.finish_reason: str | None = None

    def object(self, index: int, *, logprobs: bool) -> dict[str, Any]:
        before = self.echo or Echo(index, "")
        every = (*before.logprobs, *self.logprobs)
        shown = logprobs and (every or before.first is not None)
        return {
            "index": index,
            "text": before.text + "".join(self.text),
            "logprobs": logprobs_object(every, first=before.first) if shown else None,
            "finish_reason": self.finish_reason,
        }

    def likelihood(self) -> float:
        """Log probability a token."""
        count = len(self.logprobs)
        return sum(each.logprob for each in self.logprobs) / count if count else 0.0


class CompletionAnswer(Collected):
    """Events → the one object of a request that does not stream."""

    kind = "text_completion"

    def __init__(self, envelope: Envelope, best: Best | None = None) -> None:
        super().__init__(envelope)
        self._best = best
        self._collected: dict[int, _Choice] = {}

    def _take(self, event: ChoiceEvent) -> None:
        choice = self._collected.setdefault(event.index, _Choice())
        if isinstance(event, Echo):
            choice.echo = event
        elif isinstance(event, TextDelta):
            choice.text.append(event.text)
            choice.logprobs += event.logprobs
        elif isinstance(event, Finished):
            choice.finish_reason = event.reason

    def _choices(self) -> list[dict[str, Any]]:
        hidden = self._best is not None and not self._best.logprobs
        kept = enumerate(self._kept())
        return [choice.object(index, logprobs=not hidden) for index, choice in kept]

    def _kept(self) -> list[_Choice]:
        choices = [choice for _, choice in sorted(self._collected.items())]
        if self._best is None:
            return choices
        kept: list[_Choice] = []
        for first in range(0, len(choices), self._best.tries):
            tries = choices[first : first + self._best.tries]
            kept += sorted(tries, key=_Choice.likelihood, reverse=True)[: self._best.n]
        return kept
