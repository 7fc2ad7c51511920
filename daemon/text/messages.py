"""The form in which a template wants its messages.

Clients write the same conversation in several ways, and templates understand one or two of them.
What a template understands is found by trying it on tiny conversations, not by reading its code.
One conversation must always give one text, whichever way it was written: the prefix cache of the
engine depends on it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from itertools import takewhile
from typing import Any, NamedTuple

from ..protocol.errors import BadRequest
from .json_stream import JsonObjectStream

Messages = list[dict[str, Any]]
Probe = Callable[[Messages], str | None]  # the rendering, or None when refused

_WORD, _OTHER = "fastmlx-probe", "fastmlx-other"
_ARGUMENTS = '{"fastmlx":  "probe"}'  # two spaces: kept only if the text is kept

ROLES = ("system", "developer", "user", "assistant", "tool")
# Ids that a model may have written itself: Mistral's, Kimi's.
_MODELS_ID = re.compile(r"[A-Za-z0-9]{9}|functions\.[\w.-]+:\d+")

# Where a client puts an earlier turn's thinking; templates read the first, gpt-oss's the second.
REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")


class Accepts(NamedTuple):
    """What a template understands."""

    strings: bool  # content as a string
    parts: bool  # content as a list of parts
    raw_arguments: bool  # tool call arguments as the model wrote them, a string
    odd_arguments: bool  # any text in the place of an object
    developer: bool  # the role
    system: bool  # a first message of this role, if only to leave it out
    late_system: bool  # one that comes later, in its place
    alternates: bool  # two messages of the user in a row are refused
    names_in_ids: bool  # of a call only the id is written (Kimi K2: functions.NAME:NUMBER)

    @classmethod
    def probed(cls, probe: Probe, source: str) -> Accepts:
        text = probe([{"role": "user", "content": _WORD}])
        parts = probe([{"role": "user", "content": [{"type": "text", "text": _WORD}]}])
        reads_parts = parts is not None and _WORD in parts and "'type'" not in parts
        call = {"name": "fastmlx_name", "arguments": _ARGUMENTS}
        asked = {"role": "user", "content": _WORD if text else [{"type": "text", "text": _WORD}]}

        def calling(function: dict[str, Any]) -> str | None:
            calls = [{"id": "call00000", "type": "function", "function": function}]
            return probe([asked, {"role": "assistant", "content": "", "tool_calls": calls}])

        called = calling(call)
        system = asked | {"role": "system", "content": _as(asked, _OTHER)}
        first, late = probe([system, asked]), probe([asked, system])
        return cls(
            strings=not reads_parts or (text is not None and _WORD in text),
            parts=reads_parts,
            raw_arguments=called is not None and _ARGUMENTS in called,
            odd_arguments=calling(call | {"arguments": _WORD}) is not None,
            developer="developer" in source,
            system=first is not None,
            late_system=late is not None and late.find(_OTHER) > late.find(_WORD) >= 0,
            alternates=probe([asked, asked]) is None,
            names_in_ids=called is not None
            and "call00000" in called
            and "fastmlx_name" not in called,
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
        role = message["role"]
        if role == "developer" and not accepts.developer:
            message["role"] = "system"
        elif role not in ROLES:
            message["role"] = "user"  # next month's; at least the model reads what it says
        if "content" in message:
            if role == "tool":
                message["content"] = _without_media(message["content"])
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
    _rename_calls(chat, accepts)
    return _placed(chat, accepts)


def _rename_calls(chat: Messages, accepts: Accepts) -> None:
    """Numbers in the place of clients' ids, which templates may print and clients may change. Nine
    letters and digits, as Mistral's templates demand."""
    names: dict[str, str] = {}
    for message in chat:
        for call in message.get("tool_calls") or ():
            old = str(call.get("id") or "")
            if _MODELS_ID.fullmatch(old):
                continue
            new = f"call{len(names):05d}"
            if accepts.names_in_ids:
                new = f"functions.{call['function']['name']}:{len(names)}"
            call["id"] = names[old] = new
        asked = message.get("tool_call_id")
        if asked in names:
            message["tool_call_id"] = names[asked]


def _placed(chat: Messages, accepts: Accepts) -> Messages:
    """System messages as the template bears them, each in its place: moved to the front, one would
    change the beginning of the prompt."""
    made: Messages = []
    joined: dict[int, list[Any]] = {}  # place in `made` → the contents that it gets
    late = False  # another message came before

    def join(message: dict[str, Any]) -> None:
        contents = joined.setdefault(len(made) - 1, [made[-1].get("content")])
        contents.append(message.get("content"))

    for message in chat:
        if message["role"] == "system":
            if late and not accepts.late_system:
                text = f"<system-reminder>\n{_text(message)}\n</system-reminder>"
                message = {"role": "user", "content": _as(message, text)}
            elif made and not late and not accepts.late_system:
                join(message)
                continue
            elif not accepts.system:
                message = message | {"role": "user"}
        before = made[-1]["role"] if made else ""
        if accepts.alternates and message["role"] == "user" and before in ("user", "tool"):
            join(message)
        else:
            late = late or message["role"] != "system"
            made.append(message)
    for place, contents in joined.items():
        made[place] = made[place] | {"content": _together(contents)}
    return made


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def _as(message: dict[str, Any], text: str) -> Any:
    """`text` in the form of the message's content."""
    is_text = isinstance(message.get("content"), str)
    return text if is_text else [{"type": "text", "text": text}]


def _together(contents: list[Any]) -> Any:
    """As one: text, as long as all are, and else parts."""
    contents = [content or "" for content in contents]
    texts = list(takewhile(lambda content: isinstance(content, str), contents))
    text = "\n\n".join(texts)
    rest = contents[len(texts) :]
    if not rest:
        return text
    parts = [_as({}, text)] if texts else []
    parts += [_as({}, each) if isinstance(each, str) else each for each in rest]
    return [part for each in parts for part in each]


def _without_media(content: Any) -> Any:
    """Of a tool's result; an agent that looked at a picture must be able to go on."""
    if not isinstance(content, list):
        return content
    seen = ("text", "input_text", "output_text", "refusal")
    return [
        {"type": "text", "text": f"[{part['type']} left out: this model reads text only]"}
        if isinstance(part, dict) and part.get("type", "text") not in seen
        else part
        for part in content
    ]


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
        arguments = _object(arguments, accepts)
    return {**call, "function": {**function, "arguments": {} if arguments is None else arguments}}


def _object(arguments: str, accepts: Accepts) -> Any:
    """The object that the text is. Of text that is none the model sees what it wrote, if the
    template can show it, and else what can be made of it: one odd call in its history must not end
    a conversation."""
    if not arguments.strip():
        return {}
    value: Any = arguments
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(arguments)
    if isinstance(value, dict) or accepts.odd_arguments:
        return value
    stream = JsonObjectStream()
    repaired = json.loads(stream.push(arguments) + stream.close())
    return repaired or {"arguments": arguments}
