"""What of a record can be searched for by field: the envelope as terms, and a query's filters as an expression over them.

A term is `code_value`. In the value every byte but a-z and 0-9 is written `_xx`, so that two values never make the same term, whatever
an inverted index thinks of upper case, accents or punctuation; a long value is its SHA-256 behind `__`, which no other term has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

Field = Literal[
    "log",
    "kind",
    "agent",
    "service",
    "user",
    "actor",
    "session",
    "tool",
    "access",
    "target",
    "target_type",
    "verdict",
    "code",
    "outcome",
    "policy",
    "obligation",
    "decided_by",
    "workflow",
    "trace_id",
    "call",
    "request",
    "environment",
    "voter",
    "subject",
]
"""What records can be filtered by. `user`, `voter` and `subject` are pseudonyms, `target` is `Type::pseudonym`; `actor` is agent, service
or user; `subject` is anybody whose secret seals the payload."""

UNREADABLE = "unreadable"
"""The kind under which a record is found whose envelope cannot be decoded."""

_CODES: Final[dict[str, str]] = {
    "log": "l",
    "kind": "k",
    "agent": "a",
    "service": "s",
    "user": "u",
    "session": "n",
    "tool": "t",
    "access": "x",
    "target": "o",
    "target_type": "y",
    "verdict": "v",
    "code": "c",
    "outcome": "q",
    "policy": "p",
    "obligation": "b",
    "decided_by": "d",
    "workflow": "w",
    "trace_id": "r",
    "call": "i",
    "request": "h",
    "environment": "e",
    "voter": "z",
    "subject": "j",
}
_ACTORS: Final = ("agent", "service", "user")
_LONG_BYTES = 200
_COUNT_LIMIT = 1 << 40
"""Of the calls that one denial stands for: a sum of them stays within what the database can count."""
_plain = re.compile(r"[a-z0-9]+").fullmatch
_special = re.compile(rb"[^a-z0-9]")

Filters: TypeAlias = Mapping[Field, tuple[str, ...]]
"""Values by field: a record matches when each field has one of its values. A field without values matches nothing."""


class Entry(Struct, frozen=True, gc=False):
    """What an envelope says, as the index keeps it."""

    at: int
    terms: str
    bucket: tuple[str, str, str]
    """Tool, verdict and outcome, each empty where the record has none."""
    count: int
    subjects: tuple[str, ...]


class _Actor(Struct, gc=False):
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None


class _Tool(Struct, gc=False):
    name: str
    access: str | None = None


class _Decision(Struct, gc=False):
    verdict: str
    code: str = ""
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    decided_by: str = "policy"
    count: int | None = None


class _Approval(Struct, gc=False):
    request: str
    voters: tuple[str, ...] = ()


class _Trace(Struct, gc=False):
    trace_id: str | None = None
    workflow: str | None = None


class _Outcome(Struct, gc=False):
    status: str


class _Payload(Struct, gc=False):
    subjects: tuple[str, ...] = ()


class _Envelope(Struct, gc=False):
    """The fields that can be searched for; others are passed over."""

    kind: str
    at: int
    environment: str = ""
    call: str | None = None
    actor: _Actor | None = None
    tool: _Tool | None = None
    targets: tuple[str, ...] = ()
    decision: _Decision | None = None
    approval: _Approval | None = None
    trace: _Trace | None = None
    outcome: _Outcome | None = None
    payload: _Payload | None = None


_NOBODY = _Actor()
_decode = msgspec.json.Decoder(_Envelope).decode
_CANNOT_DECODE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def term(field: str, value: str) -> str:
    """The term that a record has whose `field` is `value`."""
    code = _CODES[field]
    if _plain(value) and len(value) <= _LONG_BYTES:
        return f"{code}_{value}"
    encoded = value.encode("utf-8", "surrogatepass")
    if len(encoded) > _LONG_BYTES:
        return f"{code}__{hashlib.sha256(encoded).hexdigest()}"
    return f"{code}_{_special.sub(_escape, encoded).decode()}"


_known = lru_cache(maxsize=20_000)(term)
"""For values that come again and again."""


def entry_of(log: str, envelope: bytes, at_before: int) -> Entry:
    """What the index keeps of a record; one that cannot be decoded has the time of the one before it, and its kind is `unreadable`."""
    try:
        found = _decode(envelope)
    except _CANNOT_DECODE:
        return Entry(at_before, f"{_known('log', log)} {_known('kind', UNREADABLE)}", ("", "", ""), 1, ())
    terms = [_known("log", log), _known("kind", found.kind), _known("environment", found.environment)]
    if found.call is not None:
        terms.append(term("call", found.call))
    _add_actor(terms, found.actor or _NOBODY)
    for target in found.targets:
        terms += term("target", target), _known("target_type", target.partition("::")[0])
    if found.approval is not None:
        terms.append(term("request", found.approval.request))
        terms += [_known("voter", voter) for voter in found.approval.voters]
    if found.trace is not None:
        _add_trace(terms, found.trace)
    bucket = (_add_tool(terms, found.tool), _add_decision(terms, found.decision), _add_outcome(terms, found.outcome))
    count = found.decision.count if found.decision is not None else None
    subjects = found.payload.subjects if found.payload is not None else ()
    terms += [term("subject", subject) for subject in subjects]
    return Entry(found.at, " ".join(terms), bucket, max(1, min(count or 1, _COUNT_LIMIT)), subjects)


def expression_of(filters: Filters) -> str | None:
    """The filters as an expression of FTS5; None where there are none. Raises `KeyError` for a field that records do not have."""
    return " AND ".join([f"({_any_of(field, values)})" for field, values in sorted(filters.items())]) or None


def is_impossible(filters: Filters) -> bool:
    """Whether some field has no value that it may have: nothing matches, and nothing is what somebody sees who may see no log."""
    return any(not values for values in filters.values())


def _any_of(field: str, values: tuple[str, ...]) -> str:
    fields = _ACTORS if field == "actor" else (field,)
    return " OR ".join([f'"{term(each, value)}"' for value in values for each in fields])


def _add_actor(terms: list[str], actor: _Actor) -> None:
    if actor.agent is not None:
        terms.append(_known("agent", actor.agent))
    if actor.service is not None:
        terms.append(_known("service", actor.service))
    if actor.user is not None:
        terms.append(_known("user", actor.user))
    if actor.session is not None:
        terms.append(_known("session", actor.session))


def _add_tool(terms: list[str], tool: _Tool | None) -> str:
    if tool is None:
        return ""
    terms.append(_known("tool", tool.name))
    if tool.access is not None:
        terms.append(_known("access", tool.access))
    return tool.name


def _add_decision(terms: list[str], decision: _Decision | None) -> str:
    if decision is None:
        return ""
    terms += _known("verdict", decision.verdict), _known("code", decision.code), _known("decided_by", decision.decided_by)
    terms += [_known("policy", policy) for policy in decision.policies]
    terms += [_known("obligation", policy) for policy in decision.obligations]
    return decision.verdict


def _add_outcome(terms: list[str], outcome: _Outcome | None) -> str:
    if outcome is None:
        return ""
    terms.append(_known("outcome", outcome.status))
    return outcome.status


def _add_trace(terms: list[str], trace: _Trace) -> None:
    if trace.trace_id is not None:
        terms.append(term("trace_id", trace.trace_id))
    if trace.workflow is not None:
        terms.append(_known("workflow", trace.workflow))


def _escape(match: re.Match[bytes]) -> bytes:
    return b"_%02x" % match[0][0]
