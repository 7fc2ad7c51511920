"""A thinking budget is kept, in both dialects, by a real engine that would think for ever; and what
a grammar demands of the answer comes behind the thinking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live import LiveDaemon

# The prompt ends inside the thinking, and random weights never write the tag that ends it.
TEMPLATE = """\
{%- for message in messages %}{{- message.content + '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}
{#- </think> #}"""
ASKED: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def thinker(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    home = tmp_path_factory.mktemp("thinker")
    (home / "thinks.jinja").write_text(TEMPLATE)
    folder = tiny_model("qwen3")
    config = f"""\
models:
  m: {{path: {folder}, chat_template: ./thinks.jinja}}
  plain: {{path: {folder}, chat_template_args: {{enable_thinking: false}}}}
"""
    with LiveDaemon(home, config) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_begins_when_the_budget_is_used_up(thinker: LiveDaemon, stream: bool) -> None:
    fields: Any = {
        "model": "m",
        "messages": ASKED,
        "max_tokens": 40,
        "thinking": {"type": "enabled", "budget_tokens": 12},
        "extra_body": {"temperature": 0},
    }
    with thinker.anthropic() as client:
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert thinking.thinking
    assert text.type == "text"
    assert text.text
    usage = message.usage
    assert usage.output_tokens == 40
    assert usage.output_tokens_details is not None
    assert 12 < usage.output_tokens_details.thinking_tokens < 20, "with the tokens that end it"


def test_without_a_budget_it_thinks_until_max_tokens(thinker: LiveDaemon) -> None:
    with thinker.openai() as client:
        answer = client.chat.completions.create(model="m", messages=ASKED, max_tokens=40, seed=5)
    assert not answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"


def test_the_openai_dialect_has_it_too(thinker: LiveDaemon) -> None:
    with thinker.openai() as client:
        answer = client.chat.completions.create(
            model="m",
            messages=ASKED,
            max_tokens=40,
            extra_body={"thinking_token_budget": 6},
        )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 40


def test_a_format_begins_where_the_budget_ends(thinker: LiveDaemon) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    with thinker.anthropic() as client:
        message = client.messages.create(
            model="m",
            messages=ASKED,
            max_tokens=1500,
            thinking={"type": "enabled", "budget_tokens": 9},
            extra_body={
                "output_config": {
                    "format": {
                        "type": "json_schema",
                        "schema": schema | {"additionalProperties": False},
                    }
                }
            },
        )
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert text.type == "text"
    assert json.loads(text.text)["a"] in (1, 2)


@pytest.mark.parametrize("n", [1, 3])
def test_every_choice_keeps_to_the_budget_of_its_effort(thinker: LiveDaemon, n: int) -> None:
    """The template opens the thinking whatever it is told: none ends it at once."""
    with thinker.openai() as client:
        answer = client.chat.completions.create(
            model="m", messages=ASKED, max_tokens=20, n=n, seed=5, reasoning_effort="none"
        )
        budget = client.chat.completions.create(
            model="m",
            messages=ASKED,
            max_tokens=30,
            n=n,
            seed=5,
            extra_body={"thinking_budget": 6},
        )
    assert all(choice.message.content for choice in answer.choices)
    assert all(choice.message.content for choice in budget.choices)
    assert budget.usage is not None
    details = budget.usage.completion_tokens_details
    assert details is not None
    assert 6 * n <= (details.reasoning_tokens or 0) <= 12 * n
    assert budget.usage.completion_tokens == 30 * n


WISHES: list[tuple[dict[str, Any], str]] = [
    ({"structured_outputs": {"json": {"type": "boolean"}}}, "true|false"),
    ({"structured_outputs": {"regex": "[a-f]{4}"}}, "[a-f]{4}"),
    ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
    ({"structured_outputs": {"grammar": 'start: "a" /[0-9]/'}}, "a[0-9]"),
    ({}, "(?s).*"),
]


@pytest.mark.parametrize("model", ["m", "plain"])
def test_every_wish_is_kept_in_a_batch_of_streams(thinker: LiveDaemon, model: str) -> None:
    with thinker.openai() as client, ThreadPoolExecutor(len(WISHES)) as pool:

        def ask(wish: tuple[dict[str, Any], str]) -> tuple[str, str, str]:
            extra: Any = wish[0] | ({"thinking_token_budget": 7} if model == "m" else {})
            stream = client.chat.completions.create(
                model=model, messages=ASKED, max_tokens=60, seed=4, stream=True, extra_body=extra
            )
            text = thought = reason = ""
            for chunk in stream:
                delta: Any = chunk.choices[0].delta
                text += delta.content or ""
                thought += getattr(delta, "reasoning_content", None) or ""
                reason = chunk.choices[0].finish_reason or reason
            return text, thought, reason

        said = list(pool.map(ask, WISHES))
    for (text, thought, reason), (fields, pattern) in zip(said, WISHES, strict=True):
        assert re.fullmatch(pattern, text), (text, fields)
        assert reason == "stop" or not fields
        assert bool(thought) == (model == "m")
