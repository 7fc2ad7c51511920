"""What a grammar allows a row to say next, as bits over the vocabulary, by llguidance.

A row's state is a function of its tokens: a replay feeds them again. llguidance is imported, and
the model's tokenizer read, when the first grammar comes.
Source: https://github.com/guidance-ai/llguidance
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocol.grammar import JSON_WHITESPACE, LIMITS, Grammar, Thinking

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_KEPT = 32  # compiled grammars kept for the next request with the same
CONVERT_TIMEOUT_S = 300


class GrammarError(Exception):
    """The grammar cannot be used; the message is for the user."""


class GrammarCompiler:
    """Turns grammars into states of rows, for one model. Thread-safe: compiling may take long."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        """`vocab_size` is that of the logits, which may be wider than the tokenizer's."""
        self._folder = folder
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[tuple[str, str, bool], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def compile(
        self, grammar: Grammar, *, stop_ids: frozenset[int], min_tokens: int, output: list[int]
    ) -> GrammarState:
        """The state of a row after `output`. Raises GrammarError."""
        key = (grammar.kind, grammar.source, grammar.lenient)
        with self._lock:
            tokenizer = self._tokenizer or self._load_tokenizer()
            kept = self._kept.get(key)
        # Without the lock: nobody waits for one that takes long.
        made = kept or _matcher(tokenizer, grammar)
        with self._lock:
            matcher = self._kept.setdefault(key, made)
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            matcher = matcher.deep_copy()
        ends = stop_ids or frozenset(tokenizer.eos_tokens)
        state = GrammarState(tokenizer, matcher, ends, min_tokens, grammar.thinking)
        for token in output:
            state.take(token)
        return state

    def _load_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        file = self._folder / "tokenizer.json"
        try:
            text = file.read_text("utf-8") if file.exists() else _converted(self._folder)
            tokenizer = LLTokenizer(text, n_vocab=self._vocab_size)
        except Exception as error:  # whatever is wrong with the file
            raise GrammarError(
                f"the model's tokenizer cannot be used for grammars: {error}"
            ) from error
        self._tokenizer = tokenizer
        return tokenizer


def _matcher(tokenizer: LLTokenizer, grammar: Grammar) -> LLMatcher:
    from llguidance import LLMatcher, LLParserLimits

    try:
        match grammar.kind:
            case "json_schema":
                source = LLMatcher.grammar_from_json_schema(
                    grammar.source,
                    overrides={
                        "whitespace_pattern": JSON_WHITESPACE,
                        "lenient": grammar.lenient,
                    },
                )
            case "regex":
                source = LLMatcher.grammar_from_regex(grammar.source)
            case "lark":
                source = LLMatcher.grammar_from_lark(grammar.source)
    except ValueError as error:
        raise GrammarError(f"the grammar is not valid: {error}") from error
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=LLParserLimits(**LIMITS))
    if matcher.is_error():
        raise GrammarError(f"the grammar is not valid: {_error(matcher)}")
    return matcher


def _error(matcher: LLMatcher) -> str:
    return " ".join(matcher.get_error().replace("<non-verbose/>", "").split())


def _converted(folder: Path) -> str:
    """tokenizer.json of a folder that has only older files: transformers makes it, in a process of
    its own, as it does for the front."""
    command = [sys.executable, "-m", "fastmlx.daemon.text.convert", str(folder)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONVERT_TIMEOUT_S
    )
    if done.returncode != 0:
        raise GrammarError(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
    return done.stdout.decode()


class GrammarState:
    """Where one row is in its grammar.

        opening   the first token: an answer, or the beginning of the thinking's mark
        thinking  everything but the end, until the closing mark was written
        answering what the grammar allows; the end where it may end

    A row whose `error` is set cannot go on.
    """

    def __init__(
        self,
        tokenizer: LLTokenizer,
        matcher: LLMatcher,
        ends: frozenset[int],
        min_tokens: int,
        thinking: Thinking | None,
    ) -> None:
        self.ends = ends  # tokens that end the sequence
        self.error: str | None = None
        self.matcher = matcher
        self._tokenizer = tokenizer
        self._min_tokens = min_tokens
        self._taken = 0
        self._close = b""  # what the thinking ends with
        self._tail = b""  # the last bytes of the thinking
        self._opening: list[int] = []  # tokens of the opening mark that are still to come
        self._begun = False  # some of the opening mark was written
        self._words = (tokenizer.vocab_size + 31) // 32
        if thinking is not None:
            self._close = thinking.close.encode()
            if not thinking.opened:
                self._opening = tokenizer.tokenize_str(thinking.open, parse_special=True)

    @property
    def asks_matcher(self) -> bool:
        """Whether the next mask is the matcher's: neither forced nor free."""
        return self.error is None and not self._begun and (bool(self._opening) or not self._close)

    def take(self, token: int) -> None:
        """The row's next token."""
        self._taken += 1
        if self.error is not None or token in self.ends:
            return
        if self._opening:
            if token == self._opening[0]:
                self._opening.pop(0)
                self._begun = bool(self._opening)
                return
            self._opening = []
            self._close = b""
        if self._close:
            self._think(token)
        else:
            self._consume([token])

    def _think(self, token: int) -> None:
        text = self._tail + self._tokenizer.decode_bytes([token])
        at = text.find(self._close)
        if at < 0:
            self._tail = text[len(text) - len(self._close) + 1 :] if len(self._close) > 1 else b""
            return
        rest = text[at + len(self._close) :].strip()
        self._close = b""
        if rest:  # the mark ended within a token
            self._consume(self._tokenizer.tokenize_bytes(rest))

    def _consume(self, tokens: list[int]) -> None:
        if self.matcher.validate_tokens(tokens) < len(tokens):
            # llguidance offers an added token where its text is all that can follow, and then does
            # not take it: what counts is the text.
            text = self._tokenizer.decode_str(tokens)
            tokens = self._tokenizer.greedy_tokenize(text)
        if not self.matcher.consume_tokens(tokens):
            self.error = _error(self.matcher) or "the output left its grammar"

    def finish_mask(self, words: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
        """Completes `words`, uint32 [at least vocabulary / 32], in which the matcher has put what
        it allows (when `asks_matcher`), bit i of the whole for token i."""
        if self._begun:
            words[:] = 0
            _set(words, self._opening[:1])
            return
        if not self.asks_matcher:
            words[:] = 0xFFFFFFFF
            _clear(words, self.ends)
            return
        if self.matcher.is_error():
            self.error = _error(self.matcher)
        accepting = self.matcher.is_accepting()
        _clear(words, self._tokenizer.eos_tokens)
        if self._opening:
            _set(words, self._opening[:1])
        if accepting and (self._taken >= self._min_tokens or not words.any()):
            _set(words, self.ends)
        elif self._taken < self._min_tokens:
            _clear_unless_empty(words, self.ends)
        if not words.any() and self.error is None:
            self.error = "no token of the model's vocabulary can go on here"


def _set(words: np.ndarray[Any, np.dtype[np.uint32]], tokens: Any) -> None:
    for token in tokens:
        words[token >> 5] |= np.uint32(1 << (token & 31))


def _clear(words: np.ndarray[Any, np.dtype[np.uint32]], tokens: Any) -> None:
    for token in tokens:
        words[token >> 5] &= np.uint32(0xFFFFFFFF ^ (1 << (token & 31)))


def _clear_unless_empty(words: np.ndarray[Any, np.dtype[np.uint32]], tokens: Any) -> None:
    before = words.copy()
    _clear(words, tokens)
    if not words.any():
        words[:] = before
