"""What do running streams notice of a long prompt? Gaps between their tokens, in process.

Eight rows decode; then a long prompt arrives and is computed beside them until its first token is
there. A gap is the time between two tokens of one stream. Then eight others decode as many steps
without a prompt: the longer a stream is the longer its steps take, prompt or not. mlx-lm's
BatchGenerator does the same in turns, on the same model.

The model (`wide` of bench/models.py) is one whose attention is, as in those that people run, less
work than the rest. Where it is most of it, a long prompt takes so many steps that the streams
themselves grow until their steps take twice as long.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import engine
import models
from batches import ENDLESS, Batch, OurBatch, Request, TheirBatch, prompt
from fastmlx.daemon.protocol.sampling import Sampling
from report import Report, arguments, median, percentile

STREAMS = 8
STREAM_PROMPT = 64  # tokens
LENGTHS = (4096, 16384)
LEAST_STEPS = 100  # without a prompt
AROUND = 25  # steps before and after
COLUMNS = (
    "prompt",
    "side",
    "steps",
    "median gap without ms",
    "median gap beside ms",
    "99th percentile ms",
    "largest gap beside ms",
    "TTFT of the prompt s",
    "rate beside ÷ without",
    "largest ÷ median",
    "largest ÷ those around it without",
    "99th percentile of that",
    "largest ÷ median without",
)
GREEDY = Sampling(temperature=0.0, max_tokens=ENDLESS)


@dataclass
class Seen:
    """What the streams saw in some time."""

    seconds: float = 0.0
    gaps_s: list[float] = field(default_factory=list)  # of all streams, in the order of their ends
    steps: int = 0

    @property
    def rate(self) -> float:
        return self.steps / self.seconds

    @property
    def median_s(self) -> float:
        return percentile(self.gaps_s, 50)


def against(seen: Seen, without: Seen) -> list[float]:
    """Each gap ÷ the median of the gaps that streams of the same lengths have without a prompt."""
    usual = [
        percentile(without.gaps_s[max(0, end - AROUND * STREAMS) : end + AROUND * STREAMS], 50)
        for end in range(0, len(without.gaps_s), STREAMS)
    ]
    return [gap / usual[min(i // STREAMS, len(usual) - 1)] for i, gap in enumerate(seen.gaps_s)]


class Watched:
    """A batch with its streams running, and when each of them last got a token."""

    def __init__(self, batch: Batch, vocab_size: int) -> None:
        self._batch = batch
        self._last: dict[int, float] = {}
        batch.add([Request(prompt(n, STREAM_PROMPT, vocab_size), GREEDY) for n in range(STREAMS)])
        while len(self._last) < STREAMS:
            self._step(Seen())

    def _step(self, seen: Seen) -> bool:
        """One step, noted; whether another request than the streams got a token."""
        numbers = self._batch.step()
        seen.steps += 1
        now = time.perf_counter()
        for number in numbers:
            if number >= STREAMS:
                return True
            if number in self._last:
                seen.gaps_s.append(now - self._last[number])
            self._last[number] = now
        return False

    def steps(self, count: int) -> Seen:
        seen = Seen()
        start = time.perf_counter()
        for _ in range(count):
            self._step(seen)
        seen.seconds = time.perf_counter() - start
        return seen

    def beside(self, tokens: list[int]) -> Seen:
        """What the streams see from the arrival of this prompt to its first token."""
        seen = Seen()
        start = time.perf_counter()
        self._batch.add([Request(tokens, GREEDY)])
        while not self._step(seen):
            pass
        seen.seconds = time.perf_counter() - start
        # The step with the first token ends gaps, too.
        seen.gaps_s += [time.perf_counter() - last for last in self._last.values()]
        return seen


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: wide)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="of the prompt")
    parser.add_argument("--steps", type=int, default=50, help="before the prompt arrives")
    options = parser.parse_args()
    steps, rounds = (8, 1) if options.quick else (options.steps, options.rounds)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "wide"))

    runner = engine.load(folder)
    vocab_size = engine.vocab_size_of(folder)
    report = Report(
        f"{STREAMS} streams while a prompt is computed, {folder.name} (medians of {rounds} rounds)",
        COLUMNS,
        BLAS,
        options.quick,
    )
    makers: tuple[Callable[[], Batch], ...] = (
        lambda: OurBatch(runner, folder, slots=STREAMS + 1),
        lambda: TheirBatch(runner, slots=STREAMS + 1),
    )
    for length in (512,) if options.quick else options.lengths:
        seen: dict[str, list[tuple[Seen, Seen]]] = {}
        for number in range(rounds):
            tokens = prompt(STREAMS + number, length, vocab_size)
            for make in makers:
                batch = make()
                watched = Watched(batch, vocab_size)
                watched.steps(steps)  # not timed: buffers grow, kernels are compiled
                beside = watched.beside(tokens)
                batch.close()
                batch = make()
                watched = Watched(batch, vocab_size)
                watched.steps(steps)
                without = watched.steps(max(beside.steps, 8 if options.quick else LEAST_STEPS))
                batch.close()
                seen.setdefault(batch.name, []).append((without, beside))
        for name, pairs in seen.items():
            report.add(
                length,
                name,
                median(beside.steps for _, beside in pairs),
                median(without.median_s for without, _ in pairs) * 1000,
                median(beside.median_s for _, beside in pairs) * 1000,
                median(percentile(beside.gaps_s, 99) for _, beside in pairs) * 1000,
                median(max(beside.gaps_s) for _, beside in pairs) * 1000,
                median(beside.seconds for _, beside in pairs),
                median(beside.rate / without.rate for without, beside in pairs),
                median(max(beside.gaps_s) / without.median_s for without, beside in pairs),
                median(max(against(beside, without)) for without, beside in pairs),
                median(percentile(against(beside, without), 99) for without, beside in pairs),
                median(max(against(without, without)) for without, _ in pairs),
            )
    report.finish(options.json)


if __name__ == "__main__":
    main()
