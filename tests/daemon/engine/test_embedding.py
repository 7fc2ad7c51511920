"""Vectors of texts: pooled from the model's own body, whoever else is in the batch."""

from __future__ import annotations

import base64
import json
import random
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import model_at
from fastmlx.daemon.engine.embedding.batches import BATCH_TOKENS, PADDING, next_batch
from fastmlx.daemon.engine.embedding.pooling import read_modules
from fastmlx.daemon.protocol.wire import Embed
from hypothesis import given
from hypothesis import strategies as st

MINILM = json.loads(Path(__file__).with_name("minilm.json").read_text(encoding="utf-8"))


def texts(count: int, longest: int = 70) -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(10, 900) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def core_of(folder: Path) -> Any:
    from fastmlx.daemon.engine.embedding.core import EmbeddingCore
    from fastmlx.daemon.engine.embedding.loader import load_body
    from fastmlx.daemon.engine.runners.embedding import EmbeddingRunner

    loaded = load_body(folder, None)
    runner = EmbeddingRunner(loaded)
    return EmbeddingCore(runner, vocab_size=loaded.vocab_size, context=loaded.context)


def embed(core: Any, *requests: list[list[int]], dimensions: int | None = None) -> list[list[Any]]:
    """The vectors of each request; all are asked for at once."""
    for number, inputs in enumerate(requests):
        assert core.add(Embed(number, inputs, dimensions)) is None
    answers: dict[int, list[Any]] = {}
    while not core.idle:
        for answer in core.step():
            size = 4 * answer.dimensions
            rows = range(0, len(answer.vectors), size)
            answers[answer.id] = [array("f", answer.vectors[at : at + size]) for at in rows]
    return [answers[number] for number in range(len(requests))]


def assert_close(got: Any, want: Any, error: float = 2e-5) -> None:
    assert len(got) == len(want)
    assert max(abs(a - b) for a, b in zip(got, want, strict=True)) < error


def plain(folder: Path, tokens: list[int], mode: str) -> list[float]:
    """The same with nothing but mlx-lm's model."""
    import mlx.core as mx

    model = model_at(folder)
    body = model.model if hasattr(model, "model") else model.language_model.model
    hidden = body(mx.array([tokens]))[0]
    vector: Any = hidden[-1] if mode == "last" else hidden.mean(axis=0)
    return (vector / mx.linalg.norm(vector)).tolist()


