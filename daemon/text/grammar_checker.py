"""Whether grammars compile, before they go to an engine: asked of a process that may be lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakValueDictionary

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar

MAX_SOURCE = 512 * 1024  # characters
REMEMBERED = 256  # answers
COMMAND = (sys.executable, "-m", "fastmlx.daemon.text.compile_grammar")

Key = tuple[tuple[str, str, bool], ...]
Fault = tuple[int, str, str]  # which one, the place within its schema, what is wrong


class GrammarChecker:
    """For one event loop. The process is started by the first question, and ends when none has come
    for long or this one ends."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Fault | None] = OrderedDict()  # by what was asked
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._own_turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, wishes: Sequence[tuple[Grammar, str]], owner: str | None = None) -> None:
        """Raises BadRequest for grammars that do not compile; each has the field that asked for it,
        and the message names the place in a schema. Owners take turns, however many an owner asks
        about."""
        length = 0
        for grammar, param in wishes:
            length += len(grammar.source)
            if length > MAX_SOURCE:
                raise BadRequest(
                    f"{param}: the grammar has more than {MAX_SOURCE} characters.", param=param
                )
        if not wishes:
            return
        key = tuple((each.kind, each.source, each.lenient) for each, _ in wishes)
        fault = await self._fault(key, owner or "")
        if fault is not None:
            number, place, message = fault
            where = wishes[number][1] + place
            raise BadRequest(f"{where}: {message}.", param=where)

    async def close(self) -> None:
        """Ends the process; the next question starts another one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _fault(self, key: Key, owner: str) -> Fault | None:
        line = json.dumps(key).encode() + b"\n"
        asked = hashlib.sha256(line).digest()  # what was asked may be long
        if asked not in self._known:
            own = self._own_turns.setdefault(owner, asyncio.Lock())
            async with own, self._turn:
                if asked not in self._known:  # still
                    self._known[asked] = await self._asked(line)
        self._known.move_to_end(asked)
        found = self._known[asked]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _asked(self, line: bytes) -> Fault | None:
        while True:
            process = self._process or await self._start()
            try:
                answer = await self._answer(process, line)
            except asyncio.CancelledError:  # its answer would be taken for that of the next
                process.kill()
                self._process = None
                raise
            if answer:
                found = json.loads(answer)
                return None if found is None else tuple(found)
            self._process = None
            status = await process.wait()
            if status == 0:  # it had nothing to do for long
                continue
            slow = status == -signal.SIGPROF
            return 0, "", "it takes too long to compile" if slow else "it is too large to compile"

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._process

    @staticmethod
    async def _answer(process: asyncio.subprocess.Process, line: bytes) -> bytes:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            return await process.stdout.readline()
        except (ConnectionError, ValueError):
            return b""
