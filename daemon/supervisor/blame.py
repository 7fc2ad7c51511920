"""Which requests go on after an engine died. Pure.

A request that was running in two deaths is poison, and it alone gets the error. One death says
little: a kill, a short-lived lack of memory. So after the first everything is replayed at once.
When a second death leaves a single suspect, that is the one. When there are several they go on
trial: one after the other joins the new engine, the next only when it has got past the place where
the engine died. Who is on trial at a death is guilty. A death among those already acquitted (they
are fatal only together) condemns all that have their two deaths.

                    deaths   on trial    verdict
    first death       1          -       replay
    second death      2          -       alone with 2: condemned; several with 2: trial
    on trial          2+        yes      condemned
                      2+        no       replay, and not counted: another one was on trial
    third death       3          -       condemned
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FATAL_DEATHS = 2
TRIAL_TOKENS = 8  # an engine may have been a step or two, or a few drafts, ahead of what we read


class Suspect(NamedTuple):
    """A request that was in the engine when it died."""

    id: int
    deaths: int  # before this one
    on_trial: bool


class Verdict(NamedTuple):
    condemned: list[int]  # get EngineDied
    trial: list[int]  # are sent one at a time, before anything else
    replay: list[int]  # are sent together
    counted: list[int]  # whose deaths are now one more


def judge(suspects: Sequence[Suspect], fatal: int = FATAL_DEATHS) -> Verdict:
    """`suspects` in the order in which they are to be replayed; at most one is on trial. `fatal`
    deaths take the place of the table's two."""
    on_trial = [s.id for s in suspects if s.on_trial]
    if on_trial:
        rest = [s for s in suspects if not s.on_trial]
        return Verdict(
            condemned=on_trial,
            trial=[s.id for s in rest if s.deaths >= fatal],
            replay=[s.id for s in rest if s.deaths < fatal],
            counted=on_trial,
        )
    everybody = [s.id for s in suspects]
    condemned = [s.id for s in suspects if s.deaths >= fatal]
    trial = [s.id for s in suspects if s.deaths == fatal - 1]
    replay = [s.id for s in suspects if s.deaths < fatal - 1]
    if len(trial) == 1 and not condemned:
        condemned, trial = trial, []
    return Verdict(condemned, trial, replay, everybody)
