"""What of a record can be searched for by field: the envelope as terms, and a query's filters as an expression over them.

A term is `code_value`. In the value every byte but a-z and 0-9 is written `_xx`, so that two values never make the same term, whatever
an inverted index thinks of upper case, accents or punctuation; a long value is its SHA-256 behind `__`, which no other term has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw, Struct

from licet.ledger.record import Kind

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
    "deviates",
]
"""What records can be filtered by. `user`, `voter` and `subject` are pseudonyms, `target` is `Type::pseudonym`; `actor` is agent, service
or user; `subject` is any pseudonym in the record, above all of those whose secrets seal its payload; `deviates` is `true` or not there."""

UNREADABLE = "unreadable"
"""The kind under which a record is found whose envelope cannot be decoded, or is of a kind that is not known here."""
KINDS: Final = frozenset({*get_args(Kind), UNREADABLE})
"""What kinds are found by."""

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
    "deviates": "f",
}
_ALSO: Final[dict[str, tuple[str, ...]]] = {"actor": ("agent", "service", "user"), "subject": ("subject", "user", "voter", "target")}
"""Fields that are found by the terms of others: a pseudonym that stands in a record as its user is no second term as its subject."""
_LONG_BYTES = 200
VALUES_LIMIT = 1_000
"""Of one field: it takes time by the square of them."""
_COUNT_LIMIT = 1 << 40
"""Of the calls that one denial stands for: a sum of them stays within what the database can count."""
_plain = re.compile(r"[a-z0-9]+").fullmatch
_special = re.compile(rb"[^a-z0-9]")
_is_pseudonym = re.compile(r"[0-9a-f]{32}").fullmatch

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


class _Actor(Struct, frozen=True, gc=False):
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None


class _Tool(Struct, frozen=True, gc=False):
    name: str
    access: str | None = None


class _Decision(Struct, frozen=True, gc=False):
    verdict: str
    code: str = ""
    policies: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    decided_by: str = "policy"
    count: int | None = None


class _Approval(Struct, frozen=True, gc=False):
    request: str
    voters: tuple[str, ...] = ()


class _Trace(Struct, frozen=True, gc=False):
    trace_id: str | None = None
    workflow: str | None = None


class _Outcome(Struct, frozen=True, gc=False):
    status: str = ""
    deviates: bool = False


class _Payload(Struct, frozen=True, gc=False):
    subjects: tuple[str, ...] = ()


_NOTHING: Final = Raw()
_NO_ACTOR, _NO_TRACE, _NO_OUTCOME, _NO_PAYLOAD = _Actor(), _Trace(), _Outcome(), _Payload()


class _Envelope(Struct, gc=False):
    """The fields that can be searched for; others are passed over. Tool and decision come again and again: their bytes are looked up."""

    kind: str
    at: int
    environment: str = ""
    call: str | None = None
    actor: _Actor = _NO_ACTOR
    tool: Raw = _NOTHING
    targets: tuple[str, ...] = ()
    decision: Raw = _NOTHING
    approval: _Approval | None = None
    trace: _Trace = _NO_TRACE
    outcome: _Outcome = _NO_OUTCOME
    payload: _Payload = _NO_PAYLOAD


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode
_decode_decision = msgspec.json.Decoder(_Decision).decode
_CANNOT_DECODE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def term(field: str, value: str) -> str:
    """The term that a record has whose `field` is `value`."""
    code = _CODES[field]
    if len(value) <= _LONG_BYTES:
        if _plain(value):
            return f"{code}_{value}"
        if "_" not in value and _plain(bare := value.replace("-", "")) and bare:  # ids of calls, names with hyphens: most of the rest
            return f"{code}_{value.replace('-', '_2d')}"
    encoded = value.encode("utf-8", "surrogatepass")
    if len(encoded) > _LONG_BYTES:
        return f"{code}__{hashlib.sha256(encoded).hexdigest()}"
    return f"{code}_{_special.sub(_escape, encoded).decode()}"


def entry_of(log: str, envelope: bytes, at_before: int) -> Entry:
    """What the index keeps of a record; one that cannot be decoded has the time of the one before it, and its kind is `unreadable`."""
    try:
        found = _decode(envelope)
        tool, tool_terms = _of_tool(bytes(found.tool)) if found.tool else ("", "")
        verdict, count, decision_terms = _of_decision(bytes(found.decision)) if found.decision else ("", 1, "")
    except _CANNOT_DECODE:
        return Entry(at_before, _head(log, UNREADABLE, ""), ("", "", ""), 1, ())
    kind = found.kind if found.kind in KINDS else UNREADABLE
    terms = [_head(log, kind, found.environment), tool_terms, decision_terms]
    named = [found.actor.user]
    if found.call is not None:
        terms.append(term("call", found.call))
    if found.actor is not _NO_ACTOR:
        _add_actor(terms, found.actor)
    for target in found.targets:
        terms += _of_target(target)
        named.append(target.rpartition("::")[2])
    if found.approval is not None:
        terms += [term("request", found.approval.request), *[term("voter", voter) for voter in found.approval.voters]]
        named += found.approval.voters
    if found.trace is not _NO_TRACE:
        _add_trace(terms, found.trace)
    status = found.outcome.status
    if status:
        terms.append(_known("outcome", status))
        if found.outcome.deviates:
            terms.append(_known("deviates", "true"))
    subjects = found.payload.subjects
    terms += [term("subject", subject) for subject in subjects if subject not in named or not _is_pseudonym(subject)]
    return Entry(found.at, " ".join(terms), (tool, verdict, status), count, subjects)


def expression_of(filters: Filters, *, without: Filters | None = None) -> str | None:
    """The filters as an expression of FTS5, but for what has one of the values in `without`; None where there are none.

    Raises `KeyError` for a field that records do not have, `ValueError` for more than 1,000 values of one.
    """
    for field, values in filters.items():
        if len(values) > VALUES_LIMIT:
            raise ValueError(f"a search takes at most {VALUES_LIMIT} values of `{field}`, not {len(values)}")
    found = " AND ".join([f"({_any_of(field, values)})" for field, values in sorted(filters.items())])
    besides = " OR ".join([_any_of(field, values) for field, values in (without or {}).items()])
    return f"({found}) NOT ({besides})" if found and besides else found or None


def is_impossible(filters: Filters) -> bool:
    """Whether some field has no value that it may have: nothing matches, and nothing is what somebody sees who may see no log."""
    return any(not values for values in filters.values())


def _any_of(field: str, values: tuple[str, ...]) -> str:
    if field == "target":
        return " OR ".join([_of_target(value)[0] for value in values])
    return " OR ".join([term(each, value) for value in values for each in _ALSO.get(field, (field,))])


_known = lru_cache(maxsize=20_000)(term)
"""For values that come again and again."""


@lru_cache(maxsize=2_000)
def _head(log: str, kind: str, environment: str) -> str:
    return f"{term('log', log)} {term('kind', kind)} {term('environment', environment)}"


@lru_cache(maxsize=5_000)
def _of_tool(raw: bytes) -> tuple[str, str]:
    tool = _decode_tool(raw)
    access = "" if tool.access is None else term("access", tool.access)
    return tool.name, f"{term('tool', tool.name)} {access}"


@lru_cache(maxsize=5_000)
def _of_decision(raw: bytes) -> tuple[str, int, str]:
    decision = _decode_decision(raw)
    terms = [term("verdict", decision.verdict), term("code", decision.code), term("decided_by", decision.decided_by)]
    terms += [term("policy", policy) for policy in decision.policies]
    terms += [term("obligation", policy) for policy in decision.obligations]
    return decision.verdict, max(1, min(decision.count or 1, _COUNT_LIMIT)), " ".join(terms)


def _of_target(target: str) -> tuple[str, str]:
    """A pseudonym stands for one subject, so its term does without the type; what is in clear needs it."""
    kind, _, rest = target.partition("::")
    return term("target", rest if _is_pseudonym(rest) else target), _known("target_type", kind)


def _add_actor(terms: list[str], actor: _Actor) -> None:
    if actor.agent is not None:
        terms.append(_known("agent", actor.agent))
    if actor.service is not None:
        terms.append(_known("service", actor.service))
    if actor.user is not None:
        terms.append(term("user", actor.user))
    if actor.session is not None:
        terms.append(term("session", actor.session))


def _add_trace(terms: list[str], trace: _Trace) -> None:
    if trace.trace_id is not None:
        terms.append(term("trace_id", trace.trace_id))
    if trace.workflow is not None:
        terms.append(_known("workflow", trace.workflow))


def _escape(match: re.Match[bytes]) -> bytes:
    return b"_%02x" % match[0][0]
