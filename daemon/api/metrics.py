"""GET /metrics: counters of requests and tokens, and what the supervisor says at this moment.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from .cache_metrics import CacheCollector

if TYPE_CHECKING:
    from ..protocol.wire import CacheStats
    from ..store.rows import UsageRow
    from ..supervisor.status import ModelStatus

disable_created_metrics()  # a second line for every counter that nobody reads
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
STATES = ("stopped", "starting", "ready", "stopping", "failed")


class _Books(Protocol):
    """Of the store: how many usage rows were lost."""

    @property
    def dropped(self) -> int: ...


class _Mine(NamedTuple):
    """The figures of one model and dialect."""

    prompt: Counter
    cached: Counter
    output: Counter
    ttft: Histogram
    duration: Histogram
    queue: Histogram


class Metrics:
    """The figures of one front, in a registry of their own."""

    def __init__(
        self,
        status: Callable[[], list[ModelStatus]],
        books: _Books,
        caches: Callable[[], Mapping[str, CacheStats]] = dict,
        served_as: Callable[[str], str] = str,
    ) -> None:
        """`served_as`: the name under which a name that a client gave is served, "" for none."""
        self._registry = registry = CollectorRegistry()
        self._served_as = served_as
        by_model = ("model", "dialect")
        self._requests = Counter(
            "fastmlx_requests",
            "Finished requests.",
            (*by_model, "finish_reason"),
            registry=registry,
        )
        self._prompt = Counter(
            "fastmlx_prompt_tokens", "Tokens of prompts.", by_model, registry=registry
        )
        self._cached = Counter(
            "fastmlx_cached_tokens",
            "Tokens of prompts that were found in the prefix cache.",
            by_model,
            registry=registry,
        )
        self._output = Counter(
            "fastmlx_output_tokens", "Generated tokens.", by_model, registry=registry
        )
        self._ttft = Histogram(
            "fastmlx_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            by_model,
            buckets=_SECONDS,
            registry=registry,
        )
        self._duration = Histogram(
            "fastmlx_request_duration_seconds",
            "From a request's arrival to its end.",
            by_model,
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "fastmlx_queue_seconds",
            "From a request's arrival until the engine began with it.",
            by_model,
            buckets=_SECONDS,
            registry=registry,
        )
        self._mine: dict[tuple[str, str], _Mine] = {}  # looked up once, not with every request
        registry.register(_Now(status, books))
        registry.register(CacheCollector(caches))

    def add(self, name: str, text: str, value: Callable[[], float]) -> None:
        """One more gauge, read when it is asked for."""
        Gauge(f"fastmlx_{name}", text, registry=self._registry).set_function(value)

    def observe(self, row: UsageRow) -> None:
        """Counts a finished request."""
        # Of a request that came to nothing the name is the client's: any text, and each would
        # stay in memory.
        labels = (self._served_as(row.model), row.dialect)
        reason = row.finish_reason or "error"
        self._requests.labels(*labels, reason).inc()
        mine = self._mine.get(labels)
        if mine is None:
            mine = self._mine[labels] = _Mine(
                self._prompt.labels(*labels),
                self._cached.labels(*labels),
                self._output.labels(*labels),
                self._ttft.labels(*labels),
                self._duration.labels(*labels),
                self._queue.labels(*labels),
            )
        mine.prompt.inc(row.prompt_tokens)
        mine.cached.inc(row.cached_tokens)
        mine.output.inc(row.output_tokens)
        if row.ttft_ms is not None:
            mine.ttft.observe(row.ttft_ms / 1000)
            mine.queue.observe(row.queue_ms / 1000)
        mine.duration.observe(row.duration_ms / 1000)

    def render(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Now(Collector):
    """Gauges read when they are asked for."""

    def __init__(self, status: Callable[[], list[ModelStatus]], books: _Books) -> None:
        self._status = status
        self._books = books

    def collect(self) -> Iterator[Metric]:
        models = self._status()

        def gauge(name: str, text: str, value: Callable[[ModelStatus], float]) -> Metric:
            family = GaugeMetricFamily(f"fastmlx_{name}", text, labels=["model"])
            for model in models:
                family.add_metric([model.name], value(model))
            return family

        yield gauge("requests_running", "Requests being served.", lambda m: m.requests_running)
        yield gauge("requests_waiting", "Requests waiting.", lambda m: m.requests_waiting)
        yield gauge("engine_memory_bytes", "Of the engine process.", lambda m: m.memory_bytes)
        yield gauge("engine_active_bytes", "Held by the engine's arrays.", lambda m: m.active_bytes)
        yield gauge("engine_peak_bytes", "The most of that so far.", lambda m: m.peak_bytes)
        yield gauge("engine_preemptions", "Sequences that waited again.", lambda m: m.preemptions)
        yield gauge("engine_restarts", "Restarts after a death.", lambda m: m.restarts)
        yield gauge("tokens_per_second", "Output, at the moment.", lambda m: m.tokens_per_s)
        state = GaugeMetricFamily(
            "fastmlx_model_state",
            "1 for the state that holds.",
            labels=["model", "state"],
        )
        for model in models:
            for each in STATES:
                state.add_metric([model.name, each], float(str(model.state) == each))
        yield state
        lost = CounterMetricFamily("fastmlx_usage_rows_dropped", "Usage rows that were lost.")
        lost.add_metric([], self._books.dropped)
        yield lost

    def describe(self) -> Iterator[Metric]:
        return iter(())
