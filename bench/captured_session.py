"""A long session of a real agent, out of its captured requests.

A capture has the first turns of a session only. This goes on from there: turn by turn it adds what
the agent's captured sessions added (the call of a tool and the tool's result), with ids of their
own, and sends each request through the dialect, the chat template and the tokenizer, as the front
does. What a tool search adds is left out: it loads a tool once, not in every turn.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from agents import READERS, tokens
from fastmlx.daemon.text.model_text import ModelText

LISTS = ("messages", "input")  # what grows, in one dialect or the other
IDS = ("id", "tool_use_id", "tool_call_id", "call_id")

Body = dict[str, Any]


def sessions(folder: Path, num_turns: int) -> Iterator[tuple[str, list[tuple[str, Body]]]]:
    """For each client whose sessions grow: its name, and the path and body of each request."""
    captured: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(folder.glob("*.json")):
        request = json.loads(file.read_text("utf-8"))
        if isinstance(request, dict) and isinstance(request.get("body"), dict):
            captured[request["client"]][request["scenario"]].append(request)
    for client, scenarios in sorted(captured.items()):
        first: tuple[str, Body] | None = None
        added: list[list[Any]] = []
        for _, requests in sorted(scenarios.items()):
            requests.sort(key=lambda each: each["seq"])
            for before, after in pairwise(requests):
                new = _new(before["body"], after["body"])
                if new and "tool_reference" not in json.dumps(new):
                    first = first or (before["path"].partition("?")[0], before["body"])
                    added.append(new)
        if first is not None and first[0] in READERS:
            yield client, list(_turns(*first, added, num_turns))


def _new(before: Body, after: Body) -> list[Any]:
    """What the later one of two requests of a session has more."""
    for key in LISTS:
        earlier, later = before.get(key), after.get(key)
        if isinstance(earlier, list) and isinstance(later, list):
            new = later[len(earlier) :]
            same = len(earlier) > 1 and _role(earlier[0]) == _role(later[0])
            return new if same and any("tool" in json.dumps(entry) for entry in new) else []
    return []


def _role(entry: Any) -> Any:
    return entry.get("role") if isinstance(entry, dict) else None


def _turns(
    path: str, first: Body, added: list[list[Any]], num_turns: int
) -> Iterator[tuple[str, Body]]:
    key = next(key for key in LISTS if key in first)
    body = first
    yield path, body
    for number, new in enumerate(islice(cycle(added), num_turns - 1), start=1):
        body = {**body, key: [*body[key], *_renamed(new, f"_{number}")]}
        yield path, body


def _renamed(value: Any, suffix: str) -> Any:
    """The same with other ids: each call is one of its own."""
    if isinstance(value, list):
        return [_renamed(each, suffix) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each + suffix if key in IDS and isinstance(each, str) else _renamed(each, suffix)
        for key, each in value.items()
    }


def prompts(text: ModelText, requests: list[tuple[str, Body]]) -> list[list[int]]:
    """The tokens of each request."""
    return [tokens(text, READERS[path](json.dumps(body).encode())) for path, body in requests]
