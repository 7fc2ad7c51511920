"""Tokenizers of every kind, trained here on a few sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.text.model_text import ModelText
from fastmlx.daemon.text.tokenizer import Tokenizer
from hypothesis import settings
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

settings.register_profile("text", deadline=None, max_examples=60)
settings.load_profile("text")

SENTENCES = [
    "Hello world, how are you today? I am fine.",
    "Grüße aus Köln, naïve café.",
    "def add(x, y):\n    return x + y\n",
    '{"name": "weather", "arguments": {"city": "Paris"}}',
    "The weather in Paris is fine; the weather in Rome is fine too.",
]
SPECIAL = ["<unk>", "<s>", "<|im_start|>", "<|im_end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking -%}{{- '<think>\\n' -}}{%- endif -%}
{%- endif -%}
{#- </think> <tool_call> arguments -#}"""


def byte_level() -> tokenizers.Tokenizer:
    """As in Llama 3 and Qwen."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=400,
            initial_alphabet=alphabet,
            special_tokens=SPECIAL,
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(["<think>", "</think>"])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "你 好", "é!"])
    return tokenizer


def sentence_piece(*, strip: bool) -> tokenizers.Tokenizer:
    """With a prefix space that decoding strips (Llama 2, Phi-3), or without (Gemma)."""
    tokenizer = tokenizers.Tokenizer(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    steps: list = [normalizers.Prepend("▁")] if strip else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    ends: list = [decoders.Strip(" ", 1, 0)] if strip else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=[*SPECIAL, *BYTES], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in SPECIAL]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def metaspace() -> tokenizers.Tokenizer:
    """A kind whose tokens have no bytes of their own (T5, older conversions)."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


BACKENDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    "byte_level": byte_level,
    "sentence_piece": lambda: sentence_piece(strip=False),
    "sentence_piece_strip": lambda: sentence_piece(strip=True),
    "metaspace": metaspace,
}


@pytest.fixture(scope="session", params=BACKENDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(BACKENDS[request.param]())


@pytest.fixture(scope="session")
def backends() -> dict[str, tokenizers.Tokenizer]:
    return {name: make() for name, make in BACKENDS.items()}


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, without weights: byte-level, ChatML, thinking, Hermes tools."""
    folder = tmp_path_factory.mktemp("chat")
    byte_level().save(str(folder / "tokenizer.json"))
    config = {"bos_token": None, "eos_token": {"content": "<|im_end|>"}, "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def chat_text(chat_folder: Path) -> ModelText:
    return ModelText.load(chat_folder, ModelSpec(path=str(chat_folder)))
