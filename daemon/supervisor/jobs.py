"""The unfinished requests of one model, and which of them its engine is given next."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, TypeAlias

from .blame import TRIAL_TOKENS, Suspect, judge
from .fair import FairQueue
from .generation import Generation
from .single import Single

Job: TypeAlias = "Generation | Single[Any]"  # what a request has an engine do

# What the engine is given beyond the rows that it can run: it never waits for the front, and
# sees who waits for the same prefix.
AHEAD = 4


class Jobs:
    """Books only: whoever sends takes `next()` until there is none."""

    def __init__(self) -> None:
        self.capacity = 1  # of the engine that lives now
        self.running: dict[int, Job] = {}  # every unfinished one, in order of arrival
        self.on_trial: Job | None = None
        self._unsent: FairQueue[Job] = FairQueue()
        self._trial: deque[Job] = deque()  # suspects, each to be tried alone
        self._acquitted_at = 0  # output tokens
        self._sent: Counter[str | None] = Counter()  # by owner

    def add(self, job: Job) -> None:
        self.running[job.id] = job
        self._unsent.add(job, job.turn)

    def remove(self, number: int) -> Job | None:
        """It ended; None when it is not in the books."""
        job = self.running.pop(number, None)
        if job is not None and job.sent:
            self._sent[job.turn.owner] -= 1
            if not self._sent[job.turn.owner]:
                del self._sent[job.turn.owner]
        return job

    def next(self) -> Job | None:
        """What is to be sent now: a suspect alone, else as much as the engine should have. It
        counts as sent."""
        job = self._next()
        if job is not None:
            job.sent = True
            self._sent[job.turn.owner] += 1
        return job

    def _next(self) -> Job | None:
        suspect = self.on_trial
        if suspect is not None:
            if not suspect.done and len(suspect.output) < self._acquitted_at:
                return None
            self.on_trial = None
        while self._trial:
            suspect = self._trial.popleft()
            if not suspect.done:
                self.on_trial = suspect
                self._acquitted_at = len(suspect.output) + TRIAL_TOKENS
                return suspect
        while self.num_sent < self.capacity + AHEAD:
            job = self._unsent.take(self._sent)
            if job is None or not job.done:
                return job
        return None

    @property
    def num_sent(self) -> int:
        """That the engine has at the moment."""
        return self._sent.total()

    def settle(self, attempts: int) -> list[Job]:
        """After a death: the others will be sent again; returns those that must be failed, which
        are no longer in the books. See blame.judge."""
        sent = [job for job in self.running.values() if job.sent]
        verdict = judge([Suspect(j.id, j.deaths, j is self.on_trial) for j in sent], attempts)
        for number in verdict.counted:
            self.running[number].deaths += 1
        condemned = [self.running.pop(number) for number in verdict.condemned]
        trial = {*verdict.trial, *(job.id for job in self._trial)}
        self.on_trial = None
        self._trial = deque(job for job in self.running.values() if job.id in trial)
        self._unsent = FairQueue()
        for job in self.running.values():
            if job.id not in trial:
                self._unsent.add(job, job.turn, again=job.sent)
        for job in sent:
            job.sent = False
        self._sent.clear()
        return condemned

    def clear(self) -> list[Job]:
        """Empties the books; returns what was in them."""
        running = list(self.running.values())
        self.__init__()
        return running
