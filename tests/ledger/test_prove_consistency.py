"""One signed state of a log as the beginning of another."""

from __future__ import annotations

import msgspec
import pytest

from licet.errors import IntegrityBroken, NoteInvalid
from licet.ledger.checkpoint import sign_checkpoint
from licet.ledger.merkle import root_of
from licet.ledger.prove import (
    ConsistencyBundle,
    Trusted,
    encode_bundle,
    prove_consistency,
    verify_consistency,
)
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import HashTree
from tests.ledger.small_ledger import (
    HEAD_HASHES,
    NEEDS_WITNESS,
    ORIGIN,
    SIGNER,
    SUCCESSOR,
    TRUSTED,
    Leaves,
    handover,
    head_note,
    head_state,
    head_tree,
    hexed,
    log_note,
    log_signer,
    tree,
)

CHANGES = (0x01, 0x20)


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
    endorsement = handover()
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
        verify_consistency(encode_bundle(replace(bundle, path=(*bundle.path, "00" * 32))), TRUSTED)
    with pytest.raises(IntegrityBroken, match="the path does not show that one log has root"):
        verify_consistency(encode_bundle(replace(bundle, first=bundle.second, second=bundle.first)), TRUSTED)
    with pytest.raises(NoteInvalid, match=r"the checkpoint is of `example.com/other`"):
        verify_consistency(encode_bundle(replace(bundle, second=head_note(8, [SIGNER], "example.com/other").decode())), TRUSTED)
    with pytest.raises(IndexError, match="no tree of size 8 in one of size 3"):
        consistency(8, 3)
    with pytest.raises(IntegrityBroken, match="the origin of the second checkpoint is another"):
        prove_consistency(head_tree(), head_note(3), head_note(8, [SIGNER], "example.com/other"))
