"""Token rows of one choice in, events out."""

from __future__ import annotations

from ..protocol.events import Event
from ..protocol.wire import TokenRow
from .model_text import ModelText


class TextStream:
    """The text of one choice while it is generated.

    `chat=False` is for completions: no parser touches the text. `continues` says that the output
    continues text that the client already has (from `ChatPrompt.continues`; always so in
    completions), which keeps a leading space. `logprobs` is the number of alternatives a token to
    report, None for no log probabilities at all.
    """

    output_tokens: int
    reasoning_tokens: int
    stopped: bool  # a stop string matched; Finished was emitted: abort the sequence

    def __init__(
        self,
        index: int,
        model_text: ModelText,
        *,
        stop: tuple[str, ...] = (),
        tools: bool = False,
        reasoning_open: bool = False,
        logprobs: int | None = None,
        chat: bool = True,
        continues: bool = False,
    ) -> None:
        raise NotImplementedError

    def push(self, row: TokenRow) -> list[Event]:
        """Events of one row; the last ones of the choice end with `Finished`.

        After that (the row's `finish`, or a stop string) every push returns nothing.
        """
        raise NotImplementedError
