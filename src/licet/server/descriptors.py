"""How many files and sockets this process may have open: enough for the connections that `[server]` promises to take."""

from __future__ import annotations

import resource

SPARE = 256
"""Beside the connections: the ledger, its index, logs, the other listener, connections to a database."""


def raise_limit(connections: int) -> str | None:
    """The soft limit is enough for so many connections, as far as the hard one lets it; what is missing, as a sentence."""
    wanted = connections + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    reached = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    if reached == wanted:
        return None
    return f"{wanted} open files are needed for `server.connections = {connections}`, and this process may have {reached}"
