"""POST /api/pull: fetch a model from the Hugging Face Hub, told line by line.

A declared name fetches what its entry names. Anything else is taken for a Hub id; what was fetched
is served once config.yaml has an entry for it, and the answer says so.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ...config.paths import looks_like_folder
from ..hub.catalog import BUILTIN, HUB_ID, resolve
from ..protocol.errors import BadRequest
from .body import convert, read_json
from .errors import reply_to
from .ollama_answer import NDJSON, line_of
from .ollama_errors import ollama_body
from .ollama_fields import LATEST, model_name
from .sse import send_events

if TYPE_CHECKING:
    from sanic import Request

    from ...config.settings import Settings
    from ..hub.downloads import Downloads
    from ..tasks.front import Front

blueprint = Blueprint("ollama_pull")

TELL_EVERY_S = 0.2
_HOSTS = ("hf.co/", "huggingface.co/", "https://huggingface.co/", "https://hf.co/")


class OllamaPullFields(msgspec.Struct, kw_only=True):
    """Newer clients say `model`, older ones `name`. `insecure` changes nothing."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None  # true unless said otherwise


class Wanted(NamedTuple):
    path: str  # Hub id, folder or builtin:…
    revision: str | None
    declared: bool

    @property
    def on_the_hub(self) -> bool:
        return not looks_like_folder(self.path) and not self.path.startswith(BUILTIN)


@blueprint.post("/api/pull", name="pull", ctx_body=OllamaPullFields)
async def pull_model(request: Request) -> HTTPResponse | None:
    """Ollama: fetch a model from the Hub."""
    front: Front = request.app.ctx.front
    fields = convert(read_json(request.body), OllamaPullFields)
    wanted = find_wanted(front.config.settings, fields.model or fields.name)
    lines = _lines(front.downloads, wanted)
    if fields.stream is False:
        last: dict[str, Any] = {}
        async with aclosing(lines):
            async for line in lines:
                last = line if "hint" not in last else last | line
        return HTTPResponse(msgspec.json.encode(last), content_type="application/json")
    identity = f"pull-{uuid.uuid4().hex}"

    def encode_error(error: Exception) -> bytes:
        return line_of(reply_to(error, identity, ollama_body).body)

    await send_events(
        request,
        lines,
        line_of,
        encode_error,
        end=b"",
        heartbeat=line_of({"status": "pulling"}),
        content_type=NDJSON,
    )
    return None


def find_wanted(settings: Settings, asked: str | None) -> Wanted:
    """Raises BadRequest for what is neither declared nor a Hub id."""
    name = model_name(settings, asked)
    if declared := settings.find(name):
        return Wanted(declared.spec.path, declared.spec.revision, True)
    for host in _HOSTS:
        name = name.removeprefix(host)
    name = name.removesuffix(LATEST)
    # "./x" has an id's letters, and would be looked for beside the daemon.
    if not HUB_ID.fullmatch(name) or "/" not in name or looks_like_folder(name):
        raise BadRequest(
            f"'{name[:200]}' is neither a declared model nor a Hub id (organisation/name).",
            param="model",
        )
    return Wanted(name, None, False)


async def _lines(downloads: Downloads, wanted: Wanted) -> AsyncGenerator[dict[str, Any], None]:
    """Raises FastMLXError."""
    yield {"status": "pulling manifest"}
    if wanted.on_the_hub:
        async for done, total in _download(downloads, wanted):
            yield {
                "status": f"pulling {wanted.path}",
                "digest": wanted.path,
                "total": total,
                "completed": done,
            }
    else:
        await asyncio.to_thread(resolve, wanted.path)
    if not wanted.declared:
        yield {
            "status": "fetched; to serve it, add it under models: in config.yaml",
            "hint": f"models: {{{wanted.path.rpartition('/')[2]}: {{path: {wanted.path}}}}}",
        }
    yield {"status": "success"}


async def _download(downloads: Downloads, wanted: Wanted) -> AsyncGenerator[tuple[int, int], None]:
    """(bytes here, bytes in all), now and then and at the end. Closing the generator pauses what
    nobody had begun before; the next pull goes on from there."""
    running = {each.record.id for each in downloads.all if each.record.state.goes_on}
    download = await downloads.start(wanted.path, wanted.revision)
    finished = asyncio.create_task(downloads.finished(download))
    told = -1
    try:
        while not finished.done():
            await asyncio.wait({finished}, timeout=TELL_EVERY_S)
            if (done := download.done_bytes) != told:
                told = done
                yield done, download.plan.total_bytes
        finished.result()
    finally:
        if not finished.done():
            finished.cancel()
            if download.record.state.goes_on and download.record.id not in running:
                downloads.pause(download.record.id)
