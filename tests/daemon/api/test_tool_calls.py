"""Thinking and tool calls, from an engine's tokens to the fields of both makers' clients.

Everything is real but the model: the engine is a program that says a given script, in the tokens
of a tiny model whose chat template has thinking and tools.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from fastmlx.daemon.api.anthropic_request import read_request
from fastmlx.daemon.api.anthropic_signature import carried, sign
from fastmlx.daemon.api.custom_input import InputStream, custom_input
from hypothesis import given
from hypothesis import strategies as st
from ollama import AsyncClient as AsyncOllama
from openai import AsyncOpenAI, BadRequestError
from scripted import Scripted, scripted

SCRIPT = """\
<think>
They want rain.
</think>

Let me look.
<tool_call>
{"name": "weather", "arguments": {"city": "Ulm", "days": [1, 2]}}
</tool_call>
<tool_call>
{"name": "clock", "arguments": {}}
</tool_call><|im_end|>"""
ASKED: list[Any] = [{"role": "user", "content": "Rain in Ulm?"}]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "clock")
]


ANTHROPIC_TOOLS: list[Any] = [
    {"name": name, "input_schema": {"type": "object"}} for name in ("weather", "clock")
]


@pytest.fixture
async def front(tmp_path: Path, tiny_model: Callable[..., Path]) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path, tiny_model("qwen3")) as front:
        front.say(SCRIPT)
        yield front


@pytest.fixture
def url(front: Scripted) -> str:
    return front.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=url + "/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
async def ollama(url: str) -> AsyncIterator[AsyncOllama]:
    async with AsyncOllama(url) as client:
        yield client


async def test_an_answer_has_its_thinking_and_its_calls(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=ASKED, tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is not None
    assert choice.message.content.strip() == "Let me look."
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning_content"].strip() == "They want rain."
    calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert json.loads(calls[0].function.arguments) == {"city": "Ulm", "days": [1, 2]}
    assert json.loads(calls[1].function.arguments) == {}
    assert len({call.id for call in calls}) == 2
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (answer.usage.completion_tokens_details.reasoning_tokens or 0) > 3


async def test_a_stream_has_them_piece_by_piece(client: AsyncOpenAI) -> None:
    reasoning = content = ""
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    reasons: list[str] = []
    stream = await client.chat.completions.create(
        model="m", messages=ASKED, tools=TOOLS, stream=True
    )
    async for chunk in stream:
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        reasoning += (choice.delta.model_extra or {}).get("reasoning_content") or ""
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            if call.id:
                assert call.type == "function"
                names[call.index] = call.function.name or ""
            arguments.setdefault(call.index, []).append(call.function.arguments or "")
        if choice.finish_reason:
            reasons.append(choice.finish_reason)
    assert reasoning.strip() == "They want rain."
    assert content.strip() == "Let me look."
    assert names == {0: "weather", 1: "clock"}
    assert len(arguments[0]) > 2  # as they are generated, not at the end
    assert json.loads("".join(arguments[0])) == {"city": "Ulm", "days": [1, 2]}
    assert json.loads("".join(arguments[1])) == {}
    assert reasons == ["tool_calls"]


async def test_without_tools_in_the_request_nothing_is_a_call(client: AsyncOpenAI) -> None:
    for options in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        answer = await client.chat.completions.create(model="m", messages=ASKED, **options)  # type: ignore[call-overload]
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].finish_reason == "stop"
        assert '{"name": "weather"' in answer.choices[0].message.content


async def test_one_call_is_enough_where_calls_must_not_be_parallel(
    client: AsyncOpenAI, claude: AsyncAnthropic
) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=ASKED, tools=TOOLS, parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls or ()) == 1
    assert answer.choices[0].finish_reason == "tool_calls"
    message = await claude.messages.create(
        model="m",
        messages=ASKED,
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        max_tokens=900,
    )
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.stop_reason == "tool_use"


PATCH: dict[str, Any] = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[+-].*"}},
    },
}


async def test_custom_tools_take_a_text(front: Scripted, client: AsyncOpenAI) -> None:
    calls = [
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>\n'
        for name, arguments in (("patch", '{"input": "+ \\"a\\"\\n"}'), ("clock", "{}"))
    ]
    front.say("".join(calls) + "<|im_end|>")
    asked: Any = {"model": "m", "messages": ASKED, "tools": [PATCH, *TOOLS]}
    choice = (await client.chat.completions.create(**asked)).choices[0]
    assert choice.finish_reason == "tool_calls"
    first, second = choice.message.tool_calls or [None, None]
    assert first and second
    assert first.type == "custom" and second.type == "function"
    assert (first.custom.name, first.custom.input) == ("patch", '+ "a"\n')
    assert second.function.name == "clock"

    stream = await client.chat.completions.create(**asked, stream=True)
    pieces: list[Any] = []
    async for chunk in stream:
        pieces += [call.model_dump() for call in chunk.choices[0].delta.tool_calls or ()]
    mine = [piece["custom"] for piece in pieces if piece["index"] == 0]
    assert mine[0] == {"name": "patch", "input": ""}
    assert "".join(piece["input"] for piece in mine) == '+ "a"\n'
    assert [piece["type"] for piece in pieces if piece["id"]] == ["custom", "function"]

    # It goes round, and its grammar stands in the prompt.
    said = choice.message.model_dump(exclude_none=True)
    told = {"role": "tool", "tool_call_id": first.id, "content": "Patched."}
    front.say("Done.<|im_end|>")
    await client.chat.completions.create(**asked | {"messages": [*ASKED, said, told]})
    assert "must match this regex grammar" in front.text(0)
    assert '"arguments": {"input": "+ \\"a\\"\\n"}' in front.text(0)

    # One of them alone may be called, or must.
    allowed: Any = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "clock"}}]}
    choices: Any = {"type": "allowed_tools", "allowed_tools": allowed}
    front.say("Done.<|im_end|>")
    await client.chat.completions.create(**asked, tool_choice=choices)
    assert '"clock"' in front.text(0) and '"patch"' not in front.text(0)
    lark = {"syntax": "lark", "definition": "start: end"}
    unknown = {"name": "x", "format": {"type": "grammar", "grammar": lark}}
    for wrong in ({}, {"name": "x", "format": {"type": "grammar"}}, unknown):
        with pytest.raises(BadRequestError, match=r"tools\[0\].custom"):
            bad: Any = [{"type": "custom", "custom": wrong}]
            await client.chat.completions.create(**asked | {"tools": bad})


async def test_a_message_has_its_blocks_and_goes_round(claude: AsyncAnthropic) -> None:
    async with claude.messages.stream(
        model="m", messages=ASKED, tools=ANTHROPIC_TOOLS, max_tokens=900
    ) as stream:
        kinds = [event.type async for event in stream]
        streamed = await stream.get_final_message()
    whole = await claude.messages.create(
        model="m", messages=ASKED, tools=ANTHROPIC_TOOLS, max_tokens=900
    )
    for message in (streamed, whole):
        blocks: list[Any] = list(message.content)
        thinking, text, first, second = blocks
        assert thinking.type == "thinking"
        assert thinking.thinking.strip() == "They want rain."
        assert thinking.signature
        assert text.type == "text"
        assert text.text.strip() == "Let me look."
        assert first.type == second.type == "tool_use"
        assert (first.name, first.input) == ("weather", {"city": "Ulm", "days": [1, 2]})
        assert (second.name, second.input) == ("clock", {})
        assert first.id != second.id
        assert message.stop_reason == "tool_use"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 4

    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
        for block in whole.content
        if block.type == "tool_use"
    ]
    turns: Any = [
        *ASKED,
        {"role": "assistant", "content": [block.model_dump() for block in whole.content]},
        {"role": "user", "content": results},
    ]
    count = await claude.messages.count_tokens(model="m", messages=turns, tools=ANTHROPIC_TOOLS)
    answer = await claude.messages.create(
        model="m", messages=turns, tools=ANTHROPIC_TOOLS, max_tokens=900
    )
    assert answer.usage.input_tokens == count.input_tokens


async def test_ollamas_clients_get_each_call_whole(ollama: AsyncOllama) -> None:
    whole = await ollama.chat("m", ASKED, tools=TOOLS, think=True)
    parts = [part async for part in await ollama.chat("m", ASKED, tools=TOOLS, stream=True)]
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    for said in (list(whole.message.tool_calls or ()), calls):
        assert [call.function.name for call in said] == ["weather", "clock"]
        assert said[0].function.arguments == {"city": "Ulm", "days": [1, 2]}
        assert said[1].function.arguments == {}
    assert (whole.message.thinking or "").strip() == "They want rain."
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking
    assert (whole.message.content or "").strip() == "Let me look."
    assert whole.done_reason == parts[-1].done_reason == "stop"

    results = [{"role": "tool", "content": "1", "tool_name": name} for name in ("weather", "clock")]
    after = await ollama.chat("m", [*ASKED, whole.message, *results], tools=TOOLS)
    assert (after.prompt_eval_count or 0) > (whole.prompt_eval_count or 0)


async def test_hidden_thinking_travels_in_its_signature(claude: AsyncAnthropic) -> None:
    thinking: Any = {"type": "adaptive", "display": "omitted"}
    asked: Any = {"model": "m", "messages": ASKED, "max_tokens": 900, "thinking": thinking}
    message = await claude.messages.create(**asked)
    hidden = message.content[0]
    assert hidden.type == "thinking"
    assert hidden.thinking == ""
    assert carried(hidden.signature).strip() == "They want rain."
    body = {
        "model": "m",
        "max_tokens": 1,
        "messages": [*ASKED, {"role": "assistant", "content": [hidden.model_dump()]}],
    }
    read = read_request(json.dumps(body).encode()).request
    assert read.messages[-1]["reasoning_content"].strip() == "They want rain."


def test_foreign_and_broken_signatures_carry_nothing() -> None:
    whole = sign("Grüße 😀", carry=True)
    assert carried(whole) == "Grüße 😀"
    for text in ("", "c2ln", sign("x", carry=False), whole[:-3], whole + "=", "fmx1.ü", "fmx1."):
        assert carried(text) in ("", "Grüße 😀")


@given(st.text(), st.booleans(), st.data())
def test_a_custom_tools_text_comes_out_piece_by_piece(
    text: str, ascii_: bool, data: st.DataObject
) -> None:
    whole = json.dumps({"input": text}, ensure_ascii=ascii_)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    stream = InputStream()
    said = "".join(stream.push(whole[a:b]) for a, b in pairwise([0, *cuts, len(whole)]))
    assert said + stream.finish() == stream.text == custom_input(whole) == text


@pytest.mark.parametrize(
    "arguments", ['{"input": 1}', '{"input": {"a": "b"}}', '{"text": "x"}', "{}", '{"input": ""}']
)
def test_what_is_no_text_comes_out_at_the_end(arguments: str) -> None:
    stream = InputStream()
    said = "".join(map(stream.push, arguments)) + stream.finish()
    assert said == stream.text == custom_input(arguments)


def test_a_text_that_is_cut_off_is_what_there_is_of_it() -> None:
    stream = InputStream()
    assert stream.push('{"input": "a\\ud83d') == "a"
    assert stream.push('"}') == "\ufffd"
    assert stream.finish() == ""
