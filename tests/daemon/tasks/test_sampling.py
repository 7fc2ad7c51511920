"""What the client said, what was declared, what the model's makers recommend → Sampling."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.settings import SamplingDefaults
from fastmlx.daemon.protocol.errors import BadRequest, ContextTooLong
from fastmlx.daemon.protocol.requests import SamplingRequest
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.tasks.sampling import (
    GenerationConfig,
    check,
    check_vocabulary,
    choose_seed,
    resolve,
    room,
)
from hypothesis import given
from hypothesis import strategies as st


def resolved(
    request: SamplingRequest,
    declared: SamplingDefaults | None = None,
    recommended: GenerationConfig | None = None,
    **options: Any,
) -> Sampling:
    given = {"room": 100, "eos_token_ids": frozenset({2}), "choice": 0, "seed": 1} | options
    return resolve(
        request, declared or SamplingDefaults(), recommended or GenerationConfig(), **given
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 101),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("top_k", -2),
        ("top_k", 2**31),
        ("min_p", 1.5),
        ("repetition_penalty", 0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("min_tokens", -1),
        ("top_logprobs", 21),
        ("top_logprobs", -1),
        ("seed", 2**64),
    ],
)
def test_a_value_out_of_range_is_a_400_that_names_it(field: str, value: float) -> None:
    with pytest.raises(BadRequest) as caught:
        check(SamplingRequest(**{field: value}))  # pyright: ignore[reportArgumentType]
    assert caught.value.param == field
    assert field in caught.value.message


def test_the_ends_of_the_ranges_are_allowed() -> None:
    check(SamplingRequest(temperature=0, top_p=1, top_k=-1, min_p=0, presence_penalty=-2))
    check(SamplingRequest(seed=-1, logit_bias={1: -100, 2: 100}, max_tokens=1, min_tokens=1))


@pytest.mark.parametrize(
    "request_",
    [
        SamplingRequest(stop=tuple(f"{n:04}" + "x" * 4000 for n in range(5))),
        SamplingRequest(logit_bias={1: 101}),
        SamplingRequest(logit_bias={1: math.nan}),
        SamplingRequest(logit_bias=dict.fromkeys(range(5000), 1.0)),
        SamplingRequest(stop_token_ids=tuple(range(2000))),
        SamplingRequest(min_tokens=5, max_tokens=4),
    ],
    ids=lambda request: "",
)
def test_what_does_not_fit_together_is_refused(request_: SamplingRequest) -> None:
    with pytest.raises(BadRequest):
        check(request_)


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    check_vocabulary(SamplingRequest(logit_bias={9: 1}, stop_token_ids=(0,)), 10)
    for bad in (SamplingRequest(logit_bias={10: 1}), SamplingRequest(stop_token_ids=(-1,))):
        with pytest.raises(BadRequest, match="vocabulary ends at 9"):
            check_vocabulary(bad, 10)


def test_the_request_comes_first_then_the_config_then_the_models_makers() -> None:
    declared = SamplingDefaults(temperature=0.6, top_k=20)
    recommended = GenerationConfig(temperature=0.9, top_k=50, top_p=0.8)
    sampling = resolved(SamplingRequest(temperature=0.1), declared, recommended)
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.1, 20, 0.8)


def test_a_zero_is_something_said() -> None:
    assert (
        resolved(SamplingRequest(temperature=0), SamplingDefaults(temperature=1)).temperature == 0
    )


def test_nothing_said_is_neutral() -> None:
    assert resolved(SamplingRequest()) == Sampling(seed=1, max_tokens=100, stop_token_ids=(2,))


def test_max_tokens_is_cut_to_the_room_that_is_left() -> None:
    assert resolved(SamplingRequest(max_tokens=64_000), room=10).max_tokens == 10
    assert resolved(SamplingRequest(), SamplingDefaults(max_tokens=7)).max_tokens == 7
    assert resolved(SamplingRequest(min_tokens=50, max_tokens=60), room=10).min_tokens == 10


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    assert room(9, 10) == 1
    with pytest.raises(ContextTooLong, match=r"10 tokens.*12 tokens"):
        room(12, 10)
    with pytest.raises(ContextTooLong):
        room(10, 10)


def test_ignore_eos_leaves_the_users_stop_tokens() -> None:
    request = SamplingRequest(ignore_eos=True, stop_token_ids=(5,))
    assert resolved(request).stop_token_ids == (5,)
    assert resolved(SamplingRequest(stop_token_ids=(5, 2))).stop_token_ids == (2, 5)


def test_choices_have_seeds_of_their_own() -> None:
    assert [resolved(SamplingRequest(), choice=i, seed=7).seed for i in range(3)] == [7, 8, 9]


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 15))
def test_every_seed_becomes_one_of_63_bits(seed: int, choice: int) -> None:
    assert 0 <= resolved(SamplingRequest(), seed=seed, choice=choice).seed < 2**63


def test_without_a_seed_requests_differ() -> None:
    drawn = {choose_seed(SamplingRequest(), SamplingDefaults()) for _ in range(3)}
    assert len(drawn) == 3
    assert choose_seed(SamplingRequest(), SamplingDefaults(seed=4)) == 4
    assert choose_seed(SamplingRequest(seed=5), SamplingDefaults(seed=4)) == 5


def test_only_what_is_usable_of_generation_config_counts(tmp_path: Path) -> None:
    file = tmp_path / "generation_config.json"
    assert GenerationConfig.load(tmp_path) == GenerationConfig()
    file.write_text(
        json.dumps({"temperature": 0.6, "top_k": math.nan, "top_p": 5, "min_p": True, "x": 1})
    )
    assert GenerationConfig.load(tmp_path) == GenerationConfig(temperature=0.6)
    file.write_text(json.dumps({"do_sample": False, "temperature": 0.6}))
    assert GenerationConfig.load(tmp_path) == GenerationConfig()
    for broken in ("{", "[]", "\x00"):
        file.write_text(broken)
        assert GenerationConfig.load(tmp_path) == GenerationConfig()
