"""Calls are demanded of other families: their templates on a tiny model, in a real engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.api.responses_fields import chat_request, read_asked
from live import LiveDaemon
from openai import BadRequestError, OpenAI
from tokenizers import Tokenizer

BODY = """\
{%- for message in messages %}{{- message.content + '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{%- endif %}
"""
# What tells the family is in a comment: nothing here is about how tools are shown.
TEMPLATES = {
    "hermes": "{#- <tool_call> arguments #}",
    "coder": "{#- <tool_call> <function= <parameter= #}",
    "gptoss": "{#- <|channel|> <|message|> #}",
    "plain": "{#- nothing #}",
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "enum": ["Ulm", "Rome"]},
                    "days": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "clock")
]
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Rain in Ulm?"}],
    "max_tokens": 600,
    "seed": 11,
}


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[OpenAI]:
    home = tmp_path_factory.mktemp("families")
    config = "models:\n"
    for name, family in TEMPLATES.items():
        (home / f"{name}.jinja").write_text(BODY + family)
        config += f"  {name}: {{path: {tiny_model('qwen3')}, chat_template: ./{name}.jinja}}\n"
    with LiveDaemon(home, config) as running, running.openai() as client:
        yield client


@pytest.fixture(scope="module")
def opening(tiny_model: Callable[..., Path]) -> int:
    tokenizer = Tokenizer.from_file(str(tiny_model("qwen3") / "tokenizer.json"))
    token = tokenizer.token_to_id("<tool_call>")
    assert token is not None
    return token


@pytest.mark.parametrize("model", ["coder", "gptoss"])
def test_the_call_comes_in_the_familys_own_format(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, **ASKED
    ).choices[0]
    [call] = answer.message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Ulm", "Rome")
    assert 1 <= arguments["days"] <= 9
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None


def test_the_calls_of_a_strict_tool_keep_its_schema_though_none_is_demanded(
    client: OpenAI, opening: int
) -> None:
    strict = [tool | {"function": tool["function"] | {"strict": True}} for tool in TOOLS]
    # It would say nothing else, were it not for the rest of the call.
    eager: dict[str, Any] = ASKED | {"logit_bias": {str(opening): 50}, "max_tokens": 20}
    loose = client.chat.completions.create(model="coder", tools=TOOLS, **eager).choices[0]
    eager["max_tokens"] = 250
    assert "<tool_call>" * 9 in (loose.message.content or "")
    held = client.chat.completions.create(model="coder", tools=strict, **eager).choices[0]
    assert held.message.tool_calls and not held.message.content
    for call in held.message.tool_calls[:-1]:  # the last may be cut off
        assert call.type == "function"
        arguments = json.loads(call.function.arguments)
        assert arguments.keys() == {"city", "days"}
        assert arguments["city"] in ("Ulm", "Rome") and 1 <= arguments["days"] <= 9
    assert len(held.message.tool_calls) > 1
    never: dict[str, Any] = ASKED | {"logit_bias": {str(opening): -100}, "max_tokens": 30}
    for tools in (TOOLS, strict):  # what is no call is as free as without
        said = client.chat.completions.create(model="coder", tools=tools, **never).choices[0]
        assert not said.message.tool_calls and said.message.content


LARK = r"""
start: "*** Begin" LF line ~ 1..2 "*** End"
line: ("+" | "-") /[a-c"]{1,3}/ LF
%import common.LF
"""
PATCH = r'\*\*\* Begin\n([+-][a-c"]{1,3}\n){1,2}\*\*\* End'
GRAMMARS = {
    "patch": {"syntax": "lark", "definition": LARK},
    "word": {"syntax": "regex", "definition": r'^[a-c"\n]{2,5}$'},
}
CUSTOM: list[Any] = [
    {"type": "custom", "custom": {"name": name, "format": {"type": "grammar", "grammar": grammar}}}
    for name, grammar in GRAMMARS.items()
]


def check(name: str, given: str) -> None:
    pattern = {"patch": PATCH, "word": '[a-c"\n]{2,5}'}[name]
    assert re.fullmatch(pattern, given), given


@pytest.mark.parametrize("model", ["hermes", "coder", "gptoss"])
def test_the_input_of_a_custom_tool_that_must_be_called_matches_its_grammar(
    client: OpenAI, model: str
) -> None:
    only: Any = {"type": "custom", "custom": {"name": "patch"}}
    asked: Any = ASKED | {"tools": [TOOLS[0], *CUSTOM], "temperature": 1.0}
    stream: Any = client.chat.completions.create(
        model=model, tool_choice=only, parallel_tool_calls=False, stream=True, **asked
    )
    first, *pieces = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    assert (first.type, first.custom) == ("custom", {"name": "patch", "input": ""})
    assert len(pieces) > 1  # as it is generated
    check("patch", "".join(piece.custom["input"] for piece in pieces))


@pytest.mark.parametrize("model", ["hermes", "coder"])
def test_the_input_of_a_custom_tool_matches_its_grammar_though_none_is_demanded(
    client: OpenAI, model: str, opening: int
) -> None:
    eager: dict[str, Any] = {"logit_bias": {str(opening): 50}, "seed": 3}  # a call is begun for it
    asked: Any = ASKED | {"tools": CUSTOM, "max_tokens": 120, "parallel_tool_calls": False} | eager
    choices = client.chat.completions.create(model=model, n=3, **asked).choices
    whole = [choice for choice in choices if choice.finish_reason == "tool_calls"]
    assert len(whole) > 1
    for choice in whole:
        [call] = choice.message.tool_calls or []
        assert call.type == "custom"
        check(call.custom.name, call.custom.input)


def test_responses_hold_the_input_of_whatever_custom_tool_is_called(client: OpenAI) -> None:
    tools: list[Any] = [
        {"type": "custom", "name": name, "format": {"type": "grammar", **grammar}}
        for name, grammar in GRAMMARS.items()
    ]
    asked: Any = {"model": "hermes", "input": "Go", "tools": tools, "max_output_tokens": 200}
    *_, end = client.responses.create(
        stream=True, tool_choice="required", parallel_tool_calls=False, **asked
    )
    assert end.type == "response.completed"
    [call] = end.response.output
    assert call.type == "custom_tool_call"
    check(call.name, call.input)
    body: Any = {name: value for name, value in asked.items() if name != "max_output_tokens"}
    made = chat_request(read_asked(body), [{"role": "user"}], client=None, stream=False)
    assert made.tool_choice == "auto"
    assert made.input_patterns.keys() == GRAMMARS.keys()
    assert [each.param for each in made.input_patterns.values()] == [
        f"tools[{number}].format.definition" for number in range(2)
    ]


def test_a_strict_tool_whose_schema_cannot_be_enforced_is_refused(client: OpenAI) -> None:
    function = {"name": "f", "parameters": {"type": "object", "not": {}}}
    tools: list[Any] = [{"type": "function", "function": function | {"strict": True}}]
    with pytest.raises(BadRequestError, match=r"tools\[0\].function.parameters"):
        client.chat.completions.create(model="coder", tools=tools, **ASKED)
    claude: list[Any] = [{"name": "f", "input_schema": function["parameters"], "strict": True}]
    asked = {"model": "coder", "max_tokens": 9, "messages": ASKED["messages"]}
    for path, fields in (
        ("/messages", {"tools": claude}),
        ("/responses", {"tools": [{"type": "function", **function, "strict": True}], "input": "?"}),
    ):
        with pytest.raises(BadRequestError, match=r"tools\[0\].function.parameters"):
            client.post(path, body=asked | fields, cast_to=object)


def test_gpt_oss_answers_in_its_final_channel(client: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [1, 22]}}}
    answered = 0
    beside: list[dict[str, Any]] = [{}, {"tools": TOOLS}]
    for tools in beside:
        for seed in (1, 2, 3):
            fields: dict[str, Any] = ASKED | tools | {"seed": seed, "max_tokens": 120}
            answer = client.chat.completions.create(model="gptoss", response_format=form, **fields)
            choice = answer.choices[0]
            if choice.finish_reason == "stop":
                assert choice.message.content in ("1", "22")
                answered += 1
            else:  # it thinks for ever, or calls
                assert choice.finish_reason == "tool_calls" or not choice.message.content
    assert answered


def test_a_model_without_a_format_refuses(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model="plain", tools=TOOLS, tool_choice="required", **ASKED)
    assert caught.value.param == "tool_choice"
