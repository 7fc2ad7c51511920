"""GET /openapi.json: what this server understands, as an OpenAPI 3.1 document.

Nothing is written down twice. Paths come from the application's routes, words from the handlers'
docstrings, bodies from the structs that the dialects read them into. A route names its struct as
`ctx_body`, fields that are read beside it as `ctx_raw`, those that are refused (see `body.refuse`)
as `ctx_refused`, and known ones that change nothing as `ctx_harmless`.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from .anthropic_errors import speaks_anthropic
from .ollama_errors import speaks_ollama

if TYPE_CHECKING:
    from sanic import Request
    from sanic_routing.route import Route

blueprint = Blueprint("openapi")

_PARAMETER = re.compile(r"<(\w+)(?::\w+)?>")
_TEXT: dict[str, Any] = {"type": "string"}
_OPENAI_ERROR: dict[str, Any] = {
    "message": _TEXT,
    "type": _TEXT,
    "param": {"type": ["string", "null"]},
    "code": {"type": ["string", "null"]},
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# The shape of everything that goes wrong, by dialect.
ERRORS = {
    "OpenAIError": _object({"error": _object(_OPENAI_ERROR)}),
    "AnthropicError": _object(
        {
            "type": {"const": "error"},
            "error": _object({"type": _TEXT, "message": _TEXT}),
            "request_id": _TEXT,
        }
    ),
    "OllamaError": _object({"error": _TEXT}),
}


@blueprint.get("/openapi.json", name="openapi")
async def openapi(request: Request) -> HTTPResponse:
    """This document."""
    routes = request.app.router.routes
    made = document(routes, request.app.ctx.front.version)
    return HTTPResponse(msgspec.json.encode(made), content_type="application/json")


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Of all routes but the dashboard's, which answer with pages."""
    described = [route for route in routes if not _is_page(route)]
    bodies = {body for route in described if (body := getattr(route.ctx, "body", None))}
    ordered = sorted(bodies, key=lambda body: (body.__module__, body.__qualname__))
    schemas, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    references = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(described, key=lambda route: route.path):
        item = paths.setdefault("/" + _PARAMETER.sub(r"{\1}", route.path), {})
        if names := _PARAMETER.findall(route.path):
            item["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names
            ]
        for method in sorted(route.methods):
            item[method.lower()] = _operation(route, method, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fastmlx", "version": version},
        "paths": paths,
        "components": {"schemas": {**components, **ERRORS}},
    }


def _is_page(route: Route) -> bool:
    return route.path == "" or route.path == "admin" or route.path.startswith("admin/")


def _operation(route: Route, method: str, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    words = inspect.getdoc(route.handler) or ""
    module = inspect.getdoc(inspect.getmodule(route.handler)) or ""
    operation: dict[str, Any] = {
        "operationId": f"{route.name.partition('.')[2]}.{method.lower()}",
        "summary": (words or module).split("\n\n")[0].replace("\n", " "),
        "responses": {
            "200": {"description": "The answer; a stream where `stream` asks for one."},
            "default": {
                "description": "What went wrong.",
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{_error_of('/' + route.path)}"}
                    }
                },
            },
        },
    }
    body = getattr(route.ctx, "body", None)
    if body is not None and method not in ("GET", "HEAD", "DELETE"):
        schema = references[body]
        if raw := getattr(route.ctx, "raw", None):
            schema = {"allOf": [schema, {"properties": {name: {} for name in raw}}]}
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
        told: list[str] = []
        if refused := getattr(route.ctx, "refused", None):
            told.append(
                "Refused with a 400, unless the value asks for nothing special: "
                f"{', '.join(sorted(refused))}."
            )
        if harmless := getattr(route.ctx, "harmless", None):
            told.append(f"Accepted, and without effect: {', '.join(sorted(harmless))}.")
        if told:
            operation["requestBody"]["description"] = " ".join(told)
    return operation


def _error_of(path: str) -> str:
    if speaks_anthropic(path, {}):
        return "AnthropicError"
    return "OllamaError" if speaks_ollama(path) else "OpenAIError"
