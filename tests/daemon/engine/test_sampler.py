"""Sampling: each row by its own parameters, the same wherever it lies in the batch."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from fastmlx.daemon.engine import sampler
from fastmlx.daemon.engine.logprobs import Logprobs
from fastmlx.daemon.engine.sampler import Sampler
from fastmlx.daemon.engine.sequence import Sequence
from fastmlx.daemon.protocol.sampling import Sampling
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_frequencies_follow_the_softmax_at_the_temperature() -> None:
    logits = random_logits()
    x = np.array(logits) / 0.8
    p = np.exp(x - x.max())
    p /= p.sum()
    counts = draws(logits, temperature=0.8)
    for token in range(VOCAB):
        expected = 3000 * p[token]
        assert abs(counts[token] - expected) < 5 * math.sqrt(expected + 1)


def test_frequencies_follow_what_the_filters_leave() -> None:
    logits = random_logits(9, scale=1.0)
    for top_k, top_p, min_p in ((0, 0.6, 0.0), (9, 0.8, 0.0), (0, 0.9, 0.2)):
        kept = reference_kept(logits, top_k, top_p, min_p)
        p = np.array([math.exp(x) if i in kept else 0.0 for i, x in enumerate(logits)])
        p /= p.sum()
        counts = draws(logits, temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
        for token in range(VOCAB):
            expected = 3000 * p[token]
            assert abs(counts[token] - expected) <= 5 * math.sqrt(expected)


def reference_kept(logits: list[float], top_k: int, top_p: float, min_p: float = 0.0) -> set[int]:
    """temperature 1 → top_k → top_p of what is left → min_p, each token looked at by itself. What
    weighs the same as the last one that top_k or top_p keeps is kept, too."""
    x = np.array(logits, dtype=np.float64)
    p = np.exp(x - x.max())
    order = list(np.argsort(-x, kind="stable"))
    order = order[: top_k or len(order)]
    total = p[order].sum()
    least, mass = p.max(), 0.0
    for token in order:
        if mass >= top_p * total:
            break
        least = p[token]
        mass += p[token]
    return {i for i, weight in enumerate(p) if weight >= max(least, min_p * p.max())}


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [
        (5, 1.0, 0.0),
        (0, 0.7, 0.0),
        (0, 0.2, 0.0),
        (0, 1.0, 0.2),
        (0, 1.0, 1.0),
        (0, 0.5, 1.0),
        (10, 0.8, 0.1),
        (1, 1.0, 0.0),
        (1, 0.0, 0.0),
        (VOCAB, 0.9, 0.0),
        (7 * VOCAB, 1.0, 0.0),
        (0, 0.01, 0.0),
        (0, 0.0, 0.0),
        (0, 0.999, 0.0),
    ],
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


@pytest.mark.parametrize("top_p", [0.5, 0.1])
@pytest.mark.parametrize("top_k", [0, 40])
def test_a_large_vocabulary_is_filtered_like_a_small_one(top_k: int, top_p: float) -> None:
    logits = random_logits(4, size=5003, scale=3.0)
    counts = draws(logits, count=200, temperature=1.0, top_p=top_p, top_k=top_k)
    kept = reference_kept(logits, top_k, top_p)
    assert set(counts) <= kept
    assert len(counts) > min(5, len(kept) - 1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(2, 300),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    forbidden=st.floats(0.0, 1.0),
    fields=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([1e-3, 0.7, 1.0, 1e6]),
            "top_p": st.sampled_from([0.0, 0.05, 0.125, 0.4, 0.9, 0.9999999, 1.0]),
            "top_k": st.sampled_from([0, 1, 2, 50, 299, 1000]),
            "min_p": st.sampled_from([0.0, 0.01, 1.0, 7.0]),
        }
    ),
)
def test_whatever_is_asked_a_token_comes_that_may_come(
    seed: int, length: int, spread: float, forbidden: float, fields: dict[str, Any]
) -> None:
    """Among equal logits, under huge temperatures, and where a grammar leaves one token."""
    chance = np.random.default_rng(seed)
    x = np.round(chance.normal(size=length) * spread, 2)
    x[chance.uniform(size=length) < forbidden] = -math.inf
    x[chance.integers(length)] = 0.5
    rows = [row(Sampling(seed=seed + i, max_tokens=9, **fields)) for i in range(8)]
    tokens = sample([x.tolist()] * 8, rows)
    assert all(0 <= token < length and x[token] > -math.inf for token in tokens)
    if fields["temperature"] == 1.0 and fields["top_k"] < length:
        finite = np.maximum(x, -1e3).tolist()
        p, k = fields["top_p"], fields["top_k"]
        # At the edge itself rounding decides.
        assert set(tokens) <= reference_kept(finite, k, p * (1 + 1e-5), min(fields["min_p"], 1.0))


def test_rows_with_different_parameters_do_not_disturb_each_other() -> None:
    logits = [random_logits(seed) for seed in range(9)]
    samplings = [
        GREEDY,
        Sampling(temperature=1.0, seed=1, max_tokens=9),
        Sampling(temperature=0.5, top_k=3, seed=2, max_tokens=9),
        GREEDY,
        Sampling(temperature=1.5, top_p=0.9, seed=3, max_tokens=9, presence_penalty=1.0),
        Sampling(temperature=0.9, min_p=0.1, seed=4, max_tokens=9, logit_bias={7: 5.0}),
        Sampling(temperature=1.1, top_p=0.3, seed=5, max_tokens=9),
        Sampling(temperature=1.1, top_p=0.05, seed=6, max_tokens=9),
        Sampling(temperature=0.8, top_k=20, top_p=0.9, seed=7, max_tokens=9),
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
    assert sampled.logprobs.chosen.shape == (2,), "none are made for the row that did not ask"
    best = int(np.argmax(logits))
    assert np.allclose(np.array(sampled.logprobs.chosen), x[best], atol=1e-5)
    assert sampled.logprobs.top_ids is not None
    assert sampled.logprobs.top_ids[0].tolist() == np.argsort(-x)[:3].tolist()


def test_rows_that_ask_for_nothing_pay_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one that draws, one that wants log probabilities and one with a penalty."""
    seen: dict[str, tuple[int, ...]] = {}

    def watch(owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def watched(logits: mx.array, *arguments: Any) -> Any:
            seen[name] = logits.shape
            return plain(logits, *arguments)

        monkeypatch.setattr(owner, method, watched)

    watch(sampler, "weights_of", "drawn")
    watch(Logprobs, "of", "logprobs")
    plain = Sampler(VOCAB)
    plain.join([row(GREEDY) for _ in range(6)])
    logits = mx.array([random_logits(seed) for seed in range(6)])
    assert plain._processor.apply(logits) is logits
    assert plain.sample(logits).logprobs is None
    assert not seen
    plain.keep([0, 1, 2])
    plain.join(
        [
            row(Sampling(temperature=1.0, seed=1, max_tokens=9)),
            row(Sampling(temperature=0.0, max_tokens=9, top_logprobs=2)),
            row(Sampling(temperature=0.0, max_tokens=9, frequency_penalty=0.5)),
        ]
    )
    plain.sample(logits)
    assert seen == {"drawn": (1, VOCAB), "logprobs": (1, VOCAB)}
    assert plain._processor._penalties is not None
    assert plain._processor._penalties.counts.shape == (1, VOCAB)
