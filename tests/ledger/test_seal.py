"""Sealing: exact bytes, fresh salts and ids, and what becomes of an envelope that is too long."""

from __future__ import annotations

import hashlib
import json
import os
import threading

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.entropy import draw_salt, new_id
from licet.ledger.record import (
    ENVELOPE_LIMIT_BYTES,
    Actor,
    DecisionEntry,
    Payload,
    commitment,
    decode_envelope,
    decode_payload,
    encode_envelope,
    encode_payload,
    leaf_hash,
    microseconds,
)
from licet.ledger.seal import seal
from licet.model import CallId
from tests.store.samples import NOW, record


def test_an_envelope_commits_to_the_exact_payload_and_salt() -> None:
    sealed = record(payload=Payload(reason="double charge"))
    envelope = decode_envelope(sealed.envelope)
    assert (
        envelope.payload.commitment == hashlib.sha256(sealed.salt + sealed.payload).hexdigest() == commitment(sealed.salt, sealed.payload)
    )
    assert envelope.payload.length == len(sealed.payload)
    assert json.loads(sealed.payload) == {"reason": "double charge"}
    assert leaf_hash(sealed.envelope) == hashlib.sha256(b"\x00" + sealed.envelope).digest()


def test_envelope_and_payload_survive_their_own_encoding() -> None:
    sealed = record(targets=('Customer::"C-412"',), decision=DecisionEntry(verdict="allow", code="allowed"))
    assert encode_envelope(decode_envelope(sealed.envelope)) == sealed.envelope
    assert encode_payload(decode_payload(sealed.payload)) == sealed.payload


def test_two_seals_of_one_thing_share_neither_id_nor_salt() -> None:
    first, second = record(), record()
    assert first.salt != second.salt
    assert decode_envelope(first.envelope).id != decode_envelope(second.envelope).id


def test_id_and_salt_can_be_given() -> None:
    sealed = seal(log="acme", kind="gap", at=1, boot="b", environment="test", payload=Payload(), id="the-id", salt=b"s" * 32)
    assert decode_envelope(sealed.envelope).id == "the-id"
    assert sealed.salt == b"s" * 32


def test_another_version_is_refused() -> None:
    later = record().envelope.replace(b'"v":0', b'"v":1')
    with pytest.raises(IntegrityBroken, match="envelope has version `1`, this is for version 0"):
        decode_envelope(later)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b"[]", b"{}", b'{"v":0}', record().envelope + b"x", record().envelope[:-1]])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(IntegrityBroken, match="stored envelope cannot be read"):
        decode_envelope(garbage)


def test_a_garbled_payload_is_refused() -> None:
    with pytest.raises(IntegrityBroken, match="stored payload cannot be read"):
        decode_payload(b"\xff")


def test_an_envelope_that_is_too_long_is_cut_and_the_payload_has_it_whole() -> None:
    targets = tuple(f'Customer::"{number:03d}{"x" * 1000}"' for number in range(100))
    sealed = record(targets=targets, actor=Actor(agent="bot", user="ü" * 150), payload=Payload(reason="why", detail={"mine": 1}))
    envelope, payload = decode_envelope(sealed.envelope), decode_payload(sealed.payload)
    assert len(sealed.envelope) <= ENVELOPE_LIMIT_BYTES
    assert len(envelope.targets) == 20
    assert envelope.targets[0] == f"sha256:{hashlib.sha256(targets[0].encode()).hexdigest()}"
    assert envelope.redactions == ("cut:actor.user", "cut:targets")
    assert payload.detail == {"mine": 1, "uncut": {"targets": list(targets), "actor.user": "ü" * 150}}
    assert payload.reason == "why"
    assert envelope.payload.commitment == commitment(sealed.salt, sealed.payload)


def test_the_longest_envelope_fits_after_cutting() -> None:
    many = tuple("\x01" * 200 for _ in range(5000))
    decision = DecisionEntry(verdict="allow", code="c" * 9000, policies=many, obligations=many)
    sealed = record(targets=many, decision=decision, redactions=many, key="k" * 70000, environment="e" * 70000)
    assert len(sealed.envelope) <= ENVELOPE_LIMIT_BYTES


def test_an_envelope_just_within_its_limit_is_left_alone() -> None:
    room = ENVELOPE_LIMIT_BYTES - len(record(key="").envelope)
    assert decode_envelope(record(key="k" * room).envelope).key == "k" * room
    assert decode_envelope(record(key="k" * (room + 1)).envelope).redactions == ("cut:key",)


def test_ids_sort_by_time_and_look_like_uuid_version_7() -> None:
    earlier, later = new_id(1_700_000_000_000_000), new_id(1_700_000_000_001_000)
    assert earlier < later
    assert [len(part) for part in earlier.split("-")] == [8, 4, 4, 4, 12]
    assert earlier[14] == "7"
    assert earlier[19] == "8"


def test_ids_and_salts_are_never_handed_out_twice_by_threads() -> None:
    drawn: list[object] = []

    def draw() -> None:
        drawn.extend([value for _ in range(3000) for value in (new_id(0), draw_salt())])

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 48_000


def test_a_forked_child_draws_other_ids_and_salts_than_its_parent() -> None:
    new_id(), draw_salt()  # the pools are filled
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, msgspec.json.encode([new_id(0), draw_salt().hex()]))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = msgspec.json.decode(os.read(reading, 4096))
    ours = [(new_id(0), draw_salt().hex()) for _ in range(256)]
    os.close(reading)
    os.close(writing)
    assert theirs[0] not in {pair[0] for pair in ours}
    assert theirs[1] not in {pair[1] for pair in ours}


def test_moments_become_exact_microseconds() -> None:
    assert microseconds(NOW) == 1_763_802_000_123_457
    assert record(call=CallId("c")).call == "c"
