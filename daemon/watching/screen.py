"""`fastmlx top` as text: the daemon's status and the machine → lines. Pure."""

from __future__ import annotations

from typing import Any

from .machine import Machine

BAR = 20  # characters


def screen(status: dict[str, Any] | None, machine: Machine, width: int) -> list[str]:
    """Lines of at most `width` characters. `status` is `GET /api/status`; None: nobody runs."""
    lines = [*_head(status), *_machine(machine), ""]
    if status is not None:
        lines += _models(status["models"])
        lines += _requests(status.get("requests", []))  # an older daemon does not say
    return [line[:width].rstrip() for line in lines]


def _head(status: dict[str, Any] | None) -> list[str]:
    if status is None:
        return ["fastmlx: no daemon runs"]
    models = status["models"]
    ready = sum(model["state"] == "ready" for model in models)
    running = sum(model["requests_running"] for model in models)
    waiting = sum(model["requests_waiting"] for model in models)
    rate = sum(model["tokens_per_s"] for model in models)
    lines = [
        f"fastmlx {status['version']}  {status['url']}  pid {status['pid']}",
        f"{ready} of {len(models)} models loaded   {running} requests run, {waiting} wait   "
        f"{rate:.1f} tokens/s",
    ]
    if error := status["config"]["error"]:
        lines.append(f"config.yaml is wrong: {error['text'].splitlines()[0]}")
    return lines


def _machine(machine: Machine) -> list[str]:
    used = machine.used_bytes / max(1, machine.total_bytes)
    lines = [
        f"CPU {_bar(machine.cpu / 100)} {machine.cpu:5.1f} %   "
        f"memory {_bar(used)} {_gib(machine.used_bytes)} of {_gib(machine.total_bytes)}"
    ]
    if machine.gpu is not None:
        memory = "" if machine.gpu_bytes is None else f"   its memory {_gib(machine.gpu_bytes)}"
        lines.append(f"GPU {_bar(machine.gpu / 100)} {machine.gpu:5.1f} %{memory}")
    return lines


def _models(models: list[dict[str, Any]]) -> list[str]:
    if not models:
        return ["no model is declared"]
    name = max(5, min(40, max(len(model["name"]) for model in models)))
    lines = [
        f"{'MODEL':{name}}  {'STATE':18}  {'MEMORY':>9}  {'RUN':>4}  {'WAIT':>4}  "
        f"{'TOKENS/S':>8}  {'TOKENS':>9}  IDLE"
    ]
    order = {"ready": 0, "starting": 1, "stopping": 2, "failed": 3, "stopped": 4}
    for model in sorted(models, key=lambda each: order.get(each["state"], 5)):
        state = model["state"]
        if loading := model["loading"]:
            state = f"{loading['stage'][:12]} {loading['fraction']:.0%}"
        memory = _gib(model["memory_bytes"]) if model["memory_bytes"] else "-"
        idle = "-" if model["idle_s"] is None else f"{model['idle_s']:.0f} s"
        lines.append(
            f"{model['name'][:name]:{name}}  {state:18}  {memory:>9}  "
            f"{model['requests_running']:4}  {model['requests_waiting']:4}  "
            f"{model['tokens_per_s']:8.1f}  {model['output_tokens']:9}  {idle}"
        )
        if model["error"]:
            lines.append(f"  {model['error'].splitlines()[0]}")
    return lines


def _requests(requests: list[dict[str, Any]]) -> list[str]:
    """Those that run, in order of arrival."""
    if not requests:
        return []
    name = max(7, min(40, max(len(each["model"]) for each in requests)))
    lines = [
        "",
        f"{'REQUEST':{name}}  {'PROGRESS':24}  {'PROMPT':>9}  {'OUTPUT':>9}  {'TOKENS/S':>8}  AGE",
    ]
    for each in requests:
        rate = "-" if each["tokens_per_s"] is None else f"{each['tokens_per_s']:.1f}"
        lines.append(
            f"{each['model'][:name]:{name}}  {_progress(each):24}  "
            f"{each['prompt_tokens']:9}  {each['output_tokens']:9}  {rate:>8}  "
            f"{each['elapsed_s']:.0f} s"
        )
    return lines


def _progress(request: dict[str, Any]) -> str:
    phase = request["phase"]
    if phase == "waiting":
        return f"waiting, number {request['position']}"
    if phase == "prefill":
        share = request["prefilled_tokens"] / max(1, request["prompt_tokens"])
        left = "" if request["eta_s"] is None else f", {request['eta_s']:.0f} s to go"
        return f"prefill {share:.0%}{left}"
    return phase


def _bar(share: float) -> str:
    filled = round(max(0.0, min(1.0, share)) * BAR)
    return f"[{'|' * filled}{' ' * (BAR - filled)}]"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.1f} GiB"
