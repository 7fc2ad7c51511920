"""/v1/embeddings through a real daemon, as OpenAI's SDK and others use it."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import tiny
from fastmlx.daemon.api.openai_embeddings import read_embeddings
from fastmlx.daemon.protocol.errors import BadRequest
from live import LiveDaemon
from mcp import Client


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """Model e is declared as an embedder, t generates text; both are the same model."""
    folder = tiny.build("qwen3", tmp_path_factory.mktemp("models"))
    config = (
        f"models:\n  e: {{path: {folder}, kind: embedding, aliases: [text-embedding-3-small]}}\n"
        f"  t: {{path: {folder}}}\n"
    )
    with LiveDaemon(tmp_path_factory.mktemp("embedder"), config) as running:
        yield running


def test_one_text_a_list_and_token_ids_are_the_same_text(embedder: LiveDaemon) -> None:
    client = embedder.openai()
    text = "A few words to be embedded."
    with embedder.http() as http:
        tokens = http.post("/tokenize", json={"model": "e", "prompt": text}).json()["tokens"]
    answers = [
        client.embeddings.create(model="text-embedding-3-small", input=given)
        for given in (text, [text, "Another one"], tokens, [tokens, [5, 6]])
    ]
    first = answers[0].data[0].embedding
    assert len(first) == 64
    assert sum(x * x for x in first) == pytest.approx(1)
    for answer in answers:
        assert answer.data[0].embedding == pytest.approx(first, abs=1e-5)
    assert [item.index for item in answers[1].data] == [0, 1]
    assert answers[0].usage.prompt_tokens == answers[0].usage.total_tokens == len(tokens)
    assert answers[3].usage.prompt_tokens == len(tokens) + 2


def test_floats_and_base64_are_the_same_numbers(embedder: LiveDaemon) -> None:
    asked = {"model": "e", "input": ["one", "two"], "dimensions": 7}
    with embedder.http() as http:
        floats = http.post("/v1/embeddings", json=asked).json()
        packed = http.post("/v1/embeddings", json=asked | {"encoding_format": "base64"}).json()
    assert floats["object"] == "list"
    assert floats["model"] == "e"
    for plain, coded in zip(floats["data"], packed["data"], strict=True):
        assert plain["object"] == "embedding"
        assert len(plain["embedding"]) == 7
        assert array("f", base64.b64decode(coded["embedding"])).tolist() == plain["embedding"]


def test_many_texts_of_many_clients_keep_their_order(embedder: LiveDaemon) -> None:
    client = embedder.openai()
    inputs = [f"{'word ' * (i % 17)}number {i}" for i in range(60)]
    alone = [client.embeddings.create(model="e", input=text).data[0].embedding for text in inputs]

    def ask(number: int) -> list[list[float]]:
        mine = inputs[number * 20 : number * 20 + 20]
        return [item.embedding for item in client.embeddings.create(model="e", input=mine).data]

    with ThreadPoolExecutor(3) as threads:
        found = [vector for part in threads.map(ask, range(3)) for vector in part]
    for got, want in zip(found, alone, strict=True):
        assert got == pytest.approx(want, abs=1e-5)


def test_an_engine_that_dies_costs_no_request(embedder: LiveDaemon) -> None:
    client = embedder.openai(max_retries=0)
    before = client.embeddings.create(model="e", input="again").data[0].embedding
    pid = embedder.model("e")["pid"]
    os.kill(pid, signal.SIGSTOP)  # so that it cannot answer before it dies
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.embeddings.create, model="e", input="again")
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        assert asked.result().data[0].embedding == pytest.approx(before, abs=1e-5)
    assert embedder.model("e")["restarts"] == 1


def test_each_kind_of_model_says_what_it_cannot_do(embedder: LiveDaemon) -> None:
    client = embedder.openai()
    with pytest.raises(openai.BadRequestError, match="t makes no embeddings: it is a text model"):
        client.embeddings.create(model="t", input="x")
    with pytest.raises(openai.BadRequestError, match=r"e makes embeddings \(POST /v1/embeddings"):
        client.chat.completions.create(model="e", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.NotFoundError, match="no model 'none'"):
        client.embeddings.create(model="none", input="x")


def test_what_does_not_fit_is_a_clear_400(embedder: LiveDaemon) -> None:
    client = embedder.openai()
    with pytest.raises(openai.BadRequestError, match="dimensions must be at most 64"):
        client.embeddings.create(model="e", input="x", dimensions=65)
    with pytest.raises(openai.BadRequestError, match="input 1 has 5000 tokens") as caught:
        client.embeddings.create(model="e", input=[[1], [7] * 5000])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="token ids must be from 0 to"):
        client.embeddings.create(model="e", input=[[10**6]])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"input": ""', "input"),
        ('"input": []', "input"),
        ('"input": ["a", ""]', "input"),
        ('"input": [[]]', "input"),
        ('"input": [1, -2]', "input"),
        ('"input": [1, "a"]', "input"),
        ('"input": {"a": 1}', "input"),
        ('"input": null', "input"),
        ('"input": "x", "encoding_format": "int8"', "encoding_format"),
        ('"input": "x", "dimensions": 0', "dimensions"),
        ('"input": "x", "dimensions": "many"', "dimensions"),
        ('"input": "x", "truncate_prompt_tokens": 5', "truncate_prompt_tokens"),
    ],
)
def test_a_field_at_fault_is_named(fields: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_embeddings(f'{{"model": "m", {fields}}}'.encode())
    assert caught.value.param == param


def test_a_detected_embedder_needs_no_declaration_and_leaves_usage_rows(
    live: Callable[..., LiveDaemon], minilm_folder: Path
) -> None:
    daemon = live(f"models:\n  minilm: {{path: {minilm_folder}}}\n")
    answer = daemon.openai().embeddings.create(model="minilm", input=["a cat", "a kitten"])
    assert len(answer.data[0].embedding) == 384
    assert daemon.stop() == 0
    with sqlite3.connect(daemon.home / "fastmlx.db") as database:
        rows = database.execute("SELECT model, dialect, prompt_tokens, error FROM usage").fetchall()
    assert rows == [("minilm", "openai_embeddings", answer.usage.prompt_tokens, None)]


async def test_a_client_of_mcp_gets_the_same_vectors(embedder: LiveDaemon) -> None:
    whole = embedder.openai().embeddings.create(model="e", input=["one", "two"])
    async with Client(embedder.url + "/mcp") as client:
        made = await client.call_tool("embed", {"model": "e", "input": ["one", "two"]})
    assert not made.is_error, made
    found: Any = made.structured_content
    for vector, each in zip(found["embeddings"], whole.data, strict=True):
        assert vector == pytest.approx(each.embedding, abs=1e-5)
