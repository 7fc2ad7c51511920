"""Errors as Ollama's clients read them: `{"error": "what went wrong"}`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import Problem

# fastmlx's own endpoints lie under /api, too, so a prefix does not tell the dialect.
PATHS = frozenset(
    f"/api/{name}"
    for name in (
        *("chat", "generate", "embed", "embeddings", "tags", "ps", "show", "version", "pull"),
        *("create", "copy", "delete", "push"),  # not here; the 404 has their clients' shape
    )
)


def speaks_ollama(path: str) -> bool:
    """Whether the client of a request expects this dialect."""
    return path in PATHS


def ollama_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """A `daemon.api.errors.Shape`."""
    return {"error": problem.message}