def with_pooling(folder: Path, copy: Path, mode: str) -> Path:
    """A copy of the model with sentence-transformers' files."""
    shutil.copytree(folder, copy)
    (copy / "pool").mkdir()
    config = {"word_embedding_dimension": 64, f"pooling_mode_{mode}": True}
    (copy / "pool" / "config.json").write_text(json.dumps(config))
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "pool"},
        {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
    ]
    (copy / "modules.json").write_text(json.dumps(modules))
    return copy


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "mamba2"])
def test_a_batch_of_different_lengths_gives_what_each_text_gives_alone(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    asked = texts(14)
    if arch == "mamba2":
        want = [embed(core_of(folder), [tokens])[0][0] for tokens in asked]
    else:
        want = [plain(folder, tokens, "last") for tokens in asked]
    first, second = embed(core_of(folder), asked[:9], asked[9:])
    for got, expected in zip([*first, *second], want, strict=True):
        assert_close(got, expected)


def test_mean_pooling_counts_no_padding(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model("qwen3")
    copy = with_pooling(folder, tmp_path / "mean", "mean_tokens")
    asked = texts(6)
    for got, tokens in zip(embed(core_of(copy), asked)[0], asked, strict=True):
        assert_close(got, plain(folder, tokens, "mean"))


def test_the_body_alone_is_enough_as_sentence_transformers_saves_it(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import mlx.core as mx

    folder = tiny_model("llama")  # its head is not tied to the embedding
    copy = tmp_path / "body"
    shutil.copytree(folder, copy)
    weights: Any = mx.load(str(folder / "model.safetensors"))
    body = {n.removeprefix("model."): w for n, w in weights.items() if not n.startswith("lm_head")}
    mx.save_safetensors(str(copy / "model.safetensors"), body)
    (copy / "model.safetensors.index.json").unlink()
    asked = texts(3)
    assert embed(core_of(copy), asked) == embed(core_of(folder), asked)

    from fastmlx.daemon.engine.loader import LoadError

    del body["layers.1.mlp.up_proj.weight"]
    mx.save_safetensors(str(copy / "model.safetensors"), body)
    with pytest.raises(LoadError, match=r"lack 1 tensors, among them model\.layers\.1\.mlp\.up"):
        core_of(copy)


def test_quantised_weights_embed_too(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model("qwen3", bits=8)
    asked = texts(5)
    for got, tokens in zip(embed(core_of(folder), asked)[0], asked, strict=True):
        assert_close(got, plain(folder, tokens, "last"))


def test_fewer_dimensions_are_the_first_ones_with_unit_length(
    tiny_model: Callable[..., Path],
) -> None:
    core = core_of(tiny_model("qwen3"))
    asked = texts(3)
    whole, short = embed(core, asked)[0], embed(core, asked, dimensions=10)[0]
    for vector, first in zip(whole, short, strict=True):
        length = sum(x * x for x in vector[:10]) ** 0.5
        assert_close(first, [x / length for x in vector[:10]])


def test_a_request_at_fault_is_refused_and_an_aborted_one_forgotten(
    tiny_model: Callable[..., Path],
) -> None:
    core = core_of(tiny_model("qwen3"))
    for inputs, said in (
        ([], "there is no input"),
        ([[1], []], "input 1 is empty"),
        ([[10**6]], "token ids must be from 0 to"),
        ([[1] * 5000], "input 0 has 5000 tokens; 4096 fit"),
    ):
        rejected = core.add(Embed(1, inputs))
        assert rejected.bad_request
        assert said in rejected.message
    core.add(Embed(2, [[1]]))
    core.abort(2)
    core.abort(3)
    assert core.idle


def test_who_asks_for_little_does_not_wait_for_who_asks_for_much(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastmlx.daemon.engine.embedding.batches.BATCH_TOKENS", 64)
    core = core_of(tiny_model("qwen3"))
    core.add(Embed(1, [[7] * 30] * 12))
    core.add(Embed(2, [[7] * 5]))
    assert core.step() == []
    assert [answer.id for answer in core.step()] == [2]
    left: list[int] = []
    while not core.idle:
        left += [answer.id for answer in core.step()]
    assert left == [1]


def cosine(a: Any, b: Any) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_minilm_says_what_pytorch_says(minilm_folder: Path) -> None:
    """Real weights; the reference comes from minilm_reference.py."""
    from fastmlx.daemon.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(minilm_folder)
    inputs = [tokenizer.encode(text, add_special_tokens=True) for text in MINILM["texts"]]
    assert [len(tokens) for tokens in inputs] == MINILM["tokens"]
    vectors = embed(core_of(minilm_folder), inputs)[0]
    for got, encoded in zip(vectors, MINILM["vectors"], strict=True):
        want = array("f", base64.b64decode(encoded))
        assert cosine(got, want) > 0.999999
        assert_close(got, want, 1e-5)
    assert cosine(vectors[0], vectors[1]) > 0.5 > cosine(vectors[0], vectors[2])


@pytest.mark.parametrize("kind", ["bert", "modernbert", "xlm-roberta"])
def test_encoders_of_transformers_are_understood(kind: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
    }
    if kind == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    elif kind == "modernbert":
        config: Any = transformers.ModernBertConfig(**sizes, local_attention=8, pad_token_id=0)
        model = transformers.ModernBertModel(config)
    else:
        config = transformers.XLMRobertaConfig(**sizes, pad_token_id=1, type_vocab_size=1)
        model = transformers.XLMRobertaForMaskedLM(config)  # its names have a prefix
    model.eval().save_pretrained(tmp_path)
    asked = [[random.Random(n).randrange(5, 99) for _ in range(n)] for n in (1, 7, 20, 33)]
    body: Any = getattr(model, "roberta", model)
    for got, tokens in zip(embed(core_of(tmp_path), asked)[0], asked, strict=True):
        with torch.no_grad():
            hidden = body(torch.tensor([tokens])).last_hidden_state[0]
        want = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
        assert_close(got, want.tolist())


def test_what_would_be_wrong_is_refused(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    from fastmlx.daemon.engine.loader import LoadError

    folder = tiny_model("qwen3", use_bidirectional_attention=True)
    with pytest.raises(LoadError, match="attends to the tokens after each one"):
        core_of(folder)
    copy = with_pooling(tiny_model("qwen3"), tmp_path / "odd", "weightedmean_tokens")
    with pytest.raises(LoadError, match=r"its pooling \(pooling_mode_weightedmean_tokens\)"):
        core_of(copy)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["lasttoken"]}, "last"),
        ({}, "mean"),
    ],
)
def test_the_files_of_sentence_transformers_say_how_to_pool(
    config: dict[str, Any], mode: str, tmp_path: Path
) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert read_modules(tmp_path, "mean").pooling == mode


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["Pooling", "LayerNorm"], "a layer of the kind LayerNorm"),
        (["Dense", "Pooling"], "Dense elsewhere than between"),
        (["Pooling", "Normalize", "Dense"], "Dense elsewhere than between"),
        (["Pooling", "Dense"], "odd/config.json is missing"),
    ],
)
def test_other_layers_around_the_pooling_are_refused(
    kinds: list[str], said: str, tmp_path: Path
) -> None:
    modules = [{"type": f"a.b.{kind}", "path": "odd"} for kind in kinds]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=said):
        read_modules(tmp_path, "last")


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=60))
def test_batches_hold_the_first_and_waste_little(lengths: list[int]) -> None:
    chosen = next_batch(lengths)
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen)
    members = [lengths[index] for index in chosen]
    assert max(members) <= max(2 * min(members), min(members) + PADDING)
    assert len(chosen) == 1 or len(chosen) * max(members) <= BATCH_TOKENS
