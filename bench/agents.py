"""How much of an agent's next prompt could come from the prefix cache?

Takes a folder of captured requests (JSON files with `client`, `scenario`, `seq`, `path`, `body`),
sends each through the dialect that it speaks, the normalisation, the chat template and the
tokenizer, and compares the tokens of a session's consecutive requests. Nothing is generated and
nothing is timed: what the text side makes of a conversation alone decides. A short session cannot
reach the aim, but its last prompt, less the few tokens that ask for the answer, must come again.
Requests that are refused stand below the table.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.api.anthropic_request import read_request
from fastmlx.daemon.api.body import read_json
from fastmlx.daemon.api.openai_chat import read_chat
from fastmlx.daemon.api.responses_fields import chat_request, read_asked
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.protocol.requests import ChatRequest
from fastmlx.daemon.text.model_text import ModelText
from report import Report, arguments

QUICK = Path(__file__).parents[1] / "tests" / "golden" / "agents"
AIM, AIM_AFTER_SEARCH = 0.99, 0.96


def _messages(body: bytes) -> ChatRequest:
    return read_request(body).request


def _chat(body: bytes) -> ChatRequest:
    return read_chat(body).request


def _responses(body: bytes) -> ChatRequest:
    asked = read_asked(read_json(body))
    messages = messages_of(asked.items, asked.tools, Seal(b"none"))
    return chat_request(asked, messages, client=None, stream=False)


READERS: dict[str, Callable[[bytes], ChatRequest]] = {
    "/v1/messages": _messages,
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
}


class Turn(NamedTuple):
    """Two consecutive requests of one session."""

    session: str
    kind: str  # "tool turn", "tool search", "next turn"
    before: ChatRequest
    after: ChatRequest


def turns(folder: Path, refused: list[str]) -> Iterator[Turn]:
    """Of every session whose messages grow; `refused` gets a line for each request that was."""
    sessions: dict[str, list[tuple[int, ChatRequest]]] = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        request = json.loads(file.read_text("utf-8"))
        if not isinstance(request, dict) or not isinstance(request.get("body"), dict):
            continue
        reader = READERS.get(str(request.get("path")).partition("?")[0])
        if reader is not None:
            session = f"{request['client']} {request['scenario']}"
            try:
                read = reader(json.dumps(request["body"]).encode())
            except BadRequest as error:
                refused.append(f"{session} {request['seq']}: {error}")
            else:
                sessions[session].append((request["seq"], read))
    for session, requests in sorted(sessions.items()):
        requests.sort(key=lambda each: each[0])
        for (_, before), (_, after) in pairwise(requests):
            grows = len(after.messages) > len(before.messages) > 0
            if grows and after.messages[0] == before.messages[0]:
                yield Turn(session, _kind(before, after), before, after)


def _kind(before: ChatRequest, after: ChatRequest) -> str:
    new = after.messages[len(before.messages) :]
    contents: list[Any] = [message.get("content") for message in new]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    if any(isinstance(part, dict) and part.get("type") == "tool_reference" for part in parts):
        return "tool search"
    return "tool turn" if any(message["role"] == "tool" for message in new) else "next turn"


def tokens(text: ModelText, request: ChatRequest) -> list[int]:
    return text.prompt_of(request).tokens


def shared(before: list[int], after: list[int]) -> int:
    """Tokens that both begin with."""
    pairs = zip(before, after, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(after)))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of captured requests")
    parser.add_argument("--model", default="builtin:demo", help="whose template and tokenizer")
    options = parser.parse_args()
    folder = QUICK if options.quick or options.folder is None else options.folder

    spec = ModelSpec(path=options.model)
    text = ModelText.load(resolve(spec.path, spec.revision), spec)
    report = Report(
        "How much of an agent's next prompt could come from the prefix cache?",
        [
            "session",
            "what came",
            "prompt tokens",
            "the same beginning",
            "same ÷ last prompt",
            "aim",
            "same ÷ prompt",
        ],
        "not used",
        options.quick,
    )
    for turn in turns(folder, report.notes):
        after = tokens(text, turn.after)
        before = tokens(text, turn.before)
        same = shared(before, after)
        aim = AIM_AFTER_SEARCH if turn.kind == "tool search" else AIM
        share = same / len(after)
        report.add(turn.session, turn.kind, len(after), same, same / len(before), aim, share)
    report.finish(options.json)


if __name__ == "__main__":
    main()
