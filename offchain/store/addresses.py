"""Which addresses a worker follows. All were written by strangers, and name machines that it must not touch for them.

A name is judged by where it leads at the moment of the connection, not by how it is written: `localhost`, `2130706433`,
`::ffff:10.0.0.1` and a name that resolves there all end at the same socket.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from offchain.errors import BadBlob
from offchain.text import printable

MAX_URI: Final = 2048  # characters
WEB: Final = frozenset({"http", "https"})

# File systems of fsspec that read through another one, or from this machine: whatever they are given, they lead out of
# what an operator allowed.
NEVER: Final = frozenset(
    {"arrow_hdfs", "asynclocal", "blockcache", "cached", "data", "dir", "dirfs", "filecache", "generic", "git"}
    | {"jupyter", "libarchive", "local", "memory", "reference", "sftp", "simplecache", "smb", "ssh", "tar", "zip"}
)
_PLAIN: Final = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # printable ASCII without what no URI may hold: " < > \ ^ ` { | }
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Forbidden(BadBlob):
    """An address that this worker does not follow, whoever asks."""


def parse(uri: str, schemes: frozenset[str], private: bool) -> SplitResult:
    """A stranger's address, if it is one that may be followed. Raises Forbidden.

    Args:
        schemes: that are allowed.
        private: whether this machine, its files, and its network may be asked.
    """
    try:
        parts = urlsplit(uri)
        chained = "::" in uri and parts.scheme not in WEB  # fsspec would pass the content through another file system
        sound = len(uri) <= MAX_URI and _PLAIN.fullmatch(uri) and not chained and parts.port != 0
    except ValueError:  # a port that is no number, or an open bracket
        sound = False
    allowed = schemes if private else schemes - {"file"}
    if not sound or parts.scheme not in allowed:
        raise Forbidden(f"{printable(uri)}: not an address that this worker follows ({', '.join(sorted(allowed))})")
    if parts.scheme in WEB and (not parts.hostname or parts.username is not None):
        raise Forbidden(f"{printable(uri)}: must name a host, and nobody's password")
    return parts


def is_public(host: str) -> bool:
    """Whether an IP address is one of the open internet. False for what is no IP address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    inner = _embedded(address) if isinstance(address, IPv6Address) else ()
    return all(map(_open, inner or (address,)))


def _open(address: IPv4Address | IPv6Address) -> bool:
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or site_local)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address stands for, or goes through."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


def host_of(uri: str) -> str:
    """The host that an address names, for counting; "" where it names none."""
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def is_anywhere(url: str) -> bool:
    """Whether an address names no machine, as 0.0.0.0 does: a server listens there, and nobody can ask there."""
    try:
        return ip_address(host_of(url)).is_unspecified
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether an address leads to the machine that asks."""
    return is_loopback(host_of(url))


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: `localhost`, or a loopback address."""
    if host is None or host.rstrip(".").lower() == "localhost":
        return host is not None
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
