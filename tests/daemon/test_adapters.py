"""One entry with LoRA adapters: each has a model id of its own, one engine serves them all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from engines import answer, model_at
from live import LiveDaemon
from tiny_adapters import write_adapter

PROMPT = [5, 9, 200, 31, 77, 12]


def test_requests_choose_an_adapter_by_the_models_name_and_one_that_does_not_fit_is_named(
    live: Callable[..., LiveDaemon], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("qwen3", endless=True)
    sql = write_adapter(folder, tmp_path / "sql", seed=1)
    law = write_adapter(folder, tmp_path / "law", seed=2)
    wrong = write_adapter(tiny_model("qwen3", hidden_size=32), tmp_path / "wrong")
    daemon = live(
        f"models:\n  m:\n    path: {folder}\n"
        f"    adapters: [{{name: sql, path: {sql}}}, {{name: law, path: {law}}}]\n"
        f"  bad: {{path: {folder}, adapters: [{{name: sql, path: {wrong}}}]}}\n"
    )
    from mlx_lm.utils import load_adapters

    models: dict[str, Any] = {"m": model_at(folder)}
    for name, path in (("sql", sql), ("law", law)):
        models[f"m:{name}"] = load_adapters(model_at.__wrapped__(folder), str(path))
    client = daemon.openai()
    assert [model.id for model in client.models.list()] == [
        *("m", "m:law", "m:sql"),
        *("bad", "bad:sql"),
    ]
    assert client.models.retrieve("m:sql").model_extra["parent"] == "m"  # type: ignore[index]

    def ask(name: str) -> str:
        answer = client.completions.create(model=name, prompt=PROMPT, max_tokens=12, temperature=0)
        return answer.choices[0].text

    asked = ["m", "m:sql", "m:law"] * 3
    with ThreadPoolExecutor(9) as threads:
        texts = list(threads.map(ask, asked))
    from fastmlx.daemon.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    for name, text in zip(asked, texts, strict=True):
        assert text == tokenizer.decode(answer(models[name], PROMPT, 12)[0])
    assert len(set(texts)) == 3
    assert [model["name"] for model in daemon.status()["models"]] == ["m", "bad"]
    assert daemon.model("m")["adapters"] == ["sql", "law"]

    with pytest.raises(openai.NotFoundError, match="no model 'm:other'"):
        ask("m:other")
    with pytest.raises(openai.APIStatusError, match="adapter sql was made for another model"):
        ask("bad")
    assert daemon.stop() == 0
    with sqlite3.connect(daemon.home / "fastmlx.db") as database:
        rows = database.execute("SELECT model, COUNT(*) FROM usage GROUP BY model ORDER BY model")
        assert rows.fetchall() == [("bad", 1), ("m", 3), ("m:law", 3), ("m:other", 1), ("m:sql", 3)]
