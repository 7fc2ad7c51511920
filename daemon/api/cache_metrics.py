"""What /metrics says of the prefix cache: read from the engines' last books when it is asked for.

Counters are an engine's own: they begin again when its model is loaded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..protocol.wire import READ_BUCKETS_S, CacheStats, ColdStats

# Name, help, field of ColdStats.
_COLD_COUNTERS = (
    ("cold_read_bytes", "Read from the tier on disk.", "read_bytes"),
    ("cold_written_bytes", "Written to the tier on disk.", "written_bytes"),
    ("cold_bad_blocks", "Files that were torn or foreign.", "bad_blocks"),
)
_LOST = ("dropped", "over_budget", "no_room", "failed")  # ColdStats.<reason>_blocks


class CacheCollector(Collector):
    """`books` gives the last books of each loaded model."""

    def __init__(self, books: Callable[[], Mapping[str, CacheStats]]) -> None:
        self._books = books

    def collect(self) -> Iterator[Metric]:
        books = self._books()
        yield from _hot(books)
        cold = {name: stats.cold for name, stats in books.items() if stats.cold is not None}
        yield from _cold(cold)

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _hot(books: Mapping[str, CacheStats]) -> Iterator[Metric]:
    held = GaugeMetricFamily("fastmlx_cache_hot_bytes", "Held in memory.", labels=["model"])
    asked = CounterMetricFamily(
        "fastmlx_cache_asked_tokens", "Tokens of prompts that were looked up.", labels=["model"]
    )
    hit = CounterMetricFamily(
        "fastmlx_cache_hit_tokens", "Of these, found, by tier.", labels=["model", "tier"]
    )
    missed = CounterMetricFamily(
        "fastmlx_cache_misses",
        "Prompts of which nothing was found, by reason.",
        labels=["model", "reason"],
    )
    again = CounterMetricFamily(
        "fastmlx_cache_recomputed_tokens",
        "Tokens that were known, but after the last checkpoint in common.",
        labels=["model"],
    )
    evicted = CounterMetricFamily(
        "fastmlx_cache_evictions", "Prefixes that left the memory.", labels=["model"]
    )
    for name, stats in books.items():
        held.add_metric([name], stats.hot_bytes)
        asked.add_metric([name], stats.asked_tokens)
        again.add_metric([name], stats.recomputed_tokens)
        evicted.add_metric([name], stats.evictions)
        for tier, tokens in stats.hit_tokens.items():
            hit.add_metric([name, tier], tokens)
        for reason, count in stats.misses.items():
            missed.add_metric([name, reason], count)
    yield from (held, asked, hit, missed, again, evicted)


def _cold(books: Mapping[str, ColdStats]) -> Iterator[Metric]:
    for metric, text, field in _COLD_COUNTERS:
        family = CounterMetricFamily(f"fastmlx_cache_{metric}", text, labels=["model"])
        for name, stats in books.items():
            family.add_metric([name], getattr(stats, field))
        yield family
    lost = CounterMetricFamily(
        "fastmlx_cache_cold_unwritten_blocks",
        "Blocks that did not get to disk, by reason.",
        labels=["model", "reason"],
    )
    latency = HistogramMetricFamily(
        "fastmlx_cache_cold_read_seconds",
        "From asking the disk for a prefix to having it.",
        labels=["model"],
    )
    for name, stats in books.items():
        for reason in _LOST:
            lost.add_metric([name, reason], getattr(stats, f"{reason}_blocks"))
        latency.add_metric([name], _buckets(stats.read_histogram), stats.read_seconds)
    yield lost
    yield latency


def _buckets(counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, READ_BUCKETS_S), "+Inf"), counts, strict=False):
        total += count
        buckets.append((bound, total))
    return buckets or [("+Inf", 0)]
