"""How fast a download is, over its last seconds."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
EVERY_S = 0.25


class Speed:
    """Of a figure that grows. Times in seconds of any clock that does not jump."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def see(self, done_bytes: int, now_s: float) -> None:
        if self._samples and done_bytes < self._samples[-1][1]:
            self._samples.clear()  # something was thrown away
        if not self._samples or now_s - self._samples[-1][0] >= EVERY_S:
            self._samples.append((now_s, done_bytes))
        while self._samples and now_s - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()

    def per_s(self, done_bytes: int, now_s: float) -> float:
        """Bytes per second up to now; 0 when nothing came for WINDOW_S."""
        if not self._samples:
            return 0.0
        then_s, then_bytes = self._samples[0]
        if now_s - then_s < EVERY_S or now_s - self._samples[-1][0] > WINDOW_S:
            return 0.0
        return max(0, done_bytes - then_bytes) / (now_s - then_s)
