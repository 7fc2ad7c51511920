"""`limit`, `order` and `after` of the lists that OpenAI's dialects show page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..protocol.errors import BadRequest
from .query import number

if TYPE_CHECKING:
    from sanic import Request

PAGE, MAX_PAGE = 20, 100  # entries

Order = Literal["asc", "desc"]


class Paging(NamedTuple):
    limit: int
    order: Order
    after: str | None


def read_paging(request: Request, order: Order) -> Paging:
    """`order` is that of a list whose query says none. Raises BadRequest."""
    limit = number(request.args, "limit", PAGE, least=1, most=MAX_PAGE)
    asked = request.args.get("order", order)
    if asked not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc.", param="order")
    return Paging(limit, asked, request.args.get("after") or None)


def page(
    request: Request, items: Sequence[dict[str, Any]], order: Order = "desc"
) -> dict[str, Any]:
    """The page of `items`, which come oldest first, that the query asks for. Raises BadRequest."""
    asked = read_paging(request, order)
    listed = list(items) if asked.order == "asc" else list(reversed(items))
    if asked.after is not None:
        places = [i for i, item in enumerate(listed) if item.get("id") == asked.after]
        if not places:
            raise nothing_before()
        listed = listed[places[0] + 1 :]
    return list_object(listed[: asked.limit], more=len(listed) > asked.limit)


def nothing_before() -> BadRequest:
    return BadRequest("after: there is no such item in the list.", param="after")


def list_object(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A list as the API shows it."""
    return {
        "object": "list",
        "data": items,
        "first_id": items[0].get("id") if items else None,
        "last_id": items[-1].get("id") if items else None,
        "has_more": more,
    }
