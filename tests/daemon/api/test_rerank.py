"""/v1/rerank, /v2/rerank and /v1/score through a real daemon."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny
from engines import model_at
from fastmlx.daemon.api.rerank import read_rerank, read_score
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.text.tokenizer import Tokenizer
from live import LiveDaemon

QUERY = "where do cats sleep?"
DOCUMENTS = [
    "Cats sleep on mats, on chairs, and in boxes.",
    "Revenue grew by four percent.",
    "A dog barks at night. " * 12,  # longer than the cross-encoder reads
    "",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> dict[str, Path]:
    """A cross-encoder with MiniLM's tokenizer, and a decoder whose tokenizer knows yes and no."""
    torch = pytest.importorskip("torch")
    import transformers

    root = tmp_path_factory.mktemp("rerankers")
    cross = root / "cross"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    config.num_labels = 1
    model: Any = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                value.normal_(0, 0.25)
    model.save_pretrained(cross)
    for file in minilm_folder.glob("tokenizer*.json"):
        shutil.copy(file, cross)
    decoder = tiny.build("qwen3", tmp_path_factory.mktemp("models"))
    asked = root / "asked"
    shutil.copytree(decoder, asked)
    text = (asked / "tokenizer.json").read_text("utf-8")
    for marker, word in (("<tool_response>", "no"), ("</tool_response>", "yes")):
        text = text.replace(f'"{marker}"', f'"{word}"')
    (asked / "tokenizer.json").write_text(text, "utf-8")
    return {"cross": cross, "asked": asked, "decoder": decoder}


@pytest.fixture(scope="module")
def rerankers(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveDaemon]:
    """c is a cross-encoder, q is asked for yes or no, e makes embeddings, t generates text."""
    config = (
        "models:\n"
        f"  c: {{path: {folders['cross']}, aliases: [rerank-v3.5]}}\n"
        f"  q: {{path: {folders['asked']}, kind: reranker}}\n"
        f"  e: {{path: {folders['decoder']}, kind: embedding}}\n"
        f"  t: {{path: {folders['decoder']}}}\n"
    )
    with LiveDaemon(tmp_path_factory.mktemp("rerank"), config) as running:
        yield running


