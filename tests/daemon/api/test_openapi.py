"""The published document says what the application does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.paths import Home
from fastmlx.config.settings import Settings
from fastmlx.config.state import ConfigState
from fastmlx.daemon.app import build, create_app
from live import LiveDaemon

# Endpoints whose body has fields.
WITH_FIELDS = {
    *("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens"),
    *("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact", "/v1/conversations"),
    *("/v1/embeddings", "/tokenize", "/detokenize", "/apply-template", "/v1/mcp/execute"),
    *(
        "/api/embed",
        "/api/embeddings",
        "/api/chat",
        "/api/generate",
        "/api/show",
        "/api/pull",
        "/api/cache/clear",
    ),
}


@pytest.fixture(scope="module")
def document(daemon: LiveDaemon) -> dict[str, Any]:
    with daemon.http() as http:
        answer = http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_every_route_of_the_application_is_in_it(document: dict[str, Any], tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    front, metrics = build(home, ConfigState(home.config, Settings()), "")
    try:
        methods: dict[str, set[str]] = {}
        for route in create_app(front, metrics).router.routes:
            path = "/" + re.sub(r"<(\w+):\w+>", r"{\1}", route.path)
            if path != "/" and path.split("/")[1] != "admin":
                found = methods.setdefault(path, set())
                found |= {method.lower() for method in route.methods}
        for path, wanted in methods.items():
            assert set(document["paths"][path]) - {"parameters"} == wanted, path
    finally:
        front.store.close()


def test_bodies_have_their_fields(document: dict[str, Any]) -> None:
    with_fields = {
        path for path, item in document["paths"].items() if "requestBody" in item.get("post", {})
    }
    assert with_fields >= WITH_FIELDS
    schemas = document["components"]["schemas"]
    assert {"messages", "tools", "stream"} <= set(schemas["ChatFields"]["properties"])
    assert schemas["OllamaChatFields"]["required"] == ["model"]
    body = document["paths"]["/v1/completions"]["post"]["requestBody"]
    assert "suffix" in body["description"]
    assert "response_format" in str(body["content"])


def test_it_is_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert all(_resolves(reference, document) for reference in _references(document))
    operations = [
        operation
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert all(operation["summary"] and operation["responses"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for path, item in document["paths"].items():
        named = [parameter["name"] for parameter in item.get("parameters", ())]
        assert named == re.findall(r"{(\w+)}", path)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _resolves(reference: str, document: dict[str, Any]) -> bool:
    place: Any = document
    for key in reference.removeprefix("#/").split("/"):
        place = place.get(key)
        if place is None:
            return False
    return True
