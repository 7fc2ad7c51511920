"""Structured output and demanded tool calls, through OpenAI's client and a real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from fastmlx.daemon.api.openai_chat import read_chat
from fastmlx.daemon.api.openai_structured import read_structured
from fastmlx.daemon.protocol.errors import BadRequest
from live import LiveDaemon
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

HELLO: list[Any] = [{"role": "user", "content": "Give me the weather in Ulm as JSON."}]
SEEDED: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 800}


class Weather(BaseModel):
    city: Literal["Ulm", "Rome"]
    degrees: int
    dry: bool


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Ulm", "Rome"]},
        "degrees": {"type": "integer", "minimum": -30, "maximum": 50},
    },
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Ulm", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "clock")
]


def is_weather(text: str | None) -> bool:
    answer = json.loads(text or "")
    return (
        set(answer) == {"city", "degrees"}
        and answer["city"] in ("Ulm", "Rome")
        and -30 <= answer["degrees"] <= 50
    )


def test_a_schema_is_kept_streamed_or_not_and_by_every_choice(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format=FORMAT, n=3, **SEEDED
    )
    assert all(choice.finish_reason == "stop" for choice in whole.choices)
    assert all(is_weather(choice.message.content) for choice in whole.choices)
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format=FORMAT, stream=True, **SEEDED
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content


def test_openais_parse_helper_gets_its_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Weather, logit_bias={}, **SEEDED
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


@pytest.fixture(scope="module")
def killable(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    """A daemon whose engines nobody else uses."""
    config = f"models: {{tiny: {{path: {tiny_model('qwen3')}}}, demo: {{path: 'builtin:demo'}}}}"
    with LiveDaemon(tmp_path_factory.mktemp("killable"), config) as running:
        yield running


def test_the_demo_model_answers_in_json(killable: LiveDaemon) -> None:
    thinking = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    with killable.openai() as client:
        options: dict[str, Any]
        for options in ({"temperature": 0.0}, thinking):
            said = client.chat.completions.create(
                model="demo", messages=HELLO, response_format=FORMAT, max_tokens=600, **options
            )
            assert is_weather(said.choices[0].message.content)
        called = client.chat.completions.create(
            model="demo", messages=HELLO, tools=TOOLS, tool_choice="required", max_tokens=200
        )
        assert called.choices[0].finish_reason == "tool_calls"
        lark = {"syntax": "lark", "definition": 'start: ("left" | "right") " " /[1-9]/ "\\n"'}
        form = {"type": "grammar", "grammar": lark}
        turn: Any = {"type": "custom", "custom": {"name": "turn", "format": form}}
        custom = client.chat.completions.create(
            model="demo", messages=HELLO, tools=[turn], tool_choice="required", max_tokens=200
        )
        call = (custom.choices[0].message.tool_calls or [None])[0]
        assert call is not None and call.type == "custom"
        assert re.fullmatch("(left|right) [1-9]\n", call.custom.input)


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"structured_outputs": {"regex": "[a-f]{4}"}}, "[a-f]{4}"),
        ({"structured_outputs": {"choice": ["yes", 'no "or" so']}}, 'yes|no "or" so'),
        ({"structured_outputs": {"grammar": 'start: "a" /[0-9]/'}}, "a[0-9]"),
        ({"guided_grammar": 'root ::= "x" [0-9]'}, "x[0-9]"),
        ({"guided_choice": ["left", "right"]}, "left|right"),
        ({"guided_json": {"type": "boolean"}}, "true|false"),
    ],
)
def test_vllms_fields_are_kept_by_completions_too(
    client: OpenAI, fields: dict[str, Any], pattern: str
) -> None:
    said = client.completions.create(model="tiny", prompt="Well,", extra_body=fields, **SEEDED)
    assert said.choices[0].finish_reason == "stop"
    assert re.fullmatch(pattern, said.choices[0].text)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "clock"}}]
)
def test_a_demanded_call_is_made(client: OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        tools=TOOLS,
        tool_choice=choice,
        parallel_tool_calls=False,
        **SEEDED,
    ).choices[0]
    assert answer.finish_reason == "tool_calls"
    [call] = answer.message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments)["city"] in ("Ulm", "Rome")
    assert call.function.name == "clock" or choice == "required"


def test_beside_tools_an_answer_is_of_the_schema_or_a_call(client: OpenAI) -> None:
    answers = client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        tools=TOOLS,
        response_format=FORMAT,
        n=8,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        **SEEDED,
    ).choices
    for answer in answers:
        if answer.message.tool_calls:
            assert not answer.message.content
        else:
            assert is_weather(answer.message.content)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "x",
                        "strict": True,
                        "schema": {
                            "type": "object",
                            "properties": {"a": {"$ref": "#/$defs/b"}},
                            "$defs": {"b": {"anyOf": [{"type": "null"}, {"type": "textt"}]}},
                        },
                    },
                }
            },
            "response_format.json_schema.schema.$defs.b.anyOf[1]",
        ),
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "start: b"}}, "structured_outputs.grammar"),
        ({"guided_json": {"not": {"type": "string"}}}, "guided_json"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_what_cannot_be_kept_is_a_400_that_names_the_place(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    body = {"model": "tiny", "messages": HELLO} | fields
    extra = _extra(body)
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**body, extra_body=extra)
    assert caught.value.param == param
    assert param in caught.value.message


def test_a_tool_whose_schema_cannot_be_kept_is_a_400_only_where_calls_are_demanded(
    client: OpenAI,
) -> None:
    bad: Any = {"type": "object", "properties": {"a": {"type": "textt"}}}
    tools: list[Any] = [*TOOLS, {"type": "function", "function": {"name": "x", "parameters": bad}}]
    options: Any = {"model": "tiny", "messages": HELLO, "tools": tools, "max_tokens": 2}
    assert client.chat.completions.create(**options).choices
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**options, tool_choice="required")
    assert caught.value.param == "tools[2].function.parameters.properties.a"


def _extra(body: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in body if name.startswith(("guided", "structured"))]
    return {name: body.pop(name) for name in names}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_engine_killed_in_the_middle_of_a_grammar_changes_nothing(
    killable: LiveDaemon, temperature: float
) -> None:
    running = killable
    regex = "([a-z]{2,9} ){200}"
    options: dict[str, Any] = {
        "model": "tiny",
        "messages": HELLO,
        "seed": 3,
        "temperature": temperature,
        "max_tokens": 300,
        "extra_body": {"structured_outputs": {"regex": regex}},
    }
    with running.openai() as client:
        want = client.chat.completions.create(**options).choices[0].message.content
        before = running.model("tiny")
        pid = before["pid"]
        said = ""
        for chunk in client.chat.completions.create(**options, stream=True):
            if chunk.choices:
                said += chunk.choices[0].delta.content or ""
            if pid and len(said) > 60:
                os.kill(pid, signal.SIGKILL)
                pid = None
    assert pid is None
    assert said == want
    assert running.model("tiny")["restarts"] == before["restarts"] + 1


def test_free_streams_beside_a_schema_say_what_they_say_alone(client: OpenAI) -> None:

    def free() -> str | None:
        return (
            client.chat.completions.create(
                model="tiny", messages=HELLO, temperature=0.0, max_tokens=120
            )
            .choices[0]
            .message.content
        )

    want = free()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(free()))
    thread.start()
    client.chat.completions.create(
        model="tiny", messages=HELLO, response_format=FORMAT, n=4, **SEEDED
    )
    thread.join()
    assert got == [want]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": [1]}, "structured_outputs"),
        ({"guided_choice": "x"}, "guided_choice"),
        ({"guided_grammar": "root ::= ("}, "guided_grammar"),
    ],
)
def test_a_malformed_wish_is_refused_before_anything_runs(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        read_structured(fields)
    assert caught.value.param == param


def test_wishes_for_nothing_in_particular_are_none() -> None:
    for fields in (
        {},
        {"response_format": {"type": "text"}},
        {"response_format": None, "structured_outputs": None},
        {"grammar": "", "structured_outputs": {"json_object": False}},
    ):
        assert read_structured(fields) is None


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("sometimes", "tool_choice"),
        ({"type": "function", "function": {"name": "x"}}, "tool_choice.function.name"),
        ({"type": "function"}, "tool_choice"),
    ],
)
def test_a_tool_choice_that_names_nothing_is_refused(choice: Any, param: str) -> None:
    body = {"model": "m", "messages": HELLO, "tools": TOOLS, "tool_choice": choice}
    with pytest.raises(BadRequest) as caught:
        read_chat(json.dumps(body).encode())
    assert caught.value.param == param
    with pytest.raises(BadRequest):
        read_chat(json.dumps(body | {"tools": [], "tool_choice": "required"}).encode())