def post(daemon: LiveDaemon, path: str, status: int = 200, **fields: Any) -> Any:
    with daemon.http() as http:
        answer = http.post(path, json=fields)
    assert answer.status_code == status, answer.text
    return answer.json()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_cross_encoder_ranks_as_transformers_does(
    rerankers: LiveDaemon, folders: dict[str, Path]
) -> None:
    torch: Any = pytest.importorskip("torch")
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders["cross"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["cross"])
    inputs = tokenizer(
        [QUERY] * 4,
        DOCUMENTS,
        padding=True,
        truncation="only_second",
        max_length=48,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model.eval()(**inputs).logits[:, 0].tolist()
    for path, version in (("/v1/rerank", "1"), ("/v2/rerank", "2")):
        answer = post(rerankers, path, model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
        found = {each["index"]: each["relevance_score"] for each in answer["results"]}
        for index, logit in enumerate(logits):
            assert found[index] == pytest.approx(sigmoid(logit), abs=1e-5)
        order = [each["relevance_score"] for each in answer["results"]]
        assert order == sorted(order, reverse=True)
        assert "document" not in answer["results"][0]
        tokens = int(inputs["attention_mask"].sum())
        assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
        assert answer["meta"]["api_version"] == {"version": version}
        assert answer["meta"]["billed_units"] == {"search_units": 1}
    raw = post(
        rerankers,
        "/v1/score",
        model="c",
        text_1=QUERY,
        text_2=DOCUMENTS[:2],
        use_activation=False,
    )
    assert [each["score"] for each in raw["data"]] == pytest.approx(logits[:2], abs=1e-5)


def test_coheres_own_client_reads_the_answer(rerankers: LiveDaemon) -> None:
    import cohere

    asked: Any = {"model": "c", "query": QUERY, "documents": DOCUMENTS, "top_n": 2}
    with httpx.Client(timeout=60) as http:
        options: Any = {"api_key": "unused", "base_url": rerankers.url, "httpx_client": http}
        newer, older = cohere.ClientV2(**options), cohere.Client(**options)
        for answer in (newer.rerank(**asked), older.rerank(**asked)):
            assert answer.id
            assert len(answer.results) == 2
            assert answer.results[0].relevance_score >= answer.results[1].relevance_score
            assert answer.meta is not None
            assert answer.meta.billed_units is not None
            assert answer.meta.billed_units.search_units == 1
        with pytest.raises(cohere.NotFoundError):
            newer.rerank(**asked | {"model": "nobody"})


def test_the_best_are_returned_with_their_documents_as_they_came(rerankers: LiveDaemon) -> None:
    documents = [{"text": DOCUMENTS[0], "title": "cats"}, DOCUMENTS[1]]
    both = post(
        rerankers,
        "/v2/rerank",
        model="c",
        query=QUERY,
        documents=documents,
        return_documents=True,
        max_tokens_per_doc=4,
    )["results"]
    shown = {each["index"]: each["document"] for each in both}
    assert shown == {0: documents[0], 1: {"text": DOCUMENTS[1]}}
    best = post(
        rerankers,
        "/v1/rerank",
        model="c",
        query={"text": QUERY},
        documents=["Cats sleep on mats", "Revenue grew by four"],
        top_n=1,
    )["results"]
    assert [each["index"] for each in best] == [both[0]["index"]]
    assert best[0]["relevance_score"] == pytest.approx(both[0]["relevance_score"], abs=1e-6)


@pytest.mark.parametrize("instruction", [None, "Find what is about cats"])
def test_a_decoder_is_asked_in_its_authors_words(
    rerankers: LiveDaemon, folders: dict[str, Path], instruction: str | None
) -> None:
    import mlx.core as mx

    said = instruction or (
        "Given a web search query, retrieve relevant passages that answer the query"
    )
    tokenizer = Tokenizer.load(folders["asked"])
    model: Any = model_at(folders["asked"])
    [no], [yes] = tokenizer.encode("no"), tokenizer.encode("yes")
    want: list[float] = []
    for document in DOCUMENTS:
        prompt = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
            'Query and the Instruct provided. Note that the answer can only be "yes" or "no".'
            f"<|im_end|>\n<|im_start|>user\n<Instruct>: {said}\n<Query>: {QUERY}\n<Document>: "
            f"{document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        )
        logits = model(mx.array([tokenizer.encode(prompt)]))[0, -1]
        chances: Any = mx.softmax(mx.stack([logits[no], logits[yes]]))
        want.append(chances[1].item())
    answer = post(
        rerankers,
        "/v1/rerank",
        model="q",
        query=QUERY,
        documents=DOCUMENTS,
        instruction=instruction,
    )
    found = {each["index"]: each["relevance_score"] for each in answer["results"]}
    assert [found[index] for index in range(4)] == pytest.approx(want, abs=1e-4)


def test_scores_are_of_pairs_or_of_one_text_and_many(rerankers: LiveDaemon) -> None:
    texts = ["one thing", "another thing", "a third"]
    many = post(rerankers, "/v1/score", model="c", text_1=QUERY, text_2=texts)
    pairs = post(rerankers, "/v1/score", model="c", text_1=[QUERY] * 3, text_2=texts)
    single = post(rerankers, "/v1/score", model="c", text_1=QUERY, text_2=texts[2])
    assert many["object"] == "list"
    assert many["data"][1]["object"] == "score"
    assert [each["index"] for each in many["data"]] == [0, 1, 2]
    scores = [each["score"] for each in many["data"]]
    assert [each["score"] for each in pairs["data"]] == pytest.approx(scores, abs=1e-6)
    assert single["data"][0]["score"] == pytest.approx(scores[2], abs=1e-6)
    assert many["usage"] == pairs["usage"]


def test_an_embedding_model_answers_with_the_cosine(rerankers: LiveDaemon) -> None:
    texts = ["one thing", "another thing"]
    vectors = rerankers.openai().embeddings.create(model="e", input=[QUERY, *texts]).data
    query, *rest = [each.embedding for each in vectors]
    want = [sum(a * b for a, b in zip(query, each, strict=True)) for each in rest]
    scored = post(rerankers, "/v1/score", model="e", text_1=QUERY, text_2=texts)
    assert [each["score"] for each in scored["data"]] == pytest.approx(want, abs=1e-5)
    ranked = post(rerankers, "/v1/rerank", model="e", query=QUERY, documents=texts)
    found = {each["index"]: each["relevance_score"] for each in ranked["results"]}
    assert [found[0], found[1]] == pytest.approx(want, abs=1e-5)


def test_a_request_says_how_long_the_model_stays(rerankers: LiveDaemon) -> None:
    for model in ("c", "e"):
        for field, value, seconds in (("keep_alive", "2h", 7200), ("ttl", 5000, 5000)):
            asked: dict[str, Any] = {"text_1": "a", "text_2": "b", field: value}
            post(rerankers, "/v1/score", model=model, **asked)
            assert rerankers.model(model)["idle_timeout_s"] == seconds


def test_what_cannot_be_done_is_a_clear_400(rerankers: LiveDaemon) -> None:
    asked: dict[str, Any] = {"query": QUERY, "documents": ["x"]}
    error = post(rerankers, "/v1/rerank", 400, model="t", **asked)["error"]
    assert "t compares no texts: it is a text model" in error["message"]
    assert error["param"] == "model"
    error = post(rerankers, "/v1/rerank", 400, model="c", instruction="be nice", **asked)["error"]
    assert error["param"] == "instruction"
    long = "cat " * 60
    error = post(rerankers, "/v1/score", 400, model="c", text_1="a", text_2=long)["error"]
    assert error["code"] == "context_length_exceeded"
    cut = {"text_2": long, "truncate_prompt_tokens": -1}
    assert len(post(rerankers, "/v1/score", model="c", text_1="a", **cut)["data"]) == 1
    asked["query"] = long
    error = post(rerankers, "/v2/rerank", 400, model="c", **asked)["error"]
    assert "leaves no room for a document" in error["message"]
    assert error["param"] == "query"
    post(rerankers, "/v1/rerank", 404, model="none", **asked)
    chat = {"messages": [{"role": "user", "content": "x"}]}
    error = post(rerankers, "/v1/chat/completions", 400, model="c", **chat)["error"]
    assert "c compares texts (POST /v1/rerank) and generates no text" in error["message"]
    error = post(rerankers, "/v1/embeddings", 400, model="q", input="x")["error"]
    assert "it is a reranker model" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"query": "x"', "documents"),
        ('"query": "x", "documents": []', "documents"),
        ('"query": "", "documents": ["a"]', "query"),
        ('"query": 5, "documents": ["a"]', "query"),
        ('"query": "x", "documents": ["a", {"image": "b"}]', "documents[1]"),
        ('"query": "x", "documents": ["a"], "top_n": 0', "top_n"),
        ('"query": "x", "documents": ["a"], "max_tokens_per_doc": 0', "max_tokens_per_doc"),
        ('"query": "x", "documents": ["a"], "rank_fields": ["title"]', "rank_fields"),
        ('"query": "x", "documents": ["a"], "truncation": false', "truncation"),
        ('"query": "x", "documents": ["a"], "keep_alive": "soon"', "keep_alive"),
    ],
)
def test_a_field_at_fault_is_named(fields: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_rerank(f'{{"model": "m", {fields}}}'.encode())
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"text_1": "x"', "text_2"),
        ('"text_1": "x", "text_2": []', "text_2"),
        ('"text_1": ["x", "y"], "text_2": "z"', "text_1"),
        ('"text_1": "x", "text_2": ["", "y"]', "text_2"),
        ('"text_1": "x", "text_2": "y", "truncate_prompt_tokens": 7', "truncate_prompt_tokens"),
    ],
)
def test_a_field_of_a_score_at_fault_is_named(fields: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_score(f'{{"model": "m", {fields}}}'.encode())
    assert caught.value.param == param


def test_usage_rows_tell_what_was_asked(rerankers: LiveDaemon) -> None:
    """Last, because it stops the daemon."""
    answer = post(rerankers, "/v2/rerank", model="rerank-v3.5", query="last", documents=["x"])
    cosine = post(rerankers, "/v1/score", model="e", text_1="last", text_2="x")
    assert rerankers.stop() == 0
    with sqlite3.connect(rerankers.home / "fastmlx.db") as database:
        rows = dict[str, Any](
            (row[0], row[1:])
            for row in database.execute(
                "SELECT request_id, model, dialect, prompt_tokens, finish_reason FROM usage"
            )
        )
    assert rows[answer["id"]] == ("c", "rerank", answer["usage"]["total_tokens"], "stop")
    assert rows[cosine["id"]] == ("e", "score", cosine["usage"]["total_tokens"], "stop")
