"""Which messages of a conversation are shown, and what an answer is asked for with. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..protocol.requests import SamplingRequest
from ..store.chats import Message, Options


class Shown(NamedTuple):
    """A message on the path, and the others that could stand in its place."""

    message: Message
    number: int  # of them, from 1
    of: int
    before: str | None  # id of the one before it among these
    after: str | None


def path(messages: Iterable[Message], leaf: str | None) -> list[Shown]:
    """From the first message to `leaf`; empty when there is no such message."""
    by_id = {message.id: message for message in messages}
    children = _children(by_id.values())
    shown: list[Shown] = []
    message = by_id.get(leaf) if leaf is not None else None
    while message is not None:
        same = children[message.parent]
        at = same.index(message)
        before = same[at - 1].id if at else None
        after = same[at + 1].id if at + 1 < len(same) else None
        shown.append(Shown(message, at + 1, len(same), before, after))
        message = by_id.get(message.parent) if message.parent is not None else None
    return shown[::-1]


def leaf_under(messages: Iterable[Message], identity: str) -> str:
    """Where the path through this message ends: at the latest message that comes after it."""
    latest = identity
    after = {identity}
    for message in sorted(messages, key=lambda each: each.created_ms):
        if message.parent in after:
            after.add(message.id)
            latest = message.id
    return latest


def _children(messages: Iterable[Message]) -> dict[str | None, list[Message]]:
    children: dict[str | None, list[Message]] = {}
    for message in messages:
        children.setdefault(message.parent, []).append(message)
    return children


def prompt(options: Options, turns: Iterable[Message]) -> list[dict[str, Any]]:
    """The messages that the model is given, in the shape of OpenAI's chat API."""
    said: list[dict[str, Any]] = []
    if options.system:
        said.append({"role": "system", "content": options.system})
    for turn in turns:
        if turn.role == "user":
            said.append({"role": "user", "content": _with_files(turn)})
        else:
            message = {"role": "assistant", "content": turn.text}
            if turn.reasoning:
                message["reasoning_content"] = turn.reasoning
            said.append(message)
    return said


def _with_files(turn: Message) -> str:
    files = [f'<file name="{file.name}">\n{file.text}\n</file>' for file in turn.files]
    return "\n\n".join([*files, turn.text] if turn.text else files)


def sampling(options: Options) -> SamplingRequest:
    return SamplingRequest(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        max_tokens=options.max_tokens,
        seed=options.seed,
        stop=options.stop,
    )


def title_of(text: str, files: list[str]) -> str:
    """A conversation's name, from its first message."""
    words = " ".join(text.split()) or ", ".join(files)
    return words if len(words) <= 60 else words[:59].rstrip() + "…"


def as_markdown(title: str, turns: Iterable[Message]) -> str:
    """The path as a document to keep."""
    parts = [f"# {title}\n"]
    for turn in turns:
        who = "User" if turn.role == "user" else turn.model or "Assistant"
        parts.append(f"## {who}\n")
        parts += [f"> attached: {file.name}\n" for file in turn.files]
        parts.append(turn.text.strip() + "\n")
    return "\n".join(parts)
