"""What every tool and reasoning parser has to do, on the examples in its own module."""

from __future__ import annotations

from itertools import combinations
from types import ModuleType
from typing import Any

import pytest
from fastmlx.daemon.protocol.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
)
from fastmlx.daemon.text.model_text import REASONING_PARSERS, TOOL_PARSERS, thinking_end
from fastmlx.daemon.text.parsing import Call, Example, ReasoningParser, ToolParser, partial_marker
from fastmlx.daemon.text.tool_parsers._schemas import Declared
from hypothesis import given
from hypothesis import strategies as st

CASES = [
    pytest.param(registry.get(name), example, id=f"{name}-{number}")
    for registry in (TOOL_PARSERS, REASONING_PARSERS)
    for name in registry.names()
    for number, example in enumerate(registry.get(name).EXAMPLES)
]


def new_parser(module: ModuleType, example: Example) -> ToolParser | ReasoningParser:
    if module.__name__.rpartition(".")[0].endswith("tool_parsers"):
        return module.Parser(7, example.tools)
    return module.Parser(7, opened=example.opened)


def joined(events: list[Event]) -> tuple[str, str, tuple[Call, ...]]:
    """Text, reasoning and calls; with what every stream of events must keep to."""
    text, reasoning = "", ""
    calls: list[Call] = []
    ids: set[str] = set()
    for event in events:
        assert not isinstance(event, TextDelta | ReasoningDelta) or event.text
        match event:
            case TextDelta(index=7, text=piece):
                text += piece
            case ReasoningDelta(index=7, text=piece):
                reasoning += piece
            case ToolCallStarted(index=7, call=call, id=id_, name=name):
                assert call == len(calls)
                assert id_ and id_ not in ids
                ids.add(id_)
                calls.append(Call(name, ""))
            case ToolCallArguments(index=7, call=call, arguments=piece):
                assert call == len(calls) - 1
                calls[-1] = Call(calls[-1].name, calls[-1].arguments + piece)
            case _:
                raise AssertionError(event)
    "".join([text, reasoning, *map("".join, calls)]).encode()  # no half of a character
    return text, reasoning, tuple(calls)


def parse(module: ModuleType, example: Example, pieces: list[str]) -> list[Event]:
    parser = new_parser(module, example)
    events = [event for piece in pieces for event in parser.push(piece)]
    events += parser.finish()
    if not isinstance(completed := getattr(parser, "completed", None), int):
        return events
    assert (completed == len(example.calls)) is example.completed
    return events


@pytest.mark.parametrize(("module", "example"), CASES)
def test_an_example_is_read_as_it_says_wherever_it_is_cut(
    module: ModuleType, example: Example
) -> None:
    expected = (example.text, example.reasoning, example.calls)
    output = example.output
    assert joined(parse(module, example, [output])) == expected
    assert joined(parse(module, example, list(output))) == expected
    for a, b in combinations(range(len(output) + 1), 2):
        pieces = [output[:a], output[a:b], output[b:]]
        assert joined(parse(module, example, pieces)) == expected, pieces


@pytest.mark.parametrize("module", [TOOL_PARSERS.get(name) for name in TOOL_PARSERS.names()])
@given(data=st.data())
def test_tool_parsers_read_garbage_alike_wherever_it_is_cut(
    module: ModuleType, data: st.DataObject
) -> None:
    bits = [*module.MARKERS, '{"name": "f", "arguments": ', "{", "}", '"', ",", ":", " \n", "x"]
    bits += ['{"a": 1}', "\\", "[", "]", "12", "tru", "\\u00", '"\\ud83d"', '"b": ']
    output = "".join(data.draw(st.lists(st.sampled_from(bits), max_size=15)))
    pieces = data.draw(st.lists(st.integers(1, 6)).map(lambda sizes: cut(output, sizes)))
    whole, parts = module.Parser(7), module.Parser(7)
    expected = joined(whole.push(output) + whole.finish())
    events = [event for piece in pieces for event in parts.push(piece)]
    assert joined(events + parts.finish()) == expected
    assert parts.completed == whole.completed


@pytest.mark.parametrize(
    "module", [REASONING_PARSERS.get(name) for name in REASONING_PARSERS.names()]
)
@given(data=st.data(), opened=st.booleans())
def test_reasoning_parsers_read_garbage_alike_wherever_it_is_cut(
    module: ModuleType, data: st.DataObject, opened: bool
) -> None:
    bits = [*module.MARKERS, "<", "</thi", "nk>", "\n", " ", "x", "\n\n"]
    output = "".join(data.draw(st.lists(st.sampled_from(bits), max_size=15)))
    pieces = data.draw(st.lists(st.integers(1, 6)).map(lambda sizes: cut(output, sizes)))
    whole, parts = module.Parser(7, opened=opened), module.Parser(7, opened=opened)
    expected = joined(whole.push(output) + whole.finish())
    events = [event for piece in pieces for event in parts.push(piece)]
    assert joined(events + parts.finish()) == expected


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces = []
    for size in sizes:
        pieces.append(text[:size])
        text = text[size:]
    return [*pieces, text]


