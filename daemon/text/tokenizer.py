"""A model's tokenizer, read from its folder without transformers.

Some folders hold only the files of older tokenizers (vocab.json, tokenizer.model). Those are turned
into the `tokenizers` form by `convert`, in a process of its own, so that transformers, which is
large, never comes into the front.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import tokenizers

from ..protocol.errors import ContextTooLong, ModelFailed
from .chat_templates import chat_templates, read_json
from .detokenizer import ByteDetokenizer, ByteTable, Detokenizer, WindowDetokenizer
from .token_bytes import token_bytes
from .tokenizer_bounds import bounds_of

# One text at a time, in the thread that asks: no need for threads of the library's own.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CONVERT_TIMEOUT_S = 300
MAX_ID = 1 << 31  # of a token
MAX_TOKENS = 1_200_000  # of a text; the library needs some 300 bytes for each of them
LOOK = 1_000_000  # characters; of longer texts the beginning is looked at first
LONGEST = 256  # characters of a token, where a text is cut after so many
OLDER_FILES = ("vocab.*", "*.model", "*.tiktoken", "tiktoken*", "tekken.json")

# Tokens that end a turn in the templates of chat models. Conversions and fine-tunes often forget to
# list them as end of text. Not `<|end|>`: in gpt-oss it ends a channel, and the answer goes on.
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<end_of_turn>", "<turn|>")


P = ParamSpec("P")
T = TypeVar("T")


def _is_panic(error: BaseException) -> bool:
    """Whether Rust code met what its authors took for impossible. Such an error is no Exception,
    and passes by all that handles those."""
    return type(error).__module__ == "pyo3_runtime"


def _never_panics(method: Callable[P, T]) -> Callable[P, T]:
    """Raises ModelFailed instead: tokenizer.json is somebody else's, with regexes that may give up
    and pieces that may be missing."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            if not _is_panic(error):
                raise
            raise ModelFailed(f"The model's tokenizer.json is broken: {error}") from None

    return call


class Pair(NamedTuple):
    """Two texts as one input of a model."""

    tokens: list[int]
    second: int  # where the tokens of the second text begin, for models that mark them


