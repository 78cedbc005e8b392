"""The door of MCP over HTTP, `/mcp` and `/mcp/{upstream}`, for clients of both eras at one address.

A POST that says a modern version, in its header or in `_meta`, is served by itself (2026-07-28, basic/transports/streamable-http). Any
other belongs to the era of sessions (2025-11-25, basic/transports): `initialize` opens one, and everything else names one.

Rules:

1. In this order: from where it comes (admission.py); who asks; the message, within bounds; what headers say of it (header_rules.py); what
   the credential's scopes allow; the gateway. Nothing of a request is looked at whose asker is not known, but what a browser asks
   before it sends one for a page that may ask (cross_origin.py).
2. Who calls is taken from the credential of every single request. Headers `Licet-*` select among those that it speaks for, and no more.
3. A session is found for its own principal alone; for anybody else it does not exist (404).
4. A modern client that closes its connection has cancelled its request. A legacy one has not: it may come back for the answer. Both are
   stopped when their credential does not hold any more.
5. Nothing here decides about a call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from licet.errors import CallerRefused
from licet.gate.acting import Acting, acting_as
from licet.gate.gate import Gate
from licet.gateway.admission import Admission
from licet.gateway.client_facts import id_in
from licet.gateway.client_session import ClientSession
from licet.gateway.cross_origin import preflight
from licet.gateway.eras import LEGACY_VERSIONS, META_VERSION, MODERN_VERSIONS
from licet.gateway.header_rules import VERSION, mismatch
from licet.gateway.http_legacy import LegacyDoor, accepts_stream
from licet.gateway.http_modern import ModernDoor, unsupported
from licet.gateway.messages import INVALID_REQUEST, NOT_PERMITTED, RpcError, read_client_message
from licet.gateway.requested import Answers, Requested, refuse
from licet.gateway.visit import Visit
from licet.identity.authenticated import AskedCaller, Authenticated
from licet.model import JsonObject

LONG_BYTES: Final = 32 * 1024
"""A longer message is read in a thread: one of many small values takes a while, in which nobody else would be answered."""
SELECTING: Final = ("licet-tenant", "licet-agent", "licet-service", "licet-user")
"""Headers by which a client whose credential speaks for several says as whom it calls."""
CALLERS: Final = 1_024
"""Of as many credentials it is remembered who calls."""
_SELECT: Final = "; the headers `Licet-Tenant`, `Licet-Agent`, `Licet-Service` and `Licet-User` say so"


class HttpDoor:
    """Serves MCP clients over HTTP. `ended` is told of each session that is over."""

    def __init__(self, gate: Gate, gateway: Answers, ended: Callable[[ClientSession], None] = lambda _: None) -> None:
        self._gate = gate
        self._modern = ModernDoor(gate, gateway)
        self._legacy = LegacyDoor(gate, gateway, ended)
        settings = gate.settings
        self._admission = Admission(
            public_url=settings.server.public_url,
            listen_host=settings.server.address.host,
            hosts=settings.gateway.hosts,
            origins=settings.gateway.origins,
        )

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._legacy.sessions)

    def let_go(self) -> None:
        """Who only listens is let go, and sessions in which nothing is under way end."""
        self._legacy.let_go()

    def close(self) -> None:
        """Every session ends, with its streams and what is under way in it. Requests of modern clients go on to their end."""
        self._legacy.close()

    async def serve(self, visit: Visit) -> None:
        """Answer one request."""
        problem = self._admission.problem(visit.headers.get("host"), visit.headers.get("origin"))
        if problem is not None or not {"host", "origin"}.isdisjoint(visit.twice):
            await refuse(visit, RpcError(INVALID_REQUEST, problem or "`Host` or `Origin` stands twice", http_status=403))
            return
        if (origin := visit.headers.get("origin")) is not None:
            visit.share_with(origin)
            if visit.verb == "OPTIONS" and (answer := preflight(visit.headers)) is not None:
                await visit.answer(204, headers=answer)
                return
        who = await visit.enter()
        try:
            acting = _acting(visit, who)
            visit.permit(acting.tenant)
            await self._serve(Requested(visit=visit, who=who, acting=acting))
        except RpcError as error:
            await refuse(visit, error)

    async def _serve(self, asked: Requested) -> None:
        visit = asked.visit
        if visit.upstream is not None and visit.upstream not in self._gate.settings.upstreams:
            raise RpcError(INVALID_REQUEST, f"there is no upstream `{visit.upstream}`", http_status=404)
        if visit.verb == "POST":
            await self._post(asked)
            return
        version = _version(visit)
        if visit.verb not in {"GET", "DELETE"} or version in MODERN_VERSIONS:
            error = RpcError(INVALID_REQUEST, "send requests by POST", http_status=405)
            await refuse(visit, error, headers={"allow": "POST" if version in MODERN_VERSIONS else "POST, GET, DELETE"})
        elif visit.verb == "DELETE":
            await self._legacy.end(asked)
        else:
            _check_accept(visit)
            await self._legacy.listen(asked)

    async def _post(self, asked: Requested) -> None:
        visit = asked.visit
        _check_accept(visit)
        limit = self._gate.settings.gateway.body_bytes
        raw = await visit.body(limit)
        try:
            version = _version(visit)
            if len(raw) > LONG_BYTES:
                message = await visit.run(lambda: read_client_message(raw, limit_bytes=limit))
            else:
                message = read_client_message(raw, limit_bytes=limit)
            await (self._modern if _is_modern(version, message) else self._legacy).post(asked, message)
        except RpcError as error:
            await refuse(visit, error, await visit.run(lambda: id_in(raw)) if len(raw) > LONG_BYTES else id_in(raw))


def _acting(visit: Visit, who: Authenticated) -> Acting:
    """Who calls (rule 2). Raises `RpcError`."""
    headers = visit.headers
    if not visit.twice.isdisjoint(SELECTING):
        raise RpcError(INVALID_REQUEST, "a header `Licet-*` stands twice", http_status=400)
    try:
        return _selected(who, *[headers.get(header) for header in SELECTING])
    except CallerRefused as refused:
        selecting = refused.code in {"tenant_needed", "agent_needed"}
        raise RpcError(NOT_PERMITTED, f"{refused}{_SELECT if selecting else ''}", http_status=403) from refused


@lru_cache(maxsize=CALLERS)
def _selected(who: Authenticated, tenant: str | None, agent: str | None, service: str | None, user: str | None) -> Acting:
    """It depends on nothing but who it is and whom they select. Raises `CallerRefused`."""
    return acting_as(who, AskedCaller(tenant=tenant, agent=agent, service=service, user=user))


def _version(visit: Visit) -> str | None:
    """The version in the header, which is one that is spoken here. Raises `RpcError`."""
    version = visit.headers.get(VERSION)
    if VERSION in visit.twice:
        raise mismatch(f"the header `{VERSION}` stands twice")
    if version is not None and version not in MODERN_VERSIONS and version not in LEGACY_VERSIONS:
        raise unsupported(version)
    return version


def _is_modern(version: str | None, message: JsonObject) -> bool:
    """Which era a message is of: what it says itself counts, whatever the header says beside it (which must then agree)."""
    return version in MODERN_VERSIONS or META_VERSION in (message.get("params", {}).get("_meta") or {})


def _check_accept(visit: Visit) -> None:
    if not accepts_stream(visit.headers.get("accept")):
        raise RpcError(INVALID_REQUEST, "`Accept` must list `application/json` and `text/event-stream`", http_status=406)
