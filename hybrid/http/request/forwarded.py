"""X-Forwarded-For and X-Forwarded-Proto, believed only from the peers the operator names.

Any client can send these headers. So the list is read from the right, the end
that our own proxies append to: the first address that is not a proxy's is the
client.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hybrid.errors import ConfigError

Address = tuple[str, int]


class TrustedPeers:
    """Addresses and networks of proxies whose X-Forwarded headers are believed."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._trusts_all = False
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            if entry == "*":
                self._trusts_all = True
                continue
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                raise ConfigError(
                    f"trusted proxies: {entry!r} is not an IP address, a network or *"
                ) from None

    def trusts(self, host: str | None) -> bool:
        """Return whether a peer's X-Forwarded headers are believed; None is a Unix socket.

        A Unix socket's peers are trusted: its file permissions say which processes connect.
        """
        if self._trusts_all or host is None:
            return True
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            address = mapped
        return any(address in network for network in self._networks)

    def client_of(self, forwarded_for: bytes) -> Address | None:
        """Return the client's address, port 0, or None if the header holds none.

        The first untrusted address from the right; if all are trusted, the
        leftmost. An entry that is not an address ends the search: nothing to its
        left can have been written by a proxy of ours.
        """
        found: Address | None = None
        for entry in reversed(forwarded_for.decode("latin-1").split(",")):
            host = _host_of(entry.strip())
            if host is None:
                break
            found = (host, 0)
            if not self._trusts_all and not self.trusts(host):
                break
        return found


def _host_of(entry: str) -> str | None:
    """Return the address in ``1.2.3.4``, ``1.2.3.4:80``, ``::1`` or ``[::1]:80``.

    Without a zone (``fe80::1%eth0``): that may be any text, and would go into logs.
    """
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ip_address(entry)).partition("%")[0]
    except ValueError:
        return None


def scheme_of(forwarded_proto: bytes, fallback: str) -> str:
    """Return http or https as the proxy says; the last one is the nearest proxy's."""
    value = forwarded_proto.rpartition(b",")[2].strip().lower()
    return {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}.get(value, fallback)
