"""A stream of tokens reads like the whole text, whatever the tokenizer and the cuts."""

from __future__ import annotations

import random

import pytest
import tokenizers
from fastmlx.daemon.text.detokenizer import ByteDetokenizer, Detokenizer, WindowDetokenizer
from fastmlx.daemon.text.tokenizer import Tokenizer
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \n\ufffdaé😀🏳️‍🌈日")))


def streamed(detokenizer: Detokenizer, tokens: list[int], seed: int | None) -> list[str]:
    """One by one, or in random groups."""
    chance = random.Random(seed)
    pieces, place = [], 0
    while place < len(tokens):
        size = 1 if seed is None else chance.randint(1, 5)
        pieces.append(detokenizer.push(tokens[place : place + size]))
        place += size
    return [*pieces, detokenizer.finish()]


@given(text=TEXTS, seed=st.none() | st.integers())
def test_the_pieces_join_to_the_decoded_text(
    tokenizer: Tokenizer, text: str, seed: int | None
) -> None:
    tokens = tokenizer.encode(text)
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    pieces = streamed(tokenizer.detokenizer(), tokens, seed)
    assert "".join(pieces) == whole
    assert "\ufffd" in whole or not any("\ufffd" in piece for piece in pieces)


@given(text=TEXTS)
def test_both_detokenizers_say_the_same(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    window = WindowDetokenizer(
        lambda ids: tokenizer.decode(ids, skip_special_tokens=False), tokenizer.special_ids
    )
    expected = "".join(streamed(tokenizer.detokenizer(), tokens, None))
    assert "".join(streamed(window, tokens, None)) == expected


@given(seed=st.integers())
def test_any_token_ids_decode_as_a_whole_would_in_byte_level(
    backends: dict[str, tokenizers.Tokenizer], seed: int
) -> None:
    tokenizer = Tokenizer(backends["byte_level"])
    chance = random.Random(seed)
    tokens = [chance.randrange(tokenizer.vocab_size) for _ in range(12)]
    pieces = streamed(tokenizer.detokenizer(), tokens, seed)
    assert "".join(pieces) == tokenizer.decode(tokens)


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece", "sentence_piece_strip"])
def test_half_a_character_is_held_until_it_is_whole(
    backends: dict[str, tokenizers.Tokenizer], kind: str
) -> None:
    tokenizer = Tokenizer(backends[kind])
    detokenizer = tokenizer.detokenizer()
    assert isinstance(detokenizer, ByteDetokenizer)
    tokens = tokenizer.encode("a😀")
    assert len(tokens) >= 5
    assert [detokenizer.push([token]) for token in tokens[-4:]] == ["", "", "", "😀"]
    assert detokenizer.finish() == ""


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece", "sentence_piece_strip"])
def test_a_character_that_stays_incomplete_is_one_replacement_at_the_end(
    backends: dict[str, tokenizers.Tokenizer], kind: str
) -> None:
    tokenizer = Tokenizer(backends[kind])
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.push([token]) for token in tokenizer.encode("ok 😀")[:-1]]
    assert "".join(pieces) == "ok "
    assert detokenizer.finish() == "\ufffd"
    assert detokenizer.finish() == ""


def test_bytes_that_are_no_text_do_not_stop_the_stream(
    backends: dict[str, tokenizers.Tokenizer],
) -> None:
    backend = backends["sentence_piece"]
    tokenizer = Tokenizer(backend)
    names = ("<0xE4>", "<0xBD>", "<0x41>", "▁")
    broken = [token for name in names if (token := backend.token_to_id(name)) is not None]
    detokenizer = tokenizer.detokenizer()
    assert "".join(streamed(detokenizer, broken, None)) == "\ufffdA "


def test_a_leading_space_is_kept_when_text_stands_before(
    backends: dict[str, tokenizers.Tokenizer],
) -> None:
    tokenizer = Tokenizer(backends["sentence_piece_strip"])
    tokens = tokenizer.encode("world")
    assert tokenizer.detokenizer().push(tokens) == "world"
    assert tokenizer.detokenizer(continues=True).push(tokens) == " world"


def test_special_tokens_have_no_text_unless_a_parser_wants_them(
    backends: dict[str, tokenizers.Tokenizer],
) -> None:
    tokenizer = Tokenizer(backends["byte_level"])
    tokens = tokenizer.encode("<think>a<|im_end|>é!你 好<tool_call>")
    assert tokenizer.detokenizer().push(tokens) == tokenizer.decode(tokens)
    shown = tokenizer.detokenizer(shown=frozenset({"<think>", "<absent>"}))
    assert shown.push(tokens).startswith("<think>a")
    assert "<|im_end|>" not in shown.push(tokens)


def test_ids_beyond_the_vocabulary_have_no_text(tokenizer: Tokenizer) -> None:
    tokens = [*tokenizer.encode("Hello"), tokenizer.vocab_size + 5]
    assert "".join(streamed(tokenizer.detokenizer(), tokens, None)) == "Hello"
    assert tokenizer.token_bytes(tokenizer.vocab_size + 5) == b""
