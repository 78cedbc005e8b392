"""A method for each operation of the API.

Generated from the OpenAPI document by `make clients`: not edited by hand.
"""

from __future__ import annotations

from typing import Any, Literal

from licet.client import types
from licet.client.connection import Connection, in_path


class Operations:
    """The API of one server. Each method raises `ServerProblem` for what the server refuses, `ServerUnreachable` where none answers."""

    def __init__(self, connection: Connection) -> None:
        """Ask through this connection."""
        self.connection = connection

    def get_open_api(self) -> dict[str, Any]:
        """This API as an OpenAPI 3.1 document."""
        return self.connection.decoded(self.connection.ask("GET", "/openapi.json"), dict[str, Any])

    def who_am_i(self) -> types.WhoAmI:
        """What this credential is, and what it may do where."""
        return self.connection.decoded(self.connection.ask("GET", "/api/v1/whoami"), types.WhoAmI)

    def list_requests(
        self,
        *,
        tenant: str | None = None,
        state: tuple[Literal["approved", "consumed", "expired", "open", "rejected", "superseded", "withdrawn"], ...] | None = None,
        mine: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> types.RequestPage:
        """The requests that wait, or that are in other states, the one that expires first first. Needs `requests.read`."""
        return self.connection.decoded(
            self.connection.ask(
                "GET", "/api/v1/requests", query={"tenant": tenant, "state": state, "mine": mine, "limit": limit, "cursor": cursor}
            ),
            types.RequestPage,
        )

    def get_request(self, id_: str) -> types.RequestShape:
        """A request as an approver is shown it; its ETag begins with the binding that a vote names. Needs `requests.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/requests/{in_path(id_)}"), types.RequestShape)

    def vote_on_request(self, id_: str, body: types.CastVote, *, if_match: str | None = None) -> types.Decided:
        """Cast the vote of the person who asks, on exactly what was looked at. Needs `requests.vote`."""
        return self.connection.decoded(
            self.connection.ask(
                "POST", f"/api/v1/requests/{in_path(id_)}/votes", body=body, headers=None if if_match is None else {"If-Match": if_match}
            ),
            types.Decided,
        )

    def take_back_vote(self, id_: str, body: types.TakeBack | None = None) -> types.Decided:
        """Take back the vote of the person who asks. Needs `requests.vote`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/requests/{in_path(id_)}/take-back", body=body), types.Decided)

    def withdraw_request(self, id_: str) -> types.Decided:
        """Withdraw a request: its own program, the person it was made for, or an administrator. Needs `requests.withdraw_own`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/requests/{in_path(id_)}/withdraw"), types.Decided)

    def wait_for_request(self, id_: str, *, timeout_s: float | None = None) -> types.Waited:
        """Wait until a request is not open any more. Needs `requests.read_own`."""
        return self.connection.decoded(
            self.connection.ask(
                "GET",
                f"/api/v1/requests/{in_path(id_)}/wait",
                query={"timeout_s": timeout_s},
                waits_s=30.0 if timeout_s is None else timeout_s,
            ),
            types.Waited,
        )

    def get_plan(self, id_: str) -> types.PlanShape:
        """The steps of a plan that people decide on. Needs `requests.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/plans/{in_path(id_)}"), types.PlanShape)

    def vote_on_plan(self, id_: str, body: types.CastPlanVotes) -> types.DecidedPlan:
        """Cast votes on steps of a plan: all of them, or none. Needs `requests.vote`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/plans/{in_path(id_)}/votes", body=body), types.DecidedPlan)
