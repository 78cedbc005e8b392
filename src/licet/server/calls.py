"""Calls over HTTP, for every language: proposed here, executed by whoever proposed them, and reported back.

Rules:

1. The caller is selected among those that the credential speaks for; nothing in a body or a header adds to it.
2. Only `allow` permits anything. Every other decision, a problem, or no answer at all permits nothing.
3. Whose call it is reports and sees it: a credential that does not speak for its caller is told that there is none.
4. A call is told to its caller as the library tells it (`gate/previewing.py`): a held one without what the caller may not read. But who is
   of another tenant is told as nobody: a credential for every user of a tenant must not learn whom the directory has elsewhere.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from licet.catalog import strict
from licet.errors import ReportRefused, UndoRefused
from licet.gate.acting import NO_TRACE, Acting, acting_as
from licet.gate.remote import CallEnd, CallReport, Whose
from licet.gate.results import Denied, Failed, Held, Ok, Permitted, Proposed
from licet.identity.authenticated import AskedCaller
from licet.model import CallId, Decision, Effect, Obligation, Trace
from licet.policy.own import OwnAction
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, bad_request, not_found
from licet.server.shapes_calls import (
    CallAnswer,
    CallShape,
    EffectReported,
    EndReported,
    EndShape,
    ObligationShape,
    OneCall,
    ProposeCall,
    ProposeUndo,
    ReportEnd,
)
from licet.server.tracing import trace_ids

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_REPORTING: Final = {"bad_report": 400, "locked": 503, "contention": 503}
"""The status of each code that is not a conflict."""
_NOBODY_HERE: Final = frozenset({"not_in_tenant", "unknown_agent", "unknown_service", "unknown_user"})
_NOBODY: Final = ("unknown_caller", "there is no such agent, service or user in this tenant")
_LOG_DOWN: Final = "log_unavailable"


async def propose(asked: Asked) -> Answer:
    """A decision on a call, recorded; with `allow`, permission to execute it once."""
    body: ProposeCall = asked.body
    key = _key(asked, body.idempotency_key)
    acting = _acting(asked, "calls.propose", body, body.workflow)
    if body.dry_run:
        decision = await asked.gate.acheck(body.tool, body.arguments, acting=acting)
        return Answer(body=_decided(None, decision))
    return _answered(await asked.gate.apropose(body.tool, body.arguments, acting=acting, idempotency_key=key))


async def undo(asked: Asked) -> Answer:
    """A decision on the reverse of a call; with `allow`, permission to execute it once."""
    body: ProposeUndo = asked.body or ProposeUndo()
    acting = _acting(asked, "calls.undo", body)
    try:
        return _answered(await asked.gate.apropose_undo(CallId(asked.params.id), acting=acting))
    except UndoRefused as refused:
        if refused.code == "no_such_call":
            raise not_found() from refused
        if refused.code in _NOBODY_HERE:
            raise Problem(*_NOBODY, status=422) from refused
        raise


async def report(asked: Asked) -> Answer:
    """How a call ended is in the log."""
    body: ReportEnd = asked.body
    said = CallReport(
        status=body.status,
        result=None if body.result is UNSET else strict.encode(body.result),
        code=body.code,
        message=body.message,
        effects=tuple([_effect(effect) for effect in body.effects]),
        duration_us=body.duration_us,
    )
    try:
        told = await asked.gate.areport(CallId(asked.params.id), said, may=lambda whose: _is_theirs(asked, "calls.report", whose))
    except ReportRefused as refused:
        if refused.code == "no_such_call":
            asked.note_checked()  # there was nobody to ask about
            raise not_found() from refused
        raise Problem(refused.code, str(refused), status=_REPORTING.get(refused.code, 409)) from refused
    return Answer(
        body=EndReported(
            call=told.call,
            status=told.status,
            receipt=told.receipt,
            late=told.is_late,
            repeated=told.repeated,
            as_previewed=told.as_previewed,
        )
    )


def show(asked: Asked) -> Answer:
    """Where a call stands."""
    try:
        found = asked.gate.find_call(CallId(asked.params.id))
    except KeyError as error:
        raise not_found() from error
    if not _is_theirs(asked, "calls.read", found.caller):
        raise not_found()
    code, message = _reason(found.decision)
    return Answer(
        body=CallShape(
            call=found.call,
            state=found.state,
            tenant=found.caller.tenant,
            agent=found.caller.agent,
            service=found.caller.service,
            user=found.caller.user,
            tool=found.tool,
            decision=found.decision.verdict,
            code=code,
            message=message,
            request=found.request,
            report_by=found.report_by,
            end=None if found.end is None else _end(found.end),
            receipts=found.receipts,
        )
    )


def _acting(asked: Asked, action: OwnAction, body: ProposeCall | ProposeUndo, workflow: str | None = None) -> Acting:
    """Who acts, where this credential may speak for them and do that (rule 1). Raises `Problem`, `CallerRefused`."""
    named = body.caller
    selected = AskedCaller(tenant=named.tenant, agent=named.agent, service=named.service, user=named.user, session=named.session)
    acting = acting_as(asked.who, selected, reason=body.reason, trace=_trace(asked, workflow), wait_s=body.wait_s)
    assert acting.tenant is not None
    asked.allow(action, acting.tenant)
    return acting


def _is_theirs(asked: Asked, action: OwnAction, whose: Whose) -> bool:
    """Whether the credential speaks for the caller of this call, and may do that (rule 3)."""
    found = asked.who.find_caller(AskedCaller(tenant=whose.tenant, agent=whose.agent, service=whose.service, user=whose.user))
    return found is not None and whose.is_of(found) and asked.decide(action, whose.tenant).allowed


def _trace(asked: Asked, workflow: str | None) -> Trace:
    """Where the call stands in its caller's work (W3C Trace Context): a claim. What is malformed is left out, as the standard wants."""
    header = asked.header("traceparent")
    found = _TRACEPARENT.fullmatch(header) if header is not None else None
    running = dict(trace_ids())
    if running:  # this server traces, and its span is of the client's trace: the record names the span that shows how it came about
        parent = None if found is None else found[2]
        return Trace(trace_id=running["trace_id"], span_id=running["span_id"], parent=parent, workflow=workflow)
    if found is None:
        return NO_TRACE if workflow is None else Trace(workflow=workflow)
    return Trace(trace_id=found[1], parent=found[2], workflow=workflow)


