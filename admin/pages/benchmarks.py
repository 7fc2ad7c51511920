"""`/admin/benchmarks`: measure a model, see what was measured, compare two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...daemon.protocol.errors import BadRequest, Conflict, FastMLXError, ModelNotFound
from ...daemon.store import bench_runs
from ...daemon.store.database import StoreUnavailable
from ...daemon.tasks.bench import Plan
from ..bench import COLOURS, compare
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

HERE = "/admin/benchmarks"
DEFAULT = {  # what the form says at first
    "model": "",
    "prompt_tokens": "128, 1024",
    "batches": "1, 4",
    "output_tokens": "64",
    "rounds": "1",
}


def add(pages: Blueprint) -> None:
    @pages.get("/benchmarks", name="benchmarks")
    async def page(request: Request) -> HTTPResponse:
        return await _page(request, DEFAULT)

    @pages.post("/benchmarks/start", name="start_benchmark")
    async def start(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        typed = {name: _said(request, name) for name in DEFAULT}
        try:
            front.benchmarks.start(_plan(typed))
        except (BadRequest, Conflict, ModelNotFound) as error:
            return await _page(request, typed, error)
        return redirect(HERE, status=303)

    @pages.post("/benchmarks/cancel", name="cancel_benchmark")
    async def cancel(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        await front.benchmarks.cancel()
        return redirect(HERE, status=303)

    @pages.post("/benchmarks/<number:int>/delete", name="delete_benchmark")
    async def delete(request: Request, number: int) -> HTTPResponse:
        front: Front = request.app.ctx.front
        await front.store.change(bench_runs.forget, number)
        return redirect(HERE, status=303)


async def _page(
    request: Request, typed: Mapping[str, str], error: FastMLXError | None = None
) -> HTTPResponse:
    front: Front = request.app.ctx.front
    block = wanted_block(request, ("banner", "progress", "runs"))
    first, second = _number(request.args.get("a")), _number(request.args.get("b"))
    values: dict[str, Any] = {
        "here": HERE + (f"?a={first or ''}&b={second or ''}" if first or second else ""),
        "progress": front.benchmarks.current,
        "models": list(front.config.settings.models),
        "typed": typed,
        "error": error,
    }
    if block in (None, "runs"):
        values |= await _runs(front, first, second)
    return respond(
        request, "benchmarks.html", block, values, 200 if error is None else error.status
    )


async def _runs(front: Front, first: int | None, second: int | None) -> dict[str, Any]:
    """The runs that are kept, and those that are looked at: by default the newest."""
    try:
        kept = await front.store.read(bench_runs.runs)
    except StoreUnavailable as error:
        return {"runs": [], "problem": str(error), "looked": []}
    by_id = {run.id: run for run in kept}
    chosen = [by_id[each] for each in dict.fromkeys((first, second)) if each in by_id]
    chosen = chosen or kept[:1]
    return {
        "runs": kept,
        "problem": None,
        "looked": chosen,
        "comparison": compare(chosen[0], chosen[1] if len(chosen) > 1 else None)
        if chosen
        else None,
        "colours": COLOURS,
    }


def _said(request: Request, name: str) -> str:
    return (request.form.get(name) if request.form else None) or ""


def _plan(typed: Mapping[str, str]) -> Plan:
    """Raises BadRequest."""
    return Plan(
        model=typed["model"],
        prompt_tokens=_numbers("prompt_tokens", typed["prompt_tokens"]),
        batches=_numbers("batches", typed["batches"]),
        output_tokens=_numbers("output_tokens", typed["output_tokens"])[0],
        rounds=_numbers("rounds", typed["rounds"])[0],
    )


def _numbers(name: str, text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 9 for word in words):
        raise BadRequest(f"{name} must be numbers with commas between them.", param=name)
    return tuple(map(int, words))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None
