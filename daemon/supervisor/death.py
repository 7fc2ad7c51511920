"""How an engine ended, in words."""

from __future__ import annotations

import re
import signal
from typing import NamedTuple

from .child import Child
from .printed import KEPT_LINES


class Death(NamedTuple):
    reason: str  # "was killed by SIGKILL"
    tail: str  # the last lines that it printed
    ready_s: float  # how long it had been ready; 0 when it never was
    lacked_memory: bool = False


# What the runtimes say last when memory is short: Metal's allocator and command buffers, C++'s
# allocator, Python's, CUDA's.
_NO_MEMORY = re.compile(
    r"metal::malloc|OutOfMemory|out of memory|Insufficient Memory|std::bad_alloc|MemoryError"
    r"|Unable to allocate|cannot allocate memory",
    re.IGNORECASE,
)


def lacks_memory(printed: str) -> bool:
    """Whether what an engine printed says that it got no more memory."""
    return _NO_MEMORY.search(printed) is not None


def ended(
    child: Child, status: int | None, ready_s: float, *, silent: str | None, refused: str | None
) -> Death | None:
    """How a child ended uncalled: `silent` is why it was, `refused` why it could not load the
    model. That is no death, and final, unless it was for memory, of which there may be more, or
    less need, the next time."""
    if refused is not None and not lacks_memory(refused):
        return None
    why = silent or (f"could not load the model: {refused}" if refused else reason(child, status))
    lacked_memory = refused is not None or lacks_memory(child.tail(KEPT_LINES))
    return Death(why, child.tail(), ready_s, lacked_memory)


def reason(child: Child, status: int | None) -> str:
    """What happened to a child that ended uncalled; continues "the engine of x …"."""
    if child.broken is not None:
        return f"sent bytes that are no message ({child.broken})"
    if status is None:
        return "closed its connection and had to be killed"
    if status >= 0:
        return f"ended by itself with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"


def account(death: Death) -> str:
    """Reason and last words, as the end of a sentence and what follows it."""
    tail = f" It last printed:\n{death.tail}" if death.tail else ""
    return f"{death.reason}.{tail}"
