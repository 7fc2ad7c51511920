"""Everything textual about one model: its tokenizer, its chat template and its parsers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from ...config.settings import ModelSpec


class ChatPrompt(NamedTuple):
    """A rendered conversation, ready for the engine."""

    tokens: list[int]
    reasoning_open: bool  # the prompt ends inside the model's thinking
    continues: bool  # the output continues the final message instead of starting a new one


class ModelText:
    """Bundles what turns requests of one model into tokens and tokens into events.

    Loading reads files and compiles the template (up to a second for a big vocabulary), and
    rendering or encoding a long conversation takes tens of milliseconds: call `load`,
    `chat_prompt` and `completion_prompt` through `asyncio.to_thread`. All are thread-safe.
    """

    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: Path, spec: ModelSpec) -> ModelText:
        """Raises ModelFailed: no tokenizer, broken template, unknown parser name."""
        raise NotImplementedError

    def chat_prompt(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: dict[str, Any] | None = None,
    ) -> ChatPrompt:
        """Raises BadRequest: no chat template, or the template refuses the messages."""
        raise NotImplementedError

    def completion_prompt(self, prompt: str | list[int]) -> list[int]:
        """Token ids of a plain prompt, with the model's bos; ids are checked and passed through.

        Raises BadRequest for an id outside the vocabulary.
        """
        raise NotImplementedError
