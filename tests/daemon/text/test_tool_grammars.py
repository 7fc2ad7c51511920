"""What the grammar of demanded calls allows is read back by the parser of the same format."""

from __future__ import annotations

import json
import random
from itertools import product
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from fastmlx.daemon.protocol.events import TextDelta, ToolCallArguments, ToolCallStarted
from fastmlx.daemon.protocol.grammar import Grammar
from fastmlx.daemon.text.grammar import as_rule
from fastmlx.daemon.text.held_calls import Around, held_calls
from fastmlx.daemon.text.lark_regex import as_regex
from fastmlx.daemon.text.model_text import REASONING_PARSERS, TOOL_PARSERS
from fastmlx.daemon.text.tool_grammar import Rules, calls
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MODULES = [TOOL_PARSERS.get(name) for name in TOOL_PARSERS.names()]


def function(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [
    function(
        "weather",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer"},
                "where": {"$ref": "#/$defs/place"},
                "tags": {"type": "array", "items": {"enum": ["a b", "c"]}, "maxItems": 2},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "exact": {"type": "boolean"},
                "sky": {"$ref": "#/$defs/sky"},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
            "$defs": {
                "sky": {"type": "string", "enum": ["blue", "0"]},
                "place": {
                    "type": "object",
                    "properties": {"lat": {"type": "integer"}, "lon": {"type": "integer"}},
                    "required": ["lat", "lon"],
                    "additionalProperties": False,
                },
            },
        },
    ),
    function(
        "move",
        {
            "type": "object",
            "properties": {
                "by": {
                    "type": "object",
                    "properties": {"x": {"type": "number"}, "why": {"enum": ["wind", "rain"]}},
                    "required": ["x"],
                    "additionalProperties": False,
                },
                "path": {"type": "array", "items": {"type": "boolean"}},
            },
            "additionalProperties": False,
        },
    ),
    function("now", {"type": "object", "properties": {}, "additionalProperties": False}),
]
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}


class Vocabulary:
    """Bytes, and perhaps the marks of a format as tokens."""

    def __init__(self, marks: tuple[str, ...] = (), *, tokens: bool = False) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {letter: i for i, letter in enumerate(alphabet)} | {"<end>": 256}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
        if tokens:
            tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
        found = ((mark, tokenizer.token_to_id(mark)) for mark in marks)
        self.tokens: dict[str, int] = {mark: id_ for mark, id_ in found if id_ is not None}
        self.plain = tokenizer
        self.guide = LLTokenizer(tokenizer.to_str(), eos_token=256)

    def text(self, tokens: list[int]) -> str:
        return self.plain.decode(tokens, skip_special_tokens=False)


def written(grammar: str, vocabulary: Vocabulary, closings: tuple[str, ...], seed: int) -> str:
    """Something that the grammar allows. Text that may go on for ever is soon ended by one of
    `closings`, or by whatever ends JSON."""
    chance = random.Random(seed)
    matcher = LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(grammar))
    assert not matcher.is_error(), matcher.get_error()
    tokens: list[int] = []
    letters = b'abcDE 019.-"\\{}[],:<>\n/\xc3\xa9'
    for _ in range(3000):
        if matcher.is_accepting() and (chance.random() < 0.5 or matcher.is_stopped()):
            break
        forced = matcher.compute_ff_tokens()
        if not forced and chance.random() < 0.4:
            texts = [*closings, '"', "}", "]", ")"]
            ends = [vocabulary.plain.encode(text).ids for text in texts]
            usable = [end for end in ends if matcher.validate_tokens(end) == len(end)]
            forced = chance.choice(usable) if usable else []
        if not forced:
            mask = matcher.compute_logit_bias()
            allowed = [i for i, bias in enumerate(mask) if bias and i != 256]
            bytes_of = vocabulary.guide.decode_bytes
            likely = [i for i in allowed if bytes_of([i]) in [bytes([b]) for b in letters]]
            forced = [chance.choice(likely or allowed)]
        assert matcher.consume_tokens(forced), (vocabulary.text(tokens), matcher.get_error())
        tokens += forced
    else:
        raise AssertionError(vocabulary.text(tokens)[-300:])
    return vocabulary.text(tokens)


