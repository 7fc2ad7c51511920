"""The body of a completion request → protocol.CompletionRequest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastmlx.daemon.api.openai_completions import MAX_TOKENS, read_completion
from fastmlx.daemon.protocol.errors import BadRequest


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", "prompt": "Once"} | fields).encode()


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("Once", ["Once"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_a_prompt_has_four_forms(prompt: Any, prompts: Any) -> None:
    assert read_completion(body(prompt=prompt)).request.prompts == prompts


def test_the_default_length_is_openais() -> None:
    assert read_completion(body()).request.sampling.max_tokens == MAX_TOKENS


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": {"text": "x"}}, "prompt"),
        ({"prompt": ["x"] * 100, "n": 10}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"best_of": 17}, "best_of"),
        ({"prompt": ["x"] * 100, "best_of": 10}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
def test_what_we_cannot_do_is_a_400_that_names_the_field(fields: dict, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_completion(body(**fields))
    assert caught.value.param == param


def test_best_of_equal_to_n_asks_for_nothing() -> None:
    assert read_completion(body(best_of=2, n=2)).request.n == 2


def test_logprobs_zero_asks_for_the_chosen_token() -> None:
    sampling = read_completion(body(logprobs=0)).request.sampling
    assert (sampling.logprobs, sampling.top_logprobs) == (True, 0)


def test_an_echo_alone_is_scored_with_one_token_that_nobody_sees() -> None:
    request = read_completion(body(echo=True, logprobs=1, max_tokens=0)).request
    assert (request.echo_only, request.sampling.max_tokens) == (True, 1)
    assert request.sampling.prompt_logprobs == 1
    assert read_completion(body(echo=True)).request.sampling.prompt_logprobs is None
    assert read_completion(body(max_tokens=0)).request.sampling.max_tokens == 0  # refused later
