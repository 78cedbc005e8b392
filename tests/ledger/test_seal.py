"""Sealing: exact bytes, pseudonyms, fresh salts and ids, and what becomes of an envelope that is too long."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from typing import Any

import msgspec
import pytest

from licet.errors import IntegrityBroken
from licet.ledger.entropy import draw_nonce, draw_salt, new_id
from licet.ledger.record import (
    ENVELOPE_LIMIT_BYTES,
    Actor,
    ApprovalEntry,
    DecisionEntry,
    Envelope,
    Payload,
    commitment,
    decode_envelope,
    decode_payload,
    encode_envelope,
    encode_payload,
    leaf_hash,
    microseconds,
    read_envelope,
)
from licet.ledger.seal import Filing, Statement, seal_filing
from licet.ledger.vault import Opened, Subject, Vault, payload_aad
from licet.model import CallId, RequestId
from licet.store.contract import Batch, NewRecord
from tests.ledger.rows import Rows
from tests.store.samples import KEYS, NOW, record


class Desk:
    """Seals statements, and opens what it sealed."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.vault = Vault(KEYS, self.rows)

    def seal(self, *said: Statement) -> Batch:
        """Sealed, and its secrets are durable."""
        batch = seal_filing(self.vault, Filing(said))
        self.rows.keep(*[row for row in batch.secrets if row not in self.rows.kept])
        self.vault.confirm(batch.secrets)
        return batch

    def one(self, **fields: Any) -> tuple[NewRecord, Envelope, Opened]:
        """One record, its envelope, and its payload with its salt."""
        said = record(**fields)
        (sealed,) = self.seal(said).records
        return sealed, decode_envelope(sealed.envelope), self.open(said, sealed)

    def open(self, said: Statement, sealed: NewRecord) -> Opened:
        aad = payload_aad(said.log, said.kind, said.call, said.id)
        opened = self.vault.open(said.log, decode_envelope(sealed.envelope).payload.subjects, aad, sealed.sealed)
        assert opened is not None
        return opened


@pytest.fixture
def desk() -> Desk:
    return Desk()


def customers(count: int, log: str = "acme") -> tuple[Subject, ...]:
    return tuple([Subject(log, "Customer", f"C-{number}") for number in range(count)])


def test_an_envelope_commits_to_the_exact_payload_and_salt(desk: Desk) -> None:
    sealed, envelope, opened = desk.one(payload=Payload(reason="double charge"))
    expected = hashlib.sha256(opened.salt + opened.payload).hexdigest()
    assert envelope.payload.commitment == expected == commitment(opened.salt, opened.payload)
    assert envelope.payload.length == len(opened.payload)
    assert json.loads(opened.payload) == {"reason": "double charge"}
    assert leaf_hash(sealed.envelope) == hashlib.sha256(b"\x00" + sealed.envelope).digest()


def test_envelope_and_payload_survive_their_own_encoding(desk: Desk) -> None:
    sealed, envelope, opened = desk.one(targets=customers(1), decision=DecisionEntry(verdict="allow", code="allowed"))
    assert encode_envelope(envelope) == sealed.envelope
    assert encode_payload(decode_payload(opened.payload)) == opened.payload


def test_people_and_targets_stand_by_pseudonym_and_the_payload_names_them(desk: Desk) -> None:
    targets = (*customers(2), Subject("acme", "Tenant", "acme"))
    sealed, envelope, opened = desk.one(
        targets=targets, actor=Actor(agent="bot", user="alice"), approval=ApprovalEntry(RequestId("r-1"), ("dana", "alice"), "approve")
    )
    assert envelope.actor is not None
    assert envelope.approval is not None
    alice, (dana, again), customers_ = envelope.actor.user, envelope.approval.voters, envelope.targets[:2]
    assert envelope.actor == Actor(agent="bot", user=alice)
    assert again == alice != dana
    assert [target.partition("::")[0] for target in customers_] == ["Customer", "Customer"]
    assert envelope.targets[2] == "Tenant::acme"
    pseudonyms = [target.partition("::")[2] for target in customers_]
    names = decode_payload(opened.payload).names
    assert names == {alice: 'User::"alice"', dana: 'User::"dana"', pseudonyms[0]: 'Customer::"C-0"', pseudonyms[1]: 'Customer::"C-1"'}
    assert envelope.payload.subjects == (alice, dana, *pseudonyms)
    assert all(re.fullmatch("[0-9a-f]{32}", pseudonym) for pseudonym in envelope.payload.subjects)
    assert not [word for word in (b"alice", b"dana", b"C-0", b"C-1") if word in sealed.envelope]
    read = read_envelope(sealed.envelope, opened.payload)
    assert read.actor is not None
    assert (read.actor.user, read.targets) == ("alice", ('Customer::"C-0"', 'Customer::"C-1"', "Tenant::acme"))
    assert read.approval is not None
    assert read.approval.voters == ("dana", "alice")
    assert read_envelope(sealed.envelope, None) == envelope


