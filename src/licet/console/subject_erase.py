"""Erasing a subject: what goes and what stays, the act, and its record.

Rules:

1. Who erases, what a legal hold forbids, and which keys are out of reach is what the API says (server/erasures.py): it is what erases.
2. The id is typed a second time, by hand: nobody is erased by one press of a button, nor by an address that somebody sent.
3. What is said afterwards comes from the record of the erasure, which knows the pseudonym alone. This page never names who it was.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import quote

from msgspec import Meta, Struct

from licet.console.frame import page
from licet.console.records import record_path
from licet.console.subject_address import HERE, PERSON, OneSubject, Subject, path_of
from licet.console.subject_view import entry_of, pieces
from licet.gate.forgetting import Forgotten
from licet.ledger.entries import tell
from licet.ledger.erasure import held_by
from licet.ledger.vault import Subject as LedgerSubject
from licet.server import erasures, records
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.erasures import ErasedSubject, Reason
from licet.server.problems import bad_request, not_found
from licet.server.shapes_records import OneRecord

ERASED: Final = "/console/erased"


class Erase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why, and the id once more."""

    typed: Annotated[str, Meta(max_length=1_000)]
    reason: Reason


def show(asked: Asked) -> Answer:
    """What an erasure does, what is in its way, and the form."""
    subject: Subject = asked.params.subject
    asked.allow("erasures.perform", subject.tenant)
    return page(
        asked,
        "subject_erase.html",
        subject=subject,
        base=path_of(subject),
        action=path_of(subject, "erase"),
        is_person=subject.type == PERSON,
        held=[pieces(one) for one in _held(asked, subject)],
    )


def _held(asked: Asked, subject: Subject) -> list[str]:
    """The legal holds that forbid it, as far as this one may know of them; that there are others, the erasure says."""
    if not asked.decide("holds.read", subject.tenant).allowed:
        return []
    store = asked.gate.store
    pseudonym = store.find_pseudonym(LedgerSubject(subject.tenant, subject.type, subject.id))
    holds = [hold for hold in store.holds() if asked.decide("holds.read", hold.log).allowed]
    return [held_by(hold) for hold in holds if (hold.log == subject.tenant if hold.target is None else hold.pseudonym == pseudonym)]


def erase(asked: Asked) -> Answer:
    """The subject is forgotten. Raises `Problem`: not permitted, held, nothing recorded, or the id is another one."""
    subject: Subject = asked.params.subject
    asked.allow("erasures.perform", subject.tenant)
    if asked.body.typed != subject.id:
        raise bad_request("what was typed is not the id of this subject; nothing was erased")
    wanted = ErasedSubject(tenant=subject.tenant, type=subject.type, id=subject.id, reason=asked.body.reason)
    done: Forgotten = erasures.erase(asked.with_input(None, wanted)).body
    receipt = done.erased.receipt
    there = f"{ERASED}/{quote(receipt.log, safe='')}/{receipt.index}"
    return Answer(status=303, media_type="text/plain", headers=(("Location", there),))


def show_erased(asked: Asked) -> Answer:
    """What an erasure has done, from its record."""
    shape = records.get_record(asked).body
    entry = entry_of(shape)
    if entry.envelope.kind != "erasure":
        raise not_found()
    return page(asked, "subject_erased.html", entry=entry, told=pieces(tell(entry).sentence), record=record_path(entry.log, entry.index))


PAGES: Final = (
    Endpoint(
        method="GET",
        path=f"{HERE}/erase",
        operation="consoleErase",
        summary="What erasing a subject does",
        tag="console",
        action="erasures.perform",
        handler=show,
        params=OneSubject,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/erase",
        operation="consoleEraseSubject",
        summary="Erase a subject, for ever",
        tag="console",
        action="erasures.perform",
        handler=erase,
        params=OneSubject,
        body=Erase,
        statuses=(409, 422),
    ),
    Endpoint(
        method="GET",
        path=f"{ERASED}/{{log}}/{{index}}",
        operation="consoleErased",
        summary="What an erasure has done",
        tag="console",
        action="records.read",
        handler=show_erased,
        params=OneRecord,
    ),
)
