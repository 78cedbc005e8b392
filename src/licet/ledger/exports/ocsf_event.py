"""One record as an OCSF event: API Activity (class 6003), with the profiles AI Operation, Security Control and, with a trace id, Trace.

    kind                       status_id                     action_id            disposition_id
    intent                     99 Intended                   by verdict           by verdict
    call                       by outcome, else 99 Repeated  by verdict           by verdict
    denial                     2 Failure                     by verdict           by verdict
    hold                       99 Held                       by verdict           by verdict
    evaluation                 1 Success                     by verdict           by verdict
    outcome, recovery          by outcome                    3 Observed           17 Logged
    vote                       1 Success                     99 Vote              8 Approved, 25 Rejected, 99 Retracted

    verdict                    action_id                     disposition_id
    allow                      1 Allowed                     1 Allowed; 8 Approved by people
    deny                       2 Denied                      26 Unauthorized; 2 Blocked by a rule, 25 Rejected by people
    hold                       99 Held                       14 Delayed

    outcome                    status_id                     severity_id
    ok                         1 Success                     1 Informational
    error, timeout             2 Failure                     2 Low
    not_executed               2 Failure                     2 Low
    unknown                    0 Unknown                     3 Medium

    access                     activity_id
    read                       2 Read
    write                      3 Update                      (a catalog does not tell creating from changing)
    destructive                4 Delete
    none known                 0 Unknown; 99 Vote for a vote

A denial or a hold is of severity 2 Low, anything else without an outcome 1 Informational. Records of other kinds are about no call and
have no event. What OCSF has no place for stands in `unmapped.licet`.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from licet.ledger.exports.rows import Exported, embedded, moment, named_targets, rfc3339
from licet.ledger.record import Actor, Envelope, Payload
from licet.model import OPERATOR_LOG, JsonObject

OCSF_VERSION: Final = "1.8.0"
CLASS_UID: Final = 6003
CATEGORY_UID: Final = 6

ACTIVITIES: Final = {"read": (2, "Read"), "write": (3, "Update"), "destructive": (4, "Delete")}
OUTCOMES: Final = {
    "ok": (1, "Success"),
    "error": (2, "Failure"),
    "timeout": (2, "Failure"),
    "not_executed": (2, "Failure"),
    "unknown": (0, "Unknown"),
}
STATUSES: Final = {
    "intent": (99, "Intended"),
    "call": (99, "Repeated"),
    "denial": (2, "Failure"),
    "hold": (99, "Held"),
    "evaluation": (1, "Success"),
    "vote": (1, "Success"),
    "outcome": (0, "Unknown"),
    "recovery": (0, "Unknown"),
}
"""The status of a kind whose record has no outcome; the kinds that have an event."""
ACTIONS: Final = {"allow": (1, "Allowed"), "deny": (2, "Denied"), "hold": (99, "Held")}
DISPOSITIONS: Final = {"allow": (1, "Allowed"), "deny": (26, "Unauthorized"), "hold": (14, "Delayed")}
DECIDED_OTHERWISE: Final = {
    ("allow", "human"): (8, "Approved"),
    ("deny", "rule"): (2, "Blocked"),
    ("deny", "human"): (25, "Rejected"),
}
"""The disposition where it was not a policy that decided."""
VOTES: Final = {"approve": (8, "Approved"), "reject": (25, "Rejected"), "take_back": (99, "Retracted")}
SEVERITIES: Final = {0: (3, "Medium"), 1: (1, "Informational"), 2: (2, "Low"), 99: (1, "Informational")}
"""By `status_id`; a hold is 2 Low."""


def ocsf_event(row: Exported) -> JsonObject | None:
    """The event of a record; None for a kind that has none."""
    envelope = row.readable
    if envelope.kind not in STATUSES:
        return None
    outcome = envelope.outcome
    status_id, status = STATUSES[envelope.kind] if outcome is None else OUTCOMES[outcome.status]
    severity_id, severity = (2, "Low") if envelope.kind == "hold" else SEVERITIES[status_id]
    time_ms = envelope.at // 1000
    return _filled(
        metadata=_metadata(row),
        category_uid=CATEGORY_UID,
        category_name="Application Activity",
        class_uid=CLASS_UID,
        class_name="API Activity",
        **_activity(envelope),
        time=time_ms,
        **_duration(envelope, time_ms),
        count=envelope.decision.count if envelope.decision is not None else None,
        severity_id=severity_id,
        severity=severity,
        status_id=status_id,
        status=status,
        status_code=_status_code(envelope),
        status_detail=row.payload.message if row.payload is not None else None,
        message=_message(envelope),
        actor=_actor(row),
        api=_api(row),
        src_endpoint={"name": _one_name(_acting(envelope)), "instance_uid": envelope.boot},
        resources=_resources(row),
        **_control(envelope),
        message_context=_message_context(envelope.actor),
        trace=_filled(uid=envelope.trace.trace_id) if envelope.trace is not None else None,
        unmapped={"licet": _unmapped(row)},
    )


def _metadata(row: Exported) -> JsonObject:
    envelope = row.envelope
    traced = envelope.trace is not None and envelope.trace.trace_id is not None
    return _filled(
        version=OCSF_VERSION,
        product={"name": "Licet", "vendor_name": "Licet"},
        profiles=["ai_operation", "security_control", *(["trace"] if traced else [])],
        uid=envelope.id,
        correlation_uid=envelope.call,
        event_code=envelope.kind,
        log_name=row.log,
        log_version=str(envelope.v),
        sequence=row.index,
        original_time=rfc3339(moment(row)),
        tenant_uid=None if row.log == OPERATOR_LOG else row.log,
    )


def _activity(envelope: Envelope) -> JsonObject:
    access = envelope.tool.access if envelope.tool is not None else None
    number, name = (99, "Vote") if envelope.kind == "vote" else ACTIVITIES.get(access or "", (0, "Unknown"))
    return {
        "activity_id": number,
        "activity_name": name,
        "type_uid": CLASS_UID * 100 + number,
        "type_name": f"API Activity: {name}",
    }


def _duration(envelope: Envelope, end_ms: int) -> JsonObject:
    """From when to when the tool ran, where the record says how long it did."""
    if envelope.outcome is None or envelope.outcome.duration_us is None:
        return {}
    start_ms = (envelope.at - envelope.outcome.duration_us) // 1000
    return {"start_time": start_ms, "end_time": end_ms, "duration": end_ms - start_ms}


def _status_code(envelope: Envelope) -> str | None:
    if envelope.outcome is not None:
        return envelope.outcome.code
    return envelope.decision.code if envelope.decision is not None else None


def _message(envelope: Envelope) -> str:
    tool = envelope.tool.name if envelope.tool is not None else "a tool"
    said = _status_code(envelope) or (envelope.approval.verdict if envelope.approval is not None else None)
    return f"{envelope.kind}: {_one_name(_acting(envelope))}, {tool}" + (f", {said}" if said else "")


def _acting(envelope: Envelope) -> Actor | None:
    """Who acted: the caller, and in a vote the one who voted."""
    if envelope.kind == "vote" and envelope.approval is not None and envelope.approval.voters:
        return Actor(user=envelope.approval.voters[0])
    return envelope.actor


def _one_name(actor: Actor | None) -> str:
    """Who acted, by one name: no event is without `src_endpoint`."""
    return (actor.agent or actor.service or actor.user if actor is not None else None) or "unknown"


def _actor(row: Exported) -> JsonObject:
    recorded, shown = _acting(row.envelope), _acting(row.readable)
    if recorded is None or shown is None:
        return {"app_name": "unknown"}
    user = _filled(uid=recorded.user, name=shown.user if shown.user != recorded.user else None, type_id=1) if recorded.user else None
    return _filled(
        app_name=recorded.agent or recorded.service or (None if recorded.user else "unknown"),
        user=user,
        session=_filled(uid=recorded.session),
    )


def _api(row: Exported) -> JsonObject:
    envelope, payload = row.envelope, row.payload or Payload()
    request, response = embedded(payload.arguments), embedded(payload.result)
    outcome = envelope.outcome
    failed = outcome is not None and outcome.status != "ok"
    return _filled(
        operation=envelope.tool.name if envelope.tool is not None else envelope.kind,
        version=envelope.tool.definition if envelope.tool is not None else None,
        request=_filled(uid=envelope.call or envelope.id, data=None if request is None else Raw(request)),
        response=_filled(
            error=outcome.code or outcome.status if outcome is not None and failed else None,
            error_message=payload.message if failed else None,
            data=None if response is None else Raw(response),
        ),
    )


def _resources(row: Exported) -> list[JsonObject]:
    known = {(target.type, target.id): target.attributes for target in row.payload.targets} if row.payload is not None else {}
    return [
        _filled(
            uid=target.recorded,
            name=target.name,
            type=target.type,
            role_id=1,
            role="Target",
            data=known.get((target.type, target.name or target.recorded)),
        )
        for target in named_targets(row)
    ]


def _control(envelope: Envelope) -> JsonObject:
    """What the control did: the profile Security Control."""
    decision = envelope.decision
    if envelope.kind == "vote":
        verdict = envelope.approval.verdict if envelope.approval is not None else None
        return _control_ids((99, "Vote"), VOTES.get(verdict or "", (0, "Unknown")))
    if decision is None:
        return _control_ids((3, "Observed"), (17, "Logged"))
    policies = [_filled(uid=policy, name=policy, is_applied=True, version=decision.bundle) for policy in decision.policies]
    plain = DISPOSITIONS.get(decision.verdict, (0, "Unknown"))
    disposition = DECIDED_OTHERWISE.get((decision.verdict, decision.decided_by), plain)
    return {
        **_control_ids(ACTIONS.get(decision.verdict, (0, "Unknown")), disposition),
        "policy": policies[0] if policies else None,
        "authorizations": [{"decision": decision.verdict, "policy": policy} for policy in policies],
    }


def _control_ids(action: tuple[int, str], disposition: tuple[int, str]) -> JsonObject:
    return {"action_id": action[0], "action": action[1], "disposition_id": disposition[0], "disposition": disposition[1]}


def _message_context(actor: Actor | None) -> JsonObject | None:
    """The agent whose call it is: the profile AI Operation. Which model it uses, no record says."""
    if actor is None or actor.agent is None:
        return None
    return _filled(application={"name": actor.agent}, uid=actor.session, ai_role_id=4, ai_role="Agent")


def _unmapped(row: Exported) -> JsonObject:
    envelope, payload = row.readable, row.payload or Payload()
    decision, approval, trace = envelope.decision, envelope.approval, envelope.trace
    preview = embedded(payload.preview)
    return _filled(
        leaf=row.leaf.hex(),
        environment=envelope.environment,
        boot=envelope.boot,
        caller=msgspec.to_builtins(envelope.actor) if envelope.kind == "vote" and envelope.actor is not None else None,
        key=envelope.key,
        attempt=envelope.attempt,
        obligations=decision.obligations if decision is not None else None,
        bundle=decision.bundle if decision is not None else None,
        decided_by=decision.decided_by if decision is not None else None,
        request=approval.request if approval is not None else None,
        voters=approval.voters if approval is not None else None,
        span_id=trace.span_id if trace is not None else None,
        parent=trace.parent if trace is not None else None,
        workflow=trace.workflow if trace is not None else None,
        outcome=envelope.outcome.status if envelope.outcome is not None else None,
        effect_count=envelope.outcome.effects if envelope.outcome is not None else None,
        deviates=True if envelope.outcome is not None and envelope.outcome.deviates else None,
        redactions=envelope.redactions,
        payload_absent=row.absent,
        reason=payload.reason,
        effects=payload.effects,
        preview=None if preview is None else Raw(preview),
        context=payload.context,
        detail=payload.detail,
    )


def _filled(**fields: object) -> JsonObject:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [], ())}
