"""Requests of any kind against a live daemon: no 500, no hang, always the dialect's errors.

What is sent follows the published document: a request that would be answered, with fields of the
endpoint's schema set to values of their type or of any other, and places anywhere in it replaced
or left out. In the suite always the same requests; `FASTMLX_FUZZ=500 pytest tests/daemon/api/
test_fuzz.py` sends that many others to each endpoint.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import hub
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from live import LiveDaemon

EXAMPLES = int(os.environ.get("FASTMLX_FUZZ", "0"))
TIMEOUT_S = 60.0  # for one answer of four tokens; a busy machine must not fail a test

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TURNS: list[Any] = [
    {"role": "system", "content": "Be"},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "1", "tool_call_id": "c1"},
]
BLOCKS: list[Any] = [
    {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {}}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}]},
]
CHAT = {"messages": TURNS, "tools": [TOOL], "max_tokens": 3}
MESSAGE = {"messages": BLOCKS, "max_tokens": 3, "tools": [{"name": "f", "input_schema": {}}]}
RESPONSE: dict[str, Any] = {
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "max_output_tokens": 3,
}
OLLAMA = {"num_predict": 3, "stop": ["x"], "temperature": 0.5, "seed": 3, "num_ctx": 64}
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
# Fields that go deep, beside those that a schema knows no more of than that they are objects.
DEEP: dict[str, list[Any]] = {
    "stream": [True],
    "store": [True],
    "metadata": [{"a": "b"}],
    "response_format": [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    ],
    "structured_outputs": [{"regex": "a+"}, {"choice": ["a"]}, {"grammar": 'root ::= "a"'}],
    "tool_choice": [
        "required",
        {"type": "function", "function": {"name": "f"}},
        {"type": "tool", "name": "f"},
        {"type": "function", "name": "f"},
        {"type": "any"},
    ],
    "thinking": [{"type": "enabled", "budget_tokens": 2}],
    "output_config": [{"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}],
    "format": ["json", SCHEMA],
    "text": [{"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}],
    "options": [OLLAMA],
    "logprobs": [True, 2],
    "reasoning": [{"effort": "low", "summary": "auto"}],
    "system": [[{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}]],
}
# Requests that are answered, to begin with. Endpoints that are not here get what their schema says.
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": ["Hi", "Ho"], "max_tokens": 3},
    "/v1/messages": MESSAGE,
    "/v1/messages/count_tokens": MESSAGE,
    "/v1/responses": RESPONSE,
    "/v1/responses/input_tokens": RESPONSE,
    "/v1/responses/compact": RESPONSE,
    "/v1/conversations": {"items": RESPONSE["input"], "metadata": {"a": "b"}},
    "/v1/embeddings": {"model": "embedder", "input": ["Hi", "Ho"]},
    "/apply-template": CHAT,
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [5, 6]},
    "/api/chat": {"messages": TURNS, "tools": [TOOL], "options": OLLAMA},
    "/api/generate": {"prompt": "Hi", "options": OLLAMA},
    "/api/embed": {"model": "embedder", "input": "Hi"},
    "/api/embeddings": {"model": "embedder", "prompt": "Hi"},
}
SOME_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["demo", "user", "assistant", "auto", "json", "text", "f", "c1", "nobody"])
    | st.sampled_from(
        ["\x00", "\u2028", "\ud800", "{", "<think>", "../..", "a" * 3000, [[[[[]]]]]]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[LiveDaemon]:
    """Answers are short, whatever is asked for: there is hardly any room in the context."""
    config = f"""\
models:
  demo: {{path: "builtin:demo", context: 160, sampling: {{max_tokens: 4}}}}
  embedder: {{path: {tiny_model("qwen3")}, kind: embedding, context: 16}}
"""
    folder = tmp_path_factory.mktemp("fuzz")
    with hub.small_hub(folder / "source") as small:
        environment = hub.environment(small.url, folder / "cache")
        with LiveDaemon(folder / "home", config, environment=environment) as running:
            yield running


@pytest.fixture(scope="module")
def http(fuzzed: LiveDaemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fuzzed.url, timeout=TIMEOUT_S) as http:
        yield http


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    return http.get("/openapi.json").json()


def of_schema(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the document admits."""
    if reference := schema.get("$ref"):
        return of_schema(components[reference.rpartition("/")[2]], components)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if choices := schema.get("anyOf"):
        return st.one_of([of_schema(each, components) for each in choices])
    match schema.get("type"):
        case "object" if properties := schema.get("properties"):
            return st.fixed_dictionaries(
                {}, optional={k: of_schema(v, components) for k, v in properties.items()}
            )
        case "object":
            return st.dictionaries(st.text(max_size=4), SOME_JSON, max_size=2)
        case "array":
            return st.lists(of_schema(schema.get("items") or {}, components), max_size=3)
        case "string":
            return st.text(max_size=8)
        case "integer":
            return st.integers(-2, 5) | st.integers(-(2**65), 2**65)
        case "number":
            return st.floats(-2, 5) | st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return SOME_JSON


