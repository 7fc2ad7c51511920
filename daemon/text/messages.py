"""The form in which a template wants its messages.

Clients write the same conversation in several ways, and templates understand one or two of them.
What a template understands is found by trying it on tiny conversations, not by reading its code.
One conversation must always give one text, whichever way it was written: the prefix cache of the
engine depends on it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ..protocol.errors import BadRequest

Messages = list[dict[str, Any]]
Probe = Callable[[Messages], str | None]  # the rendering, or None when refused

_WORD = "fastmlx-probe"
_ARGUMENTS = '{"fastmlx":  "probe"}'  # two spaces: kept only if the text is kept

# Where a client puts an earlier turn's thinking; templates read the first, gpt-oss's the second.
REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")


class Accepts(NamedTuple):
    """What a template understands."""

    strings: bool  # content as a string
    parts: bool  # content as a list of parts
    raw_arguments: bool  # tool call arguments as the model wrote them, a string
    developer: bool  # the role

    @classmethod
    def probed(cls, probe: Probe, source: str) -> Accepts:
        text = probe([{"role": "user", "content": _WORD}])
        parts = probe([{"role": "user", "content": [{"type": "text", "text": _WORD}]}])
        reads_parts = parts is not None and _WORD in parts and "'type'" not in parts
        call = {"name": "f", "arguments": _ARGUMENTS}
        asked = {"role": "user", "content": _WORD if text else [{"type": "text", "text": _WORD}]}
        called = probe(
            [
                asked,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "call00000", "type": "function", "function": call}],
                },
            ]
        )
        return cls(
            strings=not reads_parts or (text is not None and _WORD in text),
            parts=reads_parts,
            raw_arguments=called is not None and _ARGUMENTS in called,
            developer="developer" in source,
        )


def normalized(messages: Messages, accepts: Accepts) -> Messages:
    """A copy of the messages as the template wants them; what the copy holds may be changed.

    Raises BadRequest for a message that is not text.
    """
    chat = []
    for place, message in enumerate(messages):
        param = f"messages[{place}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest("A message must be an object with a role.", param=param)
        # Templates test whether a key is there, and would print a null as "None".
        message = {key: value for key, value in message.items() if value is not None}
        if message["role"] == "developer" and not accepts.developer:
            message["role"] = "system"
        if "content" in message:
            message["content"] = _content(message["content"], accepts, f"{param}.content")
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadRequest("tool_calls must be a list.", param=f"{param}.tool_calls")
        if calls:
            message["tool_calls"] = [
                _tool_call(call, accepts, f"{param}.tool_calls") for call in calls
            ]
        reasoning = next((message[f] for f in REASONING_FIELDS if f in message), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        chat.append(message)
    return chat


def _content(content: Any, accepts: Accepts, param: str) -> Any:
    if isinstance(content, str):
        return content if accepts.strings else [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise BadRequest("content must be a string or a list of parts.", param=param)
    texts = []
    for part in content:
        match part:
            case str(text) | {"type": "text" | "input_text" | "output_text", "text": str(text)}:
                texts.append(text)
            case {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": kind}:
                raise BadRequest(f"This model reads text only, not {kind}.", param=param)
            case _:
                raise BadRequest("A part of content must be an object with a type.", param=param)
    if len(texts) == 1 and accepts.strings:
        return texts[0]
    if accepts.parts:
        return [{"type": "text", "text": text} for text in texts]
    return "\n".join(texts)  # as vLLM and llama.cpp do


def _tool_call(call: Any, accepts: Accepts, param: str) -> dict[str, Any]:
    """OpenAI's form has the arguments as JSON text. Where the template writes text as it is, they
    stay exactly what the model wrote; other templates serialise them and want an object."""
    match call:
        case {"function": {"name": str()} as function}:
            pass
        case _:
            raise BadRequest("A tool call must have a function with a name.", param=param)
    arguments = function.get("arguments")
    if not accepts.raw_arguments and isinstance(arguments, str):
        # Text that is not JSON is shown to the model as it is.
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments) if arguments.strip() else {}
    return {**call, "function": {**function, "arguments": {} if arguments is None else arguments}}