TEMPLATES = {
    # what a family's template is known by: (tool parser, reasoning parser)
    "<tool_call>\n{{ tool_call.arguments }} </think>": ("hermes", "think"),
    "<tool_call>\n<function=a>\n<parameter=b>": ("qwen3_coder", None),
    "<tool_call>{{ name }}<arg_key> <think></think>": ("glm", "think"),
    "<minimax:tool_call> </think>": ("minimax", "think"),
    "]<]minimax[>[<tool_call> </mm:think>": ("minimax_m3", "minimax_m3"),
    "<｜tool▁calls▁begin｜> </think>": ("deepseek", "think"),
    "<｜DSML｜function_calls> </think>": ("deepseek_dsml", "think"),
    "[TOOL_CALLS] [THINK] [/THINK]": ("mistral", "mistral"),
    '<|start_header_id|> "parameters": <|python_tag|>': ("llama3", None),
    "<|header_start|> [func_name1(params_name1=": ("pythonic", None),
    "<|tool_list_start|>": ("lfm2", None),
    "<start_of_turn>": ("gemma3", None),
    "<start_of_turn> <start_function_call>": ("functiongemma", None),
    "<|tool_call> <channel|>": ("gemma4", "gemma4"),
    "<|start|> <|channel|> <|message|>": ("harmony", "harmony"),
    "<|tool_calls_section_begin|>": ("kimi", None),
    "<|open|>tools<|sep|> <|close|>think<|sep|>": ("kimi_k3", "kimi_k3"),
    "<|start_of_role|> <|tool_call|>": ("granite", None),
    "<|tool|> <|/tool|>": ("phi4", None),
    "<|START_ACTION|> <|END_THINKING|>": ("cohere", "cohere"),
    "<TOOLCALL>": ("nemotron", None),
    "<longcat_tool_call> <longcat_arg_key> </longcat_think>": ("longcat", "longcat"),
    "<seed:tool_call> <function= <parameter= </seed:think>": ("seed_oss", "seed_oss"),
    "<atem:function_calls>": ("muse_spark", None),
    "<｜tool_calls_begin｜> <steptml:invoke </think>": ("step3", "think"),
    '<function name="a"><param name="b">': ("minicpm", None),
    "You are xLAM": ("xlam", None),
}


@pytest.mark.parametrize(("template", "parsers"), TEMPLATES.items())
def test_a_template_belongs_to_one_format(template: str, parsers: tuple[str, str | None]) -> None:
    for registry, expected in zip((TOOL_PARSERS, REASONING_PARSERS), parsers, strict=True):
        found = [name for name in registry.names() if registry.get(name).detect(template)]
        assert found == ([expected] if expected else [])


@pytest.mark.parametrize("registry", [TOOL_PARSERS, REASONING_PARSERS])
def test_every_parser_recognises_no_empty_template(registry) -> None:
    for name in registry.names():
        module = registry.get(name)
        assert module.detect("") is False
        assert module.MARKERS


def test_a_partial_marker_is_the_longest_beginning_at_the_end() -> None:
    assert partial_marker("a <to", "<tool>") == 3
    assert partial_marker("aa", "aab") == 2
    assert partial_marker("<tool>", "<tool>") == 0
    assert partial_marker("", "<tool>") == 0


@pytest.mark.parametrize("name", REASONING_PARSERS.names())
def test_the_end_of_thinking_ends_it(name: str) -> None:
    module = REASONING_PARSERS.get(name)
    parser = module.Parser(7, opened=True)
    parser.push("Hm, cut off he")
    parser.push(thinking_end(module))
    assert not parser.open
    assert joined([*parser.push("Answer."), *parser.finish()])[0] == "Answer."


def test_types_of_parameters_are_found_or_given_up() -> None:
    """Not looked for in all ways in which a schema may refer to itself: of these 10 ** 50."""
    itself = {"anyOf": [{"$ref": "#/$defs/d1"}] * 10}
    defs: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(50)
    }
    defs |= {"d50": {"type": "string"}, "circle": {"$ref": "#/$defs/circle"}}
    chain = {f"c{n}": {"$ref": f"#/$defs/c{n + 1}"} for n in range(100_000)}
    schema = {
        "$defs": defs | chain | {"word": {"enum": ["a", 1]}},
        "properties": {
            "many": itself,
            "circle": {"$ref": "#/$defs/circle"},
            "far": {"$ref": "#/$defs/c0"},
            "word": {"anyOf": [{"$ref": "#/$defs/word"}, {"type": ["null", "Int"]}]},
            "values": {"enum": ["a"] * 1_000_000},
        },
    }
    tools = [{"function": {"name": "f", "parameters": schema}}, {"name": "g"}, {"function": 3}]
    declared = Declared(tools)
    assert list(declared) == ["f", "g"]
    assert declared["f"] == {"word": {"string", "integer", "null"}, "values": {"string"}}
    assert declared["g"] == {}
