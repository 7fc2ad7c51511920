"""A model's tokenizer, read from its folder without transformers."""

from __future__ import annotations

from pathlib import Path


class Tokenizer:
    """Text to token ids and back. Thread-safe."""

    eos_token_ids: frozenset[int]  # what ends an answer, from all of the folder's files
    vocab_size: int  # with added tokens
    bos_token: str | None
    eos_token: str | None
    chat_templates: dict[str, str]  # by name; "default" is the usual one

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Raises ModelFailed when the folder has no tokenizer that we can read."""
        raise NotImplementedError

    @property
    def chat_template(self) -> str | None:
        """The template named "default"."""
        raise NotImplementedError

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """`add_special_tokens` puts bos (and what else the model wants) around the text."""
        raise NotImplementedError

    def decode(self, tokens: list[int], *, skip_special_tokens: bool = True) -> str:
        raise NotImplementedError

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; perhaps a part of a character."""
        raise NotImplementedError
