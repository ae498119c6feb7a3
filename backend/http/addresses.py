"""Which network addresses images may be fetched from."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
# Python 3.11 takes these networks for public: protocol assignments (RFC 6890; one cloud has its
# metadata service there), Azure's platform, and local-use NAT64 (RFC 8215).
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32", "64:ff9b:1::/48")))
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts and networks that are allowed although their addresses are not public."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowedHosts:
        """Read a list such as ``minio, 10.0.0.0/8``, separated by commas or spaces.

        Raises:
            ValueError: an item is neither a host nor a network. The message names the item.
        """
        names, networks = set(), []
        for item in re.split(r"[\s,]+", text.strip().lower()):
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                if not _HOST_NAME.fullmatch(item):
                    raise ValueError(
                        f"{item!r} is neither a host name nor a network such as 10.0.0.0/8"
                    ) from None
                names.add(item)
        return cls(frozenset(names), tuple(networks))

    def allow(self, host: str, address: Address) -> bool:
        """Whether this process may connect to ``address``, which belongs to ``host``."""
        if host.lower().rstrip(".") in self.names or is_public(address):
            return True
        return any(_plain(address) in network for network in self.networks)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet.

    These addresses do not: loopback, private, shared (RFC 6598), link-local (cloud metadata),
    multicast, unspecified and reserved. An IPv4 address inside an IPv6 address is checked too.
    """
    address = _plain(address)
    is_special = (
        address.is_multicast
        or address.is_reserved
        or any(address in network for network in _SPECIAL)
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )
    return address.is_global and not is_special


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address; any other address unchanged."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
