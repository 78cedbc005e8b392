"""Requests and votes in SQLite, as they are read; see store/requests.py for what each method promises."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import apsw

from licet.ledger.vault import Vault
from licet.model import PlanId, Request, RequestId, RequestState, Vote
from licet.store.contract import Dossier
from licet.store.request_rows import LIVE, check_found, check_plan, dossier_of, whole_page
from licet.store.rows import RECORD
from licet.store.sqlite_rows import fetch

_REQUEST = "SELECT id, state FROM requests "
_OF_TENANTS = " AND tenant IN (SELECT value FROM json_each(?))"
_BEHIND = " AND (expires_at, number) > (SELECT expires_at, number FROM requests WHERE id = ?)"
_AT_ONCE = 100
"""Requests of which records are read in one statement."""


class RequestReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def _moment(self) -> AbstractContextManager[apsw.Connection]:
        raise NotImplementedError

    @property
    def vault(self) -> Vault:
        """The secrets of this store."""
        raise NotImplementedError

    def find_dossier(self, tenant: str, key: str) -> Dossier | None:
        """The request with this key that was opened last, with votes and records, at one moment."""
        blind = self.vault.find_blind(tenant, "request", key)
        if blind is None:
            return None
        found = self._find_dossiers(f"{_REQUEST}WHERE key = ? ORDER BY number DESC LIMIT 1", (blind,))
        return check_found(found[0], tenant, key) if found else None

    def get_dossier(self, request: RequestId) -> Dossier:
        """As `get_request`, with votes and records, at one moment."""
        found = self._find_dossiers(f"{_REQUEST}WHERE id = ?", (request,))
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
        rows = self._rows("SELECT tenant FROM requests WHERE id = ?", (request,))
        return str(rows[0][0]) if rows else None

    def count_requests(self, state: RequestState) -> int:
        """How many requests are in this state."""
        return int(self._rows("SELECT count(*) FROM requests WHERE state = ?", (state,))[0][0])

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
        wanted = tuple(RequestState) if states is None else tuple(states)
        text = f"{_REQUEST}WHERE state IN ({', '.join('?' * len(wanted))})"
        values: tuple[object, ...] = wanted
        if set(wanted) == {RequestState.OPEN, RequestState.APPROVED}:
            text, values = f"{_REQUEST}WHERE {LIVE}", ()
        if tenants is not None:
            text, values = text + _OF_TENANTS, (*values, json.dumps(tenants))
        if after is not None:
            text, values = text + _BEHIND, (*values, after)
        text += " ORDER BY expires_at, number"
        if limit is not None:
            text, values = f"{text} LIMIT ?", (*values, limit)
        return self._find_rows(text, values)

    def dossiers_of_plan(self, plan: PlanId) -> tuple[Dossier, ...]:
        """The requests of a plan in the order of their opening."""
        return check_plan(self._find_dossiers(f"{_REQUEST}WHERE plan = ? ORDER BY number", (plan,)), plan)

    def voted_requests(self) -> tuple[RequestId, ...]:
        """The live requests on which a vote stands."""
        voted = "EXISTS (SELECT 1 FROM votes WHERE request = requests.id AND live = 1)"
        return tuple([row[0] for row in self._rows(f"SELECT id FROM requests WHERE {LIVE} AND {voted} ORDER BY number")])  # noqa: S608  constants

    def votes(self, request: RequestId) -> tuple[Vote, ...]:
        """The votes that stand on a request, in order of arrival."""
        found = self._find_dossiers(f"{_REQUEST}WHERE id = ?", (request,))
        return found[0].votes if found else ()

    def _find_dossiers(self, text: str, values: Sequence[object]) -> tuple[Dossier, ...]:
        """The requests that this statement finds, as of one moment, without those that were erased."""
        return tuple([found for found in self._find_rows(text, values) if isinstance(found, Dossier)])

    def _find_rows(self, text: str, values: Sequence[object]) -> tuple[Dossier | RequestId, ...]:
        """As `_find_dossiers`, with the ids of those that were erased in their places."""
        with self._moment() as con:
            rows = fetch(con, text, values)
            stored, people = _of_requests(con, [row[0] for row in rows])
        # Outside of the moment: opening payloads may read secrets, through a connection of its own.
        return tuple(
            [dossier_of(self.vault, request, state, stored[request], people[request]) or RequestId(request) for request, state in rows]
        )


def _of_requests(con: apsw.Connection, requests: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, list[tuple[str, bool]]]]:
    """The stored records of each request, and the rows of its votes, in their order."""
    stored: dict[str, list[Any]] = defaultdict(list)
    people: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for start in range(0, len(requests), _AT_ONCE):
        part = requests[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        for row in fetch(
            con, f"{RECORD.replace('sealed ', 'sealed, request ', 1)} WHERE request IN ({marks}) ORDER BY logs.name, place", part
        ):
            stored[row[-1]].append(row[:-1])
        rows = fetch(con, f"SELECT request, person, live FROM votes WHERE request IN ({marks}) ORDER BY number", part)  # noqa: S608  marks only
        for request, person, live in rows:
            people[request].append((person, bool(live)))
    return stored, people
