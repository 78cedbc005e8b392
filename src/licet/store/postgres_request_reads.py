"""Requests and votes in PostgreSQL, as they are read; see store/requests.py for what each method promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from licet.model import LIVE_STATES, PlanId, Request, RequestId, RequestState, Vote
from licet.store.contract import Dossier
from licet.store.postgres_reading import Connection, Reading, fetch
from licet.store.request_rows import LIVE, check_found, check_plan, dossier_of, whole_page
from licet.store.rows import RECORD

_REQUEST = "SELECT id, state FROM requests "
_RECORDS = f"{RECORD.replace('sealed ', 'sealed, request ', 1)}WHERE request = ANY($1::TEXT[]) ORDER BY logs.name, place"
_VOTES = "SELECT request, person, live FROM votes WHERE request = ANY($1::TEXT[]) ORDER BY number"


class RequestReads(Reading):
    """The reading half."""

    def find_dossier(self, tenant: str, key: str) -> Dossier | None:
        """The request with this key that was opened last, with votes and records, at one moment."""
        blind = self.vault.find_blind(tenant, "request", key)
        if blind is None:
            return None
        found = self._find_dossiers(f"{_REQUEST}WHERE key = $1 ORDER BY number DESC LIMIT 1", blind)
        return check_found(found[0], tenant, key) if found else None

    def get_dossier(self, request: RequestId) -> Dossier:
        """As `get_request`, with votes and records, at one moment."""
        found = self._find_dossiers(f"{_REQUEST}WHERE id = $1", request)
        if not found:
            raise KeyError(f"no request `{request}`")
        return found[0]

    def get_request(self, request: RequestId) -> Request:
        """One request, as its record opened it, in the state that it is in now."""
        return self.get_dossier(request).request

    def requests(self, *, states: Sequence[RequestState] | None = None, tenant: str | None = None) -> tuple[Request, ...]:
        """Requests in these states, the one that expires first first."""
        return tuple([found.request for found in self.dossiers(states=states, tenants=None if tenant is None else [tenant])])

    def find_tenant(self, request: RequestId) -> str | None:
        """Whose request this is; None where there is none."""
        rows = self._rows("SELECT tenant FROM requests WHERE id = $1", request)
        return str(rows[0][0]) if rows else None

    def count_requests(self, state: RequestState) -> int:
        """How many requests are in this state."""
        return int(self._rows("SELECT count(*) FROM requests WHERE state = $1", state)[0][0])

    def dossiers(
        self,
        *,
        states: Sequence[RequestState] | None = None,
        tenants: Sequence[str] | None = None,
        limit: int | None = None,
        after: RequestId | None = None,
    ) -> tuple[Dossier, ...]:
        """As `requests`, of any of these tenants, each with votes and records, behind the request `after`."""
        return whole_page(lambda size, place: self._page(states, tenants, size, place), limit, after)

    def _page(
        self, states: Sequence[RequestState] | None, tenants: Sequence[str] | None, limit: int | None, after: RequestId | None
    ) -> tuple[Dossier | RequestId, ...]:
        where, values = [], list[object]()

        def asked(condition: str, value: object) -> None:
            values.append(value)
            where.append(condition.format(f"${len(values)}"))

        if states is not None and set(states) == LIVE_STATES:
            where.append(LIVE)
        elif states is not None:
            asked("state = ANY({}::TEXT[])", list(states))
        if tenants is not None and len(tenants) == 1:
            asked("tenant = {}", tenants[0])  # an equality, which is read in order from the tenant's own index
        elif tenants is not None:
            asked("tenant = ANY({}::TEXT[])", list(tenants))
        if after is not None:
            asked("(expires_at, number) > (SELECT expires_at, number FROM requests WHERE id = {})", after)
        text = f"{_REQUEST}{'WHERE ' if where else ''}{' AND '.join(where)} ORDER BY expires_at, number"
        if limit is not None:
            values.append(limit)
            text += f" LIMIT ${len(values)}"
        return self._find_rows(text, *values)

    def dossiers_of_plan(self, plan: PlanId) -> tuple[Dossier, ...]:
        """The requests of a plan in the order of their opening."""
        return check_plan(self._find_dossiers(f"{_REQUEST}WHERE plan = $1 ORDER BY number", plan), plan)

    def voted_requests(self) -> tuple[RequestId, ...]:
        """The live requests on which a vote stands."""
        voted = "EXISTS (SELECT 1 FROM votes WHERE request = requests.id AND live = 1)"
        return tuple([row[0] for row in self._rows(f"SELECT id FROM requests WHERE {LIVE} AND {voted} ORDER BY number")])  # noqa: S608  constants

    def votes(self, request: RequestId) -> tuple[Vote, ...]:
        """The votes that stand on a request, in order of arrival."""
        found = self._find_dossiers(f"{_REQUEST}WHERE id = $1", request)
        return found[0].votes if found else ()

    def _find_dossiers(self, text: str, *values: object) -> tuple[Dossier, ...]:
        """The requests that this statement finds, as of one moment, without those that were erased."""
        return tuple([found for found in self._find_rows(text, *values) if isinstance(found, Dossier)])

    def _find_rows(self, text: str, *values: object) -> tuple[Dossier | RequestId, ...]:
        """As `_find_dossiers`, with the ids of those that were erased in their places."""

        async def read(con: Connection) -> tuple[list[Any], dict[str, list[Any]], dict[str, list[tuple[str, bool]]]]:
            rows = await fetch(con, text, *values)
            return rows, *await _of_requests(con, [request for request, _ in rows])

        rows, stored, people = self._moment(read)
        # Outside of the moment: opening payloads may read secrets, through a connection of its own.
        return tuple(
            [dossier_of(self.vault, request, state, stored[request], people[request]) or RequestId(request) for request, state in rows]
        )


async def _of_requests(con: Connection, requests: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, list[tuple[str, bool]]]]:
    """The stored records of each request, and the rows of its votes, in their order."""
    stored: dict[str, list[Any]] = defaultdict(list)
    people: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in await con.fetch(_RECORDS, requests):
        *record, request = row
        stored[request].append(record)
    for request, person, live in await con.fetch(_VOTES, requests):
        people[request].append((person, bool(live)))
    return stored, people
