"""Rows with a grammar: what they say is always of it, and nobody else notices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines
import pytest
from fastmlx.daemon.engine import threads
from fastmlx.daemon.protocol.grammar import Grammar, Thinking
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, TokenRow
from tokenizers import Tokenizer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
        "inner": {"$ref": "#/$defs/pair"},
    },
    "required": ["name", "size", "tags", "inner"],
    "additionalProperties": False,
    "$defs": {
        "pair": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}, "none": {"type": "null"}},
            "required": ["ok", "none"],
            "additionalProperties": False,
        }
    },
}
JSON = Grammar("json_schema", json.dumps(SCHEMA))
WORD = Grammar("regex", "[a-z]{3,9}(yes|no)")
THINK = Thinking("<think>", "</think>")
PROMPT = [1, 77, 300, 42, 12]


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("qwen3")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def end(tokenizer: Tokenizer) -> int:
    return id_of(tokenizer, "<|im_end|>")


def id_of(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    assert number is not None
    return number


def seeded(seed: int, end: int, **fields: Any) -> Sampling:
    fields = {"temperature": 1.0, "max_tokens": 600} | fields
    return Sampling(seed=seed, stop_token_ids=(end,), **fields)


def text_of(tokenizer: Tokenizer, rows: list[TokenRow]) -> str:
    """What was said before the end token."""
    assert rows[-1].finish == "stop", f"ended by {rows[-1].finish} after {len(rows)} tokens"
    return tokenizer.decode(engines.tokens_of(rows)[:-1], skip_special_tokens=False)


def check(answer: dict[str, Any]) -> None:
    """That it is of SCHEMA, looked at by hand."""
    assert set(answer) == {"name", "size", "tags", "inner"}
    assert isinstance(answer["name"], str) and len(answer["name"]) <= 6
    assert isinstance(answer["size"], int) and 0 <= answer["size"] <= 99
    assert len(answer["tags"]) <= 3 and set(answer["tags"]) <= {"a", "b", "c"}
    assert answer["inner"]["ok"] in (True, False) and answer["inner"] == {
        "ok": answer["inner"]["ok"],
        "none": None,
    }


def test_a_random_model_says_only_json_of_the_schema_and_free_rows_do_not_notice(
    folder: Path, tokenizer: Tokenizer, end: int
) -> None:
    free = [Generate(100 + i, [1, 5 + i, 9], engines.greedy(60)) for i in range(3)]
    alone = engines.run(engines.core_at(folder), free)
    requests = [Generate(i, PROMPT, seeded(i, end), grammar=JSON) for i in range(6)]
    requests += [Generate(10 + i, PROMPT, seeded(i, end), grammar=WORD) for i in range(2)]
    requests.append(Generate(20, PROMPT, seeded(0, end, temperature=0.0), grammar=WORD))
    rows = engines.run(engines.core_at(folder), [*requests, *free], join_every=2)
    for request in requests:
        text = text_of(tokenizer, rows[request.id])
        if request.grammar is JSON:
            check(json.loads(text))
        else:
            assert re.fullmatch(WORD.source, text)
    assert len({text_of(tokenizer, rows[i]) for i in range(6)}) > 1
    for request in free:
        want = engines.tokens_of(alone[request.id])
        _, margins = engines.alone(folder, request.prompt, 60)
        engines.assert_same(engines.tokens_of(rows[request.id]), want, margins)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("thinking", [None, THINK])
def test_a_replay_goes_on_in_the_middle_of_the_grammar(
    folder: Path, end: int, temperature: float, thinking: Thinking | None
) -> None:
    grammar = Grammar("regex", WORD.source, thinking=thinking)
    sampling = seeded(5, end, temperature=temperature, max_tokens=24)
    core = engines.core_at(folder)
    whole = engines.tokens_of(engines.run(core, [Generate(0, PROMPT, sampling, [], 0, grammar)])[0])
    replays = [
        Generate(cut, PROMPT, sampling, whole[:cut], 0, grammar) for cut in range(1, len(whole))
    ]
    rows = engines.run(core, replays)
    for cut in range(1, len(whole)):
        assert whole[:cut] + engines.tokens_of(rows[cut]) == whole


def test_the_grammar_begins_where_the_thinking_ends(
    folder: Path, tokenizer: Tokenizer, end: int
) -> None:
    grammar = Grammar("regex", WORD.source, thinking=Thinking("<think>", "</think>", opened=True))
    close = id_of(tokenizer, "</think>")
    # A random model ends its thinking when this bias says so: early, and never by the end token.
    sampling = seeded(1, end, logit_bias={close: 5.0, end: 20.0})
    requests = [Generate(i, [*PROMPT, i], sampling, grammar=grammar) for i in range(4)]
    rows = engines.run(engines.core_at(folder), requests)
    for request in requests:
        thought, mark, answer = text_of(tokenizer, rows[request.id]).partition("</think>")
        assert mark and end not in tokenizer.encode(thought).ids
        assert re.fullmatch(WORD.source, answer)


def test_a_model_may_open_its_thinking_itself_or_answer_at_once(
    folder: Path, tokenizer: Tokenizer, end: int
) -> None:
    grammar = Grammar("regex", WORD.source, thinking=THINK)
    marks = {mark: id_of(tokenizer, mark) for mark in ("<think>", "</think>")}
    thinks = seeded(1, end, logit_bias={marks["<think>"]: 20.0, marks["</think>"]: 40.0})
    answers = seeded(1, end, logit_bias={marks["<think>"]: -30.0})
    requests = [
        Generate(0, PROMPT, thinks, grammar=grammar),
        Generate(1, PROMPT, answers, grammar=grammar),
    ]
    rows = engines.run(engines.core_at(folder), requests)
    thought, mark, answer = text_of(tokenizer, rows[0]).partition("</think>")
    assert mark and thought.startswith("<think>") and re.fullmatch(WORD.source, answer)
    assert re.fullmatch(WORD.source, text_of(tokenizer, rows[1]))


def test_the_end_comes_when_the_grammar_ends_whatever_min_tokens_and_ignore_eos_say(
    folder: Path, tokenizer: Tokenizer, end: int
) -> None:
    core = engines.core_at(folder)
    longer = Grammar("regex", "a*b")
    yes = Grammar("lark", 'start: "yes"')
    requests = [
        Generate(0, PROMPT, seeded(0, end, min_tokens=50), grammar=yes),
        Generate(1, PROMPT, Sampling(temperature=0.0, max_tokens=50), grammar=yes),
        Generate(
            2,
            PROMPT,
            seeded(0, end, min_tokens=9, logit_bias={end: 99.0}),
            grammar=Grammar("regex", "[a-z]*"),
        ),
        Generate(3, PROMPT, seeded(0, end, max_tokens=2, logit_bias={}), grammar=longer),
        Generate(4, PROMPT, seeded(0, end, top_logprobs=2), grammar=yes),
    ]
    rows = engines.run(core, requests)
    for number in (0, 1, 4):
        assert text_of(tokenizer, rows[number]) == "yes"
    assert len(rows[2]) == 10
    assert rows[2][-1].finish == "stop"
    assert len(rows[3]) <= 2
    assert all(row.logprobs and row.logprobs[0][0].logprob < 0 for row in rows[4])


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        (Grammar("json_schema", '{"type": "objectt"}'), "objectt"),
        (Grammar("json_schema", '{"not": {"type": "string"}}'), "not"),
        (Grammar("json_schema", "{"), "valid"),
        (Grammar("regex", "(a"), "unclosed group"),
        (Grammar("lark", 'start: "a" b'), "unknown name"),
    ],
)
def test_a_grammar_that_does_not_compile_is_refused_alone(
    folder: Path, end: int, grammar: Grammar, said: str
) -> None:
    core = engines.core_at(folder)
    rows = engines.run(
        core,
        [
            Generate(0, PROMPT, seeded(0, end), grammar=grammar),
            Generate(1, PROMPT, engines.greedy(5)),
        ],
    )
    assert len(rows[1]) == 5
    [rejected] = core.rejected
    assert rejected.id == 0 and rejected.bad_request and said in rejected.message


def test_a_lenient_schema_passes_over_what_cannot_be_enforced(
    folder: Path, tokenizer: Tokenizer, end: int
) -> None:
    source = '{"type": "array", "items": {"type": "null"}, "uniqueItems": true, "maxItems": 2}'
    request = Generate(
        0, PROMPT, seeded(0, end), grammar=Grammar("json_schema", source, lenient=True)
    )
    text = text_of(tokenizer, engines.run(engines.core_at(folder), [request])[0])
    assert json.loads(text) in ([], [None], [None, None])


def test_a_request_can_be_aborted_while_its_grammar_is_compiled(folder: Path, end: int) -> None:
    core = engines.core_at(folder)
    for number in range(3):
        core.add(Generate(number, PROMPT, seeded(0, end), grammar=JSON))
        core.abort(number)
    core.add(Generate(9, PROMPT, seeded(0, end), grammar=WORD))
    rows = engines.run(core, [])
    assert list(rows) == [9] and rows[9][-1].finish == "stop"


def test_a_grammar_too_large_to_follow_ends_its_request_and_no_other(
    folder: Path, end: int
) -> None:
    source = "((((a{0,99}){0,99}){0,99}){0,99}){0,99}"
    core = engines.core_at(folder)
    requests = [
        Generate(0, PROMPT, seeded(0, end, min_tokens=200), grammar=Grammar("regex", source)),
        Generate(1, PROMPT, engines.greedy(5)),
    ]
    rows = engines.run(core, requests)
    assert len(rows[1]) == 5
    assert [rejected.id for rejected in core.rejected] == [0]


def test_a_mask_that_takes_too_long_ends_its_request_and_no_other(
    folder: Path, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.3)
    core = engines.core_at(folder)
    requests = [
        Generate(0, PROMPT, seeded(0, end), grammar=Grammar("regex", "a{500000}")),
        Generate(1, PROMPT, seeded(1, end), grammar=WORD),
        Generate(2, PROMPT, engines.greedy(5)),
    ]
    rows = engines.run(core, requests)
    assert rows[1][-1].finish == "stop"
    assert len(rows[2]) == 5
    [rejected] = core.rejected
    assert rejected.id == 0 and "too long" in rejected.message
