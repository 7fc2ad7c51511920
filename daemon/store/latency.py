"""Measured times as histograms, so that percentiles of a month do not read every request.

A bucket is an eighth of an octave wide: bucket b holds [2^(b/8), 2^((b+1)/8)) milliseconds and
counts as its geometric middle, so a percentile is within 4.5 % of the time that was measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .rows import Percentiles, UsageRow

HOUR_MS = 3_600_000
PER_OCTAVE = 8
LEAST_MS = 0.01
METRICS = ("ttft", "itl")  # first token; mean time between the others


def bucket(ms: float) -> int:
    return math.floor(PER_OCTAVE * math.log2(max(ms, LEAST_MS)))


def middle_ms(number: int) -> float:
    return 2 ** ((number + 0.5) / PER_OCTAVE)


def times(row: UsageRow) -> dict[str, float]:
    """By metric, as far as the request has them."""
    if row.ttft_ms is None:
        return {}
    if row.output_tokens < 2:
        return {"ttft": row.ttft_ms}
    return {"ttft": row.ttft_ms, "itl": itl_ms(row.ttft_ms, row.duration_ms, row.output_tokens)}


def itl_ms(ttft_ms: float, duration_ms: float, output_tokens: int) -> float:
    """Mean time between the tokens of an answer of at least two."""
    return (duration_ms - ttft_ms) / (output_tokens - 1)


def histogram(rows: Sequence[UsageRow]) -> list[dict[str, Any]]:
    """Rows of `usage_latency` for rows of `usage`."""
    counts = Counter(
        (row.at_ms // HOUR_MS, metric, bucket(ms))
        for row in rows
        for metric, ms in times(row).items()
    )
    return [
        {"hour": hour, "metric": metric, "bucket": number, "requests": requests}
        for (hour, metric, number), requests in counts.items()
    ]


def of_buckets(counts: Iterable[tuple[int, int]]) -> Percentiles:
    """`counts`: (bucket, how many), the buckets in ascending order."""
    counts = list(counts)
    samples = sum(number for _, number in counts)

    def nearest(percent: int) -> float | None:
        left = -(-samples * percent // 100)
        for each, number in counts:
            left -= number
            if left <= 0:
                return middle_ms(each)
        return None

    return Percentiles(nearest(50), nearest(95), nearest(99), samples) if samples else NOTHING


def of_times(measured: Sequence[float]) -> Percentiles:
    """Exactly, by nearest rank."""
    if not measured:
        return NOTHING
    ordered = sorted(measured)

    def nearest(percent: int) -> float:
        return ordered[-(-len(ordered) * percent // 100) - 1]

    return Percentiles(nearest(50), nearest(95), nearest(99), len(ordered))


NOTHING = Percentiles(None, None, None, 0)
