"""A method for each operation of the API.

Generated from the OpenAPI document by `make clients`: not edited by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
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

    def propose_call(self, body: types.ProposeCall) -> types.CallAnswer:
        """Propose a call that whoever proposes it executes, where it is permitted. Needs `calls.propose`."""
        return self.connection.decoded(
            self.connection.ask("POST", "/api/v1/calls", body=body, repeatable=body.idempotency_key is not None, waits_s=body.wait_s),
            types.CallAnswer,
        )

    def get_call(self, id_: str) -> types.CallShape:
        """Where a call stands. Needs `calls.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/calls/{in_path(id_)}"), types.CallShape)

    def report_outcome(self, id_: str, body: types.ReportEnd) -> types.EndReported:
        """Report how a permitted call ended, once. Needs `calls.report`."""
        return self.connection.decoded(
            self.connection.ask("POST", f"/api/v1/calls/{in_path(id_)}/outcome", body=body, repeatable=True), types.EndReported
        )

    def propose_undo(self, id_: str, body: types.ProposeUndo | None = None) -> types.CallAnswer:
        """Propose the reverse of a call that reported its effects. Needs `calls.undo`."""
        return self.connection.decoded(
            self.connection.ask("POST", f"/api/v1/calls/{in_path(id_)}/undo", body=body, waits_s=0.0 if body is None else body.wait_s),
            types.CallAnswer,
        )

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

    def search_records(
        self,
        *,
        tenant: str | None = None,
        actor: str | None = None,
        agent: str | None = None,
        service: str | None = None,
        user: str | None = None,
        session: str | None = None,
        tool: str | None = None,
        target: str | None = None,
        verdict: Literal["allow", "deny", "hold"] | None = None,
        outcome: Literal["error", "not_executed", "ok", "timeout", "unknown"] | None = None,
        deviating: bool | None = None,
        kind: tuple[
            Literal[
                "access",
                "admin",
                "call",
                "catalog",
                "denial",
                "directory",
                "erasure",
                "evaluation",
                "expiry",
                "freeze",
                "gap",
                "hold",
                "intent",
                "key_rotation",
                "legal_hold",
                "outcome",
                "policy",
                "recovery",
                "review",
                "vote",
            ],
            ...,
        ]
        | None = None,
        policy: str | None = None,
        workflow: str | None = None,
        trace: str | None = None,
        voter: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        payloads: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> types.RecordPage:
        """Search the audit log, the newest record first; the search itself is recorded. Needs `records.read`."""
        return self.connection.decoded(
            self.connection.ask(
                "GET",
                "/api/v1/records",
                query={
                    "tenant": tenant,
                    "actor": actor,
                    "agent": agent,
                    "service": service,
                    "user": user,
                    "session": session,
                    "tool": tool,
                    "target": target,
                    "verdict": verdict,
                    "outcome": outcome,
                    "deviating": deviating,
                    "kind": kind,
                    "policy": policy,
                    "workflow": workflow,
                    "trace": trace,
                    "voter": voter,
                    "since": since,
                    "until": until,
                    "text": text,
                    "payloads": payloads,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
            types.RecordPage,
        )

    def count_records(
        self,
        *,
        by: Literal["outcome", "tool", "verdict"] | None = None,
        tenant: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        hours: int | None = None,
    ) -> types.Counts:
        """Count records by tool, verdict or outcome, in bars of whole hours. Needs `records.read`."""
        return self.connection.decoded(
            self.connection.ask(
                "GET", "/api/v1/records/count", query={"by": by, "tenant": tenant, "since": since, "until": until, "hours": hours}
            ),
            types.Counts,
        )

    def get_record(self, log: str, index: int, *, payloads: bool | None = None) -> types.RecordShape:
        """One record by its log and index. Needs `records.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", f"/api/v1/records/{in_path(log)}/{in_path(index)}", query={"payloads": payloads}), types.RecordShape
        )

    def get_story(self, id_: str) -> types.Story:
        """Every record of a call, of its requests and of what has undone it. Needs `records.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/stories/{in_path(id_)}"), types.Story)

    def export_records(
        self,
        *,
        format_: Literal["csv", "jsonl", "ocsf", "otlp", "parquet"] | None = None,
        tenant: str | None = None,
        payloads: bool | None = None,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Every record of a log, or of the whole ledger, as a file that shows whether it is whole. Needs `records.export`."""
        return self.connection.stream("GET", "/api/v1/export", query={"format": format_, "tenant": tenant, "payloads": payloads})

    def evaluate(self, body: types.Inquiry) -> types.AccessDecision:
        """Whether a subject may do an action on a resource (AuthZEN 1.0). Needs `evaluations.ask`."""
        return self.connection.decoded(self.connection.ask("POST", "/access/v1/evaluation", body=body), types.AccessDecision)

    def evaluate_together(self, body: types.AccessQuestions) -> types.AccessDecisions:
        """Several questions at once, recorded in one commit (AuthZEN 1.0). Needs `evaluations.ask`."""
        return self.connection.decoded(self.connection.ask("POST", "/access/v1/evaluations", body=body), types.AccessDecisions)

    def get_authzen_configuration(self) -> types.Metadata:
        """Where a policy enforcement point finds the endpoints of AuthZEN 1.0."""
        return self.connection.decoded(self.connection.ask("GET", "/.well-known/authzen-configuration"), types.Metadata)

    def search_subjects(self, body: types.SubjectSearch) -> types.FoundEntities:
        """The subjects for which a question would be answered with a permission (AuthZEN 1.0). Needs `evaluations.search`."""
        return self.connection.decoded(self.connection.ask("POST", "/access/v1/search/subject", body=body), types.FoundEntities)

    def search_resources(self, body: types.ResourceSearch) -> types.FoundEntities:
        """The resources for which a question would be answered with a permission (AuthZEN 1.0). Needs `evaluations.search`."""
        return self.connection.decoded(self.connection.ask("POST", "/access/v1/search/resource", body=body), types.FoundEntities)

    def search_actions(self, body: types.ActionSearch) -> types.FoundActions:
        """The actions for which a question would be answered with a permission (AuthZEN 1.0). Needs `evaluations.search`."""
        return self.connection.decoded(self.connection.ask("POST", "/access/v1/search/action", body=body), types.FoundActions)