@pytest.mark.parametrize("user", ['o"brien', "back\\slash", 'both\\"', "ü::x", 'User::"x"', ""])
def test_names_are_read_back_whatever_characters_they_hold(desk: Desk, user: str) -> None:
    sealed, _, opened = desk.one(actor=Actor(agent="bot", user=user))
    read = read_envelope(sealed.envelope, opened.payload)
    assert read.actor is not None
    assert read.actor.user == user


def test_a_pseudonym_is_of_one_tenant_and_one_type(desk: Desk) -> None:
    subjects = (
        Subject("acme", "User", "x"),
        Subject("globex", "User", "x"),
        Subject("acme", "Customer", "x"),
        Subject("acme", "User", "x"),
    )
    _, envelope, _ = desk.one(targets=subjects)
    pseudonyms = [target.partition("::")[2] for target in envelope.targets]
    assert len(set(pseudonyms)) == 3
    assert pseudonyms[0] == pseudonyms[3]


def test_who_stands_in_the_payload_only_seals_it_too(desk: Desk) -> None:
    sealed, envelope, opened = desk.one(about=customers(1, "globex"))
    assert envelope.targets == ()
    assert decode_payload(opened.payload).names == {envelope.payload.subjects[0]: 'Customer::"C-0"'}
    assert {row.tenant for row in desk.rows.kept} == {"acme", "globex"}, "the other log's secret is durable too: its rows hang on it"
    assert len(desk.rows.kept) == 3
    assert b"C-0" not in sealed.envelope


def test_a_payload_opens_for_its_own_record_only(desk: Desk) -> None:
    said = record(call=CallId("c"), actor=Actor(agent="bot", user="alice"))
    (sealed,) = desk.seal(said).records
    subjects = decode_envelope(sealed.envelope).payload.subjects
    own = ("acme", "intent", "c", said.id)
    assert desk.vault.open("acme", subjects, payload_aad(*own), sealed.sealed) is not None
    for other in (
        ("acme", "call", "c", said.id),
        ("acme", "intent", "d", said.id),
        ("acme", "intent", None, said.id),
        ("acme", "intent", "c", "x"),
    ):
        with pytest.raises(ValueError, match="is not what was written"):
            desk.vault.open("acme", subjects, payload_aad(*other), sealed.sealed)
    with pytest.raises(ValueError, match="is not what was written"):
        desk.vault.open("acme", (), payload_aad(*own), sealed.sealed)


def test_two_seals_of_one_thing_share_neither_salt_nor_nonce(desk: Desk) -> None:
    said = record()
    (first,), (second,) = desk.seal(said).records, desk.seal(said).records
    assert desk.open(said, first).salt != desk.open(said, second).salt
    assert first.sealed[:12] != second.sealed[:12]
    assert decode_envelope(first.envelope).id == decode_envelope(second.envelope).id == said.id


def test_an_id_can_be_given_and_is_drawn_otherwise() -> None:
    assert record(id="the-id").id == "the-id"
    assert record().id != record().id


def test_an_idempotency_key_stands_as_its_blind(desk: Desk) -> None:
    sealed, envelope, opened = desk.one(key="order-77")
    assert envelope.key == desk.vault.blind("acme", "key", "order-77")
    assert b"order-77" not in sealed.envelope + opened.payload
    assert desk.vault.blind("globex", "key", "order-77") != envelope.key


def test_another_version_is_refused(desk: Desk) -> None:
    later = desk.one()[0].envelope.replace(b'"v":1', b'"v":2')
    with pytest.raises(IntegrityBroken, match="envelope has version `2`, this is for version 1"):
        decode_envelope(later)