def properties_of(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Name → schema of a body's fields."""
    if reference := schema.get("$ref"):
        schema = components[reference.rpartition("/")[2]]
    found = dict(schema.get("properties") or {})
    for part in schema.get("allOf") or ():
        found |= properties_of(part, components)
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def bodies(draw: st.DrawFn, path: str, fields: dict[str, Any], components: Any) -> bytes:
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=20))
    body = copy.deepcopy({"model": "demo"} | GOOD.get(path, {}))
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4)):
        deep = st.sampled_from(DEEP[name]) if name in DEEP else st.nothing()
        value = draw(deep | of_schema(fields[name], components) | SOME_JSON)
        body[name] = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 2))):
        inside = list(places(body))
        if not inside:
            break
        container, key = draw(st.sampled_from(inside))
        if draw(st.booleans()):
            container[key] = copy.deepcopy(draw(SOME_JSON))
        else:
            del container[key]
    return json.dumps(body).encode()


def check(response: httpx.Response, schema: dict[str, Any]) -> None:
    """Answered, or refused in the dialect's words."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400:
        said = response.json()
        assert "Traceback" not in response.text
        conforms(said, schema)
        return
    kind = response.headers["content-type"].partition(";")[0]
    if kind == "application/x-ndjson":
        for line in response.text.splitlines():
            json.loads(line)
    elif kind == "text/event-stream":
        for line in response.text.splitlines():
            if line.startswith("data: ") and line != "data: [DONE]":
                json.loads(line.removeprefix("data: "))
    elif kind == "application/json":
        response.json()


def conforms(value: Any, schema: dict[str, Any]) -> None:
    if "const" in schema:
        assert value == schema["const"]
    kinds = {"object": dict, "string": str, "null": type(None)}
    if wanted := schema.get("type"):
        wanted = [wanted] if isinstance(wanted, str) else wanted
        assert isinstance(value, tuple(kinds[each] for each in wanted)), (value, schema)
    for name, inner in schema.get("properties", {}).items():
        if name in schema.get("required", ()):
            assert name in value, value
        if name in value:
            conforms(value[name], inner)


def error_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    reference = operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
    return document["components"]["schemas"][reference.rpartition("/")[2]]


def examples(default: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=EXAMPLES or default,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def attack(
    http: httpx.Client, path: str, sent: st.SearchStrategy[bytes], error: dict[str, Any]
) -> None:
    @examples(12)
    @given(sent)
    def fuzz(body: bytes) -> None:
        note(f"POST {path} {body!r}")
        check(http.post(path, content=body), error)

    fuzz()


@pytest.mark.slow
def test_no_body_breaks_an_endpoint(http: httpx.Client, document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    made = http.post("/v1/chat/completions", json={"model": "demo", "store": True} | CHAT)
    kept = {"/v1/chat/completions/{identity}": made.json()["id"]}
    for path, item in document["paths"].items():
        operation = item.get("post", {})
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        fields, error = properties_of(schema, components), error_schema(document, operation)
        if path in GOOD:  # what is mutated is right to begin with
            good = http.post(path, json={"model": "demo"} | GOOD[path])
            assert good.status_code == 200, good.text

        url = re.sub("{.*?}", kept.get(path, "nobody"), path)
        attack(http, url, bodies(path, fields, components), error)
    assert http.get("/health").json() == {"status": "ok"}


@pytest.mark.slow
def test_no_path_breaks_an_endpoint(http: httpx.Client, document: dict[str, Any]) -> None:
    places = [
        (method, path, error_schema(document, operation))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and ("{" in path or method in ("get", "head"))
    ]

    @examples(40)
    @given(st.sampled_from(places), st.text(max_size=8), st.text(max_size=4))
    def fuzz(place: tuple[str, str, dict[str, Any]], name: str, query: str) -> None:
        method, path, error = place
        before, _, after = path.partition("{")
        url = before + (quote(name, safe="") + after.partition("}")[2] if after else "")
        response = http.request(method, f"{url}?limit={quote(query)}&server={quote(query)}")
        if method != "head":
            check(response, error)

    fuzz()
