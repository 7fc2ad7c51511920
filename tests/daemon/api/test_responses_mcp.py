"""Responses and Messages in which the daemon runs the tools: a real MCP server, a model that says
its script."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from anthropic import BadRequestError as Refused
from fastmlx.daemon.api.anthropic_editing import edited
from fastmlx.daemon.api.anthropic_edits import read_edits
from fastmlx.daemon.api.anthropic_request import read_request
from openai import AsyncOpenAI
from scripted import Scripted, scripted

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = str(Path(__file__).parents[2] / "mcp_server.py")
SUMS: Any = {"type": "mcp", "server_label": "sums", "require_approval": "never"}
END = "<|im_end|>"


def called(name: str, arguments: str = '{"a": 2, "b": 3}') -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path_factory.mktemp("mcp"), tiny_model("qwen3")) as daemon:
        declared = {"sums": {"command": sys.executable, "args": [PROGRAM]}}
        daemon.front.home.mcp.write_text(json.dumps({"mcpServers": declared}))
        following = asyncio.create_task(daemon.front.mcp.run())
        yield daemon
        following.cancel()


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Scripted) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=daemon.url + "/v1", api_key="x", max_retries=0) as client:
        yield client


async def test_calls_are_items_of_the_answer_and_of_the_next_prompt(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    daemon.say(f"I add.\n{called('sums__add')}{END}", f"It is 5.{END}")
    fields: Any = {"model": "m", "tools": [SUMS]}
    answer = await client.responses.create(input="What is 2 and 3?", **fields)
    kinds = [item.type for item in answer.output]
    assert kinds[:3] == ["mcp_list_tools", "message", "mcp_call"]
    assert answer.output_text.split() == ["I", "add.", "It", "is", "5."]
    listed, call = answer.output[0], answer.output[2]
    assert listed.type == "mcp_list_tools"
    assert "add" in [tool.name for tool in listed.tools]
    assert call.type == "mcp_call"
    assert (call.server_label, call.name, call.output) == ("sums", "add", "5")
    # The next turn shows the calls where they were, and does not list the tools again.
    second = await client.responses.create(input="And?", previous_response_id=answer.id, **fields)
    assert [item.type for item in second.output] == ["message"]
    assert "<tool_response>\n5\n</tool_response>" in daemon.text(len(daemon.prompts) - 1)


async def test_a_stream_tells_of_every_call(daemon: Scripted, client: AsyncOpenAI) -> None:
    two = [called("sums__add"), called("sums__add", '{"a": 2}')]
    daemon.say("\n".join(two) + END, f"Done.{END}")
    stream = await client.responses.create(input="x", model="m", tools=[SUMS], stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for kind, count in (
        ("response.mcp_list_tools.completed", 1),
        ("response.mcp_call.in_progress", 2),
        ("response.mcp_call_arguments.done", 2),
        ("response.mcp_call.completed", 1),
        ("response.mcp_call.failed", 1),
        ("response.output_item.done", 4),
        ("response.completed", 1),
    ):
        assert kinds.count(kind) == count, kind
    assert events[-1].type == "response.completed"
    kept = [item.type for item in events[-1].response.output]
    assert kept == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]


async def test_calls_are_limited_and_texts_are_items(daemon: Scripted, client: AsyncOpenAI) -> None:
    daemon.say(f"I add.{called('sums__add')}{END}", f"Again.{called('sums__add')}{END}")
    answer = await client.responses.create(
        model="m", input="x", tools=[SUMS], max_tool_calls=1, max_output_tokens=1000
    )
    assert answer.status == "incomplete"
    calls = [item for item in answer.output if item.type == "mcp_call"]
    assert [call.status for call in calls] == ["completed", "failed"]
    assert answer.output_text.split() == ["I", "add.", "Again."]


async def test_only_declared_servers_and_allowed_tools_are_offered(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    daemon.say(f"No.{END}")
    some: Any = SUMS | {"allowed_tools": ["add"]}
    counts = [
        (await client.responses.input_tokens.count(model="m", input="x", tools=tools)).input_tokens
        for tools in ([], [some], [SUMS])
    ]
    assert counts == sorted(set(counts))
    await client.responses.create(model="m", input="x", tools=[some])
    assert len(daemon.prompts[-1]) == counts[1]
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(
            model="m", input="x", tools=[SUMS | {"server_label": "unknown"}]
        )
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(
            model="m", input="x", tools=[SUMS | {"server_url": "https://elsewhere.example"}]
        )


# ---- Anthropic's connector

CONNECTOR: Any = {"type": "url", "name": "sums", "url": ""}
CLAUDE: Any = {"model": "m", "max_tokens": 100}


@pytest_asyncio.fixture(loop_scope="module")
async def claude(daemon: Scripted) -> AsyncIterator[Any]:
    async with AsyncAnthropic(base_url=daemon.url, api_key="x", max_retries=0) as client:
        yield client.beta.messages


async def test_messages_have_the_calls_as_blocks_and_so_does_the_next_prompt(
    daemon: Scripted, claude: Any
) -> None:
    daemon.say(f"I add.\n{called('sums__add')}{END}", f"It is 5.{END}")
    asked: list[Any] = [{"role": "user", "content": "What is 2 and 3?"}]
    answer = await claude.create(messages=asked, mcp_servers=[CONNECTOR], **CLAUDE)
    assert answer.stop_reason == "end_turn"
    said, use, result, last = answer.content
    assert (said.type, said.text.strip()) == ("text", "I add.")
    assert (use.type, use.name, use.server_name) == ("mcp_tool_use", "add", "sums")
    assert use.input == {"a": 2, "b": 3} and use.id.startswith("mcptoolu_")
    assert (result.type, result.tool_use_id, result.is_error) == ("mcp_tool_result", use.id, False)
    assert [part.text for part in result.content] == ["5"]
    assert last.text.strip() == "It is 5."
    blocks: list[Any] = [block.model_dump(exclude_none=True) for block in answer.content]
    asked += [{"role": "assistant", "content": blocks}, {"role": "user", "content": "And?"}]
    daemon.say(f"That is all.{END}")
    await claude.create(messages=asked, mcp_servers=[CONNECTOR], **CLAUDE)
    prompt = daemon.text(len(daemon.prompts) - 1)
    assert '"name": "sums__add", "arguments": {"a": 2, "b": 3}' in prompt
    assert "<tool_response>\n5\n</tool_response>" in prompt
    places = [prompt.index(part) for part in ("I add.", "sums__add", "\n5\n", "It is 5.", "And?")]
    assert sorted(places[2:]) == places[2:]


async def test_a_stream_of_messages_has_the_blocks_in_order(daemon: Scripted, claude: Any) -> None:
    two = [called("sums__add"), called("sums__add", '{"a": 2}')]
    daemon.say("\n".join(two) + END, f"Done.{END}")
    toolset = {"type": "mcp_toolset", "mcp_server_name": "sums"}
    async with claude.stream(
        messages=[{"role": "user", "content": "x"}],
        mcp_servers=[CONNECTOR],
        tools=[toolset],
        **CLAUDE,
    ) as stream:
        events = [event async for event in stream]
        answer = await stream.get_final_message()
    starts = [event for event in events if event.type == "content_block_start"]
    stops = [event for event in events if event.type == "content_block_stop"]
    assert [event.index for event in starts] == [event.index for event in stops] == [0, 1, 2, 3, 4]
    kinds = [block.type for block in answer.content]
    assert kinds == ["mcp_tool_use"] * 2 + ["mcp_tool_result"] * 2 + ["text"]
    assert [block.input for block in answer.content[:2]] == [{"a": 2, "b": 3}, {"a": 2}]
    failed = {block.tool_use_id: block.is_error for block in answer.content[2:4]}
    assert [failed[block.id] for block in answer.content[:2]] == [False, True]


async def test_messages_are_told_which_servers_and_tools_there_are(
    daemon: Scripted, claude: Any
) -> None:
    asked: Any = {"messages": [{"role": "user", "content": "x"}], **CLAUDE}
    only = {"enabled": True, "allowed_tools": ["add"]}
    off = {"type": "mcp_toolset", "mcp_server_name": "sums", "configs": {"add": {"enabled": False}}}
    for connector, tools, with_add, with_others in (
        (CONNECTOR | {"tool_configuration": only}, [], True, False),
        (CONNECTOR, [off], False, True),
        (CONNECTOR | {"tool_configuration": {"enabled": False}}, [], False, False),
    ):
        daemon.say(f"No.{END}")
        await claude.create(mcp_servers=[connector], tools=tools, **asked)
        prompt = daemon.text(len(daemon.prompts) - 1)
        assert ("sums__add" in prompt) == with_add
        assert (prompt.count('"sums__') > with_add) == with_others
        counted = await claude.count_tokens(
            model="m", messages=asked["messages"], mcp_servers=[connector], tools=tools
        )
        assert counted.input_tokens == len(daemon.prompts[-1])
    # Nothing to run, and nothing to run it in: no difference.
    daemon.say(f"No.{END}")
    await claude.create(mcp_servers=[], container="container_1", **asked)
    for wrong in (
        {"mcp_servers": [{"type": "url", "name": "x", "url": "https://example.com/sse"}]},
        {"mcp_servers": [CONNECTOR | {"url": "https://example.com/sse"}]},
        {"mcp_servers": [CONNECTOR | {"authorization_token": "t"}]},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "sums"}]},
        {"container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}},
    ):
        with pytest.raises(Refused):
            await claude.create(**asked, **wrong)


async def test_messages_pause_when_there_were_rounds_enough(daemon: Scripted, claude: Any) -> None:
    daemon.say(*[f"{called('sums__add')}{END}"] * 20)
    answer = await claude.create(
        messages=[{"role": "user", "content": "x"}],
        mcp_servers=[CONNECTOR],
        **CLAUDE | {"max_tokens": 4000},
    )
    assert answer.stop_reason == "pause_turn"
    assert answer.content[-1].type == "mcp_tool_result" and answer.content[-1].is_error


# ---- Anthropic's context editing


def a_long_day(calls: int) -> list[Any]:
    """A conversation of so many turns with a tool, each thought over."""
    messages: list[Any] = []
    for number in range(calls):
        use = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"n": number}}
        thought = {"type": "thinking", "thinking": f"Hm{number}.", "signature": "x"}
        said = {"type": "tool_result", "tool_use_id": f"t{number}", "content": f"page{number} " * 9}
        messages += [
            {"role": "user", "content": f"Read {number}."},
            {"role": "assistant", "content": [thought, use]},
            {"role": "user", "content": [said]},
            {"role": "assistant", "content": f"Read it {number}."},
        ]
    return [*messages, {"role": "user", "content": "And?"}]


async def test_what_tools_said_long_ago_is_cleared_once_the_prompt_is_long(
    daemon: Scripted, claude: Any
) -> None:
    tool = {"name": "read", "input_schema": {"type": "object"}}
    asked: Any = {"messages": a_long_day(5), "tools": [tool]}

    def edits(**fields: Any) -> Any:
        edit = {"type": "clear_tool_uses_20250919", **fields}
        return {"context_management": {"edits": [edit]}}

    due: Any = {"trigger": {"type": "input_tokens", "value": 100}}
    before = await claude.count_tokens(model="m", **asked)
    after = await claude.count_tokens(model="m", **asked, **edits(**due))
    assert after.context_management.original_input_tokens == before.input_tokens
    assert after.input_tokens < before.input_tokens
    daemon.say(f"No.{END}")
    answer = await claude.create(**asked, **CLAUDE, **edits(**due, clear_tool_inputs=True))
    prompt = daemon.text(len(daemon.prompts) - 1)
    assert [f"page{n} page{n}" in prompt for n in range(5)] == [False, False, True, True, True]
    assert [f'{{"n": {n}}}' in prompt for n in range(5)] == [False, False, True, True, True]
    assert all(f"Read it {n}." in prompt for n in range(5))
    [applied] = answer.context_management.applied_edits
    assert (applied.type, applied.cleared_tool_uses) == ("clear_tool_uses_20250919", 2)
    assert answer.usage.input_tokens + applied.cleared_input_tokens >= before.input_tokens
    for fields in (
        {"trigger": {"type": "input_tokens", "value": 100_000}},
        {"trigger": {"type": "tool_uses", "value": 5}},
        {},
        due | {"exclude_tools": ["read"]},
        due | {"keep": {"type": "tool_uses", "value": 5}},
        due | {"clear_at_least": {"type": "input_tokens", "value": 100_000}},
    ):
        counted = await claude.count_tokens(model="m", **asked, **edits(**fields))
        assert counted.input_tokens == before.input_tokens, fields


async def test_the_thinking_of_earlier_turns_is_cleared_where_that_is_asked_for(
    daemon: Scripted, claude: Any
) -> None:
    request = json.dumps({"messages": a_long_day(3), "model": "m", "max_tokens": 9})
    for keep, kept in (
        ("all", [0, 1, 2]),
        (None, [2]),
        ({"type": "thinking_turns", "value": 2}, [1, 2]),
        ({"type": "thinking_turns", "value": 9}, [0, 1, 2]),
    ):
        edit: Any = {"type": "clear_thinking_20251015"} | ({"keep": keep} if keep else {})
        asked = read_request(request.encode()).request
        edits = read_edits({"edits": [edit]})
        left, applied, _ = await edited(daemon.front.generator, asked, edits)
        thoughts = [m["reasoning_content"] for m in left.messages if "reasoning_content" in m]
        assert thoughts == [f"Hm{n}." for n in kept]
        assert [each["cleared_thinking_turns"] for each in applied] == [3 - len(kept)] * len(
            applied
        )
        assert bool(applied) == (len(kept) < 3)
    daemon.say(f"No.{END}", f"No.{END}")
    fields: Any = {"messages": a_long_day(1), **CLAUDE}
    events = await claude.create(
        **fields, stream=True, context_management={"edits": [{"type": "clear_thinking_20251015"}]}
    )
    [last] = [event async for event in events if event.type == "message_delta"]
    assert last.context_management.applied_edits == []
    plain = await claude.create(**fields)
    assert plain.context_management is None