class Tokenizer:
    """Text to token ids and back. Thread-safe."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        config: dict[str, Any] | None = None,
        chat_templates: dict[str, str] | None = None,
        eos_token_ids: Iterable[int] = (),
        is_quick: bool = True,
    ) -> None:
        """`config` is the content of tokenizer_config.json; `eos_token_ids` are added to what
        follows from it and from the template. `is_quick`: no short text takes it long."""
        self.is_quick = is_quick
        backend.no_truncation()  # some files carry what their authors trained with
        backend.no_padding()
        config = config or {}
        self._backend = backend
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.chat_templates = chat_templates or {}
        self.special_tokens = _special_tokens(config)  # "bos_token": "<s>", …
        # Each thread would keep the words that it has seen, beyond the life of the tokenizer: a
        # model that is loaded anew every hour would take megabytes each time (tokenizers 0.23).
        resize_cache = getattr(backend.model, "_resize_cache", None)
        if resize_cache is not None:
            resize_cache(0)
        self.bos_token = self.special_tokens.get("bos_token")
        self.eos_token = self.special_tokens.get("eos_token")
        self.bos_token_id = None if self.bos_token is None else backend.token_to_id(self.bos_token)
        self._add_bos = config.get("add_bos_token") is True
        added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(id_ for id_, token in added.items() if token.special)
        self._added = {token.content: id_ for id_, token in added.items()}
        self.eos_token_ids = frozenset(eos_token_ids) | self._own_eos_token_ids()
        self._bytes = token_bytes(backend.decoder.__getstate__() if backend.decoder else None)
        self._tables: dict[frozenset[str], ByteTable] = {}
        self._labels: dict[int, tuple[str, bytes]] = {}

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Raises ModelFailed when the folder has no tokenizer that we can read."""
        file = folder / "tokenizer.json"
        try:
            text = file.read_text("utf-8") if file.exists() else _converted(folder)
            bounds = bounds_of(text)
            if bounds.fault is not None:
                raise ModelFailed(f"The tokenizer in {file} is not used: {bounds.fault}.")
            backend = tokenizers.Tokenizer.from_str(text)
        except ModelFailed:
            raise
        except BaseException as error:  # tokenizers raises bare Exception
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            raise ModelFailed(f"The tokenizer in {file} cannot be read: {error}") from None
        config = read_json(folder / "tokenizer_config.json")
        return cls(
            backend,
            config=config,
            chat_templates=chat_templates(folder, config),
            eos_token_ids=_listed_eos_token_ids(folder),
            is_quick=bounds.is_quick,
        )

    @property
    def chat_template(self) -> str | None:
        """The template named "default"."""
        return self.chat_templates.get("default")

    @_never_panics
    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """`add_special_tokens` puts bos (and what else the model wants) around the text. Raises
        ContextTooLong for one that no model reads, before it has filled the memory."""
        length = LOOK
        while len(text) > length:
            count = len(self._ids(text[:length], special=False))
            if count > MAX_TOKENS:
                raise ContextTooLong(
                    f"The text has more than {MAX_TOKENS:,} tokens.",
                    num_tokens=count,
                    context=MAX_TOKENS,
                )
            # As much more as should be too much, and little beyond.
            length = int(length * min(64.0, 1.25 * MAX_TOKENS / max(1, count)))
        tokens = self._ids(text, special=add_special_tokens)
        if add_special_tokens and self.bos_token_id is not None:
            if tokens[:2] == [self.bos_token_id] * 2:  # the text has brought its own
                return tokens[1:]
            if self._add_bos and tokens[:1] != [self.bos_token_id]:
                return [self.bos_token_id, *tokens]
        return tokens

    def _ids(self, text: str, *, special: bool) -> list[int]:
        # The library lets go of Python's lock for batches alone: else all streams of the front
        # would stand still until a long prompt is done, in whatever thread that is.
        return self._backend.encode_batch_fast([text], add_special_tokens=special)[0].ids

    @_never_panics
    def encode_pair(self, first: str, second: str, limit: int | None) -> Pair:
        """Both texts with the special tokens around and between them. Beyond `limit` tokens the
        end of `second` is dropped. Raises OverflowError when nothing of it would be left."""
        if limit is not None:
            second = second[: limit * LONGEST]
        one, two = self._backend.encode_batch([first, second], add_special_tokens=False)
        if limit is not None:
            room = limit - len(one) - self._backend.num_special_tokens_to_add(True)
            if len(two) > room:
                if room < 1:
                    raise OverflowError
                two.truncate(room)
        pair = self._backend.post_process(one, two, True)
        tokens, types = pair.ids, pair.type_ids
        return Pair(tokens, types.index(1) if 1 in types else len(tokens))

    @_never_panics
    def cut(self, text: str, limit: int) -> str:
        """As much of the start of `text` as makes `limit` tokens, at least 1."""
        text = text[: limit * LONGEST]
        ends = self._backend.encode_batch([text], add_special_tokens=False)[0].offsets
        return text if len(ends) <= limit else text[: ends[limit - 1][1]]

    @_never_panics
    def decode(self, tokens: list[int], *, skip_special_tokens: bool = True) -> str:
        [text] = self._backend.decode_batch([tokens], skip_special_tokens=skip_special_tokens)
        return text

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, perhaps a part of a character; none for an id that
        only the model's padded vocabulary has."""
        piece = self._backend.id_to_token(token)
        if piece is None:
            return b""
        if self._bytes is None:
            return self.decode([token], skip_special_tokens=False).encode()
        return self._bytes.convert(piece)

    def added_token_id(self, text: str) -> int | None:
        """The token that stands for just this text beside the trained vocabulary, if there is one:
        `<think>`, `<|im_end|>`."""
        return self._added.get(text)

    @property
    def added_ids(self) -> Collection[int]:
        """All tokens beside the trained vocabulary."""
        return self._added.values()

    def label(self, token: int) -> tuple[str, bytes]:
        """A token's text (U+FFFD for parts of characters) and bytes, as log probabilities show."""
        label = self._labels.get(token)
        if label is None:
            data = self.token_bytes(token)
            label = self._labels[token] = data.decode("utf-8", "replace"), data
        return label

    def detokenizer(
        self, *, shown: frozenset[str] = frozenset(), continues: bool = False
    ) -> Detokenizer:
        """Special tokens have no text, except those in `shown`. `continues`: other text stands
        before, so a space that the first token begins with is kept."""
        hidden = self.special_ids - {self._added[text] for text in shown if text in self._added}
        if self._bytes is None:
            return WindowDetokenizer(
                lambda ids: self.decode(ids, skip_special_tokens=False), hidden
            )
        table = self._tables.get(shown)
        if table is None:
            table = self._tables[shown] = ByteTable(self.token_bytes, hidden)
        return ByteDetokenizer(table, 0 if continues else self._bytes.strip_start)

    def _own_eos_token_ids(self) -> set[int]:
        templates = "".join(self.chat_templates.values())
        ends = [end for end in TURN_ENDS if end in self._added and end in templates]
        ids = {self._added[end] for end in ends}
        eos = None if self.eos_token is None else self._backend.token_to_id(self.eos_token)
        return ids if eos is None else ids | {eos}


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):  # an AddedToken
            value = value.get("content")
        if key.endswith("_token") and isinstance(value, str):
            tokens[key] = value
    return tokens


def _listed_eos_token_ids(folder: Path) -> set[int]:
    ids: set[int] = set()
    config = read_json(folder / "config.json")
    text_config = config.get("text_config")
    for source in (config, text_config, read_json(folder / "generation_config.json")):
        listed = source.get("eos_token_id") if isinstance(source, dict) else None
        listed = listed if isinstance(listed, list) else [listed]
        ids.update(id_ for id_ in listed if type(id_) is int and 0 <= id_ < MAX_ID)
    return ids


def _converted(folder: Path) -> str:
    """tokenizer.json of a folder that has none."""
    if not any(file for pattern in OLDER_FILES for file in folder.glob(pattern)):
        raise ModelFailed(f"{folder} has no tokenizer: neither tokenizer.json nor an older file.")
    command = [sys.executable, "-m", f"{__package__}.convert", str(folder)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CONVERT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ModelFailed(f"No tokenizer can be read from {folder}: {reason}")
    return done.stdout.decode()
