"""How long a request may wait for its turn, and how long it may take."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..protocol.errors import FastMLXError, Overloaded, TimedOut
from .jobs import Job


class Patience(NamedTuple):
    """Seconds; inf: for ever."""

    queue_s: float = math.inf
    request_s: float = math.inf

    def overdue(self, name: str, jobs: Iterable[Job]) -> list[tuple[Job, FastMLXError]]:
        """Who has waited or taken too long, and the error that ends it."""
        if self.queue_s == self.request_s == math.inf:
            return []
        now_s = time.monotonic()
        late: list[tuple[Job, FastMLXError]] = []
        for job in jobs:
            age_s = now_s - job.created_s
            waits = not job.sent and not job.output
            if waits and age_s >= self.queue_s:
                late.append((job, self._waited(name)))
            elif age_s >= self.request_s:
                late.append((job, self._took(name)))
        return late

    @contextlib.contextmanager
    def while_loading(self, name: str) -> Iterator[None]:
        """Around what waits for the model at most `queue_s`."""
        try:
            yield
        except TimeoutError:
            raise self._waited(name) from None

    def _waited(self, name: str) -> Overloaded:
        return Overloaded(
            f"The request waited {self.queue_s:g} s for its turn in {name} (queue_timeout).",
            retry_after_s=max(1.0, self.queue_s),
        )

    def _took(self, name: str) -> TimedOut:
        return TimedOut(
            f"The request was not done within {self.request_s:g} s in {name} (request_timeout)."
        )
