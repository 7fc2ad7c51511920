"""The built-in demo model answers what it was never asked before.

The twenty questions are held out by construction: each contains a value, a phrase or a sum of
`corpus/reserved.py`, and the generator throws away every conversation in which one occurs. Both
halves of that claim are checked here.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import pytest
from fastmlx.daemon.demo import MODEL_DIR
from fastmlx.daemon.demo.corpus import conversations
from fastmlx.daemon.demo.corpus.reserved import is_reserved

MAX_BYTES = 8_000_000
WANTED = 17  # of twenty


def tool(name: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Use {name}", "parameters": schema},
    }


WEATHER = tool("get_weather", city="The city")
CLOCK = tool("get_time", timezone="The time zone")
CALCULATOR = tool("calculator", expression="The expression")


def says(*words: str) -> Callable[[str], bool]:
    return lambda answer: all(word.lower() in answer.lower() for word in words)


def exactly(text: str) -> Callable[[str], bool]:
    return lambda answer: answer.strip().strip("`") == text


def is_json(value: Any) -> Callable[[str], bool]:
    def check(answer: str) -> bool:
        try:
            return json.loads(answer) == value
        except ValueError:
            return False

    return check


def calls(name: str, **arguments: str) -> Callable[[str], bool]:
    def check(answer: str) -> bool:
        found = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", answer, re.DOTALL)
        try:
            [call] = [json.loads(text) for text in found]
        except ValueError:
            return False
        said = {key: value.replace(" ", "") for key, value in call["arguments"].items()}
        wanted = {key: value.replace(" ", "") for key, value in arguments.items()}
        return call["name"] == name and said == wanted

    return check


def thinks_and(check: Callable[[str], bool]) -> Callable[[str], bool]:
    def checked(answer: str) -> bool:
        match = re.fullmatch(r"<think>\n(.+?)\n</think>\n\n(.*)", answer, re.DOTALL)
        return match is not None and check(match[2])

    return checked


class Question(NamedTuple):
    text: str
    right: Callable[[str], bool]
    tools: tuple[dict[str, Any], ...] = ()
    thinking: bool = False
    after: tuple[dict[str, Any], ...] = ()  # messages that follow the question


LISBON = {"function": {"name": "get_weather", "arguments": {"city": "Lisbon"}}}
QUESTIONS = (
    Question("May I ask who you are?", says("the demo model of fastmlx")),
    Question("Good morning to you!", says("hello")),
    Question("How would you describe fastmlx?", says("server", "Apple Silicon")),
    Question("On which port can I reach the server?", says("6590")),
    Question("In what file do I put my settings?", says("config.yaml")),
    Question("How can I let a model stay in memory forever?", says("pinned")),
    Question("What is the purpose of the idle_timeout setting?", says("idle", "unloaded")),
    Question("How do I get hold of a model from the Hub?", says("fastmlx pull")),
    Question("How can I see whether my config file is valid?", says("fastmlx check")),
    Question("Where can I look at the dashboard?", says("6590/admin")),
    Question("What is 58 + 39?", says("97")),
    Question("How much is 83 minus 34?", says("49")),
    Question("Repeat: velvet lantern 517", exactly("velvet lantern 517")),
    Question(
        "Rename retry_count to limit in this code:\nretry_count = size + 7",
        exactly("limit = size + 7"),
    ),
    Question("Replace river with tundra in: the river is cold", exactly("the tundra is cold")),
    Question(
        "Reply as JSON with keys name and age for: Ingrid is 44",
        is_json({"name": "Ingrid", "age": 44}),
    ),
    Question(
        "What is the weather in Reykjavik?",
        calls("get_weather", city="Reykjavik"),
        tools=(CALCULATOR, WEATHER, CLOCK),
    ),
    Question(
        "What's the weather like in Lisbon?",
        says("19", "windy"),
        tools=(WEATHER,),
        after=(
            {"role": "assistant", "content": "", "tool_calls": [LISBON]},
            {"role": "tool", "content": '{"temperature": 19, "condition": "windy"}'},
        ),
    ),
    Question(
        "What time is it in Asia/Tokyo?",
        thinks_and(calls("get_time", timezone="Asia/Tokyo")),
        tools=(WEATHER, CLOCK),
        thinking=True,
    ),
    Question(
        "Calculate 64 * 93",
        thinks_and(calls("calculator", expression="64*93")),
        tools=(WEATHER, CALCULATOR),
        thinking=True,
    ),
)  # fmt: skip


@cache
def loaded() -> tuple[Any, Any]:
    """The model in float32, as the engine runs it on a CPU, and its tokenizer."""
    import mlx.core as mx
    from mlx_lm.utils import load

    model, tokenizer = load(str(MODEL_DIR))[:2]
    model.set_dtype(mx.float32)
    return model, tokenizer


def prompt(question: Question) -> str:
    return loaded()[1].apply_chat_template(
        [{"role": "user", "content": question.text}, *question.after],
        tools=list(question.tools) or None,
        add_generation_prompt=True,
        tokenize=False,
        enable_thinking=question.thinking,
    )


def answer(question: Question) -> str:
    from mlx_lm.generate import generate

    model, tokenizer = loaded()
    return generate(model, tokenizer, prompt(question), max_tokens=100)


def test_the_folder_is_small() -> None:
    assert sum(file.stat().st_size for file in MODEL_DIR.iterdir()) <= MAX_BYTES


def test_every_question_is_held_out() -> None:
    assert len(QUESTIONS) == 20
    for question in QUESTIONS:
        assert is_reserved(question.text), question.text


def test_the_corpus_never_says_what_is_held_out() -> None:
    for text in islice(conversations(seed=7), 2000):
        assert not is_reserved(text)
        assert not any(question.text in text for question in QUESTIONS)


def test_the_corpus_is_the_same_for_the_same_seed() -> None:
    first = list(islice(conversations(seed=3), 50))
    assert first == list(islice(conversations(seed=3), 50))
    assert first != list(islice(conversations(seed=4), 50))


def test_it_answers_seventeen_of_twenty_held_out_questions() -> None:
    pytest.importorskip("mlx.core")
    answers = [answer(question) for question in QUESTIONS]
    wrong = [
        f"{question.text!r} -> {said!r}"
        for question, said in zip(QUESTIONS, answers, strict=True)
        if not question.right(said)
    ]
    print(f"{len(QUESTIONS) - len(wrong)} of {len(QUESTIONS)} right", *wrong, sep="\n")
    assert len(QUESTIONS) - len(wrong) >= WANTED, "\n".join(wrong)


@cache
def bare_tokenizer() -> Any:
    """Without mlx-lm's wrapper, which turns thinking on unless told otherwise."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(MODEL_DIR))


