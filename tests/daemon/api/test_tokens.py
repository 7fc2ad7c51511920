"""/tokenize, /detokenize and /apply-template: what a model would read."""

from __future__ import annotations

from typing import Any

import pytest
from live import LiveDaemon

CHAT = [{"role": "user", "content": "What is 2 + 2?"}]


def post(daemon: LiveDaemon, path: str, **fields: Any) -> dict[str, Any]:
    with daemon.http() as http:
        answer = http.post(path, json={"model": "tiny", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_text_becomes_tokens_and_text_again(daemon: LiveDaemon) -> None:
    text = "Grüße aus Köln 🚀"
    said = post(daemon, "/tokenize", prompt=text, return_token_strs=True)
    assert said["count"] == len(said["tokens"]) == len(said["token_strs"])
    assert said["max_model_len"] == 4096
    assert post(daemon, "/detokenize", tokens=said["tokens"]) == {"prompt": text}
    assert post(daemon, "/tokenize", prompt=text)["token_strs"] is None


def test_a_conversation_is_counted_as_a_request_would_be(daemon: LiveDaemon) -> None:
    said = post(daemon, "/tokenize", messages=CHAT)
    text = post(daemon, "/apply-template", messages=CHAT)["prompt"]
    assert text.startswith("<|im_start|>user\nWhat is 2 + 2?")
    assert post(daemon, "/tokenize", prompt=text, add_special_tokens=False) == said
    client = daemon.openai()
    usage = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "What is 2 + 2?"}], max_tokens=1
    ).usage
    assert usage is not None
    assert usage.prompt_tokens == said["count"]
    bare = post(daemon, "/apply-template", messages=CHAT, add_generation_prompt=False)["prompt"]
    assert text.startswith(bare)
    assert text != bare


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/tokenize", {}, "Either prompt or messages"),
        ("/tokenize", {"prompt": "x", "messages": CHAT}, "Either prompt or messages"),
        ("/tokenize", {"prompt": "x", "model": "none"}, "no model 'none'"),
        ("/tokenize", {"prompt": "x", "model": None}, "model must name one of"),
        ("/detokenize", {"tokens": [-1]}, "cannot be negative"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/detokenize", {"tokens": [2**40]}, "too large"),
        ("/apply-template", {"messages": "x"}, "messages"),
        ("/apply-template", {}, "messages"),
    ],
)
def test_mistakes_are_400s_that_say_what_is_wrong(
    path: str, fields: dict[str, Any], said: str, daemon: LiveDaemon
) -> None:
    with daemon.http() as http:
        answer = http.post(path, json={"model": "tiny", **fields})
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error"]["message"]
