"""Ollama's own client against a real daemon."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import hub
import ollama
import openai
import pytest
from live import LiveDaemon

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
OPTIONS: dict[str, Any] = {"temperature": 0, "num_predict": 12}
# What clients of earlier years send along; about loading, so nothing here.
LOADING = {"num_gpu": 99, "num_thread": 4, "use_mmap": True, "num_ctx": 64.0, "num_keep": 5}


@pytest.fixture(scope="module")
def client(daemon: LiveDaemon) -> Iterator[ollama.Client]:
    with ollama.Client(daemon.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[LiveDaemon]:
    """A daemon with a small Hub, a model of which only the entry is here, and an embedder."""
    config = f"""\
models:
  mine: {{path: org/model}}
  demo: {{path: "builtin:demo", context: 64}}
  embedder: {{path: {tiny_model("qwen3")}, kind: embedding, context: 8}}
"""
    folder = tmp_path_factory.mktemp("own")
    with hub.small_hub(folder / "source") as small:
        environment = hub.environment(small.url, folder / "cache")
        with LiveDaemon(folder / "home", config, environment=environment) as running:
            yield running


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    return response.json()["error"]


def test_a_chat_is_the_same_in_lines_and_whole(client: ollama.Client) -> None:
    whole = client.chat("tiny", HELLO, options=OPTIONS | LOADING)
    parts = list(client.chat("tiny:latest", HELLO, options=OPTIONS, stream=True))
    assert whole.message.role == "assistant"
    assert whole.message.content
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[0].model == "tiny:latest"
    for last in (whole, parts[-1]):
        assert last.done_reason == "length"
        assert last.eval_count == 12
        assert last.prompt_eval_count == whole.prompt_eval_count != 0
        assert last.total_duration
        parts_ns = (last.load_duration, last.prompt_eval_duration, last.eval_duration)
        assert sum(each or 0 for each in parts_ns) <= last.total_duration * 1.01
        assert last.created_at
        datetime.fromisoformat(last.created_at)


def test_a_prompt_is_the_users_turn_unless_it_is_raw(client: ollama.Client) -> None:
    chat = client.chat("tiny", [{"role": "system", "content": "Be"}, *HELLO], options=OPTIONS)
    said = client.generate("tiny", "Hello there", system="Be", options=OPTIONS)
    assert said.response == chat.message.content
    lines = client.generate("tiny", "Hello there", system="Be", options=OPTIONS, stream=True)
    assert "".join(line.response or "" for line in lines) == said.response
    raw = client.generate("tiny", "Hello there", raw=True, options=OPTIONS)
    assert (raw.prompt_eval_count or 0) < (chat.prompt_eval_count or 0)


def test_the_words_are_those_of_openais_dialect(client: ollama.Client, daemon: LiveDaemon) -> None:
    options = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "seed": 7, "num_predict": 9}
    said = client.chat("tiny", HELLO, options=options | {"repeat_penalty": 1.2, "stop": ["\n\n"]})
    with daemon.openai() as openai:
        other = openai.chat.completions.create(
            model="tiny",
            messages=HELLO,
            temperature=0.8,
            top_p=0.9,
            seed=7,
            max_tokens=9,
            stop=["\n\n"],
            extra_body={"top_k": 20, "repetition_penalty": 1.2},
        )
    assert said.message.content == other.choices[0].message.content


def test_logprobs_belong_to_their_tokens(client: ollama.Client) -> None:
    whole = client.chat("tiny", HELLO, options=OPTIONS, logprobs=True, top_logprobs=2)
    parts = list(
        client.chat("tiny", HELLO, options=OPTIONS, logprobs=True, top_logprobs=2, stream=True)
    )
    tokens = [each for part in parts for each in part.logprobs or ()]
    assert whole.logprobs is not None
    assert len(whole.logprobs) == len(tokens) == 12
    assert all(len(each.top_logprobs or ()) == 2 for each in tokens)


def test_an_answer_keeps_to_its_format(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"enum": [7, 8]}},
        "required": ["age"],
        "additionalProperties": False,
    }
    options = {"temperature": 0}
    said = client.chat("tiny", HELLO, format=schema, think=False, options=options).message.content
    assert json.loads(said or "")["age"] in (7, 8)
    said = client.generate("tiny", "Give me", format=schema, raw=True, options=options).response
    assert json.loads(said or "")["age"] in (7, 8)


def test_a_conversation_with_calls_and_results_goes_on(client: ollama.Client) -> None:
    def weather(city: str) -> str:
        """The weather of a city."""
        return "rain"

    calls = [{"function": {"name": "weather", "arguments": {"city": city}}} for city in "AB"]
    messages = [
        *HELLO,
        {"role": "assistant", "content": "", "thinking": "Look.", "tool_calls": calls},
        {"role": "tool", "content": "rain", "tool_name": "weather"},
        {"role": "tool", "content": "sun", "tool_name": "weather"},
    ]
    said = client.chat("tiny", messages, tools=[weather], options={"num_predict": 3})
    assert said.done


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": [HELLO[0] | {"images": ["aGk="]}]}, "text only"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": HELLO, "options": {"temperature": -1}}, "temperature must be"),
        ({"messages": HELLO, "options": {"temperature": "hot"}}, "temperature"),
        ({"messages": HELLO, "options": {"mirostat": 2}}, "mirostat"),
        ({"messages": HELLO, "options": {"num_ctx": 10**7}}, "context length is"),
        ({"messages": HELLO, "options": {"repeat_penalty": 2, "repeat_last_n": 9}}, "only -1"),
        ({"messages": HELLO, "keep_alive": "soon"}, "keep_alive"),
        ({"messages": HELLO, "think": "hard"}, "think must be"),
        ({"messages": HELLO, "format": "xml"}, "format must be"),
        ({"messages": HELLO, "format": {"type": "nonsense"}}, "format"),
        ({"messages": HELLO, "tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"messages": HELLO, "model": ""}, "model must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_said(http: httpx.Client, body: dict[str, Any], says: str) -> None:
    assert says in problem(http.post("/api/chat", json={"model": "tiny"} | body), 400)


def test_a_prompts_fields_that_cannot_be_honoured_are_refused(http: httpx.Client) -> None:
    for field, value in (
        *(("suffix", "end"), ("template", "{{ .Prompt }}"), ("context", [1, 2])),
        *(("images", ["aGk="]), ("width", 64)),
    ):
        body = {"model": "tiny", "prompt": "Hello", field: value}
        assert field in problem(http.post("/api/generate", json=body), 400)
    body = {"model": "tiny", "prompt": "Hello", "raw": True, "system": "Be"}
    assert "raw" in problem(http.post("/api/generate", json=body), 400)


def test_unknown_names_and_paths_are_404(http: httpx.Client, client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="There is no model 'nobody'") as caught:
        client.chat("nobody:latest", HELLO)
    assert caught.value.status_code == 404
    assert problem(http.post("/api/create", json={"model": "x"}), 404)
    assert problem(http.get("/api/chat"), 405)


def test_models_are_listed_and_described(client: ollama.Client, http: httpx.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"tiny", "tiny-alias", "other"} <= set(listed)
    assert "claude-*" not in listed
    assert listed["tiny"].digest == listed["tiny-alias"].digest != listed["other"].digest
    assert listed["tiny"].size
    details = listed["tiny"].details
    assert details is not None
    assert details.family == "qwen3"

    shown = client.show("tiny:latest")
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.template
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "qwen3"
    assert shown.modelinfo["qwen3.context_length"] > 0
    assert problem(http.post("/api/show", json={}), 400)
    assert http.post("/api/show", json={"name": "other"}).json()["details"]["family"] == "llama"

    # How the command-line client finds out whether anybody is there.
    assert http.head("/", follow_redirects=True).status_code == 200
    version = http.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 13, 4)  # what Codex asks for


def test_keep_alive_loads_keeps_and_unloads(client: ollama.Client, daemon: LiveDaemon) -> None:
    def loaded() -> dict[str, Any]:
        return {model.model or "": model for model in client.ps().models}

    assert client.generate("other", keep_alive="1h30m").done_reason == "load"
    now = datetime.now(UTC)
    left = loaded()["other"].expires_at - now
    assert timedelta(minutes=88) < left < timedelta(minutes=91)
    assert loaded()["other"].context_length
    client.chat("other", HELLO, options={"num_predict": 1}, keep_alive=-1)
    assert loaded()["other"].expires_at > now + timedelta(days=365)
    client.chat("other", HELLO, options={"num_predict": 1})  # says nothing: as config.yaml says
    assert timedelta(minutes=14) < loaded()["other"].expires_at - now < timedelta(minutes=16)
    client.chat("other", HELLO, options={"num_predict": 1}, keep_alive=0)
    daemon.wait_until(lambda: daemon.model("other")["state"] == "stopped")
    assert "other" not in loaded()

    assert client.chat("other", [], keep_alive="5m").done_reason == "load"
    assert client.chat("other", [], keep_alive=0).done_reason == "unload"
    assert daemon.model("other")["state"] == "stopped"


def test_requests_are_in_the_books(client: ollama.Client, daemon: LiveDaemon) -> None:
    client.chat("tiny", HELLO, options={"num_predict": 5})

    def rows() -> list[Any]:
        with closing(sqlite3.connect(daemon.home / "fastmlx.db")) as database:
            asked = "SELECT output_tokens FROM usage WHERE dialect='ollama' AND model='tiny'"
            return database.execute(asked).fetchall()

    daemon.wait_until(lambda: (5,) in rows())


def test_a_model_is_fetched_as_the_client_watches(own: LiveDaemon) -> None:
    with ollama.Client(own.url, timeout=60) as client, own.http() as http:
        lines = list(client.pull("mine", stream=True))
        assert lines[0].status == "pulling manifest"
        assert lines[-1].status == "success"
        assert lines[-2].completed == lines[-2].total != 0
        assert list((own.home.parent / "cache").rglob("model.safetensors"))
        assert "mine" in [model.model for model in client.list().models]

        told = http.post("/api/pull", json={"name": "hf.co/org/model:latest", "stream": False})
        assert told.json()["status"] == "success"
        assert "org/model" in told.json()["hint"]  # an entry that makes it usable
        assert client.pull("demo").status == "success"

        for name in ("nothing", "../tmp", "./x"):  # neither is a folder looked for
            problem(http.post("/api/pull", json={"model": name, "stream": False}), 400)
        assert "org/nobody" in problem(
            http.post("/api/pull", json={"model": "org/nobody", "stream": False}), 404
        )
        with pytest.raises(ollama.ResponseError, match="org/nobody"):
            list(client.pull("org/nobody", stream=True))


def test_a_long_conversation_loses_its_oldest_turns_only_where_that_is_asked_for(
    own: LiveDaemon,
) -> None:
    turns = [{"role": "user", "content": f"Tell me of number {number}."} for number in range(9)]
    said = {"role": "assistant", "content": "It is a number."}
    messages = [message for turn in turns[:-1] for message in (turn, said)] + [turns[-1]]
    asked: dict[str, Any] = {"model": "demo", "messages": messages, "stream": False}
    asked["options"] = {"num_predict": 4}
    with own.http() as http:
        for fields in ({}, {"truncate": False}):
            assert "64" in problem(http.post("/api/chat", json=asked | fields), 400)
        answer = http.post("/api/chat", json=asked | {"truncate": True, "shift": False}).json()
        assert 20 < answer["prompt_eval_count"] <= 60 and answer["done"]
        assert "shift" in problem(http.post("/api/chat", json=asked | {"shift": True}), 400)
        long: dict[str, Any] = {"model": "demo", "prompt": "Much to say. " * 50, "stream": False}
        for fields in ({}, {"truncate": False}, {"truncate": True}, {"raw": True}):
            assert "64" in problem(http.post("/api/generate", json=long | fields), 400)


def test_texts_become_vectors(own: LiveDaemon) -> None:
    long = "one two three four five six seven eight nine ten"
    with ollama.Client(own.url, timeout=60) as client, own.http() as http:
        one = client.embed("embedder:latest", "one", keep_alive=-1)
        both = client.embed("embedder", ["one", long], dimensions=5)
        older = client.embeddings("embedder", "one")
        vector = list(one.embeddings[0])
        assert sum(x * x for x in vector) == pytest.approx(1)
        assert list(older.embedding) == pytest.approx(vector, abs=1e-6)
        assert [len(each) for each in both.embeddings] == [5, 5]
        assert both.prompt_eval_count == (one.prompt_eval_count or 0) + 8  # cut to the context
        assert one.total_duration
        with openai.OpenAI(base_url=own.url + "/v1", api_key="unused") as other:
            same = other.embeddings.create(model="embedder", input="one").data[0].embedding
        assert same == pytest.approx(vector, abs=1e-6)

        asked = {"model": "embedder", "input": long, "truncate": False}
        assert "at most 8" in problem(http.post("/api/embed", json=asked), 400)
        assert "from 1" in problem(http.post("/api/embed", json=asked | {"input": []}), 400)
        assert "embeddings" in problem(http.post("/api/embed", json=asked | {"model": "demo"}), 400)
        shown = http.post("/api/show", json={"model": "embedder"}).json()
        assert shown["capabilities"] == ["embedding"]
