"""The engine's state of one generation, without arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from ..protocol.events import TokenLogprob
from ..protocol.sampling import Sampling
from ..protocol.wire import Generate

if TYPE_CHECKING:
    from .grammar import GrammarState


class Status(Enum):
    WAITING = "waiting"  # not admitted yet
    PREFILL = "prefill"  # admitted; its prompt is being computed
    RUNNING = "running"  # a row of the decode batch
    FINISHED = "finished"  # all tokens delivered, or aborted


@dataclass(eq=False, slots=True)
class Sequence:
    """One prompt and the tokens that follow it.

        tokens   |---------- prompt ----------|------ output ------|
        computed |<---- num_prefilled ---->|^ last prompt token: decoded, not prefilled

    The last known token is never prefilled: it is the row's first decode input, so that prefill
    needs no logits and the first output token is sampled with everyone else's.
    """

    id: int
    prompt: list[int]
    output: list[int]  # read from the device; on a replay also what was delivered before
    sampling: Sampling
    adapter: int = 0
    request: str | None = None  # whose it is, for the log
    keep: bool = False  # what is computed of it is to stay longer
    status: Status = Status.WAITING
    num_prefilled: int = 0
    num_sampled: int = 0  # output tokens whose computation is submitted; >= len(output)
    cached_tokens: int = 0  # of what must be computed, found in the prefix cache
    first_row_sent: bool = False
    admitted_s: float | None = None  # when it left the queue, for the first time
    prompt_logprobs: list[list[TokenLogprob]] = field(default_factory=list)
    stop_ids: frozenset[int] = field(default_factory=frozenset)
    prompt_hash: int = 0  # equal for equal prompts of one adapter
    grammar: GrammarState | None = None  # follows `output`
    arrival: int = 0  # the scheduler's number
    leader: Sequence | None = None  # whose prompt is the same: its prefill serves this one too
    ahead: Sequence | None = None  # computes the first tokens of this one's prompt, too (following)
    shared: int = 0  # how many of them are taken over
    same: int = 0  # how many of them are equal
    marks: list[int] = field(default_factory=list)  # where the prefill stops for a checkpoint
    looked_up: bool = False  # in the prefix cache
    fetching: bool = False  # a part of it comes from the cold tier

    @classmethod
    def of(cls, request: Generate) -> Sequence:
        return cls(
            id=request.id,
            prompt=request.prompt,
            output=list(request.output),
            sampling=request.sampling,
            adapter=request.adapter,
            request=request.request,
            keep=request.keep,
            num_sampled=len(request.output),
            stop_ids=frozenset(request.sampling.stop_token_ids),
            prompt_hash=hash((request.adapter, *request.prompt)),
        )

    @property
    def prefill_tokens(self) -> int:
        """How many tokens must be in the cache before the row can decode."""
        return len(self.prompt) + len(self.output) - 1

    def same_prompt(self, other: Sequence) -> bool:
        """Whether both begin with just these tokens, no output, and one adapter."""
        if self.output or other.output or self.prompt_hash != other.prompt_hash:
            return False
        return self.adapter == other.adapter and self.prompt == other.prompt

    @property
    def scores(self) -> bool:
        """Whether its prefill finds log probabilities. Then nothing of it is taken over."""
        return self.sampling.prompt_logprobs >= 0 and not self.output

    @property
    def follows(self) -> bool:
        """Whether this waits for the prefill of its leader, which has no output of its own yet."""
        leader = self.leader
        if leader is None or leader.output:
            return False
        return leader.status in (Status.WAITING, Status.PREFILL)

    @property
    def kv_tokens(self) -> int:
        """How many tokens its cache holds after the next step, or after its prefill."""
        if self.status is Status.RUNNING:
            return len(self.prompt) + self.num_sampled
        return self.prefill_tokens + 1

    @property
    def unread(self) -> bool:
        """Whether there are tokens of it on the device that were not read yet."""
        return self.num_sampled > len(self.output)

    def preempt(self) -> None:
        """Back to waiting, without a cache: to be resumed as prompt + output so far."""
        if not self.unread:
            self.prompt_logprobs = []
        self.status = Status.WAITING
        self.num_prefilled = 0
        self.leader = self.ahead = None
        self.looked_up = self.fetching = False

    @property
    def last_token(self) -> int:
        return self.output[-1] if self.output else self.prompt[-1]

    def slice(self, start: int, end: int) -> list[int]:
        """Tokens [start, end) of prompt + output."""
        boundary = len(self.prompt)
        if end <= boundary:
            return self.prompt[start:end]
        return (self.prompt + self.output)[start:end]

    def until_mark(self, start: int, num_tokens: int) -> int:
        """How many of the next tokens may be computed at once, so that a mark is an end."""
        end = start + num_tokens
        return min((mark for mark in self.marks if start < mark < end), default=end) - start

    @property
    def all_sampled(self) -> bool:
        """True when max_tokens are submitted: the row can leave before they are read."""
        return self.num_sampled >= self.sampling.max_tokens

    @property
    def goes_on(self) -> bool:
        """Whether this running row wants a token after the next one."""
        return self.num_sampled + 1 < self.sampling.max_tokens

    def news(self, now_s: float) -> tuple[int, list[list[TokenLogprob]] | None, float]:
        """What goes with its first row alone: cached tokens, the prompt's log probabilities, and
        milliseconds since it was admitted."""
        if self.first_row_sent:
            return 0, None, 0
        self.first_row_sent = True
        asked = self.sampling.prompt_logprobs >= 0
        since_s = now_s - self.admitted_s if self.admitted_s is not None else 0.0
        return self.cached_tokens, self.prompt_logprobs if asked else None, round(since_s * 1000, 3)

    def accept(self, token: int) -> str | None:
        """Books one token that was read; returns the finish reason when it is the last one."""
        self.output.append(token)
        if self.grammar is not None:
            self.grammar.take(token)
        if token in self.stop_ids and (
            len(self.output) > self.sampling.min_tokens or self.grammar is not None
        ):
            return "stop"  # a grammar may end before min_tokens: then nothing else could follow
        if len(self.output) >= self.sampling.max_tokens:
            return "length"
        return None
