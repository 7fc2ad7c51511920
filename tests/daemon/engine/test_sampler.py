"""Sampling: each row by its own parameters, the same wherever it lies in the batch."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from fastmlx.daemon.engine.sampler import MAX_CANDIDATES, Sampler, stream, uniform
from fastmlx.daemon.engine.sequence import Sequence
from fastmlx.daemon.protocol.sampling import Sampling

VOCAB = 50
GREEDY = Sampling(temperature=0.0, max_tokens=100)


def row(sampling: Sampling, prompt: list[int] | None = None, output: list[int] | None = None):
    output = output or []
    return Sequence(
        0,
        prompt or [1],
        output,
        sampling,
        num_sampled=len(output),
        stop_ids=frozenset(sampling.stop_token_ids),
    )


def sample(logits: Any, rows: list[Sequence]) -> list[int]:
    sampler = Sampler(len(logits[0]))
    sampler.join(rows)
    return sampler.sample(mx.array(logits)).tokens.tolist()  # type: ignore[return-value]


def draws(logits: list[float], count: int = 3000, **fields: Any) -> Counter[int]:
    """Tokens of `count` rows with different seeds."""
    rows = [row(Sampling(seed=seed, max_tokens=9, **fields)) for seed in range(count)]
    return Counter(sample([logits] * count, rows))


def random_logits(seed: int = 0, size: int = VOCAB, scale: float = 2.0) -> list[float]:
    return (np.random.default_rng(seed).normal(size=size) * scale).astype(np.float32).tolist()


def test_uniform_numbers_are_uniform_and_a_function_of_seed_and_position() -> None:
    numbers = [uniform(stream(seed), position) for seed in range(200) for position in range(50)]
    assert numbers == [
        uniform(stream(seed), position) for seed in range(200) for position in range(50)
    ]
    assert all(0 <= number < 1 for number in numbers)
    histogram = np.histogram(numbers, bins=20)[0]
    assert abs(histogram - 500).max() < 5 * math.sqrt(500)
    assert len(set(numbers)) > 0.99 * len(numbers)
    assert 0 <= uniform(stream(2**63 + 5), 0) < 1


def test_frequencies_follow_the_softmax_at_the_temperature() -> None:
    logits = random_logits()
    x = np.array(logits) / 0.8
    p = np.exp(x - x.max())
    p /= p.sum()
    counts = draws(logits, temperature=0.8)
    for token in range(VOCAB):
        expected = 3000 * p[token]
        assert abs(counts[token] - expected) < 5 * math.sqrt(expected + 1)


def reference_kept(logits: list[float], top_k: int, top_p: float, min_p: float) -> set[int]:
    """temperature 1 → top_k → top_p of what is left → min_p, each token looked at by itself."""
    x = np.array(logits, dtype=np.float64)
    p = np.exp(x - x.max())
    order = list(np.argsort(-x, kind="stable"))
    if top_k:
        order = order[:top_k]
    total = p[order].sum()
    kept, mass = set(), 0.0
    for token in order:
        if mass >= top_p * total:
            break
        kept.add(int(token))
        mass += p[token]
    return {token for token in kept if p[token] >= min_p * p.max()}


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(5, 1.0, 0.0), (0, 0.7, 0.0), (0, 1.0, 0.2), (10, 0.8, 0.1), (1, 1.0, 0.0), (0, 0.01, 0.0)],
)
def test_filters_keep_exactly_the_tokens_that_the_definition_keeps(
    top_k: int, top_p: float, min_p: float
) -> None:
    logits = random_logits(3)
    counts = draws(logits, temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    kept = reference_kept(logits, top_k, top_p, min_p)
    assert set(counts) <= kept
    likely = {t for t in kept if math.exp(logits[t] - max(logits)) > 0.02}
    assert likely <= set(counts)


def test_a_large_vocabulary_is_filtered_like_a_small_one() -> None:
    logits = random_logits(4, size=5 * MAX_CANDIDATES, scale=3.0)
    counts = draws(logits, count=400, temperature=1.0, top_p=0.5)
    assert set(counts) <= reference_kept(logits, 0, 0.5, 0.0)


def test_rows_with_different_parameters_do_not_disturb_each_other() -> None:
    logits = [random_logits(seed) for seed in range(6)]
    samplings = [
        GREEDY,
        Sampling(temperature=1.0, seed=1, max_tokens=9),
        Sampling(temperature=0.5, top_k=3, seed=2, max_tokens=9),
        GREEDY,
        Sampling(temperature=1.5, top_p=0.9, seed=3, max_tokens=9, presence_penalty=1.0),
        Sampling(temperature=0.9, min_p=0.1, seed=4, max_tokens=9, logit_bias={7: 5.0}),
    ]
    together = sample(logits, [row(s) for s in samplings])
    apart = [sample([x], [row(s)])[0] for x, s in zip(logits, samplings, strict=True)]
    assert together == apart
    backwards = sample(logits[::-1], [row(s) for s in samplings[::-1]])
    assert backwards == together[::-1]


def test_a_row_keeps_its_numbers_when_neighbours_leave() -> None:
    logits = [random_logits(seed) for seed in range(4)]
    rows = [
        row(Sampling(temperature=1.0, seed=s, max_tokens=9, repetition_penalty=1.3))
        for s in range(4)
    ]
    want = sample(logits, rows)
    sampler = Sampler(VOCAB)
    sampler.join(rows)
    sampler.keep([1, 3])
    assert sampler.sample(mx.array([logits[1], logits[3]])).tokens.tolist() == [want[1], want[3]]


def test_temperatures_near_zero_are_greedy() -> None:
    logits = random_logits(8)
    best = int(np.argmax(logits))
    for temperature in (0.0, 1e-9, 1e-3):
        assert set(draws(logits, count=50, temperature=temperature)) == {best}


def test_a_bias_of_minus_100_bans_and_plus_100_forces_a_token() -> None:
    logits = random_logits(5)
    best = int(np.argmax(logits))
    other = (best + 1) % VOCAB
    rows = [
        row(Sampling(temperature=0.0, max_tokens=9, logit_bias={best: -100.0})),
        row(Sampling(temperature=0.0, max_tokens=9, logit_bias={other: 100.0})),
    ]
    banned, forced = sample([logits, logits], rows)
    assert banned != best
    assert forced == other


def test_penalties_follow_their_definition() -> None:
    logits = random_logits(6)
    prompt, output = [3, 4, 4], [5, 5, 6]
    fields: Any = {"repetition_penalty": 1.5, "presence_penalty": 0.7, "frequency_penalty": 0.3}
    want = np.array(logits)
    for token in {*prompt, *output}:
        want[token] = want[token] / 1.5 if want[token] > 0 else want[token] * 1.5
    for token, count in Counter(output).items():
        want[token] -= 0.7 + 0.3 * count
    sampler = Sampler(VOCAB)
    sampler.join([row(GREEDY), row(Sampling(max_tokens=9, **fields), prompt, output)])
    got = sampler._processor.apply(mx.array([logits, logits]))
    assert np.allclose(np.array(got[0]), logits)
    assert np.allclose(np.array(got[1]), want, atol=1e-5)


def test_sampled_tokens_count_for_the_penalties_of_later_steps() -> None:
    logits = [0.0] * VOCAB
    logits[9], logits[8] = 2.0, 1.5
    member = row(Sampling(temperature=0.0, max_tokens=9, frequency_penalty=1.0))
    sampler = Sampler(VOCAB)
    sampler.join([member])
    tokens = [sampler.sample(mx.array([logits])).tokens.item() for _ in range(4)]
    assert tokens == [9, 8, 9, 8]


def test_min_tokens_forbids_the_stop_tokens_until_then() -> None:
    logits = [0.0] * VOCAB
    logits[2], logits[3] = 9.0, 8.0
    sampling = Sampling(temperature=0.0, max_tokens=9, min_tokens=2, stop_token_ids=(2,))
    member = row(sampling)
    sampler = Sampler(VOCAB)
    sampler.join([member])
    tokens = []
    for _ in range(3):
        tokens.append(sampler.sample(mx.array([logits])).tokens.item())
        member.num_sampled += 1
    assert tokens == [3, 3, 2]


def test_logprobs_are_of_the_raw_distribution() -> None:
    logits = random_logits(7)
    x = np.array(logits) - np.log(np.exp(np.array(logits)).sum())
    members = [
        row(GREEDY),
        row(Sampling(temperature=0.0, max_tokens=9, top_logprobs=3, presence_penalty=2.0)),
        row(Sampling(temperature=0.0, max_tokens=9, top_logprobs=0)),
    ]
    sampler = Sampler(VOCAB)
    sampler.join(members)
    sampled = sampler.sample(mx.array([logits] * 3))
    assert sampled.logprobs is not None
    assert list(sampled.logprob_rows) == [1, 2]
    best = int(np.argmax(logits))
    assert np.allclose(np.array(sampled.logprobs.chosen), x[best], atol=1e-5)
    assert sampled.logprobs.top_ids is not None
    assert sampled.logprobs.top_ids[0].tolist() == np.argsort(-x)[:3].tolist()
