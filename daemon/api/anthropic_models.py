"""GET /v1/models as Anthropic's clients read it.

Source: https://platform.claude.com/docs/en/api/models/list
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..protocol.errors import BadRequest
from .query import number

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000


def model_info(model: Mapping[str, Any]) -> dict[str, Any]:
    """One entry from one of `api.models.model_objects`."""
    created = datetime.fromtimestamp(model["created"], UTC)
    context = model["context_length"]
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


def page(models: Sequence[Mapping[str, Any]], query: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the list: `limit` entries after `after_id`, or those before `before_id`.

    Raises BadRequest for a limit outside 1 … 1000 and for an id that is not in the list.
    """
    limit = number(query, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    ids = [model["id"] for model in models]
    after, before = query.get("after_id"), query.get("before_id")
    if after:
        start = _place(ids, after, "after_id") + 1
        stop = start + limit
    elif before:
        stop = _place(ids, before, "before_id")
        start = max(0, stop - limit)
    else:
        start, stop = 0, limit
    found = models[start:stop]
    more = start > 0 if before and not after else stop < len(models)
    return {
        "data": [model_info(model) for model in found],
        "has_more": more,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
    }


def _place(ids: list[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise BadRequest(f"{param}: there is no such model in the list.", param=param)
    return ids.index(wanted)
