"""Which addresses the Hub may lead us to: never into a network of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network

Address = IPv4Address | IPv6Address

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last four bytes


def may_lead(hub: Iterable[Address], target: Iterable[Address]) -> bool:
    """Whether a Hub with these addresses may send us to a machine with those.

    | target            | may                                   |
    |-------------------|---------------------------------------|
    | public            | always                                |
    | loopback          | when the Hub is there, too            |
    | a private network | when the Hub is in one, too           |
    | link-local, other | never                                 |
    """
    allowed = {_reach(address) for address in hub} & {"loopback", "private"} | {"public"}
    return all(_reach(address) in allowed for address in target)


def _reach(address: Address) -> str:
    if isinstance(address, IPv6Address) and (inner := _within(address)) is not None:
        address = inner
    if address.is_loopback:
        return "loopback"
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        return "other"
    return "public" if address.is_global else "private"


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end at."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
