"""Proofs that stand alone: what they show, and every way in which they must fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import IntegrityBroken, LicetError, NoteInvalid
from licet.ledger.checkpoint import HeadEntry, decode_head_entry, encode_head_entry, sign_checkpoint
from licet.ledger.merkle import find_root, root_of
from licet.ledger.note import Cosigner, Signer
from licet.ledger.prove import (
    ConsistencyBundle,
    Head,
    Opening,
    Proof,
    Trusted,
    encode_bundle,
    prove,
    prove_consistency,
    read_receipt,
    verify_consistency,
    verify_proof,
    verify_receipt,
)
from licet.ledger.record import leaf_hash
from licet.ledger.rotation import endorse
from licet.ledger.tiles import HashTree
from licet.model import Receipt
from tests.ledger.small_ledger import (
    COSIGNED_AT_S,
    HASHES,
    HEAD,
    HEAD_HASHES,
    ORIGIN,
    RECORDS,
    SIGNER,
    SIZES,
    SUCCESSOR,
    TRUSTED,
    WITNESS,
    Leaves,
    head,
    head_note,
    head_state,
    head_tree,
    log_note,
    log_signer,
    opening,
    payload,
    proof,
    salt,
    tree,
)

WHOLE = proof()
NEEDS_WITNESS = Trusted(ORIGIN, SIGNER.vkey, (WITNESS.verifier,), 1)
CHANGES = (0x01, 0x20)


def changed(unverified: bytes = WHOLE, **fields: object) -> bytes:
    """The proof with other fields, in its one form."""
    return encode_bundle(msgspec.structs.replace(msgspec.json.decode(unverified, type=Proof), **fields))


def fields_of(unverified: bytes) -> dict[str, Any]:
    fields = json.loads(unverified)
    assert isinstance(fields, dict)
    return fields


# -- what holds


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


def rotated(head_size: int = 8) -> bytes:
    """A proof under the successor's key, which took over at size 4."""
    endorsement = endorse(head_state(4), SIGNER, SUCCESSOR)
    signed = Head(HEAD[6], 6, head_tree(), head_note(head_size, [SUCCESSOR]), (endorsement,))
    return prove(tree("acme"), 217, signed, envelope=RECORDS["acme"][217], opening=opening(217))


def test_a_proof_holds_for_who_trusts_an_older_or_a_newer_key() -> None:
    for key in (SIGNER, SUCCESSOR):
        report = verify_proof(rotated(), Trusted(ORIGIN, key.vkey, (WITNESS.verifier,), 1))
        assert report.signatures[0].key_id == SUCCESSOR.verifier.key_id
    old = prove(tree("acme"), 50, Head(HEAD[2], 2, head_tree(), head_note(3), (endorse(head_state(4), SIGNER, SUCCESSOR),)))
    assert verify_proof(old, Trusted(ORIGIN, SUCCESSOR.vkey)).signatures[0].key_id == SIGNER.verifier.key_id


# -- what does not


@pytest.mark.parametrize("unverified", [WHOLE, rotated()], ids=["one key", "rotated key"])
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