def _key(asked: Asked, key: str | None) -> str | None:
    header = asked.header("idempotency-key")
    if header is None:
        return key
    if key is not None and key != header:
        raise bad_request("the body and the header `Idempotency-Key` name two keys", "idempotency_key")
    return header


def _answered(result: Proposed) -> Answer:
    if isinstance(result, Permitted):
        answer = _decided(result.call, result.decision)
        arguments = Raw(result.arguments)
        return Answer(body=msgspec.structs.replace(answer, receipt=result.receipt, arguments=arguments, report_by=result.report_by))
    if isinstance(result, Held):
        answer = _decided(result.call, result.decision)
        return Answer(body=msgspec.structs.replace(answer, receipt=result.receipt, request=result.request, preview=result.preview))
    if isinstance(result, Denied):
        if result.decision.code == _LOG_DOWN:
            raise Problem("unavailable", "the audit log cannot be written, so nothing was permitted", retry_after_s=1)
        return Answer(body=msgspec.structs.replace(_decided(result.call, result.decision), receipt=result.receipt))
    return Answer(body=_repeated(result))


def _reason(decision: Decision) -> tuple[str, str]:
    """Code and message as whoever asks is told them (rule 4); the record has those of the decision."""
    return _NOBODY if decision.code in _NOBODY_HERE else (decision.code, decision.message)


def _decided(call: CallId | None, decision: Decision) -> CallAnswer:
    code, message = _reason(decision)
    return CallAnswer(
        call=call,
        decision=decision.verdict,
        code=code,
        message=message,
        policies=tuple(dict.fromkeys([policy.id for policy in decision.policies])),
        obligations=tuple(dict.fromkeys([_asked_for(one) for one in decision.obligations])),  # of each principal once
    )


def _asked_for(one: Obligation) -> ObligationShape:
    return ObligationShape(kind=one.kind, policy=one.policy, count=one.count, group=one.group, reason=one.reason)


def _repeated(result: Ok | Failed) -> CallAnswer:
    """An earlier call with the same idempotency key."""
    if isinstance(result, Ok):
        code, message = "ok", "the call was made before, and ended so"
        end = EndShape(status="ok", result=result.value, effects=result.effects, as_previewed=result.as_previewed)
    else:
        code, message = result.code, result.message
        end = EndShape(status=result.status, code=result.code, message=result.message)
    return CallAnswer(
        call=result.call, decision="repeat", code=code, message=message, receipt=result.receipt, repeats=result.repeats, end=end
    )


def _end(end: CallEnd) -> EndShape:
    return EndShape(
        status=end.status,
        code=end.code,
        message=end.message,
        result=None if end.result is None else Raw(end.result),
        effects=end.effects,
        as_previewed=end.as_previewed,
    )


def _effect(effect: EffectReported) -> Effect:
    if effect.before is UNSET:
        return Effect(target=effect.target, field=effect.field, after=effect.after, before_unknown=True)
    return Effect(target=effect.target, field=effect.field, before=effect.before, after=effect.after)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/calls",
        operation="proposeCall",
        summary="Propose a call that whoever proposes it executes, where it is permitted",
        tag="calls",
        action="calls.propose",
        handler=propose,
        body=ProposeCall,
        returns=CallAnswer,
        waits=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/calls/{id}",
        operation="getCall",
        summary="Where a call stands",
        tag="calls",
        action="calls.read",
        handler=show,
        params=OneCall,
        returns=CallShape,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/calls/{id}/outcome",
        operation="reportOutcome",
        summary="Report how a permitted call ended, once",
        tag="calls",
        action="calls.report",
        handler=report,
        params=OneCall,
        body=ReportEnd,
        returns=EndReported,
        statuses=(409,),
    ),
    Endpoint(
        method="POST",
        path="/api/v1/calls/{id}/undo",
        operation="proposeUndo",
        summary="Propose the reverse of a call that reported its effects",
        tag="calls",
        action="calls.undo",
        handler=undo,
        params=OneCall,
        body=ProposeUndo,
        body_optional=True,
        returns=CallAnswer,
        statuses=(422,),
        waits=True,
    ),
)
