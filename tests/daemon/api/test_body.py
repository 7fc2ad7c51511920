"""Bytes of a POST → values, or a 400 that says what is wrong."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from fastmlx.daemon.api.anthropic_edits import ClearToolUses, clear_tool_uses
from fastmlx.daemon.api.anthropic_request import read_request
from fastmlx.daemon.api.anthropic_signature import sign
from fastmlx.daemon.api.body import convert, one_of, read_json, refuse
from fastmlx.daemon.api.ollama_messages import read_messages as ollama_messages
from fastmlx.daemon.api.openai_chat import read_chat
from fastmlx.daemon.api.openai_structured import read_structured
from fastmlx.daemon.api.responses_fields import read_asked
from fastmlx.daemon.api.responses_format import input_patterns
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.api.responses_tools import MAX_TOOLS
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.text.conversation import canonical
from fastmlx.daemon.text.lark_regex import as_regex
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Fields(msgspec.Struct):
    model: str
    n: int | None = None
    messages: list[dict[str, Any]] = []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"temperature": NaN}', "not valid JSON"),
        (b'{"temperature": 1e999}', "out of range"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\\ud800x"}', "not valid JSON"),
        (b"[1, 2]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a":' * 100_000, "nested more than 200 levels deep"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 200 levels deep"),
    ],
)
def test_a_broken_body_is_a_400_that_says_how(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_json(body)


def test_brackets_may_nest_as_deep_as_anybody_writes_them_and_stand_side_by_side() -> None:
    body = b'{"a":' + b"[" * 199 + b"]" * 199 + b', "b": [' + b",".join([b"{}"] * 500) + b"]}"
    assert len(read_json(body)["b"]) == 500


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,2,3,4,5,6,7,8,9,0,"])
def test_a_body_of_so_many_values_that_they_would_fill_the_memory_is_refused(part: bytes) -> None:
    many = part * 550_000
    with pytest.raises(BadRequest, match="more than 500,000 lists"):
        read_json(b'{"messages":[' + many + b"1]}")
    assert read_json(b'{"text":"' + many + b'\\""}')["text"] == many.decode() + '"'


@given(st.binary(max_size=64))
def test_any_bytes_give_an_object_or_a_400(body: bytes) -> None:
    try:
        assert isinstance(read_json(body), dict)
    except BadRequest as error:
        assert error.message


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_what_python_writes_is_read_back(value: dict[str, Any]) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "model"),
        ({"model": 1}, "model"),
        ({"model": "m", "n": "2"}, "n"),
        ({"model": "m", "n": 1.5}, "n"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": [{}, 3]}, "messages[1]"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        convert(fields, Fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


def test_unknown_fields_are_ignored() -> None:
    assert convert({"model": "m", "cache_control": {"x": 1}}, Fields).model == "m"


def test_a_field_that_we_lack_is_refused_unless_it_asks_for_nothing() -> None:
    unsupported = {"best_of": one_of(1), "strict": one_of(False)}
    refuse({"best_of": 1, "strict": False, "other": 5}, unsupported)
    refuse({"best_of": None}, unsupported)
    for fields in ({"best_of": 2}, {"strict": True}, {"best_of": True}, {"strict": 0}):
        with pytest.raises(BadRequest) as caught:
            refuse(fields, unsupported)
        assert caught.value.param == next(iter(fields))


# ---- little that stands for much

MANY = 10_000  # of something that must not be looked through for each of them


def test_many_turns_in_a_row_are_read_once_each() -> None:
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "x"}]}
    asked = read_asked({"model": "m", "input": [said] * MANY + [thought] * MANY})
    messages = messages_of(asked.items, asked.tools, Seal(b"k"))
    assert [len(message["content"]) for message in messages] == [MANY, 0]
    assert len(messages[1]["reasoning_content"]) == 3 * MANY - 2


def test_many_calls_and_many_tools_find_each_other() -> None:
    tools = [{"type": "function", "name": f"t{n}"} for n in range(MAX_TOOLS)]
    call = {"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"}
    asked = read_asked({"model": "m", "input": [call] * MANY, "tools": tools})
    (message,) = messages_of(asked.items, asked.tools, Seal(b"k"))
    assert len(message["tool_calls"]) == MANY

    calls = [{"function": {"name": f"f{n}", "arguments": {}}} for n in range(MANY)]
    result = {"role": "tool", "content": "x", "tool_call_id": "another"}
    made = ollama_messages([{"role": "assistant", "tool_calls": calls}] + [result] * MANY)
    assert len(made) == MANY + 1


def test_tools_are_counted_in_their_namespaces_too() -> None:
    inside = [{"type": "function", "name": f"t{n}"} for n in range(MAX_TOOLS)]
    space = {"type": "namespace", "name": "n", "tools": inside}
    read_asked({"model": "m", "input": "x", "tools": [space]})
    with pytest.raises(BadRequest, match="more than 1024"):
        read_asked({"model": "m", "input": "x", "tools": [space, inside[0]]})


def test_names_that_are_no_text_name_nothing() -> None:
    tool = {"type": "function", "name": "f"}
    allowed = [{"name": ["f"], "server_label": {}}, {"name": "f"}]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": allowed}
    body = {"model": "m", "input": "x", "tools": [tool], "tool_choice": choice}
    assert list(read_asked(body).choice.tools.known) == ["f"]


def test_what_is_packed_is_not_unpacked_beyond_measure() -> None:
    """A body of 100 KB that would become 100 MB, or 64 GB."""
    block = {"type": "thinking", "thinking": "", "signature": sign("x" * 4_000_000, carry=True)}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": [block]}]}
    assert len(read_request(json.dumps(body).encode()).request.messages) == 1
    body["messages"] = [{"role": "assistant", "content": [block] * 5}]
    with pytest.raises(BadRequest, match="16,777,216 characters"):
        read_request(json.dumps(body).encode())

    seal = Seal(b"k")
    said = {"type": "message", "role": "user", "content": "x" * 2**25}
    packed = seal.close(json.dumps([said]), "compaction")
    item = {"type": "compaction", "encrypted_content": packed}
    for times in (1, 2):
        asked = read_asked({"model": "m", "input": [item] * times})
        if times == 1:
            assert len(messages_of(asked.items, asked.tools, seal)) == 1
            continue
        with pytest.raises(BadRequest, match="67,108,864 characters"):
            messages_of(asked.items, asked.tools, seal)


def test_a_tool_that_is_referred_to_often_is_shown_once() -> None:
    tool = {"name": "f", "input_schema": {"a": "x" * 100_000}, "defer_loading": True}
    reference = {"type": "tool_reference", "tool_name": "f"}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [reference] * 10_000}
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    turns = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    body = {"model": "m", "max_tokens": 1, "messages": turns, "tools": [tool]}
    request = read_request(json.dumps(body).encode()).request
    shown = canonical(request.messages, request.tools).messages[-1]["content"]
    assert len(shown) < 600_000
    assert shown.count("Loaded tool:") == 1
    assert shown.count("The tool f is available.") == 9_999


def test_a_conversation_is_not_edited_for_ever() -> None:
    edits = [{"type": "clear_tool_uses_20250919"}] * 17
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    read_request(json.dumps(body | {"context_management": {"edits": edits[:16]}}).encode())
    with pytest.raises(BadRequest, match="at most 16"):
        read_request(json.dumps(body | {"context_management": {"edits": edits}}).encode())


def test_many_results_and_many_spared_tools_are_looked_up() -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    turns = [{"role": "assistant", "content": [use] * MANY}, {"role": "user", "content": [result]}]
    body = {"model": "m", "max_tokens": 1, "messages": [*turns, *[turns[1]] * MANY]}
    messages = read_request(json.dumps(body).encode()).request.messages
    names = [f"x{n}" for n in range(10 * MANY)]
    edit = ClearToolUses("clear_tool_uses_1", exclude_tools=names, clear_tool_inputs=names)
    assert clear_tool_uses(messages, edit).number == MANY - 2


def test_not_every_tool_may_have_a_grammar() -> None:
    form = {"type": "grammar", "syntax": "regex", "definition": "a"}
    tools = [{"type": "custom", "name": f"t{n}", "format": form} for n in range(17)]
    asked = read_asked({"model": "m", "input": "x", "tools": tools[:16]})
    assert len(input_patterns(asked.tools)) == 16
    with pytest.raises(BadRequest, match=r"tools\[16\].*one too many"):
        input_patterns(read_asked({"model": "m", "input": "x", "tools": tools}).tools)
    chat = [
        {"type": "custom", "custom": {"name": tool["name"], "format": {**form, "grammar": form}}}
        for tool in tools
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": chat}
    with pytest.raises(BadRequest, match=r"tools\[16\].*one too many"):
        read_chat(json.dumps(body).encode())


def test_a_grammar_that_has_to_be_rewritten_is_not_long() -> None:
    for source in ("root ::= " + '"a" ' * 50_000, "root ::= (" * 100_000):
        with pytest.raises(BadRequest, match="at most 100,000"):
            read_structured({"guided_grammar": source})
    with pytest.raises(ValueError, match="more than 100,000"):
        as_regex("start: " + "a " * 100_000)
    rules = "\n".join(f'r{n}: r0 r1 r2 r3 r4 r5 | "a"' for n in range(6))
    for n in range(10):
        with contextlib.suppress(ValueError):
            as_regex(f'start: r0 "{n}"\n{rules}')
