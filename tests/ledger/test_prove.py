"""Proofs that stand alone: what they show, and what is not handed out."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, LicetError, NoteInvalid
from licet.ledger.checkpoint import decode_head_entry, sign_checkpoint
from licet.ledger.note import Cosigner
from licet.ledger.prove import (
    Head,
    Opening,
    Trusted,
    prove,
    read_receipt,
    verify_consistency,
    verify_proof,
    verify_receipt,
)
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import HashTree
from licet.model import Receipt
from tests.ledger.small_ledger import (
    COSIGNED_AT_S,
    HASHES,
    HEAD,
    HEAD_HASHES,
    NEEDS_WITNESS,
    ORIGIN,
    RECORDS,
    SIGNER,
    SIZES,
    SUCCESSOR,
    TRUSTED,
    WITNESS,
    Leaves,
    changed_proof,
    fields_of,
    handover,
    head,
    head_note,
    head_state,
    head_tree,
    payload,
    proof,
    rotated_proof,
    salt,
    tree,
)

WHOLE = proof()
LEAF = HASHES["acme"][217].hex()
STEP = "00" * 32
CHANGES = (0x01, 0x20)


def test_a_proof_shows_the_record_its_log_its_time_and_its_signers() -> None:
    report = verify_proof(WHOLE, NEEDS_WITNESS)
    assert (report.origin, report.log, report.index, report.size, report.head_size) == (ORIGIN, "acme", 217, 600, 8)
    assert report.leaf == HASHES["acme"][217].hex()
    assert report.at == decode_head_entry(HEAD[6]).at
    assert report.envelope is not None
    assert report.envelope.id == "acme-000217"
    assert report.payload == payload(217)
    assert [(signature.name, signature.timestamp_s) for signature in report.signatures] == [
        (ORIGIN, None),
        ("witness.example", COSIGNED_AT_S),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("log", RECORDS)
def test_every_record_is_proved_through_every_entry_and_checkpoint_that_covers_it(log: str, size: int) -> None:
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        for head_size in range(head(log, size).index + 1, len(HEAD) + 1):
            report = verify_proof(proof(index, log, size, head_size), TRUSTED)
            assert (report.log, report.index, report.size, report.head_size) == (log, index, size, head_size)


def test_a_proof_can_leave_out_payload_and_envelope() -> None:
    bare = verify_proof(prove(tree("acme"), 217, head()), TRUSTED)
    assert (bare.envelope, bare.payload, bare.leaf) == (None, None, HASHES["acme"][217].hex())
    sealed = verify_proof(prove(tree("acme"), 217, head(), envelope=RECORDS["acme"][217]), TRUSTED)
    assert sealed.envelope is not None
    assert sealed.payload is None
    assert not {"salt", "payload", "endorsements"} & fields_of(prove(tree("acme"), 217, head())).keys()


def test_a_receipt_is_held_against_its_proof() -> None:
    receipt = Receipt("acme", 217, HASHES["acme"][217].hex())
    assert verify_receipt(receipt, WHOLE, TRUSTED) == verify_proof(WHOLE, TRUSTED)
    assert read_receipt(msgspec.json.encode(receipt)) == receipt


def test_a_proof_holds_for_who_trusts_an_older_or_a_newer_key() -> None:
    for key in (SIGNER, SUCCESSOR):
        report = verify_proof(rotated_proof(), Trusted(ORIGIN, key.vkey, (WITNESS.verifier,), 1))
        assert report.signatures[0].key_id == SUCCESSOR.verifier.key_id
    old = prove(tree("acme"), 50, Head(HEAD[2], 2, head_tree(), head_note(3), (handover(),)))
    assert verify_proof(old, Trusted(ORIGIN, SUCCESSOR.vkey)).signatures[0].key_id == SIGNER.verifier.key_id


@pytest.mark.parametrize("unverified", [WHOLE, rotated_proof()], ids=["one key", "rotated key"])
def test_every_byte_of_a_proof_is_verified(unverified: bytes) -> None:
    """The witness is needed, because a line of signature under a changed name is that of an unknown key, which is ignored."""
    verify_proof(unverified, NEEDS_WITNESS)
    for at, byte in enumerate(unverified):
        for change in CHANGES:
            with pytest.raises(IntegrityBroken):
                verify_proof(unverified[:at] + bytes([byte ^ change]) + unverified[at + 1 :], NEEDS_WITNESS)
        with pytest.raises(IntegrityBroken):
            verify_proof(unverified[:at], NEEDS_WITNESS)
        with pytest.raises(IntegrityBroken):
            verify_proof(unverified[:at] + b" " + unverified[at:], NEEDS_WITNESS)


@pytest.mark.parametrize(
    ("receipt", "message"),
    [
        (Receipt("operator", 217, LEAF), "check 8: the log in the receipt is another: expected `operator`, found `acme`"),
        (Receipt("acme", 218, LEAF), "check 8: the index in the receipt is another: expected `218`, found `217`"),
        (Receipt("acme", 217, STEP), f"check 8: the leaf in the receipt is another: expected `{STEP}`, found `{LEAF}`"),
    ],
)
def test_a_proof_of_another_record_is_not_that_of_the_receipt(receipt: Receipt, message: str) -> None:
    with pytest.raises(IntegrityBroken, match=re.escape(message)):
        verify_receipt(receipt, WHOLE, TRUSTED)


def test_what_is_no_receipt_is_refused() -> None:
    for unverified in (b"", b"{}", b"[]", b'{"log":"acme","index":"1","leaf":"00"}', b"\xff"):
        with pytest.raises(IntegrityBroken, match="not a receipt: "):
            read_receipt(unverified)
    with pytest.raises(IntegrityBroken, match="not a receipt: its leaf is not 64 lower-case hex digits"):
        read_receipt(b'{"log":"acme","index":1,"leaf":"00"}')


def test_witnesses_that_are_needed_must_have_signed() -> None:
    alone = changed_proof(checkpoint=sign_checkpoint(head_state(8), [SIGNER]).decode())
    assert verify_proof(alone, TRUSTED).signatures[0].name == ORIGIN
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 0 of the given witnesses, 1 are needed"):
        verify_proof(alone, NEEDS_WITNESS)


def test_one_witness_under_two_names_counts_once() -> None:
    again = Cosigner.from_seed("witness.example/again", bytes(range(2, 34)))
    line = again.cosign(head_state(8).text, COSIGNED_AT_S)
    twice = changed_proof(checkpoint=(head_note() + line).decode())
    both = Trusted(ORIGIN, SIGNER.vkey, (WITNESS.verifier, again.verifier), 2)
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 1 of the given witnesses, 2 are needed"):
        verify_proof(twice, both)


def test_the_logs_own_key_is_no_witness() -> None:
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 0 of the given witnesses, 1 are needed"):
        verify_proof(WHOLE, Trusted(ORIGIN, SIGNER.vkey, (SIGNER.verifier,), 1))


def test_a_key_that_is_not_one_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="check 2: a verifier key has three parts"):
        verify_proof(WHOLE, Trusted(ORIGIN, "nonsense"))


def test_a_ledger_that_does_not_lead_to_its_checkpoint_hands_out_no_proof() -> None:
    damaged = [*HASHES["acme"][:300], leaf_hash(b"forged"), *HASHES["acme"][301:]]
    with pytest.raises(IntegrityBroken, match="check 5: the root to which the path of the leaf leads is another"):
        prove(HashTree(Leaves(damaged), 600), 217, head())
    heads = HashTree(Leaves([*HEAD_HASHES[:-1], leaf_hash(b"forged")]), 8)
    with pytest.raises(IntegrityBroken, match="check 3: the root to which the path of the head entry leads is another"):
        prove(tree("acme"), 217, Head(HEAD[6], 6, heads, head_note()))
    with pytest.raises(IntegrityBroken, match="check 7: the commitment to the payload is another"):
        prove(tree("acme"), 217, head(), envelope=RECORDS["acme"][217], opening=Opening(salt(3), payload(217)))
    with pytest.raises(IntegrityBroken, match="what the proof should hold is not text: it was changed"):
        prove(tree("acme"), 217, head(), envelope=b"\xff")


def test_what_is_not_covered_is_not_proved() -> None:
    with pytest.raises(IndexError, match="no leaf 300 in a tree of size 300"):
        prove(tree("acme"), 300, head(size=300))
    with pytest.raises(IndexError, match="no leaf 6 in a tree of size 6"):
        prove(tree("acme"), 217, head(head_size=6))
    with pytest.raises(IndexError, match="no leaf 600 in a tree of size 600"):
        prove(tree("acme"), 600, head())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


@given(st.sampled_from(sorted(fields_of(WHOLE))), JSON)
def test_only_our_errors_come_out_of_any_field(field: str, value: object) -> None:
    fields = fields_of(WHOLE) | {field: value}
    try:
        verify_proof(json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass") + b"\n", TRUSTED)
    except LicetError:
        return
    assert value == fields_of(WHOLE)[field] or (field in {"payload", "salt", "envelope"} and value is None)


@given(st.binary(max_size=200))
def test_only_our_errors_come_out_of_any_bytes(unverified: bytes) -> None:
    for verify in (verify_proof, verify_consistency):
        with pytest.raises(LicetError):
            verify(unverified, TRUSTED)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(IntegrityBroken):
        verify_proof(b"[" * 100_000, TRUSTED)
    with pytest.raises(IntegrityBroken):
        verify_proof(b'{"licet_proof":' + b"[" * 100_000, TRUSTED)