OTHER = Signer.from_seed(ORIGIN, bytes(32))
ENTRY = decode_head_entry(HEAD[6])
STEP = "00" * 32
LEAF = HASHES["acme"][217].hex()
PATH = fields_of(WHOLE)["path"]
HEAD_PATH = fields_of(WHOLE)["head_path"]

ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "another version": (lambda: changed(licet_proof=2), "check 1: the version of the proof is another: expected `1`, found `2`"),
    "an unknown field": (
        lambda: WHOLE.replace(b'{"licet_proof":1', b'{"more":1,"licet_proof":1'),
        "check 1: the bundle cannot be read: Object contains unknown field `more`",
    ),
    "a field twice": (lambda: WHOLE.replace(b'"index":217', b'"index":3,"index":217'), "check 1: the bundle is not in its one form"),
    "spaces": (lambda: WHOLE.replace(b":217", b": 217"), "check 1: the bundle is not in its one form: it was written by something else"),
    "a step that is no hash": (lambda: changed(path=("AB" * 32, *PATH[1:])), f"check 1: `{'AB' * 32}` is not 64 lower-case hex digits"),
    "a salt that is no hash": (lambda: changed(salt="zz"), "check 1: `zz` is not 64 lower-case hex digits"),
    "a checkpoint of another origin": (
        lambda: changed(checkpoint=head_note(8, [SIGNER], "example.com/other").decode()),
        f"check 2: the checkpoint is of `example.com/other`, not of `{ORIGIN}`",
    ),
    "a checkpoint by an untrusted key": (
        lambda: changed(checkpoint=sign_checkpoint(head_state(8), [OTHER]).decode()),
        "check 2: the note is not signed by any known key",
    ),
    "a checkpoint by a witness alone": (
        lambda: changed(checkpoint=head_note(8, [OTHER]).decode()),
        f"check 2: the checkpoint is not signed by a key of `{ORIGIN}`",
    ),
    "a checkpoint by a wrong signature": (
        lambda: changed(checkpoint=(head_state(8).text + head_note(7)[len(head_state(7).text) :]).decode()),
        f"check 2: signature of `{ORIGIN}` (key id {SIGNER.verifier.key_id}) does not verify",
    ),
    "the checkpoint of a tenant's own log": (
        lambda: changed(checkpoint=log_note("acme", 600).decode()),
        "check 2: the note is not signed by any known key",
    ),
    "no checkpoint": (lambda: changed(checkpoint=""), "check 2: a note is text, an empty line and signature lines"),
    "an endorsement that is none": (lambda: changed(endorsements=("x",)), "check 2: a note is text, an empty line and signature lines"),
    "a key that took over without the old one": (
        lambda: changed(checkpoint=head_note(8, [OTHER]).decode(), endorsements=(endorse(head_state(4), SUCCESSOR, OTHER).decode(),)),
        "check 2: no endorsement names the trusted key",
    ),
    "a retired key": (
        lambda: changed(rotated(), checkpoint=head_note(8, [SIGNER]).decode()),
        f"check 2: the checkpoint is not signed by a key of `{ORIGIN}`",
    ),
    "an older checkpoint of the same log": (
        lambda: changed(checkpoint=head_note(7).decode()),
        "check 2: the size of the checkpoint is another: expected `8`, found `7`",
    ),
    "an older checkpoint with its size": (
        lambda: changed(checkpoint=head_note(4).decode(), head_size=4),
        "check 3: the path of the head entry has 3 hashes: index 6 in a tree of size 4 has no such path",
    ),
    "a head entry that is none": (lambda: changed(head_entry="{}"), "check 3: stored entry of the head log cannot be read: "),
    "the head entry of another log": (
        lambda: changed(head_entry=HEAD[7].decode()),
        f"check 3: the root to which the path of the head entry leads is another: expected `{head_state(8).root.hex()}`, found ",
    ),
    "the head entry of another log with its index": (
        lambda: changed(head_entry=HEAD[7].decode(), head_index=7, head_path=hexed(head_tree().inclusion_proof(7))),
        "check 4: the log of the head entry is another: expected `acme`, found `operator`",
    ),
    "an older head entry": (
        lambda: changed(head_entry=HEAD[4].decode(), head_index=4, head_path=hexed(head_tree().inclusion_proof(4))),
        "check 4: the size in the head entry is another: expected `600`, found `300`",
    ),
    "a forged head entry": (
        lambda: changed(head_entry=encode_head_entry(HeadEntry(1, "acme", 600, STEP, ENTRY.at)).decode()),
        f"check 3: the root to which the path of the head entry leads is another: expected `{head_state(8).root.hex()}`, found ",
    ),
    "a truncated head path": (
        lambda: changed(head_path=HEAD_PATH[:-1]),
        "check 3: the path of the head entry has 2 hashes: index 6 in a tree of size 8 has no such path",
    ),
    "an extra hash in the head path": (
        lambda: changed(head_path=(*HEAD_PATH, STEP)),
        "check 3: the path of the head entry has 4 hashes: index 6 in a tree of size 8 has no such path",
    ),
    "a negative head index": (
        lambda: changed(head_index=-2),
        "check 3: the path of the head entry has 3 hashes: index -2 in a tree of size 8 has no such path",
    ),
    "another size": (lambda: changed(size=599), "check 4: the size in the head entry is another: expected `599`, found `600`"),
    "another index": (
        lambda: changed(index=216),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "an index beyond the log": (
        lambda: changed(index=600),
        "check 5: the path of the leaf has 10 hashes: index 600 in a tree of size 600 has no such path",
    ),
    "a huge index": (lambda: changed(index=2**63 - 1), "check 5: the path of the leaf has 10 hashes: index 9223372036854775807 in"),
    "a truncated path": (
        lambda: changed(path=PATH[:-1]),
        "check 5: the path of the leaf has 9 hashes: index 217 in a tree of size 600 has no such path",
    ),
    "an extra hash": (
        lambda: changed(path=(*PATH, STEP)),
        "check 5: the path of the leaf has 11 hashes: index 217 in a tree of size 600 has no such path",
    ),
    "swapped hashes": (
        lambda: changed(path=(PATH[1], PATH[0], *PATH[2:])),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "another record": (
        lambda: changed(leaf=HASHES["acme"][216].hex()),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "a node of the tree as a record": (
        lambda: changed(leaf=root_of(HASHES["acme"][216:218]).hex(), index=108, path=PATH[1:]),
        "check 5: the path of the leaf has 9 hashes: index 108 in a tree of size 600 has no such path",
    ),
    "another log's record": (
        lambda: changed(leaf=HASHES["operator"][217].hex(), envelope=RECORDS["operator"][217].decode()),
        f"check 5: the root to which the path of the leaf leads is another: expected `{ENTRY.root}`, found ",
    ),
    "another envelope": (
        lambda: changed(envelope=RECORDS["acme"][216].decode()),
        f"check 6: the hash of the envelope is another: expected `{LEAF}`, found `{HASHES['acme'][216].hex()}`",
    ),
    "another payload": (lambda: changed(payload=payload(216).decode()), "check 7: the commitment to the payload is another: expected `"),
    "another salt": (lambda: changed(salt=salt(216).hex()), "check 7: the commitment to the payload is another: expected `"),
    "a payload without its salt": (lambda: changed(salt=None), "check 7: a payload is opened with its salt and its envelope"),
    "a salt without its payload": (lambda: changed(payload=None), "check 7: a payload is opened with its salt and its envelope"),
    "a payload without its envelope": (lambda: changed(envelope=None), "check 7: a payload is opened with its salt and its envelope"),
}


def hexed(path: tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple([step.hex() for step in path])


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_told_by_its_check(attack: str) -> None:
    forge, message = ATTACKS[attack]
    with pytest.raises(IntegrityBroken, match=f"^{re.escape(message)}"):
        verify_proof(forge(), TRUSTED)


def test_the_found_hash_is_told_too() -> None:
    with pytest.raises(IntegrityBroken) as caught:
        verify_proof(changed(index=216), TRUSTED)
    shown = re.search(r"expected `([0-9a-f]{64})`, found `([0-9a-f]{64})`$", str(caught.value))
    assert shown is not None
    node = find_root(HASHES["acme"][217], 216, 600, [bytes.fromhex(text) for text in PATH])
    assert node is not None
    assert (shown[1], shown[2]) == (ENTRY.root, node.hex())


def test_an_envelope_in_the_tree_of_another_log_is_refused() -> None:
    """Whoever writes the ledger could file one log's records under another's name; the envelope says whose it is."""
    entry = encode_head_entry(HeadEntry(1, "beta", 600, root_of(HASHES["acme"]).hex(), 1))
    under = HashTree(Leaves([leaf_hash(entry)]), 1)
    state = msgspec.structs.replace(head_state(1), root=leaf_hash(entry))
    misfiled = Head(entry, 0, under, sign_checkpoint(state, [SIGNER]))
    verify_proof(prove(tree("acme"), 3, misfiled), TRUSTED)  # a bare leaf tells nothing
    with pytest.raises(IntegrityBroken, match="check 6: the log of the envelope is another: expected `beta`, found `acme`"):
        prove(tree("acme"), 3, misfiled, envelope=RECORDS["acme"][3])


def test_an_envelope_of_another_version_is_refused() -> None:
    envelope = RECORDS["acme"][0].replace(b'{"v":1,', b'{"v":9,')
    leaves = Leaves([leaf_hash(envelope)])
    entry = encode_head_entry(HeadEntry(1, "acme", 1, leaf_hash(envelope).hex(), 1))
    state = msgspec.structs.replace(head_state(1), root=leaf_hash(entry))
    under = Head(entry, 0, HashTree(Leaves([leaf_hash(entry)]), 1), sign_checkpoint(state, [SIGNER]))
    with pytest.raises(IntegrityBroken, match="check 6: envelope has version `9`"):
        prove(HashTree(leaves, 1), 0, under, envelope=envelope)


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
    alone = changed(checkpoint=sign_checkpoint(head_state(8), [SIGNER]).decode())
    assert verify_proof(alone, TRUSTED).signatures[0].name == ORIGIN
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 0 of the given witnesses, 1 are needed"):
        verify_proof(alone, NEEDS_WITNESS)


def test_one_witness_under_two_names_counts_once() -> None:
    again = Cosigner.from_seed("witness.example/again", bytes(range(2, 34)))
    line = again.cosign(head_state(8).text, COSIGNED_AT_S)
    twice = changed(checkpoint=(head_note() + line).decode())
    both = Trusted(ORIGIN, SIGNER.vkey, (WITNESS.verifier, again.verifier), 2)
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 1 of the given witnesses, 2 are needed"):
        verify_proof(twice, both)


def test_the_logs_own_key_is_no_witness() -> None:
    with pytest.raises(IntegrityBroken, match="check 2: the checkpoint is cosigned by 0 of the given witnesses, 1 are needed"):
        verify_proof(WHOLE, Trusted(ORIGIN, SIGNER.vkey, (SIGNER.verifier,), 1))


def test_a_key_that_is_not_one_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="check 2: a verifier key has three parts"):
        verify_proof(WHOLE, Trusted(ORIGIN, "nonsense"))


# -- what is handed out


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


# -- consistency


def consistency(first: int = 3, second: int = 8) -> bytes:
    return prove_consistency(head_tree(), head_note(first), head_note(second))


@pytest.mark.parametrize("second", range(9))
def test_a_checkpoint_is_the_beginning_of_every_later_one(second: int) -> None:
    for first in range(second + 1):
        report = verify_consistency(consistency(first, second), NEEDS_WITNESS)
        assert (report.first, report.second) == (head_state(first), head_state(second))
        assert [signature.name for signature in report.first_signatures] == [ORIGIN, "witness.example"]
        assert report.first_signatures[0] == report.second_signatures[0]


def test_checkpoints_of_one_logs_own_are_consistent_too() -> None:
    bundle = prove_consistency(tree("acme"), log_note("acme", 77), log_note("acme", 600))
    signer = log_signer("acme")
    assert verify_consistency(bundle, Trusted(signer.name, signer.vkey)).second.size == 600
    with pytest.raises(NoteInvalid):
        verify_consistency(bundle, TRUSTED)


def test_consistency_reaches_across_a_rotation() -> None:
    endorsement = endorse(head_state(4), SIGNER, SUCCESSOR)
    bundle = prove_consistency(head_tree(), head_note(3), head_note(8, [SUCCESSOR]), [endorsement])
    report = verify_consistency(bundle, TRUSTED)
    assert report.first_signatures[0].key_id != report.second_signatures[0].key_id
    with pytest.raises(NoteInvalid, match="not signed by a key of"):
        verify_consistency(prove_consistency(head_tree(), head_note(3), head_note(8, [SUCCESSOR])), TRUSTED)


def test_every_byte_of_a_consistency_bundle_is_verified() -> None:
    first, second = (sign_checkpoint(head_state(size), [SIGNER]) for size in (3, 8))
    unverified = prove_consistency(head_tree(), first, second)
    verify_consistency(unverified, TRUSTED)
    for at, byte in enumerate(unverified):
        for change in CHANGES:
            with pytest.raises(IntegrityBroken):
                verify_consistency(unverified[:at] + bytes([byte ^ change]) + unverified[at + 1 :], TRUSTED)
        with pytest.raises(IntegrityBroken):
            verify_consistency(unverified[:at], TRUSTED)


def test_a_rewritten_log_is_not_consistent_with_what_was_signed_before() -> None:
    forged = [*HEAD_HASHES[:1], leaf_hash(b"forged"), *HEAD_HASHES[2:]]
    state = msgspec.structs.replace(head_state(8), root=root_of(forged))
    rewritten = sign_checkpoint(state, [SIGNER])
    message = f"the path does not show that one log has root `{head_state(3).root.hex()}` at size 3 and root `{state.root.hex()}` at size 8"
    with pytest.raises(IntegrityBroken, match=message):
        prove_consistency(HashTree(Leaves(forged), 8), head_note(3), rewritten)
    path = hexed(HashTree(Leaves(forged), 8).consistency_proof(3))
    bundle = ConsistencyBundle(licet_consistency=1, first=head_note(3).decode(), second=rewritten.decode(), path=path)
    with pytest.raises(IntegrityBroken, match=message):
        verify_consistency(encode_bundle(bundle), TRUSTED)


def test_a_consistency_bundle_is_held_to_its_form_its_origin_and_its_order() -> None:
    bundle = msgspec.json.decode(consistency(), type=ConsistencyBundle)
    replace = msgspec.structs.replace
    with pytest.raises(IntegrityBroken, match="the version of the bundle is another: expected `1`, found `2`"):
        verify_consistency(encode_bundle(replace(bundle, licet_consistency=2)), TRUSTED)
    with pytest.raises(IntegrityBroken, match="the path does not show that one log has root"):
        verify_consistency(encode_bundle(replace(bundle, path=(*bundle.path, STEP))), TRUSTED)
    with pytest.raises(IntegrityBroken, match="the path does not show that one log has root"):
        verify_consistency(encode_bundle(replace(bundle, first=bundle.second, second=bundle.first)), TRUSTED)
    with pytest.raises(NoteInvalid, match=r"the checkpoint is of `example.com/other`"):
        verify_consistency(encode_bundle(replace(bundle, second=head_note(8, [SIGNER], "example.com/other").decode())), TRUSTED)
    with pytest.raises(IndexError, match="no tree of size 8 in one of size 3"):
        consistency(8, 3)
    with pytest.raises(IntegrityBroken, match="the origin of the second checkpoint is another"):
        prove_consistency(head_tree(), head_note(3), head_note(8, [SIGNER], "example.com/other"))


# -- anything else


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
