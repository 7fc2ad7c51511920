"""OpenAI's own client against a real daemon."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
from live import LiveDaemon
from openai import OpenAI

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
GREEDY: Any = {"model": "tiny", "temperature": 0, "seed": 1}


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    whole = client.chat.completions.create(messages=HELLO, max_tokens=24, **GREEDY)
    stream = client.chat.completions.create(
        messages=HELLO,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
        **GREEDY,
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [reason for reason in reasons if reason] == [whole.choices[0].finish_reason]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 24
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens > 5
    assert whole.usage.prompt_tokens_details is not None
    assert whole.model == "tiny"


def test_without_being_asked_no_usage_chunk_comes(client: OpenAI) -> None:
    stream = client.chat.completions.create(messages=HELLO, max_tokens=3, stream=True, **GREEDY)
    assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_an_alias_answers_under_its_own_name(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny-alias", messages=HELLO, max_tokens=1)
    assert answer.model == "tiny-alias"


def test_the_same_seed_says_the_same_and_another_something_else(client: OpenAI) -> None:
    def say(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=16, temperature=1, seed=seed
        )
        return answer.choices[0].message.content

    assert say(11) == say(11)
    assert say(11) != say(12)


def test_choices_differ_and_are_those_of_their_seeds(client: OpenAI) -> None:
    several = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=12, temperature=1, seed=50, n=3
    )
    texts = [choice.message.content for choice in several.choices]
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    second = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=12, temperature=1, seed=51
    )
    assert second.choices[0].message.content == texts[1]
    assert several.usage is not None
    assert second.usage is not None
    assert several.usage.prompt_tokens == second.usage.prompt_tokens
    assert several.usage.completion_tokens == 36


def test_streamed_choices_each_begin_and_end_once(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=8, n=3, stream=True
    )
    roles: list[int] = []
    ends: list[int] = []
    for chunk in stream:
        choice = chunk.choices[0]
        if choice.delta.role:
            roles.append(choice.index)
        if choice.finish_reason:
            ends.append(choice.index)
    assert sorted(roles) == sorted(ends) == [0, 1, 2]


def test_logprobs_come_with_their_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=HELLO, max_tokens=6, logprobs=True, top_logprobs=3, **GREEDY
    )
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    assert len(found.content) == 6
    for token in found.content:
        assert len(token.top_logprobs) == 3
        # Greedy: the chosen token is the likeliest.
        assert math.isclose(token.top_logprobs[0].logprob, token.logprob, abs_tol=1e-5)
        assert token.logprob <= 0
    raw = b"".join(bytes(token.bytes or ()) for token in found.content)
    assert raw.decode(errors="replace").startswith((answer.choices[0].message.content or "")[:3])


def test_a_stop_string_ends_the_answer_and_is_not_shown(client: OpenAI) -> None:
    whole = client.chat.completions.create(messages=HELLO, max_tokens=40, **GREEDY)
    text = whole.choices[0].message.content or ""
    stop = text[12:16]
    cut = client.chat.completions.create(messages=HELLO, max_tokens=40, stop=[stop], **GREEDY)
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == text[: text.index(stop)]


def test_tools_that_may_not_be_called_stay_in_the_prompt_and_are_not_called(
    client: OpenAI, daemon: LiveDaemon
) -> None:
    with daemon.http() as http:
        found = http.post("/tokenize", json={"model": "tiny", "prompt": "<tool_call>"}).json()
    (opening,) = found["tokens"]
    asked: dict[str, Any] = {"messages": HELLO, "tools": [TOOL], "max_tokens": 6, **GREEDY}
    asked["logit_bias"] = {str(opening): 100}
    free = client.chat.completions.create(**asked)
    kept = client.chat.completions.create(tool_choice="none", **asked)
    assert "<tool_call>" in (free.choices[0].message.content or "")
    assert "<tool_call>" not in (kept.choices[0].message.content or "")
    assert kept.choices[0].message.tool_calls is None
    assert free.usage is not None
    assert kept.usage is not None
    assert free.usage.prompt_tokens == kept.usage.prompt_tokens
    assert kept.usage.prompt_tokens_details is not None
    assert (kept.usage.prompt_tokens_details.cached_tokens or 0) > 0


def test_huge_max_tokens_mean_the_room_that_is_left(client: OpenAI, daemon: LiveDaemon) -> None:
    stream = client.chat.completions.create(
        messages=HELLO, max_completion_tokens=64_000, stream=True, **GREEDY
    )
    next(stream)
    stream.close()


def test_a_prompt_beyond_the_context_is_refused(client: OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 3_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=long)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIError):  # in the stream, if it takes long to find out
        list(client.chat.completions.create(model="tiny", messages=long, stream=True))


def test_an_unknown_model_is_a_404_that_names_the_known(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert "tiny" in str(caught.value)


def test_completions_take_text_lists_and_tokens(client: OpenAI) -> None:
    one = client.completions.create(prompt="Once upon", max_tokens=6, **GREEDY)
    both = client.completions.create(
        prompt=["Once upon", "Twice"], max_tokens=6, echo=True, **GREEDY
    )
    assert both.choices[0].text == "Once upon" + one.choices[0].text
    assert both.choices[1].text.startswith("Twice")
    tokens = client.completions.create(prompt=[5, 6, 7], max_tokens=2, **GREEDY)
    assert tokens.usage is not None
    assert (tokens.usage.prompt_tokens, tokens.usage.completion_tokens) == (3, 2)


def test_completions_stream_with_logprobs(client: OpenAI) -> None:
    stream = client.completions.create(
        prompt="Once", max_tokens=5, logprobs=2, stream=True, **GREEDY
    )
    offsets: list[int] = []
    count = 0
    for chunk in stream:
        found = chunk.choices[0].logprobs
        if found is not None:
            offsets += found.text_offset or []
            count += len(found.tokens or [])
            assert all(2 <= len(top) <= 3 for top in found.top_logprobs or [])
    assert count == 5
    assert offsets == sorted(offsets)
    assert offsets[0] == 0


def test_models_are_listed_by_all_their_names(client: OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"tiny", "tiny-alias", "other"} <= set(ids)
    assert client.models.retrieve("tiny-alias").id == "tiny-alias"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/unknown")


def test_two_models_answer_beside_each_other(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="other", messages=HELLO, max_tokens=3)
    assert answer.choices[0].finish_reason in ("length", "stop")