WHOLE = Desk().one()[0].envelope


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b"[]", b"{}", b'{"v":1}', WHOLE + b"x", WHOLE[:-1]])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(IntegrityBroken, match="stored envelope cannot be read"):
        decode_envelope(garbage)


def test_a_garbled_payload_is_refused() -> None:
    with pytest.raises(IntegrityBroken, match="stored payload cannot be read"):
        decode_payload(b"\xff")


def test_an_envelope_that_is_too_long_is_cut_and_the_payload_has_it_whole(desk: Desk) -> None:
    policies = tuple(f"{number:03d}{'x' * 1000}" for number in range(100))
    decision = DecisionEntry(verdict="allow", code="c" * 900, policies=policies)
    sealed, envelope, opened = desk.one(
        targets=customers(100),
        actor=Actor(agent="ü" * 150, user="alice"),
        decision=decision,
        payload=Payload(reason="why", detail={"mine": 1}),
    )
    payload = decode_payload(opened.payload)
    assert len(sealed.envelope) <= ENVELOPE_LIMIT_BYTES
    assert envelope.decision is not None
    assert len(envelope.decision.policies) == 20
    assert envelope.decision.policies[0] == f"sha256:{hashlib.sha256(policies[0].encode()).hexdigest()}"
    assert envelope.redactions == ("cut:actor.agent", "cut:decision.code", "cut:decision.policies")
    uncut = {"decision.policies": list(policies), "decision.code": "c" * 900, "actor.agent": "ü" * 150}
    assert payload.detail == {"mine": 1, "uncut": uncut}
    assert payload.reason == "why"
    assert (len(envelope.targets), len(envelope.payload.subjects)) == (100, 101), "who it is about is never cut"
    assert (envelope.payload.commitment, envelope.payload.length) == (commitment(opened.salt, opened.payload), len(opened.payload))


def test_the_longest_envelope_fits_after_cutting(desk: Desk) -> None:
    many = tuple("\x01" * 200 for _ in range(5000))
    decision = DecisionEntry(verdict="allow", code="c" * 9000, policies=many, obligations=many)
    sealed, envelope, _ = desk.one(targets=customers(100), decision=decision, redactions=many, key="k" * 70000, environment="e" * 70000)
    assert len(sealed.envelope) <= ENVELOPE_LIMIT_BYTES
    assert envelope.key == desk.vault.blind("acme", "key", "k" * 70000)


def test_an_envelope_just_within_its_limit_is_left_alone(desk: Desk) -> None:
    room = ENVELOPE_LIMIT_BYTES - len(desk.one(environment="")[0].envelope)
    assert desk.one(environment="e" * room)[1].environment == "e" * room
    assert desk.one(environment="e" * (room + 1))[1].redactions == ("cut:environment",)


def test_ids_sort_by_time_and_look_like_uuid_version_7() -> None:
    earlier, later = new_id(1_700_000_000_000_000), new_id(1_700_000_000_001_000)
    assert earlier < later
    assert [len(part) for part in earlier.split("-")] == [8, 4, 4, 4, 12]
    assert earlier[14] == "7"
    assert earlier[19] == "8"


def test_ids_salts_and_nonces_are_never_handed_out_twice_by_threads() -> None:
    drawn: list[object] = []

    def draw() -> None:
        drawn.extend([value for _ in range(3000) for value in (new_id(0), draw_salt(), draw_nonce())])

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 72_000


def test_a_forked_child_draws_other_ids_salts_and_nonces_than_its_parent() -> None:
    new_id(), draw_salt(), draw_nonce()  # the pools are filled
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, msgspec.json.encode([new_id(0), draw_salt().hex(), draw_nonce().hex()]))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = msgspec.json.decode(os.read(reading, 4096))
    ours = [(new_id(0), draw_salt().hex(), draw_nonce().hex()) for _ in range(256)]
    os.close(reading)
    os.close(writing)
    for which, value in enumerate(theirs):
        assert value not in {drawn[which] for drawn in ours}


def test_moments_become_exact_microseconds() -> None:
    assert microseconds(NOW) == 1_763_802_000_123_457
    assert record(call=CallId("c")).call == "c"
