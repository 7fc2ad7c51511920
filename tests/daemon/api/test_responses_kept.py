"""Responses and chat completions that outlive their request: restarts, the background,
conversations, limits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from live import LiveDaemon
from openai import OpenAI

GREEDY: Any = {"model": "tiny", "temperature": 0}
HELLO: Any = [{"role": "user", "content": "Hello"}]
LONG: Any = GREEDY | {"max_output_tokens": 3000, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def keeping(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    """A daemon that tests may kill and start again."""
    config = f"""\
responses: {{keep: 5}}
models:
  tiny: {{path: {tiny_model("qwen3")}}}
  short: {{path: {tiny_model("qwen3")}, context: 200}}
"""
    with LiveDaemon(tmp_path_factory.mktemp("keeping"), config) as running:
        yield running


def until(client: OpenAI, identity: str, *wanted: str) -> Any:
    deadline = time.monotonic() + 60
    while True:
        found = client.responses.retrieve(identity)
        if found.status in wanted:
            return found
        assert time.monotonic() < deadline, found.status
        time.sleep(0.05)


def test_a_chain_goes_on_after_the_daemon_was_killed(keeping: LiveDaemon) -> None:
    with keeping.openai() as client:
        first = client.responses.create(
            input="Hello", include=["reasoning.encrypted_content"], max_output_tokens=6, **GREEDY
        )
        said = client.chat.completions.create(messages=HELLO, store=True, max_tokens=6, **GREEDY)
        lost = client.responses.create(input="x", background=True, **LONG)
        until(client, lost.id, "in_progress")
    keeping.kill()
    keeping.start()
    with keeping.openai() as client:
        assert client.responses.retrieve(first.id).output_text == first.output_text
        assert client.chat.completions.retrieve(said.id).choices == said.choices
        second = client.responses.create(
            input="And?", previous_response_id=first.id, max_output_tokens=6, **GREEDY
        )
        assert first.usage is not None
        assert second.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens
        with closing(sqlite3.connect(f"file:{keeping.home}/fastmlx.db?mode=ro", uri=True)) as db:
            keeping.wait_until(
                lambda: db.execute(
                    "SELECT 1 FROM usage WHERE request_id = ? AND dialect = 'openai_responses'",
                    [second.id],
                ).fetchone(),
                what="a usage row",
            )
        interrupted = client.responses.retrieve(lost.id)
        assert interrupted.status == "failed"
        assert interrupted.error is not None
        assert interrupted.error.code == "server_error"


def test_a_response_runs_in_the_background_and_can_be_followed(keeping: LiveDaemon) -> None:
    with keeping.openai() as client:
        made = client.responses.create(
            input="Hello", background=True, max_output_tokens=12, **GREEDY
        )
        assert made.status in ("queued", "in_progress")
        done = until(client, made.id, "incomplete", "completed")
        whole = client.responses.create(input="Hello", max_output_tokens=12, **GREEDY)
        assert done.output_text == whole.output_text
        stream = client.responses.create(input="Hello", background=True, stream=True, **LONG)
        seen = [event for event, _ in zip(stream, range(6), strict=False)]
        stream.close()
        assert [event.type for event in seen[:3]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]
        assert seen[0].type == "response.created"
        identity = seen[0].response.id
        again = client.responses.retrieve(identity, stream=True, starting_after=3)
        assert next(iter(again)).sequence_number == 4
        again.close()
        cancelled = client.responses.cancel(identity)
        assert cancelled.status == "cancelled"
        assert client.responses.retrieve(identity).status == "cancelled"
        keeping.wait_until(lambda: keeping.model("tiny")["requests_running"] == 0)
        with pytest.raises(openai.BadRequestError):
            client.responses.cancel(whole.id)
        with pytest.raises(openai.BadRequestError):
            client.responses.retrieve(whole.id, stream=True)


def test_a_conversation_remembers_what_was_said_in_it(keeping: LiveDaemon) -> None:
    with keeping.openai() as client:
        talk = client.conversations.create(
            metadata={"topic": "x"}, items=[{"role": "user", "content": "I am Ada."}]
        )
        first = client.responses.create(
            input="Hello", conversation=talk.id, max_output_tokens=4, **GREEDY
        )
        assert first.conversation is not None
        assert first.conversation.id == talk.id
        second = client.responses.create(
            input="And?", conversation=talk.id, store=False, max_output_tokens=4, **GREEDY
        )
        assert first.usage is not None
        assert second.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens
        items = list(client.conversations.items.list(talk.id, order="asc", limit=2))
        roles = [item.role for item in items if item.type == "message"]
        assert roles == ["user", "user", "assistant", "user", "assistant"]
        client.conversations.items.create(talk.id, items=[{"role": "user", "content": "More"}])
        assert len(list(client.conversations.items.list(talk.id))) == 6
        assert client.conversations.update(talk.id, metadata={"topic": "y"}).metadata == {
            "topic": "y"
        }
        client.conversations.delete(talk.id)
        with pytest.raises(openai.NotFoundError):
            client.conversations.retrieve(talk.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.create(input="x", conversation=talk.id, **GREEDY)


def test_the_oldest_responses_go_and_what_goes_on_from_them_stays(keeping: LiveDaemon) -> None:
    with keeping.openai() as client:
        made = [client.responses.create(input="Hello", max_output_tokens=1, **GREEDY)]
        for _ in range(6):
            fields: Any = {"input": "And?", "previous_response_id": made[-1].id}
            made.append(client.responses.create(max_output_tokens=1, **fields, **GREEDY))
        sizes = [each.usage.input_tokens for each in made if each.usage]
        assert sizes == sorted(set(sizes))
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made[1].id)
        assert client.responses.retrieve(made[2].id).id == made[2].id


def test_a_conversation_that_is_too_long_loses_its_oldest_turns(keeping: LiveDaemon) -> None:
    said: Any = []
    for turn in range(20):
        said.append({"role": "user", "content": f"turn {turn} " + "word " * 20})
        said.append({"role": "assistant", "content": "yes " * 10})
    said.append({"role": "user", "content": "And now?"})
    fields: Any = {"model": "short", "input": said, "max_output_tokens": 2}
    with keeping.openai() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**fields)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
        made = client.responses.create(truncation="auto", **fields)
        assert made.usage is not None
        assert 100 < made.usage.input_tokens < 200


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Ulm", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_completions_that_are_to_be_kept_are_found_changed_and_deleted(keeping: LiveDaemon) -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    asked: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    with keeping.openai() as client:
        api = client.chat.completions
        for old in list(api.list()):
            api.delete(old.id)
        unkept = api.create(messages=HELLO, max_tokens=1, metadata={"a": "b"}, **GREEDY)
        many = api.create(
            messages=asked,
            n=2,
            store=True,
            metadata={"topic": "a", "who": "ada"},
            seed=3,
            max_tokens=5,
            model="tiny",
        )
        stream = api.create(
            messages=HELLO,
            tools=[WEATHER],
            tool_choice="required",
            parallel_tool_calls=False,
            stream=True,
            store=True,
            metadata={"topic": "b"},
            seed=7,
            model="tiny",
        )
        identity, pieces = "", ""
        for chunk in stream:
            identity = chunk.id
            for call in chunk.choices[0].delta.tool_calls or ():
                pieces += (call.function and call.function.arguments) or ""

        found = api.retrieve(many.id)
        assert found.choices == many.choices
        assert len(found.choices) == 2
        assert found.usage == many.usage
        assert found.metadata == {"topic": "a", "who": "ada"}  # pyright: ignore
        assert found.to_dict()["seed"] == 3
        streamed = api.retrieve(identity).choices[0]
        assert streamed.finish_reason == "tool_calls"
        [call] = streamed.message.tool_calls or []
        assert call.type == "function"
        assert call.function.arguments == pieces
        assert api.retrieve(identity).to_dict()["tools"] == [WEATHER]
        with pytest.raises(openai.NotFoundError) as missing:
            api.retrieve(unkept.id)
        assert missing.value.code == "completion_not_found"

        assert [each.id for each in api.list(limit=1)] == [many.id, identity]  # two pages
        assert [each.id for each in api.list(order="desc")] == [identity, many.id]
        assert [each.id for each in api.list(metadata={"topic": "b"})] == [identity]
        assert [each.id for each in api.list(metadata={"topic": "b", "who": "ada"})] == []
        assert [each.id for each in api.list(model="tiny", after=many.id)] == [identity]
        assert list(api.list(model="short")) == []
        for wrong in ({"limit": 0}, {"after": "nobody"}, {"order": "up"}):
            with pytest.raises(openai.BadRequestError):
                api.list(**wrong)  # pyright: ignore

        messages = list(api.messages.list(many.id, limit=1))
        assert [message.content for message in messages] == ["Be brief.", "Hello there"]
        assert [message.content_parts is None for message in messages] == [True, False]
        (last,) = api.messages.list(many.id, order="desc", limit=1).data
        assert last.id == f"{many.id}-1"

        assert api.update(many.id, metadata={"topic": "c"}).metadata == {"topic": "c"}  # pyright: ignore
        assert [each.id for each in api.list(metadata={"topic": "c"})] == [many.id]
        assert api.delete(many.id).deleted
        for gone in (api.retrieve, api.delete, api.messages.list):
            with pytest.raises(openai.NotFoundError):
                gone(many.id)
        with pytest.raises(openai.NotFoundError):
            api.update(many.id, metadata={})
        with pytest.raises(openai.BadRequestError):
            api.create(messages=HELLO, store=True, metadata={"a": 1}, **GREEDY)  # pyright: ignore


def test_the_oldest_completions_go_and_where_none_are_kept_none_is_promised(
    keeping: LiveDaemon,
) -> None:
    config = keeping.config_file.read_text()
    with keeping.openai() as client:
        api = client.chat.completions
        few: Any = GREEDY | {"messages": HELLO, "max_tokens": 1, "store": True}
        made = [api.create(**few).id for _ in range(6)]
        assert [each.id for each in api.list()] == made[1:]  # five are kept
        keeping.edit_config(config.replace("keep: 5", "keep: 0"))

        def refused() -> bool:
            try:
                api.create(**few)
            except openai.BadRequestError as error:
                return error.param == "store"
            return False

        keeping.wait_until(refused, 60)
        assert api.create(**few | {"store": False}).usage
        keeping.edit_config(config)