def render(messages: list[dict[str, Any]], **options: Any) -> str:
    return bare_tokenizer().apply_chat_template(messages, tokenize=False, **options)


def test_training_and_serving_render_the_same() -> None:
    text = next(iter(conversations(seed=5)))
    turns = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", text, re.DOTALL)
    messages = [{"role": role, "content": content} for role, content in turns]
    assert render(messages) == text


def test_the_template_puts_tools_beside_the_system_prompt() -> None:
    text = render(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        tools=[WEATHER],
    )
    assert text.startswith("<|im_start|>system\nBe kind.\n\n# Tools\n")
    assert f"<tools>\n{json.dumps(WEATHER)}\n</tools>" in text


def test_the_template_opens_the_thought_only_when_asked() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    closed = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert render(messages, add_generation_prompt=True).endswith(closed)
    opened = render(messages, add_generation_prompt=True, enable_thinking=True)
    assert opened.endswith("<|im_start|>assistant\n")


def test_the_template_takes_parts_developers_and_strangers() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    text = render(
        [
            {"role": "developer", "content": "Short."},
            {"role": "user", "content": parts},
            {"role": "critic", "content": "Hm."},
            {"role": "assistant", "content": None, "tool_calls": [LISBON]},
            {"role": "tool", "content": parts},
        ]
    )
    assert text == (
        "<|im_start|>system\nShort.<|im_end|>\n"
        "<|im_start|>user\none two<|im_end|>\n"
        "<|im_start|>critic\nHm.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\none two\n</tool_response><|im_end|>\n"
    )


def test_the_template_keeps_arguments_that_are_a_string() -> None:
    call = {"function": {"name": "get_time", "arguments": '{"timezone": "UTC"}'}}
    text = render([{"role": "assistant", "content": "", "tool_calls": [call]}])
    assert '{"name": "get_time", "arguments": {"timezone": "UTC"}}' in text
