"""Where the gateway may connect to: what stops a URL, or the name in it, from leading into places that were never meant.

Rules:

1. A name is resolved once for a connection, every address that comes back is looked at, and what was looked at is what is connected to: a
   name that says something else a moment later is not asked again.
2. Never: addresses of the link, of groups, of nobody; and those where clouds hand out the credentials of their machines. No setting permits
   them.
3. An address that is not public only where the URL says it itself (`http://10.1.2.3`, `http://localhost`), or with `private = true`.
4. One address that is not permitted refuses the name: an answer that mixes them is an attack, or needs somebody to look.
5. An address inside an address (IPv4 within IPv6, however it is written) is judged as what it leads to.

Not guaranteed: that a proxy or a network beyond this machine takes the connection to where its address says.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from licet.gateway.connection import NotSent
from licet.names import quoted

Address: TypeAlias = IPv4Address | IPv6Address

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds; of the link anyway
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "168.63.129.16",  # Azure; looks public
    )
)
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")


class Guard(AbstractResolver):
    """Resolves the name of one upstream's URL, by the rules above; to be given to the connector that connects there.

    An address in the URL itself is not asked for by the connector, so it is looked at here, at once. Raises `NotSent`.
    """

    def __init__(self, url: URL, *, private: bool = False) -> None:
        self.host = url.raw_host or ""  # as the connector reads it: digits of another script are an address by now
        literal = read_address(self.host)
        if literal is None and self.host.replace(".", "").isdigit():
            raise NotSent(f"{quoted(self.host)} in the upstream's `url` is an address in a form that is not taken; write `127.0.0.1`, say")
        self._allows_private = private or literal is not None or is_localhost(self.host)
        if literal is not None:
            self._check(literal)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of the name, all of them permitted. Raises `NotSent`."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        except (OSError, UnicodeError) as error:
            raise NotSent(f"the name {quoted(host)} cannot be resolved; look at the upstream's `url`") from error
        results = [_result(host, port, one[0], str(one[4][0])) for one in found if one[0] in {socket.AF_INET, socket.AF_INET6}]
        if not results:
            raise NotSent(f"the name {quoted(host)} has no address; look at the upstream's `url`")
        for result in results:
            self._check_text(result["host"])
        return results

    async def close(self) -> None:
        """Nothing is kept open."""

    def _check_text(self, text: str) -> None:
        address = read_address(text)
        if address is None:
            raise NotSent(f"the name {quoted(self.host)} leads to {quoted(text)}, which is no address")
        self._check(address)

    def _check(self, address: Address) -> None:
        problem = address_problem(address, private=self._allows_private)
        if problem is not None:
            raise NotSent(f"the upstream's `url` leads to `{address}`, {problem}")


def is_localhost(host: str) -> bool:
    """Whether this name means this machine wherever it is read (RFC 6761)."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def read_address(text: str) -> Address | None:
    """The address that this text is; None where it is a name. The zone of a link's address (`%eth0`) is no part of it."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def address_problem(address: Address, *, private: bool) -> str | None:
    """Why the gateway does not connect to this address, as the end of a sentence; None if it does (rules 2, 3 and 5)."""
    for one in {address, _inner(address)}:
        if one in _METADATA:
            return "where a cloud keeps the credentials of its machines; no upstream is there"
        if one.is_link_local or one.is_multicast or _is_nobody(one):
            return "which is an address of the link, of a group or of nobody; no upstream is there"
    if not private and not _is_public(_inner(address)):
        return "which is not public; set `private = true` for this upstream if it is meant"
    return None


def _is_public(address: Address) -> bool:
    return address.is_global and not (isinstance(address, IPv6Address) and address.is_site_local)


def _is_nobody(address: Address) -> bool:
    """The address of no host at all, or of all of them."""
    if isinstance(address, IPv4Address):
        return address.packed[0] == 0 or address.is_reserved
    return address.is_unspecified


def _inner(address: Address) -> Address:
    """The address that this one leads to in the end (rule 5)."""
    if isinstance(address, IPv4Address):
        return address
    for inner in (address.ipv4_mapped, address.sixtofour, address.teredo[1] if address.teredo else None):
        if inner is not None:
            return inner
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _result(host: str, port: int, family: int, text: str) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # INVARIANT: what is connected to is this text, never the name again
    return {"hostname": host, "host": text, "port": port, "family": family, "proto": 0, "flags": flags}
