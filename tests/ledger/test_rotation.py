"""Which keys sign a log at which sizes, and what somebody with a stolen key can do about it."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import NoteInvalid
from licet.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from licet.ledger.note import Cosigner, Signer, add_signatures, sign_note
from licet.ledger.rotation import Endorsement, KeySpan, Trust, endorse, open_endorsement, verify_rotation

ORIGIN = "licet.invalid/3f2a9c"
A, B, C, D = (Signer.from_seed(ORIGIN, bytes([number]) * 32) for number in range(1, 5))
WITNESS = Cosigner.from_seed("witness.invalid/w1", b"\x09" * 32)


def state(size: int, root: bytes | None = None, origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, size, root or size.to_bytes(32))


A_TO_B, B_TO_C = endorse(state(10), A, B), endorse(state(20), B, C)
CHAIN = [A_TO_B, B_TO_C]


def refused(vkey: str, *endorsements: bytes) -> str:
    with pytest.raises(NoteInvalid) as caught:
        verify_rotation(ORIGIN, vkey, endorsements)
    return str(caught.value)


def signed(size: int, *signers: Signer, root: bytes | None = None) -> bytes:
    return sign_checkpoint(state(size, root), signers)


def test_without_endorsements_one_key_signs_everything() -> None:
    trust = verify_rotation(ORIGIN, A.vkey)
    assert trust == Trust(ORIGIN, (KeySpan(A.verifier),))
    assert trust.current == A.verifier
    assert trust.keys_at(0) == trust.keys_at(10**12) == (A.verifier,)


@pytest.mark.parametrize("trusted", [A, B, C], ids=["the oldest", "the middle one", "the newest"])
@pytest.mark.parametrize("notes", list(permutations([*CHAIN, A_TO_B])))
def test_from_whichever_key_and_in_whatever_order_the_spans_are_the_same(trusted: Signer, notes: tuple[bytes, ...]) -> None:
    trust = verify_rotation(ORIGIN, trusted.vkey, notes)
    assert trust.spans == (KeySpan(A.verifier, 0, 10), KeySpan(B.verifier, 10, 20), KeySpan(C.verifier, 20, None))
    assert trust.handovers == (state(10), state(20))
    assert trust.current == C.verifier


@pytest.mark.parametrize(
    ("size", "signer", "opens"),
    [
        (0, A, True),
        (9, A, True),
        (10, A, True),
        (11, A, False),  # a stolen retired key
        (10**9, A, False),
        (9, B, False),
        (10, B, True),
        (20, B, True),
        (21, B, False),
        (19, C, False),
        (20, C, True),
        (21, C, True),
        (10**9, C, True),
        (15, D, False),
    ],
)
def test_a_key_speaks_for_its_own_sizes(size: int, signer: Signer, opens: bool) -> None:  # noqa: FBT001  a table
    trust = verify_rotation(ORIGIN, C.vkey, CHAIN)
    checkpoint = (
        state(size) if size else Checkpoint(ORIGIN, 0, bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
    )
    note = sign_checkpoint(checkpoint, [signer])
    if opens:
        assert trust.open(note)[0] == checkpoint
    else:
        problem = (
            "is not signed by any known key" if signer is D else f"no key that may sign `{ORIGIN}` at size {size} has signed, only one"
        )
        with pytest.raises(NoteInvalid, match=problem):
            trust.open(note)


def test_a_retired_key_beside_the_new_one_is_told_and_does_no_harm() -> None:
    trust = verify_rotation(ORIGIN, A.vkey, CHAIN)
    _, note = trust.open(signed(25, A, C))
    assert [signature.key_id for signature in note.signatures] == [A.verifier.key_id, C.verifier.key_id]
    with pytest.raises(NoteInvalid, match="no key that may sign"):
        trust.open(signed(25, A, B))


def test_at_the_rotation_there_is_one_root() -> None:
    trust = verify_rotation(ORIGIN, A.vkey, CHAIN)
    for signer in (A, B):
        with pytest.raises(NoteInvalid, match="another root than the one at which its key was rotated"):
            trust.open(signed(10, signer, root=b"\x07" * 32))


def test_witnesses_are_told_but_do_not_speak_for_the_log() -> None:
    trust = verify_rotation(ORIGIN, A.vkey, CHAIN)
    cosigned = add_signatures(signed(25, C), [WITNESS.cosign(state(25).text, 9)])
    assert trust.open(cosigned, [WITNESS.verifier])[1].signatures[1].timestamp_s == 9
    stolen = add_signatures(signed(25, A), [WITNESS.cosign(state(25).text, 9)])
    with pytest.raises(NoteInvalid, match="no key that may sign"):
        trust.open(stolen, [WITNESS.verifier])


def test_a_wrong_signature_of_a_key_that_may_sign_refuses() -> None:
    trust = verify_rotation(ORIGIN, A.vkey)
    with pytest.raises(NoteInvalid, match="does not verify"):
        trust.open(signed(25, A).replace(b"\n25\n", b"\n26\n"))


def test_a_stolen_retired_key_cannot_endorse_a_second_successor() -> None:
    for vkey in (A.vkey, B.vkey, C.vkey):
        assert "two histories" in refused(vkey, *CHAIN, endorse(state(10), A, D))
        assert "two histories" in refused(vkey, *CHAIN, endorse(state(500), A, D))


def test_a_second_predecessor_is_refused() -> None:
    assert "two histories" in refused(C.vkey, *CHAIN, endorse(state(5), D, C))


def test_one_key_endorsed_at_two_states_is_refused() -> None:
    assert "two histories" in refused(A.vkey, A_TO_B, endorse(state(11), A, B))
    assert "two histories" in refused(A.vkey, A_TO_B, endorse(state(10, b"\x07" * 32), A, B))


def test_a_ring_of_keys_is_refused() -> None:
    for vkey in (A.vkey, B.vkey, C.vkey):
        assert "leads back to where it began" in refused(vkey, *CHAIN, endorse(state(30), C, A))
    assert "leads back" in refused(A.vkey, A_TO_B, endorse(state(20), B, A))


def test_a_key_under_another_name_is_the_same_key() -> None:
    again = Signer.from_seed("licet.invalid/again", b"\x01" * 32)
    assert "leads back" in refused(A.vkey, A_TO_B, endorse(state(20), B, again))
    assert "no endorsement names the trusted key" in refused(again.vkey, A_TO_B)
    with pytest.raises(ValueError, match="not rotated to itself"):
        endorse(state(5), A, again)


def test_endorsements_that_do_not_hang_together_are_refused() -> None:
    assert "no endorsement names the trusted key" in refused(D.vkey, *CHAIN)
    assert "not connected" in refused(A.vkey, A_TO_B, endorse(state(20), C, D))
    assert "no endorsement names" in refused(A.vkey, B_TO_C)


def test_sizes_only_grow_along_the_chain() -> None:
    assert "smaller size" in refused(A.vkey, endorse(state(20), A, B), endorse(state(10), B, C))
    same = verify_rotation(ORIGIN, A.vkey, [endorse(state(10), A, B), endorse(state(10), B, C)])
    assert same.keys_at(10) == (A.verifier, B.verifier, C.verifier)
    assert same.keys_at(11) == (C.verifier,)


def test_two_rotations_at_one_size_have_one_root() -> None:
    assert "two roots" in refused(A.vkey, endorse(state(10), A, B), endorse(state(10, b"\x07" * 32), B, C))


def test_the_endorsement_of_another_log_is_refused() -> None:
    elsewhere = endorse(state(10, origin="licet.invalid/elsewhere"), A, B)
    assert refused(A.vkey, elsewhere) == f"an endorsement is of another log than `{ORIGIN}`"


def test_both_keys_must_have_signed() -> None:
    text = Endorsement(state(10), A.verifier, B.verifier).text
    for signers in ([A], [B]):
        with pytest.raises(NoteInvalid, match="signed by both keys that it names"):
            open_endorsement(sign_note(text, signers))
    with pytest.raises(NoteInvalid, match="not signed by any known key"):
        open_endorsement(sign_note(text, [C, D]))
    with pytest.raises(NoteInvalid, match="does not verify"):
        open_endorsement(A_TO_B.replace(b"size 10\n", b"size 99\n"))


def test_an_endorsement_in_bytes() -> None:
    assert A_TO_B.startswith(
        f"licet key rotation v1\norigin {ORIGIN}\nsize 10\nroot AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAo=\n"
        f"from {A.vkey}\nto {B.vkey}\n\n".encode()
    )
    assert open_endorsement(A_TO_B) == Endorsement(state(10), A.verifier, B.verifier)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v1\n", b"v2\n"),
        (b"size 10", b"size 010"),
        (b"size 10", b"size -1"),
        (b"size 10", b"size 0"),
        (b"size 10\n", b""),
        (b"size 10\n", b"size 10\nsize 11\n"),
        (b"root AAAA", b"root AAA"),
        (b"o=\nfrom", b"p=\nfrom"),
        (b"from ", b"from  "),
        (b"from ", b"to "),
        (A.vkey.encode(), b"nobody"),
        (A.vkey.encode(), B.vkey.encode()),
        (B.vkey.encode(), Cosigner.from_seed(ORIGIN, b"\x02" * 32).vkey.encode()),
        (b"to ", b"also x\nto "),
    ],
)
def test_what_is_not_in_its_one_form_is_no_endorsement(old: bytes, new: bytes) -> None:
    text = Endorsement(state(10), A.verifier, B.verifier).text
    changed = text.replace(old, new)
    assert changed != text
    with pytest.raises(NoteInvalid):
        open_endorsement(sign_note(changed, [A, B]))


def test_a_key_for_cosignatures_takes_over_nothing_though_it_signs() -> None:
    for old, new in ((A.vkey, WITNESS.vkey), (WITNESS.vkey, A.vkey)):
        text = Endorsement(state(10), A.verifier, B.verifier).text
        text = text.replace(A.vkey.encode(), old.encode()).replace(B.vkey.encode(), new.encode())
        with pytest.raises(NoteInvalid, match="not in its one form, or not of plain Ed25519 keys"):
            open_endorsement(add_signatures(sign_note(text, [A]), [WITNESS.cosign(text, 5)]))


def test_checkpoints_and_endorsements_are_never_taken_for_one_another() -> None:
    with pytest.raises(NoteInvalid, match="not an endorsement"):
        open_endorsement(signed(10, A, B))
    with pytest.raises(NoteInvalid, match="a checkpoint has an origin"):
        open_checkpoint(A_TO_B, ORIGIN, [A.verifier])
    posing = sign_checkpoint(Checkpoint("licet key rotation v1", 10, bytes(32), (f"origin {ORIGIN}",)), [A, B])
    with pytest.raises(NoteInvalid, match="not an endorsement"):
        open_endorsement(posing)


def test_a_key_for_cosignatures_is_no_key_of_a_log() -> None:
    assert "plain Ed25519 key" in refused(WITNESS.vkey)


@given(st.binary(max_size=200))
def test_garbage_is_no_endorsement(garbage: bytes) -> None:
    with pytest.raises(NoteInvalid):
        open_endorsement(garbage)
    with pytest.raises(NoteInvalid):
        open_endorsement(sign_note(b"licet key rotation v1\n" + garbage.replace(b"\xff", b"").hex().encode() + b"\n", [A, B]))


@given(st.integers(0, len(A_TO_B) * 8 - 1))
def test_no_bit_of_an_endorsement_can_change(place: int) -> None:
    flipped = bytearray(A_TO_B)
    flipped[place // 8] ^= 1 << place % 8
    with pytest.raises(NoteInvalid):
        open_endorsement(bytes(flipped))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5).map(sorted), st.integers(1, 60), st.integers(0, 5))
def test_there_is_a_key_for_each_size_and_nobody_else(sizes: list[int], size: int, start: int) -> None:
    signers = [Signer.from_seed(ORIGIN, bytes([100 + number]) * 32) for number in range(len(sizes) + 1)]
    sizes = [max(each, 1) for each in sizes]
    notes = [endorse(state(at), old, new) for at, old, new in zip(sizes, signers, signers[1:], strict=False)]
    trust = verify_rotation(ORIGIN, signers[start % len(signers)].vkey, notes)
    may = [number for number, signer in enumerate(signers) if signer.verifier in trust.keys_at(size)]
    assert may == [n for n in range(len(signers)) if (n == 0 or sizes[n - 1] <= size) and (n == len(sizes) or size <= sizes[n])]
    assert may
