from __future__ import annotations

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.record import Payload, encode_payload
from licet.model import RequestState
from licet.store.contract import Closed, StoredRecord
from licet.store.rows import record_of, request_of, votes_of
from tests.store.samples import request, vote


def stored(kind: str, payload: bytes | None, closed: Closed = "", index: int = 0) -> StoredRecord:
    return StoredRecord("acme", index, kind, None, b"{}", b"s" * 32, payload, closed)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\xff", b"[1]", b'{"detail":5}', b'{"detail":{"request":{"id":1},"vote":7}}'])
def test_a_damaged_payload_is_broken_integrity_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(IntegrityBroken, match="the payload of record acme:3 cannot be read"):
        request_of("r", "open", [stored("hold", payload, index=3)])
    with pytest.raises(IntegrityBroken, match="the payload of record acme:3 cannot be read"):
        votes_of([stored("vote", payload, index=3)])


def test_a_request_is_what_its_record_says_in_the_state_of_its_row() -> None:
    asked = request()
    opened = stored("hold", encode_payload(Payload(detail={"request": asked})))
    again = stored("hold", encode_payload(Payload(detail={})), index=1)
    expected = msgspec.structs.replace(asked, state=RequestState.APPROVED)
    assert request_of(asked.id, "approved", [again, opened]) == expected
    with pytest.raises(IntegrityBroken, match="a stored request is in no known state: `lost`"):
        request_of(asked.id, "lost", [opened])
    with pytest.raises(IntegrityBroken, match=f"record acme:0 opened request `{asked.id}`, and is kept under `other`"):
        request_of("other", "open", [opened])


def test_a_request_that_no_record_opened_is_broken_integrity_and_an_erased_one_is_not_there() -> None:
    for records in ([], [stored("vote", None)], [stored("hold", None, "locked")], [stored("hold", None, "damaged")]):
        with pytest.raises(IntegrityBroken, match="no record opened request `r`; run `licet audit verify`"):
            request_of("r", "open", records)
    assert request_of("r", "open", [stored("hold", None, "erased")]) is None


def test_votes_are_those_that_their_records_hold_in_order_without_erased_ones() -> None:
    asked = request()
    cast = [vote(asked, "dana"), vote(asked, "omar")]
    kept = [stored("vote", encode_payload(Payload(detail={"vote": one}))) for one in cast]
    assert votes_of([kept[1], stored("vote", None, "erased"), stored("hold", kept[0].payload), kept[0]]) == (cast[1], cast[0])


@pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff", b"[]", b'{"log":1}', None])
def test_a_record_whose_envelope_cannot_be_read_is_damaged_and_can_be_listed(envelope: bytes) -> None:
    found = record_of(None, ("acme", 0, "gap", None, envelope, b"sealed"))
    assert (found.salt, found.payload, found.closed) == (None, None, "damaged")
