"""`/admin/hub`: find models on the Hub, watch downloads, delete from disk. Buttons are forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...config.edit import Change, edited
from ...daemon.hub.discover import free_name
from ...daemon.hub.downloads import listed
from ...daemon.hub.remote import Format, Sort
from ...daemon.protocol.errors import BadRequest, FastMLXError
from ...daemon.tasks import hub
from ..editing import change_now
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

PAGE = "/admin/hub"
FORMATS = {"mlx": "MLX", "safetensors": "safetensors"}
SORTS = {
    "downloads": "downloads",
    "likes": "likes",
    "trending_score": "trending",
    "last_modified": "last changed",
    "created_at": "newest",
}
SHOWN = 40
# State → the colours of admin.css, which are those of models.
TONES = {
    "queued": "stopped",
    "running": "starting",
    "paused": "stopped",
    "failed": "failed",
    "done": "ready",
}


def add(pages: Blueprint) -> None:
    @pages.get("/hub", name="hub")
    async def page(request: Request) -> HTTPResponse:
        """With `?q=` (also an empty one) the Hub is asked; without, nothing leaves the machine."""
        front: Front = request.app.ctx.front
        block = wanted_block(request, ("banner", "downloads", "disk"))
        values: dict[str, Any] = {"here": PAGE, "tones": TONES}
        if block in (None, "downloads"):
            values |= _downloads(front)
        if block in (None, "disk"):
            values |= {"on_disk": await hub.models(front), "room": await hub.room(front)}
        if block is None:
            values |= await _found(request, front)
        return respond(request, "hub.html", block, values)

    @pages.post("/hub/download", name="start_download")
    async def start(request: Request) -> HTTPResponse:
        """Of the id in the form. What the Hub or the disk refuses is a page that says so."""
        front: Front = request.app.ctx.front
        await front.downloads.start(_sent(request, "id"), _sent(request, "revision") or None)
        return _back("downloads-title")

    @pages.post("/hub/downloads/<id:str>/<what:str>", name="change_download")
    async def change(request: Request, id: str, what: str) -> HTTPResponse:
        """`what`: pause, resume or cancel."""
        downloads = request.app.ctx.front.downloads
        if what == "pause":
            downloads.pause(id)
        elif what == "resume":
            downloads.resume(id)
        elif what == "cancel":
            await downloads.cancel(id)
        else:
            raise BadRequest("There is no such button.")
        return _back("downloads-title")

    @pages.post("/hub/add", name="add_from_hub")
    async def declare(request: Request) -> HTTPResponse:
        """An entry of config.yaml for the model in the form, which is here; then its card."""
        front: Front = request.app.ctx.front
        found = await hub.find(front, _sent(request, "id"))
        models = front.config.settings.models
        taken = {*models, *(alias for spec in models.values() for alias in spec.aliases)}
        name = free_name(found.model.id, taken)
        entry = {"path": found.model.id}
        if (revision := _sent(request, "revision") or found.model.revision) is not None:
            entry["revision"] = revision
        change = Change(("models", name), entry)
        await change_now(front, lambda text: edited(text, [change]))
        return redirect(f"/admin/models/{quote(name, safe='')}", status=303)

    @pages.get("/hub/delete", name="confirm_delete")
    async def confirm(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        if wanted_block(request, ("banner",)):
            return respond(request, "hub_delete.html", "banner", {})
        found = await hub.find(front, request.args.get("id", ""))
        commit = request.args.get("commit") or None
        values = {
            "found": found,
            "commit": commit,
            "frees_bytes": found.frees_bytes(commit),
            "fetching": bool(front.downloads.of(found.model.id)),
        }
        return respond(request, "hub_delete.html", None, values)

    @pages.post("/hub/delete", name="delete_model")
    async def delete(request: Request) -> HTTPResponse:
        """The page before has said who would miss it."""
        front: Front = request.app.ctx.front
        commit = _sent(request, "commit") or None
        confirmed = _sent(request, "confirm") == "true"
        await hub.delete(front, _sent(request, "id"), commit, confirmed=confirmed)
        return _back("disk-title")


def _downloads(front: Front) -> dict[str, Any]:
    shown = listed(front.downloads)
    declared = {spec.path for spec in front.config.settings.models.values()}
    return {
        "downloads": [each | {"declared": each["model"] in declared} for each in shown],
        "every_s": 1 if front.downloads.goes_on else 10,
    }


async def _found(request: Request, front: Front) -> dict[str, Any]:
    """What the Hub has, or why it does not say."""
    words = request.args.get("q")
    format = request.args.get("format", "")
    sort = request.args.get("sort", "")
    values: dict[str, Any] = {
        "words": words,
        "format": format if format in get_args(Format) else get_args(Format)[0],
        "formats": FORMATS,
        "sort": sort if sort in get_args(Sort) else get_args(Sort)[0],
        "sorts": SORTS,
        "most": SHOWN,
        "found": None,
        "problem": None,
    }
    # Sanic leaves out parameters without a value; the button says that it was pressed.
    if words is None and "format" not in request.args:
        return values
    asked = (words or "").strip()[:200]
    try:
        values["found"] = await hub.search(front, asked, values["format"], values["sort"], SHOWN)
    except FastMLXError as error:
        values["problem"] = error.message
    return values


def _sent(request: Request, name: str) -> str:
    return str((request.form.get(name) if request.form else None) or "").strip()


def _back(place: str) -> HTTPResponse:
    """303: the browser GETs the page, and reloading it does not press the button again."""
    return redirect(f"{PAGE}#{place}", status=303)
