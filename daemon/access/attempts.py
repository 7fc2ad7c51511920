"""How often a password may be tried: by one address, and by all together."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from ..protocol.errors import TooManyAttempts

SPAN_S = 300.0
PER_ADDRESS = 5  # wrong ones in SPAN_S
TOGETHER = 50
MAX_ADDRESSES = 10_000  # that are remembered


class Attempts:
    """Wrong passwords of the last minutes. `clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, list[float]] = OrderedDict()
        self._all: list[float] = []

    def begin(self, address: str, *, is_local: bool = False) -> None:
        """Counts a try before it is looked at, so that many at once do not pass together.

        Who sits at the machine is not locked out by what others do. Raises TooManyAttempts.
        """
        now = self._clock()
        place = _place(address)
        own = self._of.setdefault(place, [])
        for tries, most, counts in ((own, PER_ADDRESS, True), (self._all, TOGETHER, not is_local)):
            tries[:] = [at for at in tries if at > now - SPAN_S]
            if counts and len(tries) >= most:
                wait_s = tries[0] + SPAN_S - now
                raise TooManyAttempts(
                    f"Too many wrong passwords. Try again in {wait_s:.0f} s.", retry_after_s=wait_s
                )
        own.append(now)
        self._all.append(now)
        self._of.move_to_end(place)
        while len(self._of) > MAX_ADDRESSES:
            self._of.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """The last try was right: it counts for nothing, nor do those before it."""
        own = self._of.pop(_place(address), [])
        for at in own:
            if at in self._all:
                self._all.remove(at)


def _place(address: str) -> str:
    """One household: an IPv4 address, or the 64 bits of IPv6 that a network hands out."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
