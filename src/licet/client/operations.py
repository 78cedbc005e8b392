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

    def list_credentials(self, *, limit: int | None = None, cursor: str | None = None) -> types.CredentialList:
        """API keys, the oldest first; never their secrets. Needs `credentials.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", "/api/v1/credentials", query={"limit": limit, "cursor": cursor}), types.CredentialList
        )

    def issue_credential(self, body: types.IssueCredential) -> types.IssuedKey:
        """Issue an API key, which is shown this once. Needs `credentials.issue`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/credentials", body=body), types.IssuedKey)

    def get_credential(self, id_: str) -> types.CredentialSeen:
        """What a key is for, until when, and when it was used last. Needs `credentials.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/credentials/{in_path(id_)}"), types.CredentialSeen)

    def rotate_credential(self, id_: str, body: types.RotateCredential) -> types.IssuedKey:
        """Issue a successor for the same, which is shown this once; the old key ends when the overlap is over.

        Needs `credentials.issue`.
        """
        return self.connection.decoded(
            self.connection.ask("POST", f"/api/v1/credentials/{in_path(id_)}/rotate", body=body), types.IssuedKey
        )

    def revoke_credential(self, id_: str, body: types.RevokeCredential) -> types.Revoked:
        """End a key at once, in every process within a second. Needs `credentials.revoke`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/credentials/{in_path(id_)}/revoke", body=body), types.Revoked)

    def read_directory(self, *, tenant: str | None = None) -> types.DirectoryShape:
        """Tenants, agents, services, people, groups and roles, as far as this credential may know of them. Needs `directory.read`."""
        return self.connection.decoded(self.connection.ask("GET", "/api/v1/directory", query={"tenant": tenant}), types.DirectoryShape)

    def list_tools(self) -> types.Tools:
        """Every tool, with the schema of its arguments. Needs `catalog.read`."""
        return self.connection.decoded(self.connection.ask("GET", "/api/v1/tools"), types.Tools)

    def get_tool(self, name: str) -> types.ToolShape:
        """One tool, with the schema of its arguments. Needs `catalog.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/tools/{in_path(name)}"), types.ToolShape)

    def erase_subject(self, body: types.ErasedSubject) -> types.Forgotten:
        """Forget a person or a target, for ever; every hash and proof stays as it was. Needs `erasures.perform`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/erasures", body=body), types.Forgotten)

    def list_holds(self, *, tenant: str | None = None, limit: int | None = None, cursor: str | None = None) -> types.Holds:
        """The legal holds that stand. Needs `holds.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", "/api/v1/holds", query={"tenant": tenant, "limit": limit, "cursor": cursor}), types.Holds
        )

    def place_hold(self, body: types.HeldSubject) -> types.HoldShape:
        """Keep a person's or target's records, or all of a tenant's. Needs `holds.place`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/holds", body=body), types.HoldShape)

    def release_hold(self, id_: str, body: types.Released) -> types.HoldShape:
        """Release a legal hold. Needs `holds.release`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/holds/{in_path(id_)}/release", body=body), types.HoldShape)

    def export_records(
        self,
        *,
        format_: Literal["csv", "jsonl", "ocsf", "otlp", "parquet"] | None = None,
        tenant: str | None = None,
        payloads: bool | None = None,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Every record of a log, or of the whole ledger, as a file that shows whether it is whole. Needs `records.export`."""
        return self.connection.stream("GET", "/api/v1/export", query={"format": format_, "tenant": tenant, "payloads": payloads})

    def list_freezes(self, *, tenant: str | None = None, limit: int | None = None, cursor: str | None = None) -> types.Freezes:
        """What is stopped, the oldest first. Needs `freezes.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", "/api/v1/freezes", query={"tenant": tenant, "limit": limit, "cursor": cursor}), types.Freezes
        )

    def place_freeze(self, body: types.PlaceFreeze) -> types.StandingFreeze:
        """Stop an agent, a service, a tool, a tenant, a session or everything, at once. Needs `freezes.place`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/freezes", body=body), types.StandingFreeze)

    def lift_freeze(self, id_: str, body: types.LiftFreeze) -> types.Lifted:
        """Lift a freeze, as the person who asks. Needs `freezes.lift`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/freezes/{in_path(id_)}/lift", body=body), types.Lifted)

    def list_gateway_tools(
        self,
        *,
        tenant: str | None = None,
        agent: str | None = None,
        service: str | None = None,
        user: str | None = None,
        upstream: str | None = None,
    ) -> types.ShownTools:
        """Which tools of upstreams a caller is shown, and why not the others. Needs `policies.read`."""
        return self.connection.decoded(
            self.connection.ask(
                "GET",
                "/api/v1/gateway/tools",
                query={"tenant": tenant, "agent": agent, "service": service, "user": user, "upstream": upstream},
            ),
            types.ShownTools,
        )

    def list_policies(self) -> types.Policies:
        """The policies in force, with the digests that name them. Needs `policies.read`."""
        return self.connection.decoded(self.connection.ask("GET", "/api/v1/policies"), types.Policies)

    def validate_policies(self, body: types.ProposedBundle) -> types.Validated:
        """Whether a bundle of policies would load; nothing is put into force. Needs `policies.validate`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/policies/validate", body=body), types.Validated)

    def reload_policies(self) -> types.Reloaded:
        """Put into force what licet.toml and the policies say now. Needs `policies.reload`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/policies/reload"), types.Reloaded)

    def get_checkpoint(self) -> types.CheckpointShape:
        """The newest signed checkpoint, which fixes every record up to it. Needs `records.prove`."""
        return self.connection.decoded(self.connection.ask("GET", "/api/v1/checkpoint"), types.CheckpointShape)

    def prove_record(self, log: str, index: int, *, payload: bool | None = None) -> Any:
        """A proof that a record is in the log, which stands alone. Needs `records.prove`."""
        return self.connection.decoded(
            self.connection.ask("GET", f"/api/v1/records/{in_path(log)}/{in_path(index)}/proof", query={"payload": payload}), Any
        )

    def prove_consistency(self, body: types.KeptCheckpoint) -> Any:
        """A proof that the log goes on from a checkpoint that was kept. Needs `records.prove`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/checkpoint/consistency", body=body), Any)

    def verify_ledger(self) -> types.Verified:
        """Recompute the whole ledger, and say what is not what was written. Needs `records.verify`."""
        return self.connection.decoded(self.connection.ask("POST", "/api/v1/verify"), types.Verified)

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

    def get_reasons(self, log: str, index: int) -> types.Reasons:
        """Why a decision was what it was, under the policies of its time; the reading is recorded. Needs `records.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", f"/api/v1/records/{in_path(log)}/{in_path(index)}/reasons"), types.Reasons
        )

    def get_story(self, id_: str) -> types.Story:
        """Every record of a call, of its requests and of what has undone it. Needs `records.read`."""
        return self.connection.decoded(self.connection.ask("GET", f"/api/v1/stories/{in_path(id_)}"), types.Story)

    def get_log_checkpoint(self, log: str) -> AbstractContextManager[Iterator[bytes]]:
        """The checkpoint of one log's own tree (C2SP tlog-checkpoint). Needs `records.prove`."""
        return self.connection.stream("GET", f"/api/v1/tiles/logs/{in_path(log)}/checkpoint")

    def get_log_tile(self, log: str, tile: str) -> AbstractContextManager[Iterator[bytes]]:
        """A tile of one log, or a bundle of its envelopes (C2SP tlog-tiles). Needs `records.prove`."""
        return self.connection.stream("GET", f"/api/v1/tiles/logs/{in_path(log)}/tile/{in_path(tile)}")

    def get_head_checkpoint(self) -> AbstractContextManager[Iterator[bytes]]:
        """The newest checkpoint of the head log (C2SP tlog-checkpoint). Needs `records.prove`."""
        return self.connection.stream("GET", "/api/v1/tiles/head/checkpoint")

    def get_head_tile(self, tile: str) -> AbstractContextManager[Iterator[bytes]]:
        """A tile of the head log, or a bundle of its entries (C2SP tlog-tiles). Needs `records.prove`."""
        return self.connection.stream("GET", f"/api/v1/tiles/head/tile/{in_path(tile)}")

    def list_unknown(self, *, tenant: str | None = None, limit: int | None = None, cursor: str | None = None) -> types.UnknownCalls:
        """The calls of which nobody saw the end; the reading is recorded. Needs `unknown.read`."""
        return self.connection.decoded(
            self.connection.ask("GET", "/api/v1/unknown", query={"tenant": tenant, "limit": limit, "cursor": cursor}), types.UnknownCalls
        )

    def settle_unknown(self, call: str, body: types.SettleCall) -> types.Settled:
        """Say how a call ended of which nobody saw the end. Needs `unknown.settle`."""
        return self.connection.decoded(self.connection.ask("POST", f"/api/v1/unknown/{in_path(call)}/settle", body=body), types.Settled)

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

    def get_protected_resource(self) -> types.ProtectedResource:
        """Who issues tokens for the MCP gateway (RFC 9728)."""
        return self.connection.decoded(self.connection.ask("GET", "/.well-known/oauth-protected-resource"), types.ProtectedResource)

    def get_gateway_resource(self) -> types.ProtectedResource:
        """Who issues tokens for the MCP gateway (RFC 9728)."""
        return self.connection.decoded(self.connection.ask("GET", "/.well-known/oauth-protected-resource/mcp"), types.ProtectedResource)

    def get_upstream_resource(self, upstream: str) -> types.ProtectedResource:
        """Who issues tokens for one upstream of the MCP gateway (RFC 9728)."""
        return self.connection.decoded(
            self.connection.ask("GET", f"/.well-known/oauth-protected-resource/mcp/{in_path(upstream)}"), types.ProtectedResource
        )