def read(
    module: ModuleType, text: str, *, alone: bool = True, tools: list[dict[str, Any]] = TOOLS
) -> list[tuple[str, Any]]:
    """The calls; `alone`: the text must be nothing else."""
    parser = module.Parser(0, tools)
    found: list[tuple[str, str]] = []
    for event in [*parser.push(text), *parser.finish()]:
        assert not (alone and isinstance(event, TextDelta)), (text, event)
        if isinstance(event, ToolCallStarted):
            found.append((event.name, ""))
        elif isinstance(event, ToolCallArguments):
            found[-1] = (found[-1][0], found[-1][1] + event.arguments)
    assert parser.completed == len(found), text
    return [(name, json.loads(arguments)) for name, arguments in found]


CLOSINGS = (
    "</parameter>", "</arg_value>", "</longcat_arg_value>", "</param>", "</atem:parameter>",
    "</steptml:parameter>", "</｜DSML｜parameter>", "<|close|>argument<|sep|>", '<|"|>', "<escape>",
)  # fmt: skip


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_what_the_grammar_allows_is_read_as_calls_that_keep_their_schema(
    module: ModuleType, tokens: bool
) -> None:
    marks = getattr(module, "MARKS", module.MARKERS)
    vocabulary = Vocabulary(marks, tokens=tokens)
    seen: set[str] = set()
    for seed, parallel in product(range(3), (False, True)):
        rules = Rules(marks, vocabulary.tokens.get)
        start = calls(module.FORMS, rules, TOOLS, name=None, parallel=parallel)
        text = written(rules.source(start), vocabulary, CLOSINGS, seed)
        found = read(module, text)
        assert len(found) == 1 or (parallel and found), text
        for name, arguments in found:
            seen.add(name)
            jsonschema.validate(arguments, SCHEMAS[name])
    assert len(seen) > 1


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_named_tool_is_the_only_one(module: ModuleType) -> None:
    vocabulary = Vocabulary()
    rules = Rules(module.MARKERS)
    start = calls(module.FORMS, rules, TOOLS, name="move", parallel=False)
    for seed in range(3):
        [(name, _)] = read(module, written(rules.source(start), vocabulary, CLOSINGS, seed))
        assert name == "move"


PATCH = r"""
start: "*** Begin" LF (add | quote)+ "*** End" LF?
add: "+" /(.+)/ LF
quote: "> \"" INSIDE "\"\n"
INSIDE: /[^"\n]{1,9}/
%import common.LF
"""
CUSTOM = [
    function(
        "patch",
        {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]},
    ),
    TOOLS[-1],
]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_text_of_a_custom_tool_keeps_its_grammar(module: ModuleType, tokens: bool) -> None:
    marks = getattr(module, "MARKS", module.MARKERS)
    vocabulary = Vocabulary(marks, tokens=tokens)
    texts = {"patch": as_regex(PATCH)}
    rules = Rules(marks, vocabulary.tokens.get)
    start = calls(module.FORMS, rules, CUSTOM, name="patch", parallel=False, texts=texts)
    ends = (*CLOSINGS, "*** End")
    said = [written(rules.source(start), vocabulary, ends, seed) for seed in range(2)]
    original = LLMatcher(Vocabulary().guide, LLMatcher.grammar_from_lark(PATCH))
    for text in said:
        [(_, arguments)] = read(module, text, tools=CUSTOM)
        assert takes(original, Vocabulary(), arguments["input"]), text

    rules = Rules(marks, vocabulary.tokens.get)
    around, starts = getattr(module, "AROUND", Around()), module.Parser.format.starts
    added = vocabulary.tokens.values()
    held = held_calls(module.FORMS, around, starts, rules, CUSTOM, added, texts)
    matcher = LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(rules.source(held)))
    for text in said:
        assert takes(matcher, vocabulary, text), text
        for wrong in ("Begin", "End"):
            assert not takes(matcher, vocabulary, text.replace(f"*** {wrong}", "*** Else"))
    assert takes(matcher, vocabulary, "*** Begin? As you like.")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_strict_tools_strings_keep_their_pattern_and_length(module: ModuleType) -> None:
    schema = {
        "type": "object",
        "properties": {
            "zip": {"type": "string", "pattern": "^[0-9]{3}(a|b)$"},
            "note": {"type": "string", "pattern": "c[.]", "minLength": 4, "maxLength": 6},
        },
        "required": ["zip", "note"],
        "additionalProperties": False,
    }
    strict = [function("f", schema)]
    strict[0]["function"]["strict"] = True
    vocabulary = Vocabulary()
    rules = Rules(module.MARKERS)
    start = calls(module.FORMS, rules, strict, name=None, parallel=False)
    text = written(rules.source(start), vocabulary, CLOSINGS, 1)
    [(_, arguments)] = read(module, text, tools=strict)
    jsonschema.validate(arguments, schema)


