from __future__ import annotations

from typing import Any, get_args

import pytest

from licet.cli.records import Entry, find_entries, is_reference, read_entry, tell
from licet.errors import IntegrityBroken
from licet.ledger.entries import _TELLERS
from licet.ledger.record import Actor, ApprovalEntry, DecisionEntry, Envelope, Kind, OutcomeEntry, Payload, PayloadEntry, ToolEntry
from licet.model import CallId, OutcomeStatus, RequestId
from licet.store.contract import StoredRecord

BOT = Actor(agent="support-bot", user="alice")
ADJUST = ToolEntry("billing.adjust", "write", "d")


def entry(kind: Kind, payload: Payload | None = None, **fields: Any) -> Entry:
    envelope = Envelope(
        v=1,
        log="acme",
        kind=kind,
        id="i",
        at=0,
        boot="b",
        environment="production",
        payload=PayloadEntry("c", 1),
        **({"actor": BOT} | fields),
    )
    return Entry("acme", 7, envelope, payload or Payload(), "" if payload is not None else "erased")


def denied(count: int | None = None) -> DecisionEntry:
    return DecisionEntry(verdict="deny", code="no_permit", count=count)


def detail(**values: Any) -> Payload:
    return Payload(detail=values)


TOLD = {
    "a denial": (entry("denial", Payload(message="no policy permits it"), tool=ADJUST, decision=denied()), "deny", "support-bot for alice was denied `billing.adjust`: no policy permits it"),
    "a denial, counted": (entry("denial", Payload(message="no"), tool=ADJUST, decision=denied(12)), "deny", "support-bot for alice was denied `billing.adjust` 12 more times within a minute: no"),
    "a denial whose words were erased": (entry("denial", tool=ADJUST, decision=denied()), "deny", "support-bot for alice was denied `billing.adjust`: no_permit"),
    "a denial of nobody": (entry("denial", Payload(message="no"), tool=ADJUST, decision=denied(), actor=Actor()), "deny", "nobody was denied `billing.adjust`: no"),
    "an approved intent": (
        entry("intent", Payload(), tool=ADJUST, targets=("A", "B"), approval=ApprovalEntry(RequestId("r"), ("dana", "omar"))),
        "allow",
        "support-bot for alice was allowed `billing.adjust` on A and B, approved by dana and omar",
    ),
    "a call of a service": (entry("call", Payload(), tool=ADJUST, actor=Actor(service="nightly")), "allow", "nightly used `billing.adjust`"),
    "a read that failed": (
        entry("call", Payload(message="no such row"), tool=ADJUST, outcome=OutcomeEntry(status="error", code="KeyError")),
        "error",
        "support-bot for alice used `billing.adjust`, which failed: KeyError (no such row)",
    ),
    "a repeat": (entry("call", detail(repeats="c"), tool=ADJUST), "note", "support-bot for alice repeated `billing.adjust`; the recorded outcome was given again and nothing ran"),
    "an outcome": (entry("outcome", Payload(), tool=ADJUST, outcome=OutcomeEntry(status="ok", duration_us=3_100_000, effects=2)), "ok", "`billing.adjust` ran in 3.1 s, 2 changes declared"),
    "a late outcome": (entry("outcome", detail(late=True), tool=ADJUST, outcome=OutcomeEntry(status="ok", duration_us=150_000_000)), "ok", "`billing.adjust` ran in 2 min, later than its timeout"),
    "a timeout": (entry("outcome", Payload(), tool=ADJUST, outcome=OutcomeEntry(status="timeout")), "unknown", "`billing.adjust` did not end in time; what it did is unknown: timeout"),
    "a recovery": (entry("recovery", Payload(message="the process ended"), outcome=OutcomeEntry(status="unknown")), "unknown", "nobody saw how a call ended: the process ended"),
    "a rejection": (entry("vote", Payload(), tool=ADJUST, approval=ApprovalEntry(RequestId("r"), ("dana",), "reject")), "note", "dana rejected a call of `billing.adjust` by support-bot for alice"),
    "an expiry": (entry("expiry", detail(request="r")), "note", "a request expired: r"),
    "a withdrawal": (entry("expiry", detail(request="r", event="withdraw")), "note", "a request was withdrawn: r"),
    "a gap": (entry("gap", detail(count=3, reason="the disk is full")), "unknown", "3 calls could not be recorded and did not run: the disk is full"),
    "a bundle": (entry("policy", detail(part="bundle", sha256="0123456789abcdef")), "note", "the bundle of policies 0123456789ab is in force"),
    "a withdrawal by an erasure": (entry("expiry", detail(request="r", event="withdraw", because="erasure")), "note", "a request was withdrawn: r: somebody whom it was about was erased"),
    "what a probe says": (entry("outcome", detail(settled={"by": "probe"}), tool=ADJUST, outcome=OutcomeEntry(status="ok")), "note", "`billing.adjust` happened, says its probe"),
    "a twin": (entry("admin", detail(twin="c", tool="billing.adjust")), "note", "a call reached for another tenant: billing.adjust; its record is call c"),
    "a question": (entry("evaluation", detail(asked={"by": {"credential": "key_1"}}), tool=ADJUST, decision=DecisionEntry(verdict="allow", code="allowed")), "note", "credential key_1 asked about support-bot for alice, who would be allowed `billing.adjust`"),
    "a question whose answer was no": (entry("evaluation", Payload(message="no", detail={"asked": {"by": {"service": "portal"}}}), tool=ADJUST, decision=denied()), "note", "portal asked about support-bot for alice, who would be denied `billing.adjust`: no"),
    "a question about what people decide": (entry("evaluation", tool=ADJUST, decision=DecisionEntry(verdict="hold", code="approval_required")), "note", "somebody asked about support-bot for alice, who would have to wait for people to use `billing.adjust`: approval_required"),
    "a search among candidates": (entry("evaluation", detail(asked={"by": {"credential": "key_1"}}, search="subject", found=3)), "note", "credential key_1 searched for subjects, and 3 were found"),
    "something else": (entry("review", Payload()), "note", "a record of kind `review`"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_a_record_is_told_in_one_sentence(name: str) -> None:
    one, mark, sentence = TOLD[name]
    told = tell(one)
    assert (told.mark, told.sentence) == (mark, sentence)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_record_can_be_told_whatever_was_erased(kind: Kind) -> None:
    outcome, approval = OutcomeEntry(status="ok"), ApprovalEntry(RequestId("r"))
    assert tell(entry(kind, tool=ADJUST, decision=denied(), outcome=outcome, approval=approval)).sentence


@pytest.mark.parametrize("status", get_args(OutcomeStatus))
def test_every_outcome_can_be_told(status: str) -> None:
    assert tell(entry("outcome", Payload(), tool=ADJUST, outcome=OutcomeEntry(status=status))).sentence.startswith("`billing.adjust` ")


def test_tellers_are_for_kinds_that_there_are() -> None:
    assert set(_TELLERS) <= set(get_args(Kind))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("01a20302-e2d1-7ff4-8654-16023c6639e2", True),
        ("acme:12", True),
        ("a:b:12", True),
        ("billing.adjust", False),
        ("acme:", False),
        ("acme:-1", False),
        (":1", False),
    ],
)
def test_what_names_a_record(text: str, *, named: bool) -> None:
    assert is_reference(text) is named


class OneCall:
    """A store with one call, whose record cannot be read."""

    def records_of_call(self, call: CallId) -> tuple[StoredRecord, ...]:
        return (StoredRecord("acme", 0, "call", call, b"{}", b"", b"{}"),)


def test_a_record_that_cannot_be_read_is_broken_integrity() -> None:
    with pytest.raises(IntegrityBroken):
        find_entries(OneCall(), "01a20302-e2d1-7ff4-8654-16023c6639e2")  # type: ignore[arg-type]
    with pytest.raises(IntegrityBroken):
        read_entry(StoredRecord("acme", 0, "call", None, b"{}", b"", b"{}"))
