"""Scores of pairs: the model's own head over its own body, whoever else is in the batch."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import model_at
from fastmlx.daemon.protocol.wire import Score

SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "num_labels": 1,
}


def core_of(folder: Path) -> Any:
    from fastmlx.daemon.engine.embedding.core import EmbeddingCore
    from fastmlx.daemon.engine.embedding.loader import load_reranker
    from fastmlx.daemon.engine.runners.reranker import RerankerRunner

    loaded = load_reranker(folder, None)
    runner = RerankerRunner(loaded)
    return EmbeddingCore(runner, vocab_size=loaded.vocab_size, context=loaded.context)


def scores(core: Any, *requests: Score) -> list[list[float]]:
    """Those of each request; all are asked for at once."""
    for request in requests:
        assert core.add(request) is None
    answers: dict[int, list[float]] = {}
    while not core.idle:
        answers |= {answer.id: answer.scores for answer in core.step()}
    return [answers[request.id] for request in requests]


def cross_encoder(kind: str, folder: Path, **changes: Any) -> Any:
    """transformers' own, with random weights that tell inputs apart; saved in the folder."""
    torch = pytest.importorskip("torch")
    import transformers

    torch.manual_seed(0)
    if kind == "bert":
        config: Any = transformers.BertConfig(**SIZES | changes)
        model: Any = transformers.BertForSequenceClassification(config)
    elif kind == "modernbert":
        config = transformers.ModernBertConfig(**SIZES | changes, local_attention=8, pad_token_id=0)
        model = transformers.ModernBertForSequenceClassification(config)
    else:
        config = transformers.XLMRobertaConfig(**SIZES | changes, pad_token_id=1, type_vocab_size=1)
        model = transformers.XLMRobertaForSequenceClassification(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                value.normal_(0, math.sqrt(2 / value.shape[1]))
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bert", {}),
        ("xlm-roberta", {}),
        ("modernbert", {"num_hidden_layers": 4}),
        ("modernbert", {"num_hidden_layers": 3, "classifier_pooling": "mean"}),
    ],
)
def test_cross_encoders_say_what_transformers_says(
    kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    model = cross_encoder(kind, tmp_path, **changes)
    torch: Any = pytest.importorskip("torch")

    rng = random.Random(1)
    inputs = [[rng.randrange(5, 99) for _ in range(length)] for length in (2, 9, 20, 33, 21, 60)]
    seconds = [1, 4, 20, 11, 5, 30]
    want: list[float] = []
    for tokens, second in zip(inputs, seconds, strict=True):
        given = {"input_ids": torch.tensor([tokens])}
        if kind == "bert":
            types = [int(column >= second) for column in range(len(tokens))]
            given["token_type_ids"] = torch.tensor([types])
        with torch.no_grad():
            want.append(model(**given).logits.item())
    core = core_of(tmp_path)
    first, second = scores(
        core, Score(1, inputs[:4], seconds[:4]), Score(2, inputs[4:], seconds[4:])
    )
    assert [*first, *second] == pytest.approx(want, abs=1e-5)
    assert max(want) - min(want) > 0.1  # so that it is not one number for all


def test_qwen3_is_asked_for_yes_or_no(tiny_model: Callable[..., Path]) -> None:
    import mlx.core as mx

    rng = random.Random(2)
    inputs = [[rng.randrange(10, 900) for _ in range(length)] for length in (3, 40, 7, 55, 12)]
    no, yes = 77, 401
    for changes in ({}, {"tie_word_embeddings": False}, {"bits": 4}):
        folder = tiny_model("qwen3", **changes)
        model: Any = model_at(folder)
        logits = [model(mx.array([tokens]))[0, -1] for tokens in inputs]
        want = [(row[yes] - row[no]).item() for row in logits]
        found = scores(core_of(folder), Score(1, inputs, [0] * 5, (no, yes)))[0]
        assert found == pytest.approx(want, abs=2e-4)


def test_qwen3_with_a_trained_row_needs_no_words(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import mlx.core as mx

    folder = tiny_model("qwen3")
    copy = tmp_path / "classifier"
    shutil.copytree(folder, copy)
    weights: Any = mx.load(str(folder / "model.safetensors"))
    row = mx.random.normal((1, 64), key=mx.random.key(3))
    mx.save_safetensors(str(copy / "model.safetensors"), {**weights, "score.weight": row})
    (copy / "model.safetensors.index.json").unlink()
    inputs = [[5, 6, 7], [8] * 20]
    model: Any = model_at(folder)
    want = [(model.model(mx.array([tokens]))[0, -1] @ row[0]).item() for tokens in inputs]
    assert scores(core_of(copy), Score(1, inputs, [0, 0]))[0] == pytest.approx(want, abs=1e-4)


def test_what_cannot_be_a_reranker_says_why(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from fastmlx.daemon.engine.loader import LoadError

    with pytest.raises(LoadError, match="architecture llama are not supported"):
        core_of(tiny_model("llama"))
    cross_encoder("bert", tmp_path / "three", num_labels=3)
    with pytest.raises(LoadError, match="tells 3 classes apart"):
        core_of(tmp_path / "three")
    cross_encoder("bert", tmp_path / "one")
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    (tmp_path / "one" / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    with pytest.raises(LoadError, match=r"lack the tensor classifier\.out_proj\.weight"):
        core_of(tmp_path / "one")


def test_a_pair_that_cannot_be_is_refused_alone(tiny_model: Callable[..., Path]) -> None:
    core = core_of(tiny_model("qwen3"))
    for message, said in (
        (Score(1, [[3], []], [0, 0], (1, 2)), "input 1 is empty"),
        (Score(1, [[3]], [0], (1, 10**6)), "token ids must be from 0"),
        (Score(1, [[3] * 5000], [0], (1, 2)), "5000 tokens; 4096 fit"),
        (Score(1, [], [], (1, 2)), "there is no input"),
    ):
        assert said in core.add(message).message
    assert core.idle
