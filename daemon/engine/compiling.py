"""Requests whose grammar is being compiled: in threads, so that the streams go on meanwhile."""

from __future__ import annotations

import queue
import threading
import time

from ..protocol.grammar import Grammar
from ..protocol.wire import Rejected
from .grammar import GrammarCompiler, GrammarError, GrammarState
from .sequence import Sequence

TIMEOUT_S = 20.0  # to compile one, its wait for the tokenizer included


class Compiling:
    """Sequences on their way to the scheduler. For one thread, the engine's."""

    def __init__(self, compiler: GrammarCompiler, *, together: bool = False) -> None:
        """`together`: every `take` waits for all, so that each rank of a group takes the same."""
        self._compiler = compiler
        self._together = together
        self._waiting: dict[int, tuple[Sequence, float]] = {}  # by id, with its deadline
        self._results: queue.SimpleQueue[tuple[int, GrammarState | GrammarError]] = (
            queue.SimpleQueue()
        )

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def start(self, sequence: Sequence, grammar: Grammar) -> None:
        self._waiting[sequence.id] = sequence, time.monotonic() + TIMEOUT_S
        work = self._compile, (sequence.id, sequence, grammar)
        threading.Thread(target=work[0], args=work[1], name="grammar", daemon=True).start()

    def _compile(self, number: int, sequence: Sequence, grammar: Grammar) -> None:
        try:
            state = self._compiler.compile(
                grammar,
                stop_ids=sequence.stop_ids,
                min_tokens=sequence.sampling.min_tokens,
                output=sequence.output,
            )
        except GrammarError as error:
            self._results.put((number, error))
        except Exception as error:  # a thread that dies in silence would leave the client waiting
            self._results.put((number, GrammarError(f"{type(error).__name__}: {error}")))
        else:
            self._results.put((number, state))

    def drop(self, request_id: int) -> bool:
        """Forgets a request, if it is here; what its thread finds is thrown away."""
        return self._waiting.pop(request_id, None) is not None

    def take(self, wait_s: float = 0.0) -> tuple[list[Sequence], list[Rejected]]:
        """Sequences that have their grammar now, and those that will never get one. Waits up to
        `wait_s` for the first."""
        ready: list[Sequence] = []
        rejected: list[Rejected] = []
        block = self._together or wait_s > 0
        timeout = None if self._together else wait_s
        while self._waiting:
            try:
                number, result = self._results.get(block, timeout)
            except queue.Empty:
                break
            block = self._together
            sequence, _ = self._waiting.pop(number, (None, 0.0))
            if sequence is None:
                continue
            if isinstance(result, GrammarState):
                sequence.grammar = result
                sequence.stop_ids = result.ends
                ready.append(sequence)
            else:
                rejected.append(Rejected(number, str(result), bad_request=True))
        ready.sort(key=lambda sequence: sequence.id)
        now = time.monotonic()
        for number in [n for n, (_, deadline) in self._waiting.items() if deadline < now]:
            del self._waiting[number]
            message = f"the grammar was not compiled within {TIMEOUT_S:.0f} s"
            rejected.append(Rejected(number, message, bad_request=True))
        return ready, rejected