@pytest.mark.parametrize("pattern", ["^a|b$", "a$|^b"])
def test_a_pattern_that_tags_cannot_hold_is_refused(pattern: str) -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": pattern}}}
    strict = [function("f", schema)]
    strict[0]["function"]["strict"] = True
    module = TOOL_PARSERS.get("qwen3_coder")
    with pytest.raises(ValueError, match="pattern"):
        calls(module.FORMS, Rules(), strict, name=None, parallel=False)


LOOSE = [
    function(
        name,
        {
            "properties": {"bad": {"enum": [1]}},
            "required": ["bad"],
            "additionalProperties": False,
        },
    )
    for name in SCHEMAS
]


def takes(matcher: LLMatcher, vocabulary: Vocabulary, text: str) -> bool:
    """Whether an answer may be this and no more."""
    state = matcher.deep_copy()
    tokens = vocabulary.plain.encode(text).ids
    return state.validate_tokens(tokens) == len(tokens) and (
        state.consume_tokens(tokens) and state.is_accepting()
    )


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_an_answer_may_say_anything_but_its_calls_keep_their_schema(
    module: ModuleType, tokens: bool
) -> None:
    marks = getattr(module, "MARKS", module.MARKERS)
    vocabulary = Vocabulary((*marks, "<other>"), tokens=tokens)

    def source(tools: list[dict[str, Any]], name: str | None = None) -> str:
        rules = Rules(marks, vocabulary.tokens.get)
        return rules.source(calls(module.FORMS, rules, tools, name=name, parallel=True))

    rules = Rules(marks, vocabulary.tokens.get)
    around = getattr(module, "AROUND", Around())
    starts = module.Parser.format.starts
    start = held_calls(module.FORMS, around, starts, rules, TOOLS, vocabulary.tokens.values())
    matcher = LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(rules.source(start)))
    assert not matcher.is_error(), matcher.get_error()

    good = [written(source(TOOLS), vocabulary, CLOSINGS, seed) for seed in (1, 2)]
    bad = [
        *(written(source(LOOSE, name), vocabulary, CLOSINGS, 1) for name in SCHEMAS),
        *(example.output for example in module.EXAMPLES if example.calls),
    ]
    plain = ["", "So.", " \n", "{}", 'As {"a": [1]}', "1 < 2; [x](y) <b>", "<other>é"]
    for text in (*plain, *good, *(f"\n\n{call}" for call in good)):
        assert takes(matcher, vocabulary, text), text
    if module.Parser.format.bare is None:  # others begin their answer with the call
        for call in good:
            assert takes(matcher, vocabulary, f"Hm, <other>{call}"), call
    if not around.after:
        for call in good:
            assert takes(matcher, vocabulary, f"{call}\nDone"), call

    chance = random.Random(1)
    between = [*plain, "; ", ", ", "[", "]", "{", *marks]
    for _ in range(40):
        parts = chance.choices([*good, *bad, *between], k=chance.randint(1, 4))
        text = "".join(parts)
        if chance.random() < 0.5:
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(["", *'{}[]"<>, x']) + text[place + 1 :]
        assert not takes(matcher, vocabulary, text) or all(
            map(fits, read(module, text, alone=False))
        )
    for call in bad:
        assert not takes(matcher, vocabulary, call) or all(
            map(fits, read(module, call, alone=False))
        ), call


def fits(call: tuple[str, Any]) -> bool:
    """Whether it keeps to its schema."""
    name, arguments = call
    return name in SCHEMAS and Draft202012Validator(SCHEMAS[name]).is_valid(arguments)


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("regex", "a/b\\/[c\n]"),
        Grammar("json_schema", '{"const": "x/y"}'),
        Grammar("lark", 'start: "a" b\nb: "/"'),
    ],
)
def test_any_grammar_can_stand_inside_another(grammar: Grammar) -> None:
    rules = Rules()
    source = rules.source(f'"<" {rules.rule(as_rule(grammar))} ">"')
    matcher = LLMatcher(Vocabulary().guide, LLMatcher.grammar_from_lark(source))
    said = {"regex": "<a/b/\n>", "json_schema": '<"x/y">', "lark": "<a/>"}[grammar.kind]
    assert matcher.consume_tokens(Vocabulary().plain.encode(said).ids)
    assert matcher.is_accepting()


