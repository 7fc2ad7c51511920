"""Thinking, calls and demanded formats in Responses; and what Codex sends, answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from fastmlx.daemon.api import responses_websocket, sse
from fastmlx.daemon.api.responses_fields import chat_request, read_asked
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.api.responses_tools import read_tools
from hypothesis import given
from hypothesis import strategies as st
from live import LiveDaemon
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from scripted import scripted
from websockets.asyncio.client import connect

SCRIPT = """\
<think>
They want rain.
</think>

<tool_call>
{"name": "weather", "arguments": {"city": "Ulm"}}
</tool_call>
<tool_call>
{"name": "spawn_agent", "arguments": {"message": "look"}}
</tool_call>
<tool_call>
{"name": "apply_patch", "arguments": {"input": "*** Begin Patch\\n+a\\n*** End Patch"}}
</tool_call><|im_end|>"""
LARK = 'start: "*** Begin Patch\\n" line+ "*** End Patch"\nline: /[+-][a-z]{1,5}/ "\\n"\n'


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **more}


TOOLS: list[Any] = [
    function("weather"),
    {"type": "namespace", "name": "agents", "tools": [function("spawn_agent")]},
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": LARK},
    },
    {"type": "web_search"},
    {"type": "next_month"},
]
SEAL = Seal(b"k" * 32)


@pytest.fixture
async def client(tmp_path: Path, tiny_model: Callable[..., Path]) -> AsyncIterator[AsyncOpenAI]:
    async with scripted(tmp_path, tiny_model("qwen3")) as front:
        front.say(SCRIPT)
        async with AsyncOpenAI(
            base_url=front.url + "/v1", api_key="unused", max_retries=0
        ) as client:
            yield client


async def test_thinking_and_calls_are_items_that_can_be_brought_back(client: AsyncOpenAI) -> None:
    include: Any = ["reasoning.encrypted_content"]
    asked: Any = {"model": "m", "input": "Rain?", "tools": TOOLS, "include": include}
    answer = await client.responses.create(store=False, **asked)
    kinds = [item.type for item in answer.output]
    assert kinds == ["reasoning", "function_call", "function_call", "custom_tool_call"]
    reasoning, weather, spawn, patch = (item.to_dict() for item in answer.output)
    assert weather["name"] == "weather"
    assert json.loads(str(weather["arguments"])) == {"city": "Ulm"}
    assert (spawn["name"], spawn["namespace"]) == ("spawn_agent", "agents")
    assert patch["input"] == "*** Begin Patch\n+a\n*** End Patch"
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens > 3
    outputs = [
        {"type": "function_call_output", "call_id": weather["call_id"], "output": "Yes"},
        {"type": "function_call_output", "call_id": spawn["call_id"], "output": "ok"},
        {
            "type": "custom_tool_call_output",
            "call_id": patch["call_id"],
            "output": [{"type": "input_text", "text": "done"}],
        },
    ]
    question = {"role": "user", "content": "Rain?"}
    said: Any = [question, reasoning, weather, spawn, patch, *outputs]
    again = await client.responses.create(model="m", input=said, tools=TOOLS)
    assert again.usage is not None
    assert again.usage.input_tokens > answer.usage.input_tokens


async def test_a_stream_tells_the_same_items(client: AsyncOpenAI) -> None:
    asked: Any = {"model": "m", "input": "Rain?", "reasoning": {"summary": "auto"}}
    async with client.responses.stream(tools=TOOLS[:-1], **asked) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.function_call_arguments.delta" in kinds
    assert "response.custom_tool_call_input.done" in kinds
    assert kinds.count("response.output_item.done") == len(final.output) == 4
    assert kinds[-1] == "response.completed"
    thought = final.output[0]
    assert thought.type == "reasoning"
    assert "They want rain." in thought.summary[0].text


async def test_silence_is_filled_with_events_that_every_client_understands(
    tmp_path: Path, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sse, responses_websocket):
        monkeypatch.setattr(module, "GRACE_S", 0.005)
        monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    asked = {"model": "m", "input": "Rain?"}
    async with (
        scripted(tmp_path, tiny_model("qwen3")) as front,
        httpx.AsyncClient(base_url=front.url, timeout=60) as http,
    ):
        front.say(SCRIPT)
        # The engine has to start, which takes a while.
        answer = await http.post("/v1/responses", json=asked | {"stream": True})
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        await http.post("/api/models/m/unload")
        frames: list[Any] = []
        async with connect(front.url.replace("http", "ws") + "/v1/responses") as socket:
            await socket.send(json.dumps(asked | {"type": "response.create"}))
            while not frames or frames[-1]["type"] != "response.completed":
                frames.append(json.loads(await socket.recv()))
        for events in (list(map(json.loads, data)), frames):
            kinds = [event["type"] for event in events]
            assert kinds[0] == "response.created"
            assert kinds.count("response.created") == 1
            assert kinds.count("response.in_progress") > 1
            assert [event["sequence_number"] for event in events] == list(range(len(events)))


# ---- what the model sees


def chat(**fields: Any) -> Any:
    asked = read_asked({"model": "m", "input": "Hi"} | fields)
    messages = messages_of(asked.items, asked.tools, SEAL)
    return chat_request(asked, messages, client=None, stream=False)


def test_tools_of_one_name_in_two_places_are_told_apart() -> None:
    tools: list[Any] = [
        {"type": "namespace", "name": "a", "tools": [function("run"), function("stop")]},
        function("run"),
    ]
    made = read_tools(tools)
    assert [each["function"]["name"] for each in made.offered] == ["a__run", "stop", "run"]
    assert made.name_of("run", "a") == "a__run"
    assert made.name_of("run") == "run"
    assert made.name_of("gone", "b") == "gone"


def test_ids_and_marks_of_clients_do_not_reach_the_prompt() -> None:
    def said(number: int) -> list[Any]:
        return [
            {"type": "message", "id": f"msg_{number}", "role": "user", "content": "Hi"},
            {"id": f"rs_{number}", "type": "reasoning", "summary": [{"text": "so", "x": 1}]},
            {"id": f"msg_x{number}", "type": "message", "role": "assistant", "content": "Ho"},
            function("f") | {"type": "function_call", "call_id": "c", "id": f"fc_{number}"},
            {"type": "function_call_output", "call_id": "c", "output": "1", "id": f"o{number}"},
            {"type": "web_search_call", "id": f"ws_{number}"},
        ]

    first, second = chat(input=said(1)), chat(input=said(2))
    assert first.messages == second.messages
    assert [message["role"] for message in first.messages] == ["user", "assistant", "tool"]
    assert first.messages[1]["reasoning_content"] == "so"
    assert first.messages[2]["name"] == "f"


def test_thinking_comes_back_from_the_sealed_text_or_from_what_stands_beside_it() -> None:
    sealed = {"encrypted_content": SEAL.close("so", "reasoning")}
    shown = [{"type": "reasoning_text", "text": "shown"}]
    for fields, expected in (
        (sealed | {"summary": []}, "so"),
        (sealed | {"summary": [], "content": shown}, "so"),
        ({"encrypted_content": "gAAAA foreign", "summary": [], "content": shown}, "shown"),
        ({"summary": [{"type": "summary_text", "text": "in short"}]}, "in short"),
    ):
        item = {"type": "reasoning", "id": "rs_1", **fields}
        (message,) = chat(input=[item]).messages
        assert message["reasoning_content"] == expected


def test_allowed_tools_leave_the_others_out() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"name": "weather"}]}
    made = chat(tools=TOOLS, tool_choice=allowed)
    assert (made.tool_choice, len(made.tools)) == ("required", 1)
    named = chat(tools=TOOLS, tool_choice=function("spawn_agent") | {"namespace": "agents"})
    assert (named.tool_choice, named.tool_name, len(named.tools)) == ("required", "spawn_agent", 3)


@given(st.text(), st.text(max_size=3))
def test_what_is_sealed_opens_for_its_purpose_alone(words: str, change: str) -> None:
    sealed = SEAL.close(words, "reasoning")
    assert SEAL.open(sealed, "reasoning") == words
    assert SEAL.open(sealed, "compaction") is None
    assert Seal(b"other" * 6).open(sealed, "reasoning") is None
    if change:
        assert SEAL.open(sealed[:9] + change + sealed[9:], "reasoning") in (None, words)
    assert SEAL.open(change, "reasoning") is None


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    sealed = Seal.of(file).close("x", "reasoning")
    assert Seal.of(file).open(sealed, "reasoning") == "x"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"torn")
    assert Seal.of(file).open(sealed, "reasoning") is None


# ---- demands, on a real model


@pytest.fixture(scope="module")
def openai(daemon: LiveDaemon) -> Iterator[OpenAI]:
    with daemon.openai() as client:
        yield client


class Weather(BaseModel):
    city: Literal["Ulm", "Rome"]
    dry: bool


SEEDED: Any = {"model": "tiny", "temperature": 1.0, "max_output_tokens": 800}


def test_an_answer_is_parsed_into_a_type(openai: OpenAI) -> None:
    parsed = openai.responses.parse(
        input="Weather?", text_format=Weather, extra_body={"seed": 7}, **SEEDED
    )
    assert isinstance(parsed.output_parsed, Weather)
    form: Any = {"format": {"type": "json_object"}}
    made = openai.responses.create(
        input="JSON", text=form, reasoning={"effort": "none"}, extra_body={"seed": 3}, **SEEDED
    )
    if made.status == "completed":
        assert isinstance(json.loads(made.output_text), dict)


def test_calls_can_be_demanded(openai: OpenAI) -> None:
    schema = Weather.model_json_schema()
    tools: Any = [
        function("weather", parameters=schema, strict=True),
        {
            "type": "custom",
            "name": "code",
            "format": {"type": "grammar", "syntax": "regex", "definition": "[a-c]{2,4}"},
        },
        *TOOLS[2:],
    ]

    def demand(choice: Any) -> Any:
        made = openai.responses.create(
            input="Go",
            tools=tools,
            tool_choice=choice,
            reasoning={"effort": "none"},
            extra_body={"seed": 5},
            **SEEDED,
        )
        return made.output[-1]

    call = demand({"type": "function", "name": "weather"})
    assert call.type == "function_call"
    Weather.model_validate_json(call.arguments)
    code = demand({"type": "custom", "name": "code"})
    assert code.type == "custom_tool_call"
    assert set(code.input) <= set("abc")
    assert 2 <= len(code.input) <= 4
    patch = demand({"type": "custom", "name": "apply_patch"})
    assert (patch.type, patch.name) == ("custom_tool_call", "apply_patch")
    assert patch.input.startswith("*** Begin Patch\n")


# ---- Codex

CODEX = sorted((Path(__file__).parents[2] / "golden" / "agents").glob("codex_*.json"))


@pytest.mark.parametrize("file", CODEX, ids=lambda file: file.stem)
def test_codexs_requests_are_answered(daemon: LiveDaemon, file: Path) -> None:
    body = json.loads(file.read_text("utf-8"))["body"] | {"model": "tiny"}
    with daemon.http(headers={"originator": "codex_exec"}) as http:
        count = http.post("/v1/responses/input_tokens", json=body).json()["input_tokens"]
        answer = http.post("/v1/responses", json=body | {"max_output_tokens": 4})
    assert answer.status_code == 200, answer.text
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    assert "response.output_item.done" in [event["type"] for event in events]
    final = events[-1]["response"]
    assert (final["store"], final["usage"]["input_tokens"]) == (False, count)
    assert final["tools"] == body["tools"]


def test_a_warm_up_is_answered(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        body = {"model": "tiny", "input": "", "max_output_tokens": 1}
        answer: httpx.Response = http.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
