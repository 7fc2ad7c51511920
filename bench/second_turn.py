"""The second turn of a long chat, through HTTP: our daemon and mlx_lm.server in turns."""

from __future__ import annotations

import contextlib
import json
import random
import time
from typing import Any

import httpx
import models
import peers
import servers
from report import Report, median

ANSWER = 16  # tokens
ROUNDS = 2
TIMEOUT_S = 120.0
PEER = "mlx_lm.server"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def compare(report: Report, prompt: int, new: int, *, quick: bool) -> None:
    """One row a server: about so many tokens of `prompt` in the first turn, of `new` after it."""
    folder = models.folder_of("smallest" if quick else "small")
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(servers.fastmlx(folder))]
        peer = next(peer for peer in peers.PEERS if peer.name == PEER)
        running.append(stack.enter_context(peer.start(folder, None)))
        for server in running:
            _ask(server, _chat(0, 64))
        seen: list[list[tuple[float, float, int, int]]] = [[] for _ in running]
        for number in range(1 if quick else ROUNDS):
            for server, measured in zip(running, seen, strict=True):
                measured.append(_turns(server, 1 + number, prompt, new))
    for server, measured in zip(running, seen, strict=True):
        cached, asked = measured[-1][2:]
        second_ms = median(second for _, second, _, _ in measured) * 1e3
        share = median(second / first for first, second, _, _ in measured)
        report.add("full attention", server.name, cached, asked, second_ms, share)


def _turns(
    server: servers.Running, seed: int, prompt: int, new: int
) -> tuple[float, float, int, int]:
    """Seconds to the first text of both turns; of the second one cached and all prompt tokens."""
    messages = _chat(seed, prompt)
    first_s, said, _ = _ask(server, messages)
    messages += [{"role": "assistant", "content": said}, *_chat(1000 + seed, new)]
    second_s, _, usage = _ask(server, messages)
    details = usage.get("prompt_tokens_details") or {}
    return first_s, second_s, int(details.get("cached_tokens") or 0), int(usage["prompt_tokens"])


def _chat(seed: int, tokens: int) -> list[dict[str, Any]]:
    """Words that the tokenizer of bench/models.py spells: about a token a letter."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(LETTERS, k=5)) for _ in range(max(1, tokens // 6))]
    return [{"role": "user", "content": " ".join(words)}]


def _ask(
    server: servers.Running, messages: list[dict[str, Any]]
) -> tuple[float, str, dict[str, Any]]:
    """Seconds to the first text, the text, the usage."""
    body = {
        "model": server.model,
        "messages": messages,
        "max_tokens": ANSWER,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begin, first_s, said, usage = time.perf_counter(), 0.0, "", {}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            usage = chunk.get("usage") or usage
            deltas = [choice.get("delta") or {} for choice in chunk.get("choices", ())]
            text = "".join(delta.get("content") or "" for delta in deltas)
            if text and not said:
                first_s = time.perf_counter() - begin
            said += text
    return first_s, said, usage