@pytest.mark.parametrize("tokens", [False, True])
def test_gpt_oss_may_think_or_answer_at_once(tokens: bool) -> None:
    module = REASONING_PARSERS.get("harmony")
    tools = TOOL_PARSERS.get("harmony")
    vocabulary = Vocabulary(module.MARKERS, tokens=tokens)

    def matcher(*, opened: bool, demanded: bool) -> LLMatcher:
        rules = Rules(module.MARKERS, vocabulary.tokens.get)
        one = calls(tools.FORMS, rules, TOOLS, name="now", parallel=True)
        answer = None if demanded else rules.rule(as_rule(Grammar("json_schema", '{"const": 1}')))
        source = rules.source(module.frame(rules, one, answer, opened=opened))
        return LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(source))

    def takes(text: str, *, opened: bool = False, demanded: bool = False) -> bool:
        ids = vocabulary.plain.encode(text).ids
        state = matcher(opened=opened, demanded=demanded)
        return state.validate_tokens(ids) == len(ids)

    final = "<|channel|>final<|message|>1"
    thinking = "<|channel|>analysis<|message|>Hm, <b>.<|end|><|start|>assistant"
    call = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"
    for message in (final, call):
        assert takes(message) and takes(thinking + message)
        assert takes("So.<|end|><|start|>assistant" + message, opened=True)
    assert takes(call, demanded=True) and takes(thinking + call, demanded=True)
    assert not takes(final, demanded=True)
    assert not takes("1") and not takes(thinking + "1")


@pytest.mark.parametrize("tokens", [False, True])
def test_gpt_oss_may_say_anything_where_only_its_calls_are_held(tokens: bool) -> None:
    module, tools = REASONING_PARSERS.get("harmony"), TOOL_PARSERS.get("harmony")
    vocabulary = Vocabulary(module.MARKERS, tokens=tokens)

    def allows(text: str, *, opened: bool = False) -> bool:
        rules = Rules(module.MARKERS, vocabulary.tokens.get)
        one = calls(tools.FORMS, rules, TOOLS, name=None, parallel=True)
        source = rules.source(module.frame(rules, one, None, opened=opened, free=True))
        matcher = LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(source))
        assert not matcher.is_error(), matcher.get_error()
        return takes(matcher, vocabulary, text)

    ended = "<|end|><|start|>assistant"
    thinking = f"<|channel|>analysis<|message|>Hm, <b>.{ended}"
    preamble = f"<|channel|>commentary<|message|>I look.{ended}"
    final = "<|channel|>final<|message|>So it is."
    call = "<|channel|>commentary to=functions.%s <|constrain|>json<|message|>%s"
    for last in (final, call % ("now", "{}"), call % ("move", '{"path": [true]}')):
        assert allows(last) and allows(thinking + last) and allows(thinking + preamble + last)
        assert allows(f"So.{ended}{last}", opened=True)
        assert allows(f"So.{ended}{thinking}{last}", opened=True)
    assert allows("<|channel|>analysis<|message|>Hm") and allows("Hm", opened=True)
    for wrong in (call % ("now", '{"a": 1}'), call % ("later", "{}"), call % ("move", "[]")):
        assert not allows(wrong) and not allows(thinking + wrong)
        assert not allows(f"So.{ended}{wrong}", opened=True)
    assert not allows("<|channel|>analysis to=functions.now<|message|>{}")


@pytest.mark.parametrize("name", ["pythonic", "hermes"])
def test_a_name_that_a_format_cannot_write_is_refused(name: str) -> None:
    tools = [function("what is it?", {})]
    with pytest.raises(ValueError, match="what is it"):
        calls(TOOL_PARSERS.get(name).FORMS, Rules(), tools, name=None, parallel=False)


@pytest.mark.parametrize("name", ["qwen3_coder", "pythonic", "glm"])
def test_definitions_that_each_parameter_has_with_it_do_not_fill_the_memory(name: str) -> None:
    defs = {f"d{n}": {"type": "string", "description": "x" * 1000} for n in range(100)}
    properties = {f"p{n}": {"$ref": f"#/$defs/d{n % 100}"} for n in range(2000)}
    schema = {"type": "object", "$defs": defs, "properties": properties}
    tool = {"function": {"name": "f", "parameters": schema, "strict": True}}
    with pytest.raises(ValueError, match="too large"):
        calls(TOOL_PARSERS.get(name).FORMS, Rules(), [tool], name=None, parallel=False)
