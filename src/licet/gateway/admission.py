"""From where the gateway may be asked: the name it is asked by (`Host`), and the page that asks (`Origin`), against DNS rebinding.

Rules:

1. `Host` is a name that is the gateway's own: of `public_url`, of `gateway.hosts`, `localhost`, or the address that it listens at. An
   address in numbers is always its own: no name server can make a page's name into one.
2. `Origin`, where there is one, is the very place that is asked, or one of `gateway.origins`.
3. Neither grants anything: a credential is needed all the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

REMEMBERED = 256
"""Pairs of `Host` and `Origin` of which the answer is remembered."""


class Admission:
    """Says whether a request comes from where requests may come from."""

    def __init__(self, *, public_url: str | None, listen_host: str, hosts: Iterable[str], origins: Iterable[str]) -> None:
        own = urlsplit(public_url or "")
        self._names = {"localhost", listen_host.lower(), *(_name_of(host) or host.lower() for host in hosts)}
        if own.hostname:
            self._names.add(own.hostname)
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        if public_url is not None:
            self._origins.add(f"{own.scheme}://{own.netloc}".lower())
        self._problem = lru_cache(maxsize=REMEMBERED)(self._look)

    def problem(self, host: str | None, origin: str | None) -> str | None:
        """What is wrong with where a request comes from; None where nothing is."""
        return self._problem(host, origin)

    def _look(self, host: str | None, origin: str | None) -> str | None:
        name = None if host is None else _name_of(host)
        if name is None or not (name in self._names or _is_address(name)):
            return "`Host` is no name of this gateway; `gateway.hosts` of licet.toml lists further ones"
        if origin is not None and origin.lower() not in self._origins and not _is_at(origin, host):
            return "`Origin` is no page that may ask here; `gateway.origins` of licet.toml lists those that may"
        return None


def _is_at(origin: str, host: str | None) -> bool:
    """Whether a page comes from where it asks."""
    scheme, _, authority = origin.lower().partition("://")
    return host is not None and scheme in {"http", "https"} and authority == host.lower()


def _name_of(host: str) -> str | None:
    """The name or address in a `Host`, without its port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return None if parts.username is not None or parts.path or parts.query or parts.fragment else parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
