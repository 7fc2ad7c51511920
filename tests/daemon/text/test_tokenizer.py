"""Tokenizers are read as their folders describe them, with the slips that folders have."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import tokenizers
from fastmlx.daemon.protocol.errors import ContextTooLong, ModelFailed
from fastmlx.daemon.text import tokenizer as tokenizer_module
from fastmlx.daemon.text.tokenizer import Tokenizer
from fastmlx.daemon.text.tokenizer_bounds import KNOWN


def write(folder: Path, backend: tokenizers.Tokenizer, **files: Any) -> Path:
    """`config` is written to config.json and so on."""
    backend.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def byte_level(backends: dict[str, tokenizers.Tokenizer]) -> tokenizers.Tokenizer:
    return backends["byte_level"]


@pytest.fixture
def sentence_piece(backends: dict[str, tokenizers.Tokenizer]) -> tokenizers.Tokenizer:
    return backends["sentence_piece"]


def test_text_survives_the_round_trip(tokenizer: Tokenizer) -> None:
    text = "The weather in Paris is fine."
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_tokenizer_takes_its_memory_with_it(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    folder = write(tmp_path, byte_level)
    chance = random.Random(3)

    def use() -> int:
        """Resident bytes after some tokenizers have come, read many words, and gone."""
        for _ in range(15):
            words = [f"{chance.randrange(1 << 60):x}" for _ in range(1000)]
            Tokenizer.load(folder).encode(" ".join(words))
        gc.collect()
        return psutil.Process(os.getpid()).memory_info().rss

    before = use()
    assert use() - before < 4 << 20


def test_a_text_that_no_model_reads_is_not_read_whole(
    byte_level: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_module, "MAX_TOKENS", 1000)
    monkeypatch.setattr(tokenizer_module, "LOOK", 500)
    tokenizer = Tokenizer(byte_level)
    assert len(tokenizer.encode("héllo wörld " * 50)) > 100
    with pytest.raises(ContextTooLong, match="more than 1,000 tokens") as caught:
        tokenizer.encode("ö0" * 100_000)
    assert caught.value.num_tokens is not None and caught.value.num_tokens < 10_000
    assert tokenizer.cut("a0" * 1000, 10) == tokenizer.cut("a0" * 100_000, 10)


def test_end_of_text_is_collected_from_every_file(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    folder = write(
        tmp_path,
        byte_level,
        tokenizer_config={"eos_token": {"content": "<s>"}, "chat_template": "…<|im_end|>…"},
        config={"eos_token_id": 0, "text_config": {"eos_token_id": [7]}},
        generation_config={"eos_token_id": [8, 9, -1, 10**30, True, "x"]},
    )
    tokenizer = Tokenizer.load(folder)
    named = {byte_level.token_to_id("<s>"), byte_level.token_to_id("<|im_end|>")}
    assert tokenizer.eos_token_ids == {0, 7, 8, 9} | named


def test_a_turn_end_that_the_template_does_not_write_ends_nothing(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    tokenizer = Tokenizer.load(write(tmp_path, byte_level, tokenizer_config={"eos_token": "<s>"}))
    assert tokenizer.eos_token_ids == {byte_level.token_to_id("<s>")}


def test_the_truncation_of_a_training_run_is_not_applied(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    write(tmp_path, byte_level)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    file.write_text(json.dumps(content))
    assert len(Tokenizer.load(tmp_path).encode("one two three four five six seven")) > 4


def test_bos_stands_before_plain_text_once(sentence_piece: tokenizers.Tokenizer) -> None:
    tokenizer = Tokenizer(sentence_piece, config={"bos_token": "<s>"})
    bos = tokenizer.bos_token_id
    assert bos is not None
    plain = tokenizer.encode("Hello")
    assert bos not in plain
    assert tokenizer.encode("Hello", add_special_tokens=True) == [bos, *plain]
    assert tokenizer.encode("<s>Hello", add_special_tokens=True).count(bos) == 1


def test_add_bos_token_is_heeded_where_tokenizer_json_forgets_it(
    byte_level: tokenizers.Tokenizer,
) -> None:
    config = {"bos_token": "<s>", "add_bos_token": True}
    tokenizer = Tokenizer(byte_level, config=config)
    tokens = tokenizer.encode("Hello", add_special_tokens=True)
    assert tokens == [tokenizer.bos_token_id, *tokenizer.encode("Hello")]


def test_templates_come_from_any_of_their_places(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    assert Tokenizer.load(write(tmp_path, byte_level)).chat_template is None
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    write(tmp_path, byte_level, tokenizer_config={"chat_template": named})
    assert Tokenizer.load(tmp_path).chat_templates == {"default": "A", "tool_use": "B"}
    write(tmp_path, byte_level, chat_template={"chat_template": "C"})
    assert Tokenizer.load(tmp_path).chat_templates == {"default": "C", "tool_use": "B"}
    (tmp_path / "chat_template.jinja").write_text("D")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("E")
    assert Tokenizer.load(tmp_path).chat_templates == {"default": "D", "tool_use": "E"}


def test_the_bytes_of_a_token_are_known(
    byte_level: tokenizers.Tokenizer, sentence_piece: tokenizers.Tokenizer
) -> None:
    for backend in (byte_level, sentence_piece):
        tokenizer = Tokenizer(backend)
        tokens = tokenizer.encode("Grüße 😀")
        assert b"".join(map(tokenizer.token_bytes, tokens)) == "Grüße 😀".encode()
        label, data = tokenizer.label(tokens[-1])
        assert label == "\ufffd"
        assert len(data) == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
        ("tokenizer_config.json", "{", "is not valid JSON"),
        ("config.json", "[]", "does not hold a JSON object"),
        ("chat_template.jinja", b"\xff", "cannot be read"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path,
    byte_level: tokenizers.Tokenizer,
    file: str,
    content: str | bytes,
    message: str,
) -> None:
    write(tmp_path, byte_level)
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ModelFailed, match=message):
        Tokenizer.load(tmp_path)


# A regex that gives up only after ten million steps.
SLOW = {
    "type": "Split",
    "pattern": {"Regex": "(?:a|a?)+$"},
    "behavior": "Isolated",
    "invert": False,
}
ASKED = "a" * 26 + "b"


def split(regex: str) -> dict[str, Any]:
    return SLOW | {"pattern": {"Regex": regex}}


def around(*pieces: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": pieces,
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }


def replacing(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
START = {"SpecialToken": {"id": "<s>", "type_id": 0}}


def changed(backend: tokenizers.Tokenizer, folder: Path, **parts: Any) -> Path:
    content = json.loads(backend.to_str()) | parts
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]}},
        {"pre_tokenizer": SLOW},
        {"post_processor": around({"SpecialToken": {"id": "nobody", "type_id": 0}}, TEXT)},
    ],
    ids=["charsmap", "merges", "regex", "special token"],
)
def test_a_tokenizer_over_which_its_library_panics_is_an_error_like_others(
    tmp_path: Path, byte_level: tokenizers.Tokenizer, parts: dict[str, Any]
) -> None:
    # Rust's panics are no Exception: what handles errors would not see them.
    with pytest.raises(ModelFailed, match=r"tokenizer\.json is broken|cannot be read"):
        Tokenizer.load(changed(byte_level, tmp_path, **parts)).encode(
            ASKED, add_special_tokens=True
        )


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (
            {"decoder": {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}},
            "regular",
        ),
        ({"normalizer": replacing("a" * 10_000)}, "longer"),
        ({"normalizer": {"type": "Sequence", "normalizers": [replacing("aa")] * 40}}, "longer"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 10_000}}, "longer"),
        ({"normalizer": replacing("") | {"pattern": SLOW["pattern"]}}, "more than a character"),
        ({"post_processor": around(*[TEXT] * 1_000)}, "repeats"),
        ({"post_processor": around(*[START] * 1_000, TEXT)}, "repeats"),
    ],
)
def test_a_tokenizer_that_makes_much_of_little_is_refused(
    tmp_path: Path, byte_level: tokenizers.Tokenizer, parts: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ModelFailed, match=fault):
        Tokenizer.load(changed(byte_level, tmp_path, **parts))


def test_only_regexes_that_are_well_known_run_where_others_wait_for_them(
    tmp_path: Path, backends: dict[str, tokenizers.Tokenizer]
) -> None:
    for each in backends.values():
        assert Tokenizer.load(write(tmp_path, each)).is_quick
    backend = backends["byte_level"]
    levels = json.loads(backend.to_str())["pre_tokenizer"]
    for regex, is_quick in [*[(each, True) for each in KNOWN], ("a|b", False)]:
        both = {"type": "Sequence", "pretokenizers": [split(regex), levels]}
        tokenizer = Tokenizer.load(changed(backend, tmp_path, pre_tokenizer=both))
        assert tokenizer.is_quick is is_quick
        text = "It's  1234 words,\n\n  naïve: 你好!"
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_normalizer_of_one_character_is_as_others_have_it(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    spaces = replacing(" ") | {"pattern": {"Regex": " {2,}"}}
    tokenizer = Tokenizer.load(changed(byte_level, tmp_path, normalizer=spaces))
    assert tokenizer.is_quick
    assert tokenizer.decode(tokenizer.encode("a    b")) == "a b"


@pytest.mark.slow
def test_older_files_are_converted_without_transformers_in_this_process(
    tmp_path: Path, byte_level: tokenizers.Tokenizer
) -> None:
    content = json.loads(byte_level.to_str())
    (tmp_path / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
    merges = [" ".join(merge) for merge in content["model"]["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<s>", "unk_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<s>"}))
    code = (
        "import sys, pathlib; from fastmlx.daemon.text.tokenizer import Tokenizer; "
        "print(Tokenizer.load(pathlib.Path(sys.argv[1])).encode('Hello world'), "
        "'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == f"{Tokenizer(byte_level).encode('Hello world')} False"


@pytest.mark.slow
def test_older_files_that_cannot_be_converted_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"nonsense")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(ModelFailed, match=r"No tokenizer can be read from .*: ."):
        Tokenizer.load(tmp_path)


def test_a_folder_without_any_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFailed, match="has no tokenizer"):
        Tokenizer.load(tmp_path)


def test_the_text_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, fastmlx.daemon.text.stream; "
        "print([m for m in ('transformers', 'numpy', 'mlx', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
